import { expect, test } from 'vitest'

import { partsOf } from './change'

test('what differs comes first, and of lists only what is not in both', () => {
  const before = { name: 'Reader', allows: ['a', 'b'] }
  const after = { name: 'Reader', allows: ['b', 'c'] }
  expect(partsOf(before, after)).toEqual([
    { name: 'allows', before: ['a'], after: ['c'], isSame: false },
    { name: 'name', before: 'Reader', after: 'Reader', isSame: true },
  ])
})

test('what came or went has one side', () => {
  expect(partsOf(null, { role: 'viewer' })).toEqual([
    { name: 'role', before: null, after: 'viewer', isSame: false },
  ])
  expect(partsOf({ role: 'viewer' }, null)[0]?.after).toBe(null)
})
