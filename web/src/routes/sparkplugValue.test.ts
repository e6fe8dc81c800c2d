import { describe, expect, it } from 'vitest'

import { entered } from './sparkplugValue'

describe('entered', () => {
  it.each([
    ['Int32', ' 7 ', 7],
    ['Int32', '7.5', undefined],
    ['UInt64', '9007199254740991', 9007199254740991],
    ['UInt64', '9007199254740993', undefined],
    ['Int64', '-9223372036854775807', undefined],
    ['Double', '-0.5', -0.5],
    ['Double', '1e300', 1e300],
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
