import { describe, expect, it } from 'vitest'

import { turnOutwards } from './facing'
import { writeGlb } from './glb'
import { appendElement, type Group } from './mesh'

type Corner = readonly [number, number, number]

/** The twelve triangles of a box, as world coordinates. */
function box([x, y, z]: Corner, [w, h, d]: Corner): number[] {
  const p = (i: number): Corner => [x + (i & 1 ? w : 0), y + (i & 2 ? h : 0), z + (i & 4 ? d : 0)]
  const faces = [[0, 2, 3, 1], [4, 5, 7, 6], [0, 1, 5, 4], [2, 6, 7, 3], [0, 4, 6, 2], [1, 3, 7, 5]]
  return faces.flatMap(([a = 0, b = 0, c = 0, e = 0]) => [a, b, c, a, c, e].flatMap((i) => [...p(i)]))
}

const group = (): Group => ({
  storey: 's', class: 'IfcWall', isGlass: false, positions: [], triangles: [], edges: [], ids: [], ranges: [],
})

describe('merging elements', () => {
  it('welds vertices and draws the twelve edges of a box', () => {
    const merged = group()
    expect(appendElement(merged, 'a', box([0, 0, 0], [1, 2, 3]))).toBe(12)
    expect(merged.positions.length / 3).toBe(8)
    expect(merged.edges.length / 2).toBe(12)
  })

  it('keeps the triangles of each element apart', () => {
    const merged = group()
    appendElement(merged, 'a', box([0, 0, 0], [1, 1, 1]))
    appendElement(merged, 'b', box([5, 0, 0], [1, 1, 1]))
    expect(merged.ids).toEqual(['a', 'b'])
    expect(merged.ranges).toEqual([0, 12])
    expect(Math.min(...merged.triangles.slice(36))).toBe(8)
  })

  it('does not draw a seam between coplanar triangles that do not share vertices', () => {
    const merged = group()
    // A 2 x 1 rectangle: one half as one quad, the other as two stacked ones.
    const quad = (x0: number, y0: number, x1: number, y1: number) =>
      [x0, y0, 0, x1, y0, 0, x1, y1, 0, x0, y0, 0, x1, y1, 0, x0, y1, 0]
    appendElement(merged, 'a', [...quad(0, 0, 1, 1), ...quad(1, 0, 2, 0.5), ...quad(1, 0.5, 2, 1)])
    const inner = []
    for (let i = 0; i < merged.edges.length; i += 2) {
      const xs = [0, 1].map((o) => merged.positions[(merged.edges[i + o] ?? 0) * 3])
      if (xs[0] === 1 && xs[1] === 1) inner.push(i)
    }
    expect(inner).toEqual([])
  })

  it('drops triangles without area', () => {
    expect(appendElement(group(), 'a', [0, 0, 0, 0, 0, 0, 1, 1, 1])).toBe(0)
  })
})

describe('facing', () => {
  /** Six times the signed volume: positive when every triangle faces outwards. */
  const volume = (corners: number[]) => {
    let sum = 0
    for (let at = 0; at < corners.length; at += 9) {
      const [ax = 0, ay = 0, az = 0, bx = 0, by = 0, bz = 0, cx = 0, cy = 0, cz = 0] = corners.slice(at, at + 9)
      sum += ax * (by * cz - bz * cy) + ay * (bz * cx - bx * cz) + az * (bx * cy - by * cx)
    }
    return sum
  }

  it('turns a solid that is inside out, wholly or in part', () => {
    const right = box([1, 2, 3], [2, 3, 4])
    turnOutwards(right, 0)
    expect(volume(right)).toBeCloseTo(6 * 24)
    const broken = [...right]
    for (const triangle of [0, 5, 7]) {
      const [a, b] = [broken.slice(triangle * 9 + 3, triangle * 9 + 6), broken.slice(triangle * 9 + 6, triangle * 9 + 9)]
      broken.splice(triangle * 9 + 3, 6, ...b, ...a)
    }
    expect(volume(broken)).not.toBeCloseTo(6 * 24)
    turnOutwards(broken, 0)
    expect(volume(broken)).toBeCloseTo(6 * 24)
  })
})

describe('writing GLB', () => {
  const read = (glb: ArrayBuffer) => {
    const view = new DataView(glb)
    const length = view.getUint32(12, true)
    const text = new TextDecoder().decode(new Uint8Array(glb, 20, length))
    return { view, json: JSON.parse(text), binary: 20 + length + 8 }
  }
  const source = { bytes: 1, fnv1a64: '0' }

  it('keeps positions within half a step of the grid', () => {
    const merged = group()
    appendElement(merged, 'a', box([10, 0, -4], [20, 3, 6]))
    const { view, json, binary } = read(writeGlb([merged], [100, 0, 0], source))
    expect(view.getUint32(8, true)).toBe(view.byteLength)
    const root = json.nodes[json.scenes[0].nodes[0]]
    for (let vertex = 0; vertex < 8; vertex += 1) {
      for (let axis = 0; axis < 3; axis += 1) {
        const steps = view.getInt16(binary + vertex * 8 + axis * 2, true)
        const metres = steps * root.scale[axis] + root.translation[axis]
        const expected = (merged.positions[vertex * 3 + axis] ?? 0) + (axis === 0 ? 100 : 0)
        expect(Math.abs(metres - expected)).toBeLessThan(root.scale[axis])
      }
    }
    expect(json.nodes[0].extras.ranges).toEqual([0, 12])
    expect(json.nodes[0].extras.ids).toEqual(['a'])
  })

  it('is valid without any element', () => {
    const { json } = read(writeGlb([], [0, 0, 0], source))
    expect(json.meshes).toBeUndefined()
    expect(json.scenes).toHaveLength(1)
  })
})
