// A history chart over uPlot: mean with its minimum-maximum band, alerts and thresholds drawn on it.
import 'uplot/dist/uPlot.min.css'

import uPlot from 'uplot'
import { useEffect, useRef } from 'react'

import { alone } from '../lib/historyChoice'
import type { Severity } from '../lib/severity'
import { simulatedSpans } from '../lib/simulatedSpans'

export type ChartData = {
  atMs: number[]
  value: (number | null)[]
  /** On or off: drawn as steps between two words. */
  isSwitch?: boolean
  band?: { min: (number | null)[]; max: (number | null)[] }
  /** Which points are made up, or hold something that is; none when all are measured. */
  simulated?: boolean[]
}
export type ChartAlert = { fromMs: number; toMs: number | null; severity: Severity }
export type ChartProps = {
  data: ChartData
  unit: string
  label: string
  fromMs: number
  toMs: number
  alerts: ChartAlert[]
  threshold?: number | null
  cursorMs?: number | null
  formatTime: (atMs: number) => string
  formatTick: (atMs: number) => string
  /** `step` is the distance between the values of an axis. */
  formatValue: (value: number, step?: number) => string
  onPick?: (atMs: number) => void
  height?: number
}

function token(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim()
}

export function Chart(props: ChartProps) {
  const host = useRef<HTMLDivElement>(null)
  const plot = useRef<uPlot | null>(null)
  const latest = useRef(props)
  useEffect(() => {
    latest.current = props
  })
  const hasBand = props.data.band !== undefined
  const isSwitch = props.data.isSwitch === true
  useEffect(() => {
    const element = host.current
    if (element === null) return
    const build = () => {
      plot.current?.destroy()
      plot.current = create(element, latest)
    }
    build()
    const resize = new ResizeObserver(() => {
      plot.current?.setSize({ width: element.clientWidth, height: latest.current.height ?? 180 })
    })
    resize.observe(element)
    // Colours are painted into the canvas, so a change of scheme redraws.
    const scheme = new MutationObserver(build)
    scheme.observe(document.documentElement, { attributeFilter: ['data-mantine-color-scheme'] })
    return () => {
      resize.disconnect()
      scheme.disconnect()
      plot.current?.destroy()
      plot.current = null
    }
  }, [hasBand, isSwitch])
  useEffect(() => {
    plot.current?.setData(columns(props.data), false)
    plot.current?.setScale('x', { min: props.fromMs, max: props.toMs })
  }, [props.data, props.fromMs, props.toMs])
  useEffect(() => {
    // Without "false" it would reset the x scale to what it was before the first draw.
    plot.current?.redraw(false)
  }, [props.alerts, props.threshold, props.cursorMs])
  return <div className="chart" ref={host} role="img" aria-label={props.label} />
}

function columns(data: ChartData): uPlot.AlignedData {
  return data.band === undefined
    ? [data.atMs, data.value]
    : [data.atMs, data.value, data.band.min, data.band.max]
}

function create(element: HTMLElement, latest: { current: ChartProps }): uPlot {
  const line = token('--series-1')
  const grid = { stroke: token('--line'), width: 1 }
  const axis = { stroke: token('--text-3'), font: `11px ${token('--font')}`, grid, ticks: grid }
  const { data } = latest.current
  const hidden = { stroke: 'transparent', points: { show: false } }
  return new uPlot(
    {
      width: element.clientWidth,
      height: latest.current.height ?? 180,
      ms: 1,
      legend: { show: true, live: true },
      cursor: { points: { size: 7 }, drag: { x: false, y: false } },
      scales: {
        x: { time: true },
        y: { range: (_, min, max) => padded(latest.current, min, max) },
      },
      axes: [
        {
          ...axis,
          space: 72,
          values: (_, splits) => splits.map((at) => latest.current.formatTick(at)),
        },
        {
          ...axis,
          size: 56,
          ...(data.isSwitch && { splits: () => [0, 1] }),
          values: (_, splits) => {
            const step = (splits[1] ?? 0) - (splits[0] ?? 0)
            return splits.map((value) => latest.current.formatValue(value, step))
          },
        },
      ],
      series: [
        { value: (_, at) => (at === null ? '' : latest.current.formatTime(at)), label: '' },
        {
          label: latest.current.unit,
          stroke: line,
          width: 1.5,
          // Among many points those that no line leads to.
          points: {
            show: () => latest.current.data.atMs.length < 60,
            filter: (_, __, isShown) => (isShown ? null : alone(latest.current.data.value)),
            size: 4,
          },
          spanGaps: false,
          ...steps(data),
          value: (_, value) => (value === null ? '' : latest.current.formatValue(value)),
        },
        ...(data.band === undefined
          ? []
          : [
              { ...hidden, label: 'min', value: band(latest) },
              { ...hidden, label: 'max', value: band(latest) },
            ]),
      ],
      bands: data.band === undefined ? [] : [{ series: [3, 2], fill: `${line}2e` }],
      hooks: {
        drawClear: [
          (plot) => drawAlerts(plot, latest.current),
          (plot) => drawSimulated(plot, latest.current),
        ],
        draw: [(plot) => drawMarks(plot, latest.current)],
        ready: [
          (plot) =>
            plot.over.addEventListener('click', () => {
              const { left } = plot.cursor
              if (left !== undefined && left >= 0) latest.current.onPick?.(plot.posToVal(left, 'x'))
            }),
        ],
      },
    },
    columns(data),
    element,
  )
}

/** The path of a switch: it keeps its value until the next one. */
function steps(data: ChartData): Pick<uPlot.Series, 'paths'> {
  const paths = data.isSwitch ? uPlot.paths.stepped?.({ align: 1 }) : undefined
  return paths === undefined ? {} : { paths }
}

function band(latest: { current: ChartProps }) {
  return (_: uPlot, value: number | null) =>
    value === null ? '' : latest.current.formatValue(value)
}

function padded(props: ChartProps, min: number | null, max: number | null): [number, number] {
  if (props.data.isSwitch) return [-0.15, 1.15]
  let low = min ?? 0
  let high = max ?? 1
  if (props.threshold !== undefined && props.threshold !== null) {
    low = Math.min(low, props.threshold)
    high = Math.max(high, props.threshold)
  }
  const pad = Math.max((high - low) * 0.08, Math.abs(high) * 1e-6, 1e-6)
  return high - low < 1e-9 ? [low - 1, high + 1] : [low - pad, high + pad]
}

function drawAlerts(plot: uPlot, props: ChartProps): void {
  const { ctx, bbox } = plot
  ctx.save()
  for (const alert of props.alerts) {
    const left = Math.max(bbox.left, plot.valToPos(alert.fromMs, 'x', true))
    const right = Math.min(
      bbox.left + bbox.width,
      plot.valToPos(alert.toMs ?? props.toMs, 'x', true),
    )
    if (right < bbox.left || left > bbox.left + bbox.width) continue
    ctx.fillStyle = token(`--${alert.severity}-soft`)
    ctx.fillRect(left, bbox.top, Math.max(2, right - left), bbox.height)
    ctx.fillStyle = token(`--${alert.severity}`)
    ctx.fillRect(left, bbox.top, Math.max(2, right - left), 3 * devicePixelRatio)
  }
  ctx.restore()
}

/** Made-up stretches are hatched. */
function drawSimulated(plot: uPlot, props: ChartProps): void {
  const { ctx, bbox } = plot
  const step = 8 * devicePixelRatio
  ctx.save()
  ctx.strokeStyle = token('--line')
  ctx.lineWidth = 2 * devicePixelRatio
  for (const [from, to] of simulatedSpans(props.data.atMs, props.data.simulated ?? [])) {
    const left = Math.max(bbox.left, plot.valToPos(from, 'x', true))
    const right = Math.min(bbox.left + bbox.width, plot.valToPos(to, 'x', true))
    if (right < bbox.left || left > bbox.left + bbox.width) continue
    ctx.save()
    ctx.beginPath()
    ctx.rect(left, bbox.top, Math.max(step, right - left), bbox.height)
    ctx.clip()
    for (let x = left - bbox.height; x < right + step; x += step) {
      stroke(ctx, x, bbox.top + bbox.height, x + bbox.height, bbox.top)
    }
    ctx.restore()
  }
  ctx.restore()
}

function drawMarks(plot: uPlot, props: ChartProps): void {
  const { ctx, bbox } = plot
  ctx.save()
  ctx.lineWidth = devicePixelRatio
  if (props.threshold !== undefined && props.threshold !== null) {
    const y = plot.valToPos(props.threshold, 'y', true)
    ctx.strokeStyle = token('--text-2')
    ctx.setLineDash([4 * devicePixelRatio, 3 * devicePixelRatio])
    stroke(ctx, bbox.left, y, bbox.left + bbox.width, y)
  }
  if (props.cursorMs !== undefined && props.cursorMs !== null) {
    const x = plot.valToPos(props.cursorMs, 'x', true)
    ctx.strokeStyle = token('--text')
    ctx.setLineDash([])
    stroke(ctx, x, bbox.top, x, bbox.top + bbox.height)
  }
  ctx.restore()
}

function stroke(
  ctx: CanvasRenderingContext2D,
  x0: number,
  y0: number,
  x1: number,
  y1: number,
): void {
  ctx.beginPath()
  ctx.moveTo(x0, y0)
  ctx.lineTo(x1, y1)
  ctx.stroke()
}
