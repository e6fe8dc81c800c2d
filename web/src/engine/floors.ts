// Room floors as polygons a little above the slab: they carry the heat map, the selection of a
// room and the pointer. (Faces of IfcSpace coincide with slabs and would be hidden by them.)
import {
  BufferGeometry, Color, Float32BufferAttribute, LineBasicMaterial, LineLoop, Mesh,
  MeshBasicMaterial, type Object3D, type Plane, ShapeUtils, Vector2, Vector3,
} from 'three'

import type { Building } from './building'
import type { Frame } from './frame'
import type { Palette } from './palette'
import { middleOf } from './rooms'
import type { Heat, SceneModel } from './types'

/** Above the floor, in metres: over screeds and thresholds, below furniture. */
const LIFT = 0.06

type Floor = {
  space: string
  storey: string
  first: number
  count: number
  ring: Vector3[]
  /** Where its name stands; found when it is asked for. */
  middle: Vector3 | null
}
type Layer = { mesh: Mesh; floors: Floor[]; triangles: Floor[] }

export class Floors {
  private readonly layers: Layer[] = []
  private readonly byId = new Map<string, Floor>()
  private readonly paint = new MeshBasicMaterial({
    vertexColors: true, alphaTest: 0.5, polygonOffset: true, polygonOffsetFactor: -1,
    polygonOffsetUnits: -1,
  })
  private readonly line = new LineBasicMaterial({ depthTest: false, transparent: true })
  private readonly fill = new MeshBasicMaterial({
    depthWrite: false, transparent: true, opacity: 0.18, polygonOffset: true, polygonOffsetFactor: -2,
    polygonOffsetUnits: -2,
  })
  private selection: Object3D[] = []

  setModel(model: SceneModel, frame: Frame, building: Building): void {
    this.clear()
    for (const storey of building.storeys) {
      const positions: number[] = []
      const layer: Layer = { mesh: new Mesh(), floors: [], triangles: [] }
      for (const space of model.spaces) {
        if (space.storey_id !== storey.id || space.polygon.length < 3) continue
        const ring = space.polygon.map(([x, y]) => frame.toScene([x, y, space.elevation_m + LIFT]))
        const flat = ring.map((point) => new Vector2(point.x, -point.z))
        const floor: Floor = {
          space: space.id, storey: storey.id, first: positions.length / 3, count: 0, ring,
          middle: null,
        }
        for (const face of ShapeUtils.triangulateShape(flat, [])) {
          const corners = face.map((i) => ring[i]).filter((point) => point !== undefined)
          if (corners.length !== 3) continue
          const [a, b, c] = corners as [Vector3, Vector3, Vector3]
          const isUp = (b.x - a.x) * (c.z - a.z) - (b.z - a.z) * (c.x - a.x) < 0
          for (const point of isUp ? [a, b, c] : [a, c, b]) positions.push(point.x, point.y, point.z)
          layer.triangles.push(floor)
        }
        floor.count = positions.length / 3 - floor.first
        layer.floors.push(floor)
        this.byId.set(space.id, floor)
      }
      if (layer.floors.length === 0) continue
      const geometry = new BufferGeometry()
      geometry.setAttribute('position', new Float32BufferAttribute(positions, 3))
      const colors = new Float32Array((positions.length / 3) * 4)
      geometry.setAttribute('color', new Float32BufferAttribute(colors, 4))
      layer.mesh = new Mesh(geometry, this.paint)
      layer.mesh.renderOrder = 0
      layer.mesh.visible = false
      storey.group.add(layer.mesh)
      this.layers.push(layer)
    }
  }

  setHeat(heat: Heat | null, palette: Palette, isolated: string | null): void {
    const color = new Color()
    for (const layer of this.layers) {
      const isOther = isolated !== null && layer.floors[0]?.storey !== isolated
      layer.mesh.visible = heat !== null && !isOther
      if (heat === null) continue
      const attribute = layer.mesh.geometry.getAttribute('color')
      for (const floor of layer.floors) {
        const value = heat.values.get(floor.space)
        color.set(value ?? palette.noValue)
        const alpha = value === undefined ? 0 : 1
        for (let i = floor.first; i < floor.first + floor.count; i += 1) {
          attribute.setXYZW(i, color.r, color.g, color.b, alpha)
        }
      }
      attribute.needsUpdate = true
    }
  }

  setSection(plane: Plane | null): void {
    for (const material of [this.paint, this.fill]) {
      material.clippingPlanes = plane === null ? [] : [plane]
    }
  }

  /** Outlines a room. */
  select(space: string | null, palette: Palette, building: Building): void {
    for (const object of this.selection) {
      object.removeFromParent()
      if (object instanceof Mesh || object instanceof LineLoop) object.geometry.dispose()
    }
    this.selection = []
    const floor = this.byId.get(space ?? '')
    const storey = building.storey(floor?.storey ?? null)
    if (floor === undefined || storey === undefined) return
    this.line.color.set(palette.accent)
    this.fill.color.set(palette.accent)
    const loop = new LineLoop(new BufferGeometry().setFromPoints(floor.ring), this.line)
    const layer = this.layers.find((candidate) => candidate.floors.includes(floor))
    const source = layer?.mesh.geometry.getAttribute('position')
    if (source !== undefined) {
      const copy = new BufferGeometry()
      const part = source.array.slice(floor.first * 3, (floor.first + floor.count) * 3)
      copy.setAttribute('position', new Float32BufferAttribute(Array.from(part), 3))
      const area = new Mesh(copy, this.fill)
      area.renderOrder = 4
      this.selection.push(area)
    }
    loop.renderOrder = 5
    this.selection.push(loop)
    storey.group.add(...this.selection)
  }

  /** Meshes for the pointer, of one storey or of all. */
  meshes(storey: string | null): Mesh[] {
    const chosen = storey === null
      ? this.layers
      : this.layers.filter((layer) => layer.floors[0]?.storey === storey)
    return chosen.map((layer) => layer.mesh)
  }

  spaceAt(mesh: object, triangle: number): string | null {
    const layer = this.layers.find((candidate) => candidate.mesh === mesh)
    return layer?.triangles[triangle]?.space ?? null
  }

  storeyOf(space: string | null | undefined): string | null {
    return this.byId.get(space ?? '')?.storey ?? null
  }

  ring(space: string): Vector3[] | null {
    return this.byId.get(space)?.ring ?? null
  }

  /** A place well inside a room. */
  middle(space: string): Vector3 | null {
    const floor = this.byId.get(space)
    const first = floor?.ring[0]
    if (floor === undefined || first === undefined) return null
    if (floor.middle === null) {
      const { x, z } = middleOf(floor.ring)
      floor.middle = new Vector3(x, first.y, z)
    }
    return floor.middle
  }

  clear(): void {
    for (const object of this.selection) object.removeFromParent()
    for (const layer of this.layers) {
      layer.mesh.removeFromParent()
      layer.mesh.geometry.dispose()
    }
    this.layers.length = 0
    this.byId.clear()
  }

  dispose(): void {
    this.clear()
    for (const material of [this.paint, this.line, this.fill]) material.dispose()
  }
}
