// Typed values: JSON where it is JSON, else a text.
import { expect, test } from 'vitest'

import { attributeValue } from './attributeValue'

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
