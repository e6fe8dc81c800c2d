import { expect, test } from 'vitest'

import { exportAndVerify } from './commands'

test('the offered commands name the tenant and an exported folder', () => {
  const [exported, verified] = exportAndVerify('0197-t', 'origin+00+AA').split('\n')
  expect(exported).toBe('veritwin ledger export ./ledger --tenant 0197-t')
  expect(verified).toBe("veritwin ledger verify ./ledger --vkey 'origin+00+AA'")
})
