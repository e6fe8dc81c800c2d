import { Vector3 } from 'three'
import { describe, expect, it } from 'vitest'

import { cellOf } from './atlas'
import { Frame } from './frame'
import { palettes, roleOf } from './palette'

describe('coordinates', () => {
  it('turn from Z up to Y up and back, near the origin', () => {
    const frame = new Frame({ min: [350_000, 5_800_000, 30], max: [350_040, 5_800_020, 50] })
    const scene = frame.toScene([350_030, 5_800_012, 34])
    expect(scene.toArray()).toEqual([10, 4, -2])
    expect(frame.toModel(scene)).toEqual([350_030, 5_800_012, 34])
    expect(frame.gltfOffset).toEqual(new Vector3(-350_020, -30, 5_800_010))
  })
})

describe('roles', () => {
  it.each([
    ['IfcWallStandardCase', 'wall'], ['IfcSlab', 'slab'], ['IfcSensor', 'sensor'],
    ['IfcChiller', 'machine'], ['IfcFurnishingElement', 'furniture'], ['IfcProxy', 'other'],
  ])('%s is drawn as %s', (name, role) => expect(roleOf(name, false)).toBe(role))
  it('glass is glass whatever it is part of', () => expect(roleOf('IfcDoor', true)).toBe('glass'))
})

describe('markers', () => {
  it('give every abnormal state a shape of its own', () => {
    const states = ['critical', 'high', 'medium', 'low', 'stale', 'offline', 'normal'] as const
    const cells = states.map((state) => cellOf(state, 'co2', false))
    expect(new Set(cells).size).toBe(states.length)
  })
  it('have a colour per state in each theme', () => {
    for (const palette of Object.values(palettes)) {
      const { critical, high, medium, low } = palette.states
      expect(new Set([critical, high, medium, low]).size).toBe(4)
    }
  })
})
