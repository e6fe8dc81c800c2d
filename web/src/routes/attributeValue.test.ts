// Typed values: JSON where it is JSON, else a text.
import { expect, test } from 'vitest'

import { attributeText, attributeValue } from './attributeValue'

test('what is typed is a number, a flag, JSON or a text', () => {
  expect(['21.5', 'true', '{"a":1}', '"007"', 'cold', 'null', '{"a"'].map(attributeValue)).toEqual([
    21.5,
    true,
    { a: 1 },
    '007',
    'cold',
    null,
    '{"a"',
  ])
})

test('a number that would become another one stays as it was typed', () => {
  expect(['12345678901234567890', '1e999', '1e20', '-3'].map(attributeValue)).toEqual([
    '12345678901234567890',
    '1e999',
    1e20,
    -3,
  ])
})

test('what is not changed stays what it is', () => {
  for (const value of ['25', 'true', 'null', '007', '', 'cold', 21.5, false, { a: [1] }]) {
    expect(attributeValue(attributeText(value))).toEqual(value)
  }
})
