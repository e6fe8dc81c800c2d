// Text over the scene on a 2D canvas: values beside markers, names of rooms. Crisp in every
// script, bounded in number, and it never overlaps itself. Decorative: the table view says the same.
import type { Palette } from './palette'
import { isAlerting, type Placed } from './markers'

/** Most labels at once. */
const LABELS_MAX = 80
const FONT = "ui-sans-serif, system-ui, -apple-system, 'Segoe UI', 'Noto Sans', 'Noto Sans CJK JP', 'Liberation Sans', sans-serif"

export type RoomName = { text: string; x: number; y: number; width: number }
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
    let left = LABELS_MAX
    for (let i = placed.length - 1; i >= 0 && left > 0; i -= 1) {
      const item = placed[i]
      if (item === undefined || !item.isShown || item.x < -50 || item.y < -50) continue
      const { marker } = item
      const isLoud = isAlerting(marker.state) || marker.selected
      if (marker.selected) this.ring(context, item, palette)
      if (!isLoud && !isDetailed) continue
      const text = isLoud && marker.value !== '' ? `${marker.label}  ${marker.value}` : marker.value
      if (this.pill(context, item, text === '' ? marker.label : text, palette, isLoud)) left -= 1
    }
    context.font = `500 11px ${FONT}`
    context.textAlign = 'center'
    context.textBaseline = 'middle'
    context.fillStyle = palette.textMuted
    context.strokeStyle = palette.background
    context.lineWidth = 3
    context.lineJoin = 'round'
    for (const room of rooms) {
      const width = context.measureText(room.text).width
      const box = { x: room.x - width / 2, y: room.y - 7, width, height: 14 }
      if (width > room.width || !this.take(box)) continue
      context.strokeText(room.text, room.x, room.y)
      context.fillText(room.text, room.x, room.y)
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
