import { expect, test } from 'vitest'

import { aheadBy } from './now'

const BROWSER = Date.parse('2026-03-01T12:00:00.700Z')

test('a moved clock of the platform counts, small differences do not', () => {
  const check = (date: string | null, knownMs: number, expected: number) =>
    expect(aheadBy(date, BROWSER, knownMs)).toBe(expected)
  check('Sun, 01 Mar 2026 12:00:00 GMT', 0, 0)
  check('Sun, 01 Mar 2026 11:59:57 GMT', 0, 0)
  check('Mon, 09 Mar 2026 12:00:00 GMT', 0, 8 * 86_400_000 - 700)
  // The second that an answer tells does not make the clock jump.
  check('Mon, 09 Mar 2026 12:00:01 GMT', 8 * 86_400_000 - 700, 8 * 86_400_000 - 700)
  check('Sun, 01 Mar 2026 12:00:00 GMT', 8 * 86_400_000, 0)
  check(null, 3_600_000, 3_600_000)
  check('soon', 3_600_000, 3_600_000)
})
