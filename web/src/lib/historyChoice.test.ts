import { expect, test } from 'vitest'

import { broken, gaps, questionOf, tableQuestionOf, weekStart } from './historyChoice'

test('a chart asks for what fits, for a line, or for buckets of the calendar', () => {
  const zone = { show: 'counted', timeZone: 'Europe/Berlin' } as const
  expect(questionOf(zone, 'en')).toEqual({ points_max: 600 })
  expect(questionOf({ ...zone, bucket: 'line' }, 'en')).toEqual({ lttb: 600 })
  expect(questionOf({ ...zone, bucket: 'day' }, 'en')).toEqual({
    bucket: 'day',
    time_zone: 'Europe/Berlin',
    aggregates: ['delta'],
    counter: true,
    fill: 'null',
  })
  expect(questionOf({ ...zone, bucket: 'week', show: 'mean' }, 'de')).toMatchObject({
    week_starts: 'monday',
    aggregates: ['avg', 'min', 'max', 'last'],
  })
})

test('a table has all points, or the buckets that are shown', () => {
  const zone = { show: 'mean', timeZone: 'UTC' } as const
  expect(tableQuestionOf(zone, 'en')).toEqual({})
  expect(tableQuestionOf({ ...zone, bucket: 'line' }, 'en')).toEqual({})
  expect(tableQuestionOf({ ...zone, bucket: 'month' }, 'en')).toMatchObject({ bucket: 'month' })
})

test('weeks begin as they do where the language is at home', () => {
  expect(weekStart('de-DE')).toBe('monday')
  expect(weekStart('no-such-locale')).toBe('monday')
})

test('a line breaks where a bucket is missing, or readings for long', () => {
  expect(gaps([0, 10, 20, 50, 60], 10)).toEqual([2])
  const regular = Array.from({ length: 20 }, (_, i) => i * 10)
  expect(gaps(regular, null)).toEqual([])
  expect(gaps([...regular, 1_000], null)).toEqual([19])
  expect(gaps([0, 1, 5_000], null)).toEqual([])
  expect(broken([1, 2, 3], [1], () => null as number | null)).toEqual([1, 2, null, 3])
})
