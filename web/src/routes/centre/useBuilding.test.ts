import { expect, test } from 'vitest'

import { groupBy, lastBefore, openCount } from './useBuilding'

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

test.each([
  { total: 3, read: 3, here: 3, expected: 3 },
  // Alerts of devices that are not in the building's list.
  { total: 17, read: 17, here: 3, expected: 3 },
  { total: 700, read: 500, here: 500, expected: 700 },
  { total: 700, read: 500, here: 490, expected: 690 },
  { total: 0, read: 0, here: 0, expected: 0 },
])('$expected of $total alerts are of the building', ({ total, read, here, expected }) => {
  expect(openCount(total, read, here)).toBe(expected)
})
