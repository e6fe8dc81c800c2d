// The building's meshes: one group per storey, from a GLB or, without one, rooms as extruded
// polygons. Decides how each storey is shown; knows nothing of markers and cameras.
import {
  Box3, BufferGeometry, ExtrudeGeometry, Float32BufferAttribute, Group, LineSegments, Mesh,
  type Object3D, type Plane, Shape, Vector3,
} from 'three'
import { GLTFLoader } from 'three/addons/loaders/GLTFLoader.js'

import type { Frame } from './frame'
import { type Look, Materials } from './materials'
import { type Palette, type Role, roleOf } from './palette'
import type { SceneModel } from './types'

/** Height above the floor at which an isolated storey is cut open, in metres. */
export const CUT_HEIGHT = 1.45

/** What is left of a storey when it is only hinted at. */
const SHELL: ReadonlySet<Role> = new Set<Role>(['wall', 'slab', 'roof', 'room'])

type Part = {
  role: Role
  storey: string | null
  mesh: Mesh
  edges: LineSegments | null
  ids: string[]
  ranges: number[]
  isRooms: boolean
}
export type StoreyGroup = { id: string; group: Group; floor: number; height: number; rank: number }

type Extras = { class?: unknown; storey?: unknown; glass?: unknown; ids?: unknown; ranges?: unknown; id?: unknown }

export class Building {
  readonly root = new Group()
  readonly storeys: StoreyGroup[] = []
  readonly materials: Materials
  private readonly outside = new Group()
  private parts: Part[] = []
  private isolated: string | null = null
  private isXray = false
  private isPlan = false

  constructor(palette: Palette, cutPlane: Plane) {
    this.materials = new Materials(palette, cutPlane)
    this.root.add(this.outside)
  }

  /** Storeys and extruded rooms. */
  setModel(model: SceneModel, frame: Frame): void {
    this.clear()
    const ordered = [...model.storeys].sort((a, b) => a.elevation_m - b.elevation_m)
    for (const [rank, storey] of ordered.entries()) {
      const group = new Group()
      this.root.add(group)
      const floor = frame.toScene([0, 0, storey.elevation_m]).y
      this.storeys.push({ id: storey.id, group, floor, height: storey.height_m, rank })
    }
    for (const storey of this.storeys) this.addRooms(model, frame, storey)
    this.applyLooks()
  }

  /** Replaces the rooms by the GLB's meshes. False when it holds no triangles. */
  async setGeometry(glb: ArrayBuffer, frame: Frame): Promise<boolean> {
    const gltf = await new GLTFLoader().parseAsync(glb, '')
    gltf.scene.position.copy(frame.gltfOffset)
    gltf.scene.updateMatrixWorld(true)
    const found: Part[] = []
    gltf.scene.traverse((node) => {
      if (node instanceof Mesh) found.push(partOf(node))
    })
    if (found.length === 0) return false
    const home = new Map(this.storeys.map((storey) => [storey.id, storey.group]))
    for (const part of found) {
      const parent = home.get(part.storey ?? '') ?? this.outside
      for (const object of [part.mesh, part.edges]) {
        if (object === null) continue
        object.matrixWorld.decompose(object.position, object.quaternion, object.scale)
        parent.add(object)
      }
    }
    this.removeRooms()
    this.parts.push(...found)
    this.applyLooks()
    return true
  }

  setPalette(palette: Palette): void {
    this.materials.setPalette(palette)
  }

  /** Which storey is shown alone, and whether walls let the floors through. */
  show(isolated: string | null, options: { isXray: boolean; isPlan: boolean }): void {
    this.isolated = isolated
    this.isXray = options.isXray
    this.isPlan = options.isPlan
    this.applyLooks()
  }

  storey(id: string | null): StoreyGroup | undefined {
    return id === null ? undefined : this.storeys.find((storey) => storey.id === id)
  }

  bounds(storey: string | null): Box3 {
    const box = new Box3()
    const object: Object3D = this.storey(storey)?.group ?? this.root
    object.updateWorldMatrix(true, true)
    for (const part of this.parts) {
      if (storey !== null && part.storey !== storey) continue
      box.expandByObject(part.mesh)
    }
    return box
  }

  /** The corners of what stands in some storeys, storey by storey: closer to it than one box. */
  corners(isIn: (storey: string | null) => boolean): Vector3[] {
    const boxes = new Map<string | null, Box3>()
    this.root.updateWorldMatrix(true, true)
    for (const part of this.parts) {
      const storey = this.storey(part.storey)?.id ?? null
      if (!isIn(storey)) continue
      const box = boxes.get(storey) ?? new Box3()
      boxes.set(storey, box.expandByObject(part.mesh))
    }
    return [...boxes.values()].flatMap(cornersOf)
  }

  /** Meshes that a pointer can hit. */
  solidMeshes(): Mesh[] {
    return this.parts.filter((part) => part.mesh.visible && this.lookOf(part) !== 'ghost').map((part) => part.mesh)
  }

  /** The element, or room, that owns a triangle. */
  elementAt(mesh: Mesh, triangle: number): { id: string; isSpace: boolean } | null {
    const part = this.parts.find((candidate) => candidate.mesh === mesh)
    if (part === undefined) return null
    let [low, high] = [0, part.ids.length - 1]
    while (low < high) {
      const middle = (low + high + 1) >> 1
      if ((part.ranges[middle] ?? 0) <= triangle) low = middle
      else high = middle - 1
    }
    const id = part.ids[low]
    return id === undefined ? null : { id, isSpace: part.isRooms }
  }

  /** The triangles of one element, sharing the building's buffers; the caller frees them. */
  elementMeshes(id: string): Mesh[] {
    const copies: Mesh[] = []
    for (const part of this.parts) {
      const at = part.ids.indexOf(id)
      if (at < 0) continue
      const geometry = new BufferGeometry()
      geometry.setAttribute('position', part.mesh.geometry.getAttribute('position'))
      geometry.setIndex(part.mesh.geometry.getIndex())
      const first = part.ranges[at] ?? 0
      geometry.setDrawRange(first * 3, ((part.ranges[at + 1] ?? first) - first) * 3)
      const copy = new Mesh(geometry)
      copy.matrixAutoUpdate = false
      part.mesh.updateWorldMatrix(true, false)
      copy.matrix.copy(part.mesh.matrixWorld)
      copies.push(copy)
    }
    return copies
  }

  elementBox(id: string): Box3 | null {
    const box = new Box3()
    for (const mesh of this.elementMeshes(id)) {
      const position = mesh.geometry.getAttribute('position')
      const index = mesh.geometry.getIndex()
      const { start, count } = mesh.geometry.drawRange
      const corner = box.min.clone()
      for (let i = start; i < start + count; i += 1) {
        corner.fromBufferAttribute(position, index?.getX(i) ?? i).applyMatrix4(mesh.matrix)
        box.expandByPoint(corner)
      }
    }
    return box.isEmpty() ? null : box
  }

  clear(): void {
    for (const part of this.parts) disposePart(part)
    this.parts = []
    for (const storey of this.storeys) storey.group.removeFromParent()
    this.storeys.length = 0
  }

  dispose(): void {
    this.clear()
    this.materials.dispose()
    this.root.removeFromParent()
  }

  private addRooms(model: SceneModel, frame: Frame, storey: StoreyGroup): void {
    for (const space of model.spaces) {
      if (space.storey_id !== storey.id || space.polygon.length < 3) continue
      const points = space.polygon.map(([x, y]) => frame.toScene([x, y, 0]))
      const shape = new Shape()
      for (const [i, point] of points.entries()) {
        if (i === 0) shape.moveTo(point.x, -point.z)
        else shape.lineTo(point.x, -point.z)
      }
      const height = (space.height_m ?? storey.height) * 0.94
      const geometry = new ExtrudeGeometry(shape, { depth: height, bevelEnabled: false })
      geometry.rotateX(-Math.PI / 2)
      const base = frame.toScene([0, 0, space.elevation_m]).y
      geometry.translate(0, base, 0)
      const mesh = new Mesh(geometry)
      const lines = new BufferGeometry()
      const ring = points.flatMap((point, i) => {
        const next = points[(i + 1) % points.length] ?? point
        return [
          point.x, base, point.z, next.x, base, next.z,
          point.x, base + height, point.z, next.x, base + height, next.z,
          point.x, base, point.z, point.x, base + height, point.z,
        ]
      })
      lines.setAttribute('position', new Float32BufferAttribute(ring, 3))
      const edges = new LineSegments(lines)
      storey.group.add(mesh, edges)
      const ranges = [0, geometry.getAttribute('position').count / 3]
      const part: Part = {
        role: 'room', storey: storey.id, mesh, edges, ids: [space.id], ranges, isRooms: true,
      }
      this.parts.push(part)
    }
  }

  private removeRooms(): void {
    for (const part of this.parts) if (part.isRooms) disposePart(part)
    this.parts = this.parts.filter((part) => !part.isRooms)
  }

  private lookOf(part: Part): Look | 'hidden' {
    const isolated = this.storey(this.isolated)
    const isShell = SHELL.has(part.role)
    if (isolated === undefined) {
      if (!this.isXray) return 'full'
      return isShell || part.role === 'frame' ? 'xray' : 'hidden'
    }
    const own = this.storey(part.storey)
    if (own?.rank === isolated.rank) {
      if (part.role === 'roof') return 'hidden'
      // Under the sky nothing hangs from a ceiling: plant on the roof is shown whole.
      const isTop = own.rank === this.storeys.length - 1
      return isTop && part.role === 'machine' ? 'full' : 'cut'
    }
    // Walls may rise through several storeys: what is below is opened at the same height.
    if (own !== undefined && own.rank < isolated.rank) return 'cut'
    return isShell && !this.isPlan ? 'ghost' : 'hidden'
  }

  private applyLooks(): void {
    for (const part of this.parts) {
      const look = this.lookOf(part)
      part.mesh.visible = look !== 'hidden'
      if (part.edges !== null) part.edges.visible = part.mesh.visible
      if (look === 'hidden') continue
      const isRoomFull = part.isRooms && look === 'full'
      part.mesh.material = this.materials.solid(part.role, look)
      const isSolid = look === 'full' || look === 'cut'
      part.mesh.castShadow = isSolid && part.role !== 'glass' && part.role !== 'sensor'
      part.mesh.receiveShadow = isSolid
      part.mesh.renderOrder = isSolid && part.role !== 'glass' ? 0 : 3
      if (part.edges !== null) {
        part.edges.material = this.materials.edge(look)
        part.edges.renderOrder = isRoomFull ? 1 : 2
      }
    }
  }
}

export function cornersOf({ min, max }: Box3): Vector3[] {
  return [0, 1, 2, 3, 4, 5, 6, 7].map(
    (i) => new Vector3(i & 1 ? max.x : min.x, i & 2 ? max.y : min.y, i & 4 ? max.z : min.z),
  )
}

function partOf(mesh: Mesh): Part {
  const holder = typeof mesh.userData['class'] === 'string' ? mesh : mesh.parent
  const extras = (holder?.userData ?? {}) as Extras
  const strings = (value: unknown): string[] =>
    Array.isArray(value) ? value.filter((item) => typeof item === 'string') : []
  const numbers = (value: unknown): number[] =>
    Array.isArray(value) ? value.filter((item) => typeof item === 'number') : []
  const ids = strings(extras.ids)
  if (ids.length === 0 && typeof extras.id === 'string') ids.push(extras.id)
  const index = mesh.geometry.getIndex()
  const total = (index?.count ?? mesh.geometry.getAttribute('position').count) / 3
  const ranges = numbers(extras.ranges)
  const edges = mesh.parent?.children.find((child) => child instanceof LineSegments) ?? null
  for (const material of [mesh.material].flat()) material.dispose()
  return {
    role: roleOf(typeof extras.class === 'string' ? extras.class : '', extras.glass === true),
    storey: typeof extras.storey === 'string' ? extras.storey : null,
    mesh,
    edges: edges instanceof LineSegments ? edges : null,
    ids,
    ranges: ranges.length === ids.length + 1 ? ranges : [0, total],
    isRooms: false,
  }
}

function disposePart(part: Part): void {
  for (const object of [part.mesh, part.edges]) {
    object?.removeFromParent()
    object?.geometry.dispose()
  }
}
