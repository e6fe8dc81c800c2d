// What somebody types as the value of an attribute: JSON where it is JSON, else a text.
import type { Value } from '../api/types'

export function attributeValue(text: string): Value {
  try {
    return JSON.parse(text) as Value
  } catch {
    return text
  }
}
