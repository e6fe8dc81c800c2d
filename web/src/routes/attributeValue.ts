// What somebody types as the value of an attribute: JSON where it is JSON, else a text.
import type { Value } from '../api/types'

export function attributeValue(text: string): Value {
  try {
    const value = JSON.parse(text) as Value
    return typeof value === 'number' && !isKept(value, text.trim()) ? text : value
  } catch {
    return text
  }
}

/** What a value is typed as, so that it stays what it is when nothing is changed. */
export function attributeText(value: Value): string {
  return typeof value === 'string' && attributeValue(value) === value
    ? value
    : JSON.stringify(value)
}

/** A long whole number, such as a serial number, would become another one; 1e999 none at all. */
function isKept(value: number, text: string): boolean {
  return Number.isFinite(value) && (Number.isSafeInteger(value) || !/^-?\d+$/.test(text))
}
