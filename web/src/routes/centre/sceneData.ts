// From building state to what the engine draws: markers, room colours, targets. Pure.
import type { Alert, Device } from '../../api/types'
import type { Heat, Marker, MarkerIcon, MarkerState, Target, Vec3 } from '../../engine/types'
import { formatValue } from '../../lib/format'
import { domainOf, heatColor, type Domain } from '../../lib/heat'
import type { Selection } from '../../lib/selection'
import { worst } from '../../lib/severity'
import type { Building } from './useBuilding'

const ICON_WORDS: [RegExp, MarkerIcon][] = [
  [/smoke|fire/, 'smoke'],
  [/co2|carbon/, 'co2'],
  [/humid|moist/, 'humidity'],
  [/motion|occup|presence|pir/, 'motion'],
  [/power|energy|electr|meter|current|voltage/, 'power'],
  [/outdoor|weather|rain|wind/, 'weather'],
  [/vibrat|accel/, 'vibration'],
  [/temp|therm|boiler|heat|chiller/, 'temperature'],
  [/water|flow|leak|pressure/, 'water'],
  [/air|voc|pm\d|fan|vent/, 'air'],
  [/switch|door|window|contact|light/, 'switch'],
]

/** What a device is called says most, then what it reports first, then everything known. */
export function iconOf(
  device: Pick<Device, 'keys' | 'name'> & { type: string | null },
): MarkerIcon {
  const hints = [device.type ?? '', device.keys[0] ?? '', `${device.keys.join(' ')} ${device.name}`]
  for (const hint of hints) {
    const words = hint.toLowerCase()
    const found = ICON_WORDS.find(([pattern]) => pattern.test(words))
    if (found !== undefined) return found[1]
  }
  return 'sensor'
}

function stateOf(device: Device, building: Building, stale: boolean): MarkerState {
  const alerts = building.alertsByDevice.get(device.id) ?? []
  const severity = worst(alerts.map((alert) => alert.severity))
  if (severity !== null) return severity
  if (building.values.atMs === null && !device.online) return 'offline'
  return stale ? 'stale' : 'normal'
}

function centreOf(polygon: [number, number][]): [number, number] | null {
  if (polygon.length === 0) return null
  const [x, y] = polygon.reduce(([sx, sy], [px, py]) => [sx + px, sy + py], [0, 0])
  return [x / polygon.length, y / polygon.length]
}

/** Where a device stands: its own position, else spread around the middle of its room. */
function placeOf(device: Device, building: Building): Vec3 | null {
  if (device.position !== null) return device.position
  const space = building.spaceById.get(device.space_id ?? '')
  const centre = space && centreOf(space.polygon)
  if (space === undefined || centre === null || centre === undefined) return null
  const mates = building.devicesBySpace.get(space.id) ?? []
  const index = mates.indexOf(device)
  const angle = (2 * Math.PI * index) / Math.max(1, mates.length)
  const radius = mates.length > 1 ? 0.6 : 0
  return [
    centre[0] + radius * Math.cos(angle),
    centre[1] + radius * Math.sin(angle),
    space.elevation_m + 1.2,
  ]
}

/** Stands outside: what it reports says nothing about the rooms, wherever it is mounted. */
export function isOutdoor(device: Pick<Device, 'type'>): boolean {
  return /weather|outdoor|outside/.test((device.type ?? '').toLowerCase())
}

/** What people look for first. */
const KEY_WORDS = [
  /^(room_|air_|indoor_)?temperature$/,
  /^supply.*temp/,
  /temp/,
  /^co2$/,
  /^power$/,
  /^flow$/,
]

/** The series that stands for a device: the one asked for, one that is abnormal, the usual one. */
export function shownKey(
  device: Pick<Device, 'keys'>,
  preferred: string | undefined,
  alerts: Pick<Alert, 'key'>[] = [],
): string | undefined {
  if (preferred !== undefined && device.keys.includes(preferred)) return preferred
  const abnormal = alerts.find((alert) => alert.key !== null && device.keys.includes(alert.key))
  if (abnormal?.key) return abnormal.key
  for (const word of KEY_WORDS) {
    const found = device.keys.find((key) => word.test(key))
    if (found !== undefined) return found
  }
  return device.keys[0]
}

export function markersOf(
  building: Building,
  options: { locale: string; heatKey: string | undefined; selectedId: string | undefined },
): Marker[] {
  return building.devices.flatMap((device) => {
    const position = placeOf(device, building)
    if (position === null) return []
    const alerts = building.alertsByDevice.get(device.id)
    const key = shownKey(device, alerts ? undefined : options.heatKey, alerts)
    const shown = key === undefined ? undefined : building.values.get(device.id, key)
    const space = building.spaceById.get(device.space_id ?? '')
    return {
      id: device.id,
      spaceId: device.space_id,
      storeyId: space?.storey_id ?? null,
      position,
      icon: iconOf({ ...device, keys: key === undefined ? [] : [key] }),
      label: device.name,
      value: formatValue(shown?.value as never, key && device.units[key], options.locale),
      state: stateOf(device, building, shown?.condition === 'stale'),
      selected: device.id === options.selectedId,
    }
  })
}

export type HeatMap = {
  heat: Heat
  domain: Domain
  oldestMs: number
  newestMs: number
  rooms: number
}

/** Room colours: the mean of the usable values of one key in each room. */
export function heatOf(building: Building, key: string): HeatMap | null {
  const means = new Map<string, number>()
  let oldestMs = Infinity
  let newestMs = -Infinity
  for (const [spaceId, devices] of building.devicesBySpace) {
    let sum = 0
    let count = 0
    for (const device of devices) {
      const shown = isOutdoor(device) ? undefined : building.values.get(device.id, key)
      if (typeof shown?.value !== 'number' || shown.condition !== 'good') continue
      sum += shown.value
      count += 1
      oldestMs = Math.min(oldestMs, shown.atMs)
      newestMs = Math.max(newestMs, shown.atMs)
    }
    if (count > 0) means.set(spaceId, sum / count)
  }
  const domain = domainOf(means.values())
  if (domain === null) return null
  const values = new Map<string, string | null>()
  for (const space of building.model.spaces) {
    const mean = means.get(space.id)
    values.set(space.id, mean === undefined ? null : heatColor(mean, domain))
  }
  return { heat: { values }, domain, oldestMs, newestMs, rooms: means.size }
}

export function targetOf(selection: Selection | null, building: Building): Target | null {
  switch (selection?.kind) {
    case 'space':
      return { kind: 'space', id: selection.id }
    case 'element':
      return { kind: 'element', id: selection.id }
    case 'device':
    case 'sensor':
      return { kind: 'marker', id: selection.id }
    case 'alert': {
      const alert = building.open.find((a) => a.id === selection.id)
      return alert ? { kind: 'marker', id: alert.device_id } : null
    }
    case undefined:
      return null
  }
}

/** The storey on which a selection lies. */
export function storeyOf(selection: Selection | null, building: Building): string | null {
  if (selection === null) return null
  const space = (id: string | null | undefined) =>
    building.spaceById.get(id ?? '')?.storey_id ?? null
  if (selection.kind === 'space') return space(selection.id)
  if (selection.kind === 'element') {
    return building.model.elements.find((e) => e.id === selection.id)?.storey_id ?? null
  }
  const alert = building.open.find((a) => a.id === selection.id)
  return space(building.deviceById.get(alert?.device_id ?? selection.id)?.space_id)
}

export type Reading = {
  key: string
  unit: string
  mean: number
  min: number
  max: number
  count: number
}

/**
 * The building in figures: keys of which a room has one value at most, so that a mean says
 * something. Meters and pumps side by side have none.
 */
export function readingsOf(building: Building): Reading[] {
  const found: Reading[] = []
  for (const key of building.keys) {
    const rooms = new Set<string>()
    let isPerRoom = true
    const values = building.devices.flatMap((device) => {
      if (isOutdoor(device)) return []
      const shown = device.keys.includes(key) ? building.values.get(device.id, key) : undefined
      if (typeof shown?.value !== 'number' || shown.condition !== 'good') return []
      if (device.space_id === null || rooms.has(device.space_id)) isPerRoom = false
      else rooms.add(device.space_id)
      return [shown.value]
    })
    if (values.length < 2 || !isPerRoom) continue
    found.push({
      key,
      unit: building.unitOf(key),
      mean: values.reduce((sum, value) => sum + value, 0) / values.length,
      min: Math.min(...values),
      max: Math.max(...values),
      count: values.length,
    })
  }
  const rank = (key: string) => KEY_WORDS.findIndex((word) => word.test(key)) + 1 || 99
  return found.sort((a, b) => b.count - a.count || rank(a.key) - rank(b.key))
}
