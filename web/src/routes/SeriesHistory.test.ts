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
