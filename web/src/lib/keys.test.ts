import { i18n } from '@lingui/core'
import { expect, test } from 'vitest'

import { keyLabel } from './keys'

test('well-known keys follow the language, others keep their own words', () => {
  i18n.loadAndActivate({ locale: 'ja', messages: { temperature: '温度' } })
  expect(keyLabel('temperature')).toBe('温度')
  expect(keyLabel('chilled_beam_valve')).toBe('chilled beam valve')
  expect(keyLabel('co2')).toBe('CO₂')
  i18n.loadAndActivate({ locale: 'en', messages: {} })
  expect(keyLabel('temperature')).toBe('temperature')
  expect(keyLabel('constructor')).toBe('constructor')
})
