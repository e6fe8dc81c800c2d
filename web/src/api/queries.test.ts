import { expect, test } from 'vitest'

import { PAPERS_TRIES_MAX, papersPollMs, triesOf } from './queries'

test('papers are looked for until they are found, and a bounded number of times', () => {
  expect(papersPollMs(false, 1)).toBeGreaterThan(0)
  expect(papersPollMs(true, 1)).toBe(false)
  expect(papersPollMs(false, PAPERS_TRIES_MAX)).toBe(false)
  expect(triesOf({ dataUpdateCount: 3, errorUpdateCount: 2 })).toBe(5)
})
