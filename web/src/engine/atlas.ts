// The marker images, drawn once per theme into one canvas: a glyph per icon, a shape with its rank
// per severity (never colour alone), a broken ring for stale, a struck one for offline.
import { CanvasTexture, LinearFilter, SRGBColorSpace } from 'three'

import type { Palette } from './palette'
import type { MarkerIcon, MarkerState } from './types'

const CELL = 64
export const COLUMNS = 8
export const ROWS = 4

const ICONS: Record<MarkerIcon, string> = {
  temperature: 'M8.2 11.500V4.600a1.8 1.8 0 1 1 3.6 0v6.900a3.400 3.4 0 1 1-3.6 0M10 9v5',
  humidity: 'M10 3.500c2.500 3.1 4.3 5.3 4.3 8a4.300 4.3 0 0 1-8.6 0c0-2.7 1.800-4.9 4.300-8',
  co2: 'M6 8.500a2.600 2.6 0 1 0 0 3.600M11.500 7.600a2.800 2.8 0 1 0 0 5.6 2.8 2.8 0 0 0 0-5.600M15 13.500h2l-2 2.500h2',
  power: 'M11 3 5.5 11H10l-1 6 5.500-8H10z',
  water: 'M3.500 8c2.200-2 4.300-2 6.5 0s4.300 2 6.5 0M3.500 12c2.200-2 4.300-2 6.5 0s4.300 2 6.5 0',
  air: 'M10 10c0-5 4-5.5 5-3.500S13 10 10 10c5 0 5.5 4 3.5 5S10 13 10 10c0 5-4 5.500-5 3.500S7 10 10 10C5 10 4.5 6 6.5 5S10 7 10 10',
  vibration: 'M3 10h2.500l1.500-4 2.5 8 2.500-8 1.5 4H17',
  switch: 'M10 4v6M6.600 6a5.300 5.3 0 1 0 6.8 0',
  weather: 'M10 6.800a3.200 3.2 0 1 0 0 6.4 3.2 3.2 0 0 0 0-6.400M10 2.800v1.700M10 15.500v1.700M2.800 10h1.700M15.500 10h1.700M4.900 4.900l1.200 1.200M13.900 13.900l1.200 1.200M4.900 15.100l1.200-1.200M13.900 6.100l1.200-1.200',
  motion: 'M4 16a8.500 8.5 0 0 1 12 0M6.500 12.500a5 5 0 0 1 7 0M10 4.500a2 2 0 1 0 0 4 2 2 0 0 0 0-4',
  smoke: 'M6 16h8M7 13c-2-2 1-3 0-5s1-3 3-4M11 13c-1.500-2 1.500-3 .5-5',
  sensor: 'M10 7.500a2.500 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5M5.500 5.500a6.300 6.3 0 0 0 0 9M14.500 5.500a6.300 6.3 0 0 1 0 9',
}
const ICON_NAMES = Object.keys(ICONS) as MarkerIcon[]
const SEVERITIES = ['critical', 'high', 'medium', 'low'] as const
const SHAPES: Record<(typeof SEVERITIES)[number], string> = {
  critical: 'M6.500 1.500h7l5 5v7l-5 5h-7l-5-5v-7z',
  high: 'M10 1.5 19 17.500H1z',
  medium: 'M10 1 19 10l-9 9-9-9z',
  low: 'M10 2a8 8 0 1 0 0 16 8 8 0 0 0 0-16',
}

/** The cell of a marker; `isDot` is the small form of an ordinary one. */
export function cellOf(state: MarkerState, icon: MarkerIcon, isDot: boolean): number {
  const severity = SEVERITIES.indexOf(state as (typeof SEVERITIES)[number])
  if (severity >= 0) return 1 + severity
  if (state === 'stale') return 5
  if (state === 'offline') return 6
  const isSimulated = state === 'simulated'
  if (isDot) return isSimulated ? 7 : 0
  return COLUMNS + ICON_NAMES.indexOf(icon) + (isSimulated ? ICON_NAMES.length : 0)
}

export class Atlas {
  private readonly canvas = document.createElement('canvas')
  readonly texture: CanvasTexture

  constructor(palette: Palette) {
    this.canvas.width = CELL * COLUMNS
    this.canvas.height = CELL * ROWS
    this.texture = new CanvasTexture(this.canvas)
    this.texture.colorSpace = SRGBColorSpace
    this.texture.minFilter = LinearFilter
    this.texture.generateMipmaps = false
    this.texture.flipY = false
    this.draw(palette)
  }

  draw(palette: Palette): void {
    const context = this.canvas.getContext('2d')
    if (context === null) return
    context.clearRect(0, 0, this.canvas.width, this.canvas.height)
    const at = (cell: number, paint: (c: CanvasRenderingContext2D) => void) => {
      context.save()
      context.translate((cell % COLUMNS) * CELL, Math.floor(cell / COLUMNS) * CELL)
      context.scale(CELL / 24, CELL / 24)
      context.translate(2, 2)
      context.lineJoin = 'round'
      context.lineCap = 'round'
      paint(context)
      context.restore()
    }
    const disc = (c: CanvasRenderingContext2D, fill: string, line: string, width: number) => {
      c.beginPath()
      c.arc(10, 10, 9.5, 0, Math.PI * 2)
      c.fillStyle = fill
      c.fill()
      c.lineWidth = width
      c.strokeStyle = line
      c.stroke()
    }
    at(0, (c) => disc(c, palette.states.normal, palette.pill, 2.4))
    for (const [i, severity] of SEVERITIES.entries()) {
      at(1 + i, (c) => {
        const shape = new Path2D(SHAPES[severity])
        c.lineWidth = 3
        c.strokeStyle = palette.pill
        c.stroke(shape)
        c.fillStyle = palette.states[severity]
        c.fill(shape)
        c.fillStyle = palette.pill
        c.font = '700 11px ui-sans-serif, system-ui, sans-serif'
        c.textAlign = 'center'
        c.fillText(String(i + 1), 10, severity === 'high' ? 15.8 : 14)
      })
    }
    at(5, (c) => {
      disc(c, palette.pill, palette.pill, 1)
      c.setLineDash([3.4, 3])
      c.lineWidth = 2
      c.strokeStyle = palette.states.stale
      c.stroke()
      c.setLineDash([])
      c.stroke(new Path2D('M10 5.500V10l3 2'))
    })
    at(6, (c) => {
      disc(c, palette.pill, palette.states.offline, 1.8)
      c.strokeStyle = palette.states.offline
      c.lineWidth = 2
      c.stroke(new Path2D('M5 15 15 5'))
    })
    at(7, (c) => disc(c, palette.pill, palette.states.simulated, 3))
    const glyph = (c: CanvasRenderingContext2D, icon: MarkerIcon, color: string) => {
      c.setLineDash([])
      c.translate(2.2, 2.2)
      c.scale(0.78, 0.78)
      c.lineWidth = 1.9
      c.strokeStyle = color
      c.stroke(new Path2D(ICONS[icon]))
    }
    for (const [i, icon] of ICON_NAMES.entries()) {
      at(COLUMNS + i, (c) => {
        disc(c, palette.pill, palette.pillLine, 1)
        glyph(c, icon, palette.states.normal)
      })
      // Simulated readings wear a dotted ring wherever they appear.
      at(COLUMNS + ICON_NAMES.length + i, (c) => {
        disc(c, palette.pill, palette.pill, 1)
        c.setLineDash([0.1, 2.6])
        c.lineWidth = 1.7
        c.strokeStyle = palette.states.simulated
        c.stroke()
        glyph(c, icon, palette.states.simulated)
      })
    }
    this.texture.needsUpdate = true
  }

  dispose(): void {
    this.texture.dispose()
  }
}
