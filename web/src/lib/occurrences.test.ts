import { expect, test } from 'vitest'

import { occurrences } from './occurrences'

const time = (minute: number) => new Date(minute * 60_000).toISOString()
const event = (kind: 'raised' | 'cleared' | 'acknowledged' | 'notified', minute: number) => ({
  kind,
  at: time(minute),
})

test('an alert that was raised again keeps its first span', () => {
  const events = [event('raised', 1), event('cleared', 3), event('raised', 7)]
  const again = { raised_at: time(7), cleared_at: null, events: events.toReversed() }
  expect(occurrences(again)).toEqual([
    { fromMs: 60_000, toMs: 180_000 },
    { fromMs: 420_000, toMs: null },
  ])
  const over = { raised_at: time(7), cleared_at: time(9), events: [...events, event('cleared', 9)] }
  expect(occurrences(over).at(-1)).toEqual({ fromMs: 420_000, toMs: 540_000 })
})

test('acknowledging and mail end nothing, and without events the alert itself says it', () => {
  const open = { raised_at: time(1), cleared_at: null }
  const events = [event('raised', 1), event('notified', 1), event('acknowledged', 2)]
  expect(occurrences({ ...open, events })).toEqual([{ fromMs: 60_000, toMs: null }])
  expect(occurrences({ ...open, events: [] })).toEqual([{ fromMs: 60_000, toMs: null }])
})
