import { expect, test } from 'vitest'

import { iconOf } from './sceneData'

test('the icon follows the type before the keys', () => {
  const check = (type: string | null, keys: string[], icon: string) =>
    expect(iconOf({ type, keys, name: 'x' })).toBe(icon)
  check('temperature', ['humidity'], 'temperature')
  check('climate', ['temperature', 'humidity'], 'temperature')
  check(null, ['co2'], 'co2')
  check('Chiller', ['power'], 'temperature')
  check(null, [], 'sensor')
})
