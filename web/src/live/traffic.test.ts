// The lines of live traffic: newest first, bounded, and only counted while paused.
import { expect, test } from 'vitest'

import { isIn, LINES_MAX, NOTHING_YET, taken, valueText, type TrafficItem } from './traffic'

const item = (at_ms: number): TrafficItem => ({ at_ms, kind: 'readings', count: 1 })

test('the newest stands first, and the oldest go', () => {
  let traffic = taken(NOTHING_YET, [item(1), item(2)], 0, false)
  expect(traffic.lines.map((line) => line.at_ms)).toEqual([2, 1])
  for (let at = 3; at < LINES_MAX + 10; at += 1) traffic = taken(traffic, [item(at)], 0, false)
  expect(traffic.lines.length).toBe(LINES_MAX)
  expect(new Set(traffic.lines.map((line) => line.number)).size).toBe(LINES_MAX)
})

test('while paused what comes is counted', () => {
  const before = taken(NOTHING_YET, [item(1)], 2, false)
  const paused = taken(before, [item(2), item(3)], 1, true)
  expect(paused.lines).toBe(before.lines)
  expect([paused.waiting, paused.leftOut]).toEqual([2, 3])
})

test('views narrow, and values are read as they are', () => {
  expect(isIn('all', item(1)) && isIn('values', item(1))).toBe(true)
  expect(isIn('refused', item(1))).toBe(false)
  expect([valueText('a'), valueText(1.5), valueText({ a: [1] })]).toEqual(['a', '1.5', '{"a":[1]}'])
})
