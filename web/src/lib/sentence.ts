// What an alert says, worded in the language of the page from the facts the server gives.
import { i18n } from '@lingui/core'

import type { Alert } from '../api/types'
import { formatValue, readable } from './format'
import { keyLabel } from './keys'

type Worded = Pick<
  Alert,
  'code' | 'device_name' | 'key' | 'message' | 'threshold' | 'unit' | 'value'
>

/** The headline of an alert. A code this page does not know reads as the server words it. */
export function alertSentence(alert: Worded): string {
  const { device_name: device, key, value, threshold } = alert
  if (alert.code === 'alert.what.no_data') {
    return key === null
      ? i18n.t('{device}: no data arrives', { device })
      : i18n.t('{device}: no data arrives for {key}', { device, key: keyLabel(key) })
  }
  if (key !== null && value !== null && threshold !== null) {
    const unit = alert.unit ?? undefined
    const facts = {
      device,
      key: keyLabel(key),
      value: formatValue(value as never, unit, i18n.locale),
      limit: formatValue(threshold, unit, i18n.locale),
    }
    switch (alert.code) {
      case 'alert.what.above':
        return i18n.t('{device}: {key} is {value}, above {limit}', facts)
      case 'alert.what.at_or_above':
        return i18n.t('{device}: {key} is {value}, at or above {limit}', facts)
      case 'alert.what.below':
        return i18n.t('{device}: {key} is {value}, below {limit}', facts)
      case 'alert.what.at_or_below':
        return i18n.t('{device}: {key} is {value}, at or below {limit}', facts)
    }
  }
  return readable(alert.message, key)
}
