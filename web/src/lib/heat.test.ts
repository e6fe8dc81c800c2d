import { expect, test } from 'vitest'

import { domainOf, heatColor } from './heat'

test('the domain ignores what is no number and is never empty', () => {
  expect(domainOf([])).toBeNull()
  expect(domainOf([Number.NaN, 3, 5])).toEqual({ min: 3, max: 5 })
  expect(domainOf([4])).toEqual({ min: 3.5, max: 4.5 })
})

test('colours are clamped to the ends of the ramp', () => {
  const domain = { min: 0, max: 10 }
  expect(heatColor(-5, domain)).toBe('#203c66')
  expect(heatColor(50, domain)).toBe('#e8cf54')
  expect(heatColor(5, domain)).toMatch(/^#[0-9a-f]{6}$/)
})
