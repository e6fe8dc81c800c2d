// Triangles of many elements, merged into one mesh per group, with the hard edges an architect
// would draw. Positions are doubles on the way in and 16-bit integers on the way out.

/** Two faces that meet at more than this angle show an edge (cosine of 28 degrees). */
const EDGE_COSINE_MAX = 0.883
/** Vertices closer than this, in metres, are one. */
const WELD_METRES = 0.0005

export type Group = {
  storey: string | null
  class: string
  isGlass: boolean
  /** Metres, three per vertex, relative to the builder's origin. */
  positions: number[]
  triangles: number[]
  edges: number[]
  ids: string[]
  /** First triangle of each element, then the total. */
  ranges: number[]
}

/** Welded vertices of one element. */
class Welder {
  private readonly known = new Map<string, number>()
  readonly positions: number[] = []

  add(x: number, y: number, z: number): number {
    const key = `${Math.round(x / WELD_METRES)},${Math.round(y / WELD_METRES)},${Math.round(z / WELD_METRES)}`
    const found = this.known.get(key)
    if (found !== undefined) return found
    const index = this.positions.length / 3
    this.positions.push(x, y, z)
    this.known.set(key, index)
    return index
  }
}

type Face = { normal: [number, number, number] }
type Open = { a: number; b: number; normal: [number, number, number] }

/** Appends one element's triangles (world metres, nine numbers each) to a group. */
export function appendElement(group: Group, id: string, corners: number[]): number {
  const welder = new Welder()
  const triangles: number[] = []
  for (let at = 0; at + 8 < corners.length; at += 9) {
    const [a, b, c] = [0, 3, 6].map((o) =>
      welder.add(corners[at + o] ?? 0, corners[at + o + 1] ?? 0, corners[at + o + 2] ?? 0),
    ) as [number, number, number]
    if (a !== b && b !== c && c !== a) triangles.push(a, b, c)
  }
  if (triangles.length === 0) return 0
  const base = group.positions.length / 3
  const edges = hardEdges(welder.positions, triangles)
  if (group.ids[group.ids.length - 1] !== id) {
    group.ids.push(id)
    group.ranges.push(group.triangles.length / 3)
  }
  for (const value of welder.positions) group.positions.push(value)
  for (const index of triangles) group.triangles.push(base + index)
  for (const index of edges) group.edges.push(base + index)
  return triangles.length / 3
}

function normalOf(p: number[], a: number, b: number, c: number): Face['normal'] | null {
  const at = (i: number, axis: number) => p[i * 3 + axis] ?? 0
  const u = [0, 1, 2].map((i) => at(b, i) - at(a, i)) as [number, number, number]
  const v = [0, 1, 2].map((i) => at(c, i) - at(a, i)) as [number, number, number]
  const n: [number, number, number] = [
    u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0],
  ]
  const length = Math.hypot(...n)
  return length < 1e-12 ? null : [n[0] / length, n[1] / length, n[2] / length]
}

const dot = (a: number[], b: number[]) =>
  (a[0] ?? 0) * (b[0] ?? 0) + (a[1] ?? 0) * (b[1] ?? 0) + (a[2] ?? 0) * (b[2] ?? 0)

/** Vertex index pairs of the edges worth drawing. */
function hardEdges(positions: number[], triangles: number[]): number[] {
  const count = positions.length / 3
  const faces = new Map<number, Open[]>()
  for (let at = 0; at < triangles.length; at += 3) {
    const t = [triangles[at] ?? 0, triangles[at + 1] ?? 0, triangles[at + 2] ?? 0] as const
    const normal = normalOf(positions, t[0], t[1], t[2])
    if (normal === null) continue
    for (const [a, b] of [[t[0], t[1]], [t[1], t[2]], [t[2], t[0]]] as const) {
      const key = Math.min(a, b) * count + Math.max(a, b)
      const list = faces.get(key)
      if (list === undefined) faces.set(key, [{ a, b, normal }])
      else list.push({ a, b, normal })
    }
  }
  const edges: number[] = []
  const open: Open[] = []
  for (const list of faces.values()) {
    const [first, second] = list
    if (first === undefined) continue
    if (second === undefined) open.push(first)
    else if (list.some((face) => dot(face.normal, first.normal) < EDGE_COSINE_MAX)) {
      edges.push(first.a, first.b)
    }
  }
  closeSeams(positions, open, edges)
  return edges
}

/**
 * Booleans leave coplanar triangles whose sides do not match vertex for vertex. On each line, a
 * stretch that two parallel faces share is a seam and not drawn; everything else is an edge.
 */
function closeSeams(positions: number[], open: Open[], edges: number[]): void {
  const lines = new Map<string, (Open & { from: number; to: number })[]>()
  for (const edge of open) {
    const p = [0, 1, 2].map((i) => positions[edge.a * 3 + i] ?? 0)
    const q = [0, 1, 2].map((i) => positions[edge.b * 3 + i] ?? 0)
    let d = q.map((value, i) => value - (p[i] ?? 0))
    const length = Math.hypot(...d)
    if (length < 1e-9) continue
    const lead = d.find((value) => Math.abs(value) > 1e-3 * length) ?? 1
    d = d.map((value) => (value / length) * Math.sign(lead))
    const along = dot(p, d)
    const foot = p.map((value, i) => Math.round((value - along * (d[i] ?? 0)) * 200))
    const key = `${d.map((value) => Math.round(value * 500)).join()}|${foot.join()}`
    const list = lines.get(key) ?? []
    list.push({ ...edge, from: along, to: dot(q, d) })
    lines.set(key, list)
  }
  for (const list of lines.values()) {
    const ends = list.flatMap((e) => [{ at: e.from, vertex: e.a }, { at: e.to, vertex: e.b }])
    ends.sort((one, other) => one.at - other.at)
    for (let i = 0; i + 1 < ends.length; i += 1) {
      const [start, end] = [ends[i], ends[i + 1]]
      if (start === undefined || end === undefined || end.at - start.at < 1e-4) continue
      const middle = (start.at + end.at) / 2
      const over = list.filter((e) => middle > Math.min(e.from, e.to) && middle < Math.max(e.from, e.to))
      const first = over[0]
      if (first === undefined) continue
      const isSeam = over.length > 1 && over.every((e) => dot(e.normal, first.normal) > EDGE_COSINE_MAX)
      if (!isSeam) edges.push(start.vertex, end.vertex)
    }
  }
}
