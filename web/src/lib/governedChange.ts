// What a change of a thing of the workspace changed, field by field: only what is not as it was.
import type { Value } from '../api/types'

export interface ChangedField {
  /** The name of the field, within its part. */
  field: string
  before: Value
  after: Value
}

type Members = { [key: string]: unknown }

function membersOf(value: unknown): Members {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Members)
    : {}
}

function isEmpty(value: unknown): boolean {
  if (value === null || value === undefined || value === '') return true
  if (Array.isArray(value)) return value.length === 0
  return typeof value === 'object' && Object.keys(value).length === 0
}

const isSame = (one: unknown, other: unknown) => JSON.stringify(one) === JSON.stringify(other)

/** The fields of a thing: its state, what people wrote, and what came of it. */
function fieldsOf(value: Value): Map<string, unknown> {
  const whole = membersOf(value)
  const fields = new Map<string, unknown>()
  for (const [name, one] of Object.entries(whole)) {
    if (name === 'content' || name === 'facts') {
      for (const [inner, held] of Object.entries(membersOf(one))) fields.set(inner, held)
    } else {
      fields.set(name, one)
    }
  }
  return fields
}

/** What differs between two states of a thing; of a new one, whatever is not empty. */
export function changedFields(before: Value, after: Value): ChangedField[] {
  const [old, now] = [fieldsOf(before), fieldsOf(after)]
  const names = [...new Set([...old.keys(), ...now.keys()])]
  return names
    .map((field) => ({
      field,
      before: (old.get(field) ?? null) as Value,
      after: (now.get(field) ?? null) as Value,
    }))
    .filter((one) => !isSame(one.before, one.after))
    .filter((one) => !(isEmpty(one.before) && isEmpty(one.after)))
}

/** A value in one line of words, lists by their items, and things by their members. */
export function inWords(value: Value, words: { yes: string; no: string; nothing: string }): string {
  if (isEmpty(value)) return words.nothing
  if (typeof value === 'boolean') return value ? words.yes : words.no
  if (Array.isArray(value)) {
    return value.map((one) => inWords(one as Value, words)).join(', ')
  }
  if (typeof value === 'object' && value !== null) {
    return Object.entries(value)
      .filter(([, held]) => !isEmpty(held))
      .map(([name, held]) => `${name.replaceAll('_', ' ')}: ${inWords(held as Value, words)}`)
      .join('; ')
  }
  return String(value)
}
