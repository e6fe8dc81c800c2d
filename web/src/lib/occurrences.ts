// When an alert was active: it may be raised again before somebody has acknowledged it.
import type { Alert } from '../api/types'

type Known = Pick<Alert, 'raised_at' | 'cleared_at'> & {
  events: Pick<Alert['events'][number], 'at' | 'kind'>[]
}
export type Occurrence = { fromMs: number; toMs: number | null }

/** Every span in which the alert was active, the earliest first; the last one may be open. */
export function occurrences(alert: Known): Occurrence[] {
  const endedMs = alert.cleared_at === null ? null : Date.parse(alert.cleared_at)
  const spans: Occurrence[] = []
  const events = alert.events
    .map((event) => ({ kind: event.kind, atMs: Date.parse(event.at) }))
    .sort((a, b) => a.atMs - b.atMs)
  for (const { kind, atMs } of events) {
    const last = spans.at(-1)
    // Acknowledging it, or mail about it, ends nothing.
    if ((kind === 'raised' || kind === 'cleared') && last?.toMs === null) last.toMs = atMs
    if (kind === 'raised') spans.push({ fromMs: atMs, toMs: null })
  }
  const last = spans.at(-1)
  if (last === undefined) return [{ fromMs: Date.parse(alert.raised_at), toMs: endedMs }]
  last.toMs = endedMs
  return spans
}
