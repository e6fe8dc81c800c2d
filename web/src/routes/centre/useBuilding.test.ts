import { expect, test } from 'vitest'

import { groupBy, lastBefore } from './useBuilding'

test('the replayed value is the last one not after the moment', () => {
  const instants = [10, 20, 30]
  expect([5, 10, 19, 20, 99].map((at) => lastBefore(at, instants))).toEqual([-1, 0, 0, 1, 2])
  expect(lastBefore(5, [])).toBe(-1)
})

test('groups leave out what has no key', () => {
  const groups = groupBy([{ k: 'a' }, { k: null }, { k: 'a' }], (item) => item.k)
  expect([...groups.keys()]).toEqual(['a'])
  expect(groups.get('a')).toHaveLength(2)
})
