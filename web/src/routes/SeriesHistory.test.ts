import { expect, test } from 'vitest'

import type { Series } from '../api/types'
import { chartData } from './SeriesHistory'

const series = (columns: object) => columns as Series

test('a switch is drawn from its values, raw or last of a bucket, without a band', () => {
  const raw = series({ at_ms: [1, 2], value: [true, false] })
  expect(chartData(raw)).toEqual({ atMs: [1, 2], value: [1, 0], isSwitch: true })
  const buckets = { at_ms: [1], avg: [0.4], min: [0], max: [1], last: [1] }
  expect(chartData(series(buckets), true)).toEqual({ atMs: [1], value: [1], isSwitch: true })
  expect(chartData(series(buckets)).band).toEqual({ min: [0], max: [1] })
})

test('made-up points and buckets are marked, and nothing is where all are measured', () => {
  const raw = { at_ms: [1, 2], value: [3, 4], quality: ['good', 'simulated'] }
  expect(chartData(series(raw)).simulated).toEqual([false, true])
  const buckets = { at_ms: [1, 2], avg: [1, 2], min: [1, 2], max: [1, 2], simulated: [2, 0] }
  expect(chartData(series(buckets)).simulated).toEqual([true, false])
  expect(chartData(series({ ...buckets, simulated: [0, 0] })).simulated).toBeUndefined()
})

test('a line breaks where buckets are missing, and draws what was chosen of them', () => {
  const columns = { avg: [1, 2, 3], min: [1, 2, 3], max: [1, 2, 3] }
  const buckets = { at_ms: [0, 10, 40], bucket_ms: 10, ...columns }
  const data = chartData(series(buckets))
  expect(data.value).toEqual([1, 2, null, 3])
  expect(data.band?.max).toEqual([1, 2, null, 3])
  expect(data.atMs).toEqual([0, 10, 11, 40])
  const sums = { at_ms: [0, 10], bucket_ms: null, sum: [4, null] }
  expect(chartData(series(sums), false, 'sum')).toEqual({ atMs: [0, 10], value: [4, null] })
})
