// What is selected, as one short text for the address bar: "space:ID", "device:ID",
// "sensor:DEVICE/KEY" or "alert:ID".
export type Selection =
  | { kind: 'space' | 'device' | 'alert' | 'element'; id: string }
  | { kind: 'sensor'; id: string; key: string }

export function parseSelection(text: string | undefined): Selection | null {
  const match = /^(space|device|alert|element|sensor):(.+)$/.exec(text ?? '')
  const kind = match?.[1]
  const rest = match?.[2]
  if (rest === undefined) return null
  if (kind === 'sensor') {
    const slash = rest.indexOf('/')
    if (slash <= 0 || slash === rest.length - 1) return null
    return { kind, id: rest.slice(0, slash), key: rest.slice(slash + 1) }
  }
  return { kind: kind as 'space' | 'device' | 'alert' | 'element', id: rest }
}

export function printSelection(selection: Selection): string {
  return selection.kind === 'sensor'
    ? `sensor:${selection.id}/${selection.key}`
    : `${selection.kind}:${selection.id}`
}
