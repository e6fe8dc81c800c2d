import { describe, expect, it } from 'vitest'

import { entered } from './sparkplugValue'

describe('entered', () => {
  it.each([
    ['Int32', ' 7 ', 7],
    ['Double', '-0.5', -0.5],
    ['Double', '', undefined],
    ['Double', 'fast', undefined],
    ['Boolean', 'true', true],
    ['Boolean', 'false', false],
    ['Boolean', '1', undefined],
    ['String', ' on ', ' on '],
    ['DataSet', '{}', undefined],
  ])('%s %j', (type, text, expected) => {
    expect(entered(type, text)).toBe(expected)
  })
})
