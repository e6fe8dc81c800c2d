// Writes binary glTF 2.0 (Khronos specification, KHR_mesh_quantization): 16-bit positions on one
// grid for the whole building, triangles and lines per group, no normals (a reader shades flat),
// no textures, nothing to fetch.
import type { Group } from './mesh'

const GRID_STEPS = 65_534
const FLOAT = { short: 5122, ushort: 5123, uint: 5125 } as const

export type GlbSource = { bytes: number; fnv1a64: string }

type Accessor = {
  bufferView: number
  byteOffset: number
  componentType: number
  count: number
  type: 'VEC3' | 'SCALAR'
  min?: number[]
  max?: number[]
}

/** Grows as it is written; every block starts on four bytes. */
class Chunk {
  private bytes = new Uint8Array(1 << 20)
  length = 0

  append(data: Uint8Array): number {
    const start = this.length
    const end = start + Math.ceil(data.length / 4) * 4
    if (end > this.bytes.length) {
      const grown = new Uint8Array(Math.max(end, this.bytes.length * 2))
      grown.set(this.bytes.subarray(0, this.length))
      this.bytes = grown
    }
    this.bytes.set(data, start)
    this.length = end
    return start
  }

  done(): Uint8Array {
    return this.bytes.subarray(0, this.length)
  }
}

export function writeGlb(groups: Group[], origin: number[], source: GlbSource): ArrayBuffer {
  const bounds = boundsOf(groups)
  const extent = Math.max(1e-3, ...bounds.max.map((value, axis) => value - (bounds.min[axis] ?? 0)))
  const step = extent / GRID_STEPS
  const middle = bounds.max.map((value, axis) => (value + (bounds.min[axis] ?? 0)) / 2)
  const positions = new Chunk()
  const indices = new Chunk()
  const accessors: Accessor[] = []
  const meshes: object[] = []
  const nodes: object[] = []
  for (const group of groups) {
    const vertices = group.positions.length / 3
    const data = new Int16Array(vertices * 4)
    const min = [Infinity, Infinity, Infinity]
    const max = [-Infinity, -Infinity, -Infinity]
    for (let vertex = 0; vertex < vertices; vertex += 1) {
      for (let axis = 0; axis < 3; axis += 1) {
        const metres = (group.positions[vertex * 3 + axis] ?? 0) - (middle[axis] ?? 0)
        const value = Math.round(metres / step)
        data[vertex * 4 + axis] = value
        min[axis] = Math.min(min[axis] ?? 0, value)
        max[axis] = Math.max(max[axis] ?? 0, value)
      }
    }
    const byteOffset = positions.append(new Uint8Array(data.buffer))
    accessors.push({
      bufferView: 0, byteOffset, componentType: FLOAT.short, count: vertices, type: 'VEC3', min, max,
    })
    const position = accessors.length - 1
    const index = (list: number[]) => {
      const array = vertices > 65_535 ? Uint32Array.from(list) : Uint16Array.from(list)
      const at = indices.append(new Uint8Array(array.buffer))
      const componentType = vertices > 65_535 ? FLOAT.uint : FLOAT.ushort
      accessors.push({
        bufferView: 1, byteOffset: at, componentType, count: list.length, type: 'SCALAR',
      })
      return accessors.length - 1
    }
    const primitives: object[] = [
      {
        attributes: { POSITION: position }, indices: index(group.triangles), mode: 4,
        material: group.isGlass ? 1 : 0,
      },
    ]
    if (group.edges.length > 0) {
      primitives.push({ attributes: { POSITION: position }, indices: index(group.edges), mode: 1 })
    }
    meshes.push({ primitives })
    nodes.push({
      mesh: meshes.length - 1,
      extras: {
        class: group.class, storey: group.storey, glass: group.isGlass, ids: group.ids,
        ranges: [...group.ranges, group.triangles.length / 3],
      },
    })
  }
  const translation = middle.map((value, axis) => value + (origin[axis] ?? 0))
  const root = { translation, scale: [step, step, step], children: nodes.map((_, i) => i) }
  const material = (name: string, baseColorFactor: number[], more: object) => ({
    name, doubleSided: true, pbrMetallicRoughness: { baseColorFactor, metallicFactor: 0 }, ...more,
  })
  const binary = [positions.done(), indices.done()] as const
  const json = {
    asset: { version: '2.0', generator: 'Veritwin', extras: { source } },
    extensionsUsed: ['KHR_mesh_quantization'],
    extensionsRequired: ['KHR_mesh_quantization'],
    scene: 0,
    scenes: [{ nodes: [nodes.length] }],
    nodes: [...nodes, root],
    ...(meshes.length === 0
      ? {}
      : {
          meshes,
          materials: [
            material('solid', [0.86, 0.85, 0.82, 1], {}),
            material('glass', [0.7, 0.8, 0.84, 0.35], { alphaMode: 'BLEND' }),
          ],
          accessors,
          bufferViews: [
            { buffer: 0, byteOffset: 0, byteLength: binary[0].length, byteStride: 8, target: 34962 },
            { buffer: 0, byteOffset: binary[0].length, byteLength: binary[1].length, target: 34963 },
          ],
          buffers: [{ byteLength: binary[0].length + binary[1].length }],
        }),
  }
  return assemble(json, binary)
}

function boundsOf(groups: Group[]): { min: number[]; max: number[] } {
  const min = [Infinity, Infinity, Infinity]
  const max = [-Infinity, -Infinity, -Infinity]
  for (const group of groups) {
    for (let at = 0; at < group.positions.length; at += 1) {
      const value = group.positions[at] ?? 0
      const axis = at % 3
      if (value < (min[axis] ?? 0)) min[axis] = value
      if (value > (max[axis] ?? 0)) max[axis] = value
    }
  }
  return groups.length === 0 ? { min: [0, 0, 0], max: [0, 0, 0] } : { min, max }
}

/** Header, JSON chunk padded with spaces, binary chunk (glTF 2.0, section 4.4). */
function assemble(json: object, binary: readonly Uint8Array[]): ArrayBuffer {
  const text = new TextEncoder().encode(JSON.stringify(json))
  const textLength = Math.ceil(text.length / 4) * 4
  const binaryLength = binary.reduce((sum, part) => sum + part.length, 0)
  const total = 12 + 8 + textLength + (binaryLength > 0 ? 8 + binaryLength : 0)
  const out = new ArrayBuffer(total)
  const bytes = new Uint8Array(out)
  const view = new DataView(out)
  view.setUint32(0, 0x46546c67, true)
  view.setUint32(4, 2, true)
  view.setUint32(8, total, true)
  view.setUint32(12, textLength, true)
  view.setUint32(16, 0x4e4f534a, true)
  bytes.fill(0x20, 20, 20 + textLength)
  bytes.set(text, 20)
  if (binaryLength === 0) return out
  let at = 20 + textLength
  view.setUint32(at, binaryLength, true)
  view.setUint32(at + 4, 0x004e4942, true)
  at += 8
  for (const part of binary) {
    bytes.set(part, at)
    at += part.length
  }
  return out
}
