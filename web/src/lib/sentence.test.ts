import { i18n } from '@lingui/core'
import { expect, test } from 'vitest'

import { alertSentence } from './sentence'

i18n.loadAndActivate({ locale: 'en', messages: {} })

const alert = {
  code: 'alert.what.above',
  device_name: 'Chiller',
  key: 'supply_water_temperature',
  message: 'Chiller: supply_water_temperature is 12 °C, above 10 °C',
  threshold: 10,
  unit: '°C',
  value: 12,
}

test('an alert is worded from its facts', () => {
  expect(alertSentence(alert)).toBe(
    'Chiller: supply water temperature is 12\u202f°C, above 10\u202f°C',
  )
  expect(alertSentence({ ...alert, code: 'alert.what.no_data', value: null })).toBe(
    'Chiller: no data arrives for supply water temperature',
  )
  expect(alertSentence({ ...alert, code: 'alert.what.no_data', key: null })).toBe(
    'Chiller: no data arrives',
  )
})

test('what is concealed or unknown reads as the server words it', () => {
  const concealed = { ...alert, key: null, value: null, message: 'not shown to you' }
  expect(alertSentence(concealed)).toBe('not shown to you')
  expect(alertSentence({ ...alert, code: null })).toBe(
    'Chiller: supply water temperature is 12 °C, above 10 °C',
  )
})
