import { expect, test } from 'vitest'

import { toCsv } from './csv'

test('quotes, numbers and formulas', () => {
  expect(
    toCsv([
      ['a"b', 'x,y', 1.5, null],
      ['=SUM(A1)', -3, true, undefined],
    ]),
  ).toBe('"a""b","x,y",1.5,\r\n\'=SUM(A1),-3,true,\r\n')
})
