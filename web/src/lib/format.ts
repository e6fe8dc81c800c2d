// Values, counts and bytes as text.
import { i18n } from '@lingui/core'

import { humanised } from './keys'

export type Scalar = number | boolean | string | null | object

const NARROW_NO_BREAK_SPACE = '\u202f'

/** Enough digits to read, none to pretend with. */
/** A number for people; `step` is the distance to its neighbours, where they must not look alike. */
export function formatNumber(value: number, locale: string, step = 0): string {
  if (!Number.isFinite(value)) return '—'
  const size = Math.abs(value)
  if (size !== 0 && (size < 0.001 || size >= 1e9)) return value.toExponential(2)
  const digits = size >= 1000 ? 0 : size >= 100 ? 1 : size >= 1 || size === 0 ? 2 : 3
  const needed = step > 0 ? Math.min(6, Math.ceil(-Math.log10(step) - 1e-9)) : 0
  const maximumFractionDigits = Math.max(digits, needed)
  return new Intl.NumberFormat(locale, { maximumFractionDigits }).format(value)
}

export function formatScalar(value: Scalar | undefined, locale: string, step = 0): string {
  if (value === undefined || value === null) return '—'
  if (typeof value === 'number') return formatNumber(value, locale, step)
  if (typeof value === 'boolean') return value ? i18n.t('yes') : i18n.t('no')
  return typeof value === 'string' ? value : JSON.stringify(value)
}

export function formatValue(
  value: Scalar | undefined,
  unit: string | undefined,
  locale: string,
  step = 0,
): string {
  const text = formatScalar(value, locale, step)
  return unit === undefined || unit === '' || text === '—'
    ? text
    : `${text}${NARROW_NO_BREAK_SPACE}${unit}`
}

export function formatCount(count: number, locale: string): string {
  return new Intl.NumberFormat(locale).format(count)
}

export function formatBytes(bytes: number, locale: string): string {
  const units = ['byte', 'kilobyte', 'megabyte', 'gigabyte'] as const
  const step = bytes < 1000 ? 0 : Math.min(3, Math.floor(Math.log10(bytes) / 3))
  return new Intl.NumberFormat(locale, {
    style: 'unit',
    unit: units[step] ?? 'byte',
    unitDisplay: step === 0 ? 'long' : 'short',
    maximumFractionDigits: 1,
  }).format(bytes / 1000 ** step)
}

/** A message of the server, which is English, with its key in English words. */
export function readable(message: string, key: string | null): string {
  return key === null ? message : message.replaceAll(key, humanised(key))
}

/** Hashes and ids: both ends stay readable. */
export function shorten(text: string, keep = 8): string {
  return text.length <= keep * 2 + 1 ? text : `${text.slice(0, keep)}…${text.slice(-keep)}`
}
