import { expect, test } from 'vitest'

import { simulatedSpans } from './simulatedSpans'

test('made-up points beside each other are one stretch, and the last one ends with itself', () => {
  expect(simulatedSpans([1, 2, 3], [false, false, false])).toEqual([])
  expect(simulatedSpans([1, 2, 3, 4], [true, true, false, true])).toEqual([
    [1, 3],
    [4, 4],
  ])
})
