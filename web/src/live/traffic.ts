// What a device does, as it happens: the lines of its live traffic, held up to a bound.
import type { Quality, Value } from '../api/types'

export type TrafficKind =
  | 'message'
  | 'readings'
  | 'attributes'
  | 'refused'
  | 'connected'
  | 'disconnected'
  | 'attributes_sent'
  | 'call'
  | 'answer'

export type TrafficItem = {
  at_ms: number
  kind: TrafficKind
  way?: string
  topic?: string
  qos?: number
  retained?: boolean
  payload_bytes?: number
  stored_ms?: number
  count?: number
  /** Their quality stands there unless it is good. */
  values?: { key: string; at_ms?: number; value: Value; quality?: Quality }[]
  hidden?: number
  reason?: string
  detail?: string
  position?: number
  limit?: string
  call?: number
  method?: string
  keep_alive_seconds?: number
  ended_by?: string
  code?: number
}

/** A line, with a number that tells it from the others of the panel. */
export type TrafficLine = TrafficItem & { number: number }

export const TRAFFIC_VIEWS = ['all', 'values', 'refused', 'connection', 'sent'] as const
export type TrafficView = (typeof TRAFFIC_VIEWS)[number]

/** More lines are not held: the oldest go. */
export const LINES_MAX = 500

const VIEW_OF: Record<TrafficKind, Exclude<TrafficView, 'all'>> = {
  message: 'values',
  readings: 'values',
  attributes: 'values',
  refused: 'refused',
  connected: 'connection',
  disconnected: 'connection',
  attributes_sent: 'sent',
  call: 'sent',
  answer: 'sent',
}

export function isIn(view: TrafficView, item: TrafficItem): boolean {
  return view === 'all' || VIEW_OF[item.kind] === view
}

export type Traffic = {
  /** The newest first. */
  lines: TrafficLine[]
  next: number
  leftOut: number
  /** Lines that came while it was paused. */
  waiting: number
}

export const NOTHING_YET: Traffic = { lines: [], next: 1, leftOut: 0, waiting: 0 }

/** Takes what came; while paused it is only counted. */
export function taken(
  traffic: Traffic,
  items: TrafficItem[],
  leftOut: number,
  isPaused: boolean,
): Traffic {
  const all = traffic.leftOut + leftOut
  if (isPaused) {
    return { ...traffic, leftOut: all, waiting: traffic.waiting + items.length }
  }
  const lines = items.map((item, index) => ({ ...item, number: traffic.next + index }))
  return {
    lines: [...lines.reverse(), ...traffic.lines].slice(0, LINES_MAX),
    next: traffic.next + items.length,
    leftOut: all,
    waiting: traffic.waiting,
  }
}

/** A value as one line shows it. */
export function valueText(value: Value): string {
  return typeof value === 'string' ? value : JSON.stringify(value)
}
