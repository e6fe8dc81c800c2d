import { i18n } from '@lingui/core'
import { expect, test } from 'vitest'

import { formatBytes, formatNumber, formatScalar, formatValue, readable, shorten } from './format'
import { keyLabel } from './keys'

i18n.loadAndActivate({ locale: 'en', messages: {} })

test('digits follow the size of the number', () => {
  const check = (value: number, expected: string) =>
    expect(formatNumber(value, 'en')).toBe(expected)
  check(0, '0')
  check(21.4567, '21.46')
  check(0.12345, '0.123')
  check(412.34, '412.3')
  check(1234.5, '1,235')
  check(1e-5, '1.00e-5')
  check(Number.NaN, '—')
  expect(formatNumber(4220.25, 'en', 0.25)).toBe('4,220.3')
  expect(formatNumber(4220.25, 'en', 0.05)).toBe('4,220.25')
  expect(formatNumber(4220.25, 'en', 50)).toBe('4,220')
})

test('units stay with their value, absent values have none', () => {
  expect(formatValue(21.5, '°C', 'en')).toBe('21.5\u202f°C')
  expect(formatValue(undefined, '°C', 'en')).toBe('—')
  expect(formatScalar(true, 'en')).toBe('yes')
  expect(formatScalar({ a: 1 }, 'en')).toBe('{"a":1}')
})

test('bytes and hashes', () => {
  expect(formatBytes(999, 'en')).toBe('999 bytes')
  expect(formatBytes(1_250_000, 'en')).toBe('1.3 MB')
  expect(shorten('0123456789abcdef0123456789abcdef')).toBe('01234567…89abcdef')
  expect(shorten('short')).toBe('short')
})

test('keys read as words', () => {
  expect(keyLabel('supply_water_temperature')).toBe('supply water temperature')
  expect(keyLabel('co2')).toBe('CO₂')
  expect(readable('fan_speed is 3', 'fan_speed')).toBe('fan speed is 3')
})
