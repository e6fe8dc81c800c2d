import { expect, test } from 'vitest'

import { ProblemError } from './problem'
import { isDestroyed, PAPERS_TRIES_MAX, papersPollMs, triesOf } from './queries'

test('papers are looked for until they are found, and a bounded number of times', () => {
  expect(papersPollMs(false, 1)).toBeGreaterThan(0)
  expect(papersPollMs(true, 1)).toBe(false)
  expect(papersPollMs(false, PAPERS_TRIES_MAX)).toBe(false)
  expect(triesOf({ dataUpdateCount: 3, errorUpdateCount: 2 })).toBe(5)
})

test('what was destroyed is told from other failures', () => {
  const gone = { title: 'Destroyed', type: '/problems/destroyed' }
  expect(isDestroyed(ProblemError.fromText(410, JSON.stringify(gone)))).toBe(true)
  expect(isDestroyed(ProblemError.unreachable())).toBe(false)
  expect(isDestroyed(null)).toBe(false)
})
