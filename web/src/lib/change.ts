// A change as records hold it: two objects, or one where something came or went.
import type { Value } from '../api/types'

export type Part = { name: string; before: Value; after: Value; isSame: boolean }

function membersOf(value: Value): Record<string, Value> {
  if (value === null) return {}
  if (typeof value === 'object' && !Array.isArray(value)) return value as Record<string, Value>
  return { value }
}

/** The parts of a change, those that differ first; of two lists only what is not in both. */
export function partsOf(before: Value, after: Value): Part[] {
  const [was, is] = [membersOf(before), membersOf(after)]
  const names = [...new Set([...Object.keys(was), ...Object.keys(is)])]
  const parts = names.map((name): Part => {
    const [one, other] = [was[name] ?? null, is[name] ?? null]
    const isSame = JSON.stringify(one) === JSON.stringify(other)
    if (isSame || !Array.isArray(one) || !Array.isArray(other)) {
      return { name, before: one, after: other, isSame }
    }
    const without = (list: unknown[], from: unknown[]) => list.filter((item) => !from.includes(item))
    return { name, before: without(one, other), after: without(other, one), isSame }
  })
  return [...parts.filter((part) => !part.isSame), ...parts.filter((part) => part.isSame)]
}
