import { expect, it } from 'vitest'

import { middleOf } from './rooms'

const ring = (...points: [number, number][]) => points.map(([x, z]) => ({ x, z }))

it('the name of a room stands in the middle of it', () => {
  expect(middleOf(ring([0, 0], [8, 0], [8, 4], [0, 4]))).toEqual({ x: 4, z: 2 })
})

it('the name of a bent corridor stands in the corridor', () => {
  const { x, z } = middleOf(ring([0, 0], [2, 0], [2, 18], [20, 18], [20, 20], [0, 20]))
  expect(x < 2 || z > 18).toBe(true)
})
