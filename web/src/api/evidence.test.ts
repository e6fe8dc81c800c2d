import { expect, test } from 'vitest'

import { entryNumbers } from './evidence'

test('numbers are taken from a list as people write it', () => {
  expect(entryNumbers('3, 17 ,4')).toEqual([3, 17, 4])
  expect(entryNumbers('')).toEqual([])
  expect(entryNumbers('-1, 2.5, x, 7')).toEqual([7])
})
