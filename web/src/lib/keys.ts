// Telemetry keys as people read them: well-known keys in the reader's language, any other in its
// own words.
import { i18n } from '@lingui/core'

/** The well-known keys. Functions, because the language can change while the page is open. */
const LABELS: ReadonlyMap<string, () => string> = new Map([
  ['battery', () => i18n.t('battery')],
  ['compressor_running', () => i18n.t('compressor running')],
  ['current', () => i18n.t('current')],
  ['energy', () => i18n.t('energy')],
  ['fan_speed', () => i18n.t('fan speed')],
  ['flow', () => i18n.t('flow')],
  ['flow_temperature', () => i18n.t('flow temperature')],
  ['humidity', () => i18n.t('humidity')],
  ['lighting', () => i18n.t('lighting')],
  ['occupancy', () => i18n.t('occupancy')],
  ['people', () => i18n.t('people')],
  ['power', () => i18n.t('power')],
  ['pressure', () => i18n.t('pressure')],
  ['return_air_temperature', () => i18n.t('return air temperature')],
  ['return_water_temperature', () => i18n.t('return water temperature')],
  ['room_temperature', () => i18n.t('room temperature')],
  ['setpoint', () => i18n.t('setpoint')],
  ['supply_air_temperature', () => i18n.t('supply air temperature')],
  ['supply_water_temperature', () => i18n.t('supply water temperature')],
  ['temperature', () => i18n.t('temperature')],
  ['vibration', () => i18n.t('vibration')],
  ['voltage', () => i18n.t('voltage')],
])

/** A key in its own words: `chilled_beam_valve` is "chilled beam valve". */
export function humanised(key: string): string {
  return key
    .replaceAll('_', ' ')
    .replace(/\bco2\b/g, 'CO₂')
    .replace(/\bpm(\d)/g, 'PM$1')
}

/** A key in the reader's language where it is well known, else in its own words. */
export function keyLabel(key: string): string {
  return LABELS.get(key)?.() ?? humanised(key)
}
