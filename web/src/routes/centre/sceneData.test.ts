import { expect, test } from 'vitest'

import { heatOf, iconOf, readingsOf } from './sceneData'
import type { Building } from './useBuilding'

test('the icon follows the type before the keys', () => {
  const check = (type: string | null, keys: string[], icon: string) =>
    expect(iconOf({ type, keys, name: 'x' })).toBe(icon)
  check('temperature', ['humidity'], 'temperature')
  check('climate', ['temperature', 'humidity'], 'temperature')
  check(null, ['co2'], 'co2')
  check('Chiller', ['power'], 'temperature')
  check(null, [], 'sensor')
})

test('what stands outside neither colours rooms nor counts among them', () => {
  const device = (id: string, type: string) => ({ id, type, space_id: id, keys: ['temperature'] })
  const devices = [
    device('a', 'room_sensor'),
    device('b', 'room_sensor'),
    device('w', 'weather_station'),
  ]
  const values: Record<string, number> = { a: 20, b: 22, w: 34 }
  const building = {
    devices,
    devicesBySpace: new Map(devices.map((one) => [one.space_id, [one]])),
    keys: ['temperature'],
    unitOf: () => '°C',
    values: { get: (id: string) => ({ value: values[id], condition: 'good', atMs: 1 }) },
    model: { spaces: devices.map((one) => ({ id: one.space_id })) },
  } as unknown as Building
  expect(heatOf(building, 'temperature')?.domain).toEqual({ min: 20, max: 22 })
  expect(readingsOf(building)).toMatchObject([{ mean: 21, max: 22, count: 2 }])
})
