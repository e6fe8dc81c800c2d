// Text over the scene on a 2D canvas: values beside markers, names of rooms. Crisp in every
// script, bounded in number, and it never overlaps itself. Decorative: the table view says the same.
import type { Palette } from './palette'
import { isAlerting, type Placed } from './markers'

/** Most labels at once. */
const LABELS_MAX = 80
const NAME_PX = 16
/** Where the name of a room may move to from its middle, in pixels right and down. */
const NAME_SHIFTS = [
  [0, 0], [0, 22], [0, -22], [-30, 0], [30, 0], [0, 34], [0, -34], [-44, 0], [44, 0], [0, 50], [0, -50],
] as const
const FONT = "ui-sans-serif, system-ui, -apple-system, 'Segoe UI', 'Noto Sans', 'Noto Sans CJK JP', 'Liberation Sans', sans-serif"

export type RoomName = { text: string; x: number; y: number; width: number; height: number }
type Box = { x: number; y: number; width: number; height: number }

export class Overlay {
  private readonly canvas = document.createElement('canvas')
  private readonly context = this.canvas.getContext('2d')
  private taken: Box[] = []

  constructor(private readonly under: HTMLCanvasElement) {
    this.canvas.setAttribute('aria-hidden', 'true')
    Object.assign(this.canvas.style, { position: 'absolute', pointerEvents: 'none' })
    under.after(this.canvas)
  }

  setSize(width: number, height: number, ratio: number): void {
    this.canvas.width = Math.round(width * ratio)
    this.canvas.height = Math.round(height * ratio)
    Object.assign(this.canvas.style, {
      left: `${this.under.offsetLeft}px`, top: `${this.under.offsetTop}px`,
      width: `${width}px`, height: `${height}px`,
    })
    this.context?.setTransform(ratio, 0, 0, ratio, 0, 0)
  }

  draw(placed: Placed[], rooms: RoomName[], palette: Palette, isDetailed: boolean): void {
    const context = this.context
    if (context === null) return
    context.clearRect(0, 0, this.canvas.width, this.canvas.height)
    this.taken = placed
      .filter((item) => item.isShown && item.size > 12)
      .map(({ x, y, size }) => ({ x: x - size / 2, y: y - size / 2, width: size, height: size }))
    const isLoud = ({ marker }: Placed) => isAlerting(marker.state) || marker.selected
    const shown = placed.filter((item) => item.isShown && item.x >= -50 && item.y >= -50).reverse()
    const loud = shown.filter(isLoud)
    for (const item of loud) if (item.marker.selected) this.ring(context, item, palette)
    // What needs somebody first, then where one is, then what is as usual.
    const room = LABELS_MAX - this.pills(context, loud, palette, true, LABELS_MAX)
    this.names(context, rooms, palette)
    if (isDetailed) this.pills(context, shown.filter((item) => !isLoud(item)), palette, false, room)
  }

  /** Values beside markers, at most so many; answers how many there were. */
  private pills(
    context: CanvasRenderingContext2D,
    items: Placed[],
    palette: Palette,
    isLoud: boolean,
    most: number,
  ): number {
    let count = 0
    for (const item of items) {
      if (count >= most) break
      const { label, value } = item.marker
      const text = isLoud && value !== '' ? `${label}  ${value}` : value
      if (this.pill(context, item, text === '' ? label : text, palette, isLoud)) count += 1
    }
    return count
  }

  /** Names of rooms on plates of their own: nothing that is drawn below runs through them. */
  private names(context: CanvasRenderingContext2D, rooms: RoomName[], palette: Palette): void {
    context.font = `600 11px ${FONT}`
    context.textAlign = 'center'
    context.textBaseline = 'middle'
    for (const room of rooms) {
      const width = context.measureText(room.text).width + 8
      if (width > room.width || room.height < NAME_PX) continue
      const spots = NAME_SHIFTS
        .filter(([x, y]) => Math.abs(x) <= (room.width - width) / 2 && Math.abs(y) <= (room.height - NAME_PX) / 2)
        .map(([x, y]) => ({
          x: room.x + x - width / 2, y: room.y + y - NAME_PX / 2, width, height: NAME_PX,
        }))
      const spot = spots.find((box) => this.take(box))
      if (spot === undefined) continue
      context.globalAlpha = 0.88
      context.fillStyle = palette.background
      context.beginPath()
      context.roundRect(spot.x, spot.y, spot.width, spot.height, 3)
      context.fill()
      context.globalAlpha = 1
      context.fillStyle = palette.text
      context.fillText(room.text, spot.x + width / 2, spot.y + NAME_PX / 2 + 0.5)
    }
  }

  dispose(): void {
    this.canvas.remove()
  }

  private ring(context: CanvasRenderingContext2D, item: Placed, palette: Palette): void {
    context.beginPath()
    context.arc(item.x, item.y, item.size / 2 + 4, 0, Math.PI * 2)
    context.lineWidth = 2
    context.strokeStyle = palette.accent
    context.stroke()
  }

  private pill(
    context: CanvasRenderingContext2D,
    item: Placed,
    text: string,
    palette: Palette,
    isLoud: boolean,
  ): boolean {
    if (text === '') return false
    context.font = `${isLoud ? 600 : 500} 12px ${FONT}`
    context.textAlign = 'left'
    context.textBaseline = 'middle'
    const width = context.measureText(text).width + 12
    const gap = item.size / 2 + 5
    const height = 20
    const spots = [
      { x: item.x + gap, y: item.y - height / 2 },
      { x: item.x - gap - width, y: item.y - height / 2 },
      { x: item.x - width / 2, y: item.y - gap - height },
      { x: item.x - width / 2, y: item.y + gap },
    ]
    const reach = this.under.clientWidth
    const inside = spots.filter((place) => place.x >= 2 && place.x + width <= reach - 2)
    const spot = inside.find((place) => this.take({ ...place, width, height })) ?? (isLoud ? (inside[0] ?? spots[0]) : undefined)
    if (spot === undefined) return false
    context.beginPath()
    context.roundRect(spot.x, spot.y, width, height, 4)
    context.fillStyle = palette.pill
    context.globalAlpha = 0.94
    context.fill()
    context.globalAlpha = 1
    context.lineWidth = isLoud ? 1.5 : 1
    context.strokeStyle = isAlerting(item.marker.state)
      ? palette.states[item.marker.state]
      : item.marker.selected ? palette.accent : palette.pillLine
    context.stroke()
    context.fillStyle = palette.text
    context.fillText(text, spot.x + 6, spot.y + height / 2 + 0.5)
    return true
  }

  private take(box: Box): boolean {
    const isFree = this.taken.every(
      (other) =>
        box.x + box.width <= other.x || other.x + other.width <= box.x ||
        box.y + box.height <= other.y || other.y + other.height <= box.y,
    )
    if (isFree) this.taken.push(box)
    return isFree
  }
}
