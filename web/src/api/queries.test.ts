import { expect, test } from 'vitest'

import { ProblemError } from './problem'
import { idChunks } from './deviceQueries'
import { nextPage, PAGES_MAX } from './paging'
import { isDestroyed, PAPERS_TRIES_MAX, papersPollMs, papersQuery, triesOf } from './queries'

test('papers are looked for until they are found, and a bounded number of times', () => {
  expect(papersPollMs(false, 1)).toBeGreaterThan(0)
  expect(papersPollMs(true, 1)).toBe(false)
  expect(papersPollMs(false, PAPERS_TRIES_MAX)).toBe(false)
  expect(triesOf({ dataUpdateCount: 3, errorUpdateCount: 2 })).toBe(5)
})

test('a list is read on until its end, and not for ever', () => {
  const page = { next_cursor: 'next' }
  expect(nextPage(page, [page])).toBe('next')
  expect(nextPage({ next_cursor: null }, [page])).toBeUndefined()
  expect(nextPage(page, Array.from({ length: PAGES_MAX }, () => page))).toBeUndefined()
})

test('devices are asked for by their ids once each, in requests of a hundred, up to a bound', () => {
  const ids = Array.from({ length: 250 }, (_, i) => `id-${String(i).padStart(4, '0')}`)
  expect(idChunks([]).length).toBe(0)
  expect(idChunks(['b', 'a', 'b'])).toEqual([['a', 'b']])
  expect(idChunks([...ids, ...ids]).map((chunk) => chunk.length)).toEqual([100, 100, 50])
  const many = Array.from({ length: 5_000 }, (_, i) => `id-${i}`)
  expect(idChunks(many).flat().length).toBe(1_000)
})

test('what was destroyed is told from other failures', () => {
  const gone = { title: 'Destroyed', type: '/problems/destroyed' }
  expect(isDestroyed(ProblemError.fromText(410, JSON.stringify(gone)))).toBe(true)
  expect(isDestroyed(ProblemError.unreachable())).toBe(false)
  expect(isDestroyed(null)).toBe(false)
})

test('papers that are not sealed yet are asked for again, destroyed ones are not', () => {
  const problem = { title: 'Destroyed', type: '/problems/destroyed' }
  const gone = ProblemError.fromText(410, JSON.stringify(problem))
  const away = ProblemError.unreachable()
  const check = (data: object | undefined, error: Error | null, asks: boolean) => {
    const every = papersQuery('device', 'key', 'at').refetchInterval
    const state = { data, error, dataUpdateCount: 1, errorUpdateCount: 0 }
    const query = { state } as unknown as Parameters<Extract<typeof every, CallableFunction>>[0]
    const next = typeof every === 'function' ? every(query) : every
    expect(next !== false && next !== undefined).toBe(asks)
  }
  check({ leaf: null }, null, true)
  check({ leaf: { index: 1 } }, null, false)
  check(undefined, away, true)
  check(undefined, gone, false)
})
