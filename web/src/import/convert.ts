// IFC bytes to a quantised GLB. Runs in the browser's import worker and in Node; the caller brings
// an initialised web-ifc. Spaces and openings are not drawn: the twin model has the rooms.
import type { IfcAPI } from 'web-ifc'

import { turnOutwards } from './facing'
import { writeGlb } from './glb'
import { appendElement, type Group } from './mesh'

/** Most triangles of a converted building. */
export const TRIANGLES_MAX = 3_000_000
/** Largest IFC file, in bytes. */
export const IFC_BYTES_MAX = 512 * 1024 * 1024
/** Surfaces more transparent than this are glass. */
const GLASS_ALPHA_MAX = 0.75
/** Deepest chain from an element up to its storey. */
const PARENTS_MAX = 32

export type Progress = { phase: 'reading' | 'meshing' | 'writing'; done: number; total: number }

/** A file that cannot be converted; the message says what is wrong with it. */
export class ImportError extends Error {}

export function convertModel(
  api: IfcAPI,
  bytes: Uint8Array,
  onProgress: (progress: Progress) => void,
): ArrayBuffer {
  checkHeader(bytes)
  onProgress({ phase: 'reading', done: 0, total: 1 })
  const model = api.OpenModel(bytes, { COORDINATE_TO_ORIGIN: false, CIRCLE_SEGMENTS: 16 })
  if (model < 0) throw new ImportError('the IFC schema of this file is not supported; use IFC2X3, IFC4 or IFC4X3')
  try {
    const storeys = storeyLookup(api, model)
    const { groups, origin } = collect(api, model, storeys, onProgress)
    onProgress({ phase: 'writing', done: 0, total: 1 })
    return writeGlb(groups, origin, { bytes: bytes.length, fnv1a64: fnv1a64(bytes) })
  } finally {
    api.CloseModel(model)
  }
}

function checkHeader(bytes: Uint8Array): void {
  if (bytes.length > IFC_BYTES_MAX) {
    throw new ImportError(`the file has ${bytes.length} bytes; at most ${IFC_BYTES_MAX} are converted`)
  }
  if (bytes[0] === 0x50 && bytes[1] === 0x4b) {
    throw new ImportError('this is a ZIP archive (IFCZIP); unpack it and import the .ifc file inside')
  }
  const head = new TextDecoder().decode(bytes.subarray(0, 256)).replace(/^\uFEFF/, '').trimStart()
  if (!head.startsWith('ISO-10303-21')) {
    throw new ImportError('not an IFC file: it has to begin with "ISO-10303-21;"')
  }
  const tail = new TextDecoder().decode(bytes.subarray(-256))
  if (!tail.includes('END-ISO-10303-21')) {
    throw new ImportError('the file is cut off: "END-ISO-10303-21;" is missing at its end')
  }
}

type Reference = { value: number } | null | undefined
type Relation = { [attribute: string]: Reference | Reference[] }

/** Finds the GlobalId of the storey that an element is on, through containment and aggregation. */
function storeyLookup(api: IfcAPI, model: number): (element: number) => string | null {
  const parents = new Map<number, number>()
  const relate = (name: string, parent: string, children: string) => {
    const ids = api.GetLineIDsWithType(model, api.GetTypeCodeFromName(name))
    for (let i = 0; i < ids.size(); i += 1) {
      const relation = api.GetLine(model, ids.get(i)) as Relation
      const whole = relation[parent] as Reference
      const parts = relation[children]
      for (const part of Array.isArray(parts) ? parts : [parts]) {
        if (whole && part) parents.set(part.value, whole.value)
      }
    }
  }
  relate('IFCRELVOIDSELEMENT', 'RelatingBuildingElement', 'RelatedOpeningElement')
  relate('IFCRELFILLSELEMENT', 'RelatingOpeningElement', 'RelatedBuildingElement')
  relate('IFCRELAGGREGATES', 'RelatingObject', 'RelatedObjects')
  relate('IFCRELCONTAINEDINSPATIALSTRUCTURE', 'RelatingStructure', 'RelatedElements')
  const names = new Map<number, string>()
  const storeys = api.GetLineIDsWithType(model, api.GetTypeCodeFromName('IFCBUILDINGSTOREY'))
  for (let i = 0; i < storeys.size(); i += 1) names.set(storeys.get(i), guidOf(api, model, storeys.get(i)))
  return (element) => {
    let at: number | undefined = element
    for (let depth = 0; at !== undefined && depth < PARENTS_MAX; depth += 1) {
      const name = names.get(at)
      if (name !== undefined) return name
      at = parents.get(at)
    }
    return null
  }
}

function guidOf(api: IfcAPI, model: number, element: number): string {
  const guid = api.GetGuidFromExpressId(model, element)
  return typeof guid === 'string' ? guid : String(element)
}

function collect(
  api: IfcAPI,
  model: number,
  storeyOf: (element: number) => string | null,
  onProgress: (progress: Progress) => void,
): { groups: Group[]; origin: number[] } {
  const groups = new Map<string, Group>()
  let origin: number[] | null = null
  let triangles = 0
  api.StreamAllMeshes(model, (mesh, index, total) => {
    const type = api.GetNameFromTypeCode(api.GetLineType(model, mesh.expressID))
    if (/^Ifc(Space|Opening|Annotation|Grid|VirtualElement)/.test(type)) return
    const [solid, glass]: [number[], number[]] = [[], []]
    for (let i = 0; i < mesh.geometries.size(); i += 1) {
      const placed = mesh.geometries.get(i)
      const geometry = api.GetGeometry(model, placed.geometryExpressID)
      const vertices = api.GetVertexArray(geometry.GetVertexData(), geometry.GetVertexDataSize())
      const indices = api.GetIndexArray(geometry.GetIndexData(), geometry.GetIndexDataSize())
      geometry.delete()
      const m = placed.flatTransformation
      origin ??= [m[12], m[13], m[14]].map((value) => Math.round(value ?? 0))
      const target = placed.color.w < GLASS_ALPHA_MAX ? glass : solid
      triangles += indices.length / 3
      if (triangles > TRIANGLES_MAX) {
        throw new ImportError(
          `the building has more than ${TRIANGLES_MAX} triangles (reached at element ${index + 1} of ${total}); export it with less detail or in parts`,
        )
      }
      const start = target.length
      transform(vertices, indices, m, origin, target)
      turnOutwards(target, start)
    }
    const storey = storeyOf(mesh.expressID)
    const id = guidOf(api, model, mesh.expressID)
    const parts: [number[], boolean][] = [[solid, false], [glass, true]]
    for (const [corners, isGlass] of parts) {
      if (corners.length === 0) continue
      const key = `${storey ?? ''}|${type}|${String(isGlass)}`
      const group = groups.get(key) ?? {
        storey, class: type, isGlass, positions: [], triangles: [], edges: [], ids: [], ranges: [],
      }
      appendElement(group, id, corners)
      groups.set(key, group)
    }
    if (index % 64 === 0) onProgress({ phase: 'meshing', done: index, total })
  })
  const all = [...groups.values()].filter((group) => group.triangles.length > 0)
  all.sort((a, b) => (a.storey ?? '').localeCompare(b.storey ?? '') || a.class.localeCompare(b.class))
  return { groups: all, origin: origin ?? [0, 0, 0] }
}

/** Vertices are position and normal, six numbers; `m` is column-major. */
function transform(
  vertices: Float32Array,
  indices: Uint32Array,
  m: number[],
  origin: number[],
  out: number[],
): void {
  const f = (i: number) => m[i] ?? 0
  for (const index of indices) {
    const x = vertices[index * 6] ?? 0
    const y = vertices[index * 6 + 1] ?? 0
    const z = vertices[index * 6 + 2] ?? 0
    for (let axis = 0; axis < 3; axis += 1) {
      const world = f(axis) * x + f(4 + axis) * y + f(8 + axis) * z + f(12 + axis)
      out.push(world - (origin[axis] ?? 0))
    }
  }
}

/** FNV-1a, 64 bits: tells whether a GLB belongs to a file, not whether somebody changed it. */
function fnv1a64(bytes: Uint8Array): string {
  // Two 32-bit halves, multiplied by 0x100000001b3 without BigInt.
  let low = 0x84222325
  let high = 0xcbf29ce4
  for (const byte of bytes) {
    low = (low ^ byte) >>> 0
    const lowProduct = low * 0x1b3
    const carry = Math.floor(lowProduct / 0x1_0000_0000)
    high = (Math.imul(high, 0x1b3) + carry + ((low << 8) >>> 0)) >>> 0
    low = lowProduct >>> 0
  }
  return high.toString(16).padStart(8, '0') + low.toString(16).padStart(8, '0')
}
