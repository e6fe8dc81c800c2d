// Markers as one point cloud with an image atlas: 5,000 of them are two draw calls. Ordinary ones
// are quiet dots until a storey is looked at; abnormal ones always show their shape.
import {
  BufferAttribute, BufferGeometry, type Camera, DynamicDrawUsage, type Plane, Points, ShaderMaterial, Vector3,
} from 'three'

import { Atlas, cellOf, COLUMNS, ROWS } from './atlas'
import type { Palette } from './palette'
import type { Marker, MarkerState } from './types'

/** Most markers of one scene; more are not drawn, and the table still lists them. */
export const MARKERS_MAX = 20_000
const ICONS_MAX = 400
/** How strongly a marker shows through what stands before it. */
const BEHIND = 0.4

const VERTEX = `
attribute float cell;
attribute float size;
attribute float alpha;
uniform float pixelRatio;
varying float vCell;
varying float vAlpha;
#include <clipping_planes_pars_vertex>
void main() {
  vCell = cell;
  vAlpha = alpha;
  vec4 mvPosition = modelViewMatrix * vec4(position, 1.0);
  gl_Position = projectionMatrix * mvPosition;
  #include <clipping_planes_vertex>
  gl_PointSize = size * pixelRatio;
}`
const FRAGMENT = `
uniform sampler2D atlas;
uniform float strength;
varying float vCell;
varying float vAlpha;
#include <clipping_planes_pars_fragment>
void main() {
  #include <clipping_planes_fragment>
  vec2 origin = vec2(mod(vCell, ${COLUMNS}.0), floor(vCell / ${COLUMNS}.0));
  vec4 texel = texture2D(atlas, (origin + gl_PointCoord) / vec2(${COLUMNS}.0, ${ROWS}.0));
  gl_FragColor = vec4(texel.rgb, texel.a * min(1.0, vAlpha * strength));
  if (gl_FragColor.a < 0.02) discard;
  #include <colorspace_fragment>
}`

const RANK: Record<MarkerState, number> = {
  critical: 0, high: 1, medium: 2, low: 3, offline: 4, stale: 5, simulated: 6, normal: 7,
}

export type Placed = {
  marker: Marker
  storey: string | null
  at: Vector3
  size: number
  x: number
  y: number
  isShown: boolean
}

export const isAlerting = (state: MarkerState) => RANK[state] < 4

export class Markers {
  readonly root: Points
  private readonly behind: Points
  private readonly geometry = new BufferGeometry()
  private readonly atlas: Atlas
  private readonly materials: ShaderMaterial[]
  private section: Plane | null = null
  placed: Placed[] = []

  constructor(palette: Palette) {
    this.atlas = new Atlas(palette)
    const material = (depthTest: boolean, strength: number) =>
      new ShaderMaterial({
        vertexShader: VERTEX, fragmentShader: FRAGMENT, transparent: true, depthWrite: false, depthTest,
        clipping: true,
        uniforms: {
          atlas: { value: this.atlas.texture }, strength: { value: strength }, pixelRatio: { value: 1 },
        },
      })
    this.materials = [material(true, 1), material(false, BEHIND)]
    this.root = new Points(this.geometry, this.materials[0])
    this.behind = new Points(this.geometry, this.materials[1])
    for (const [points, order] of [[this.behind, 10], [this.root, 11]] as const) {
      points.frustumCulled = false
      points.renderOrder = order
    }
    this.root.add(this.behind)
  }

  /** `place` gives the position in the scene, explosion included. */
  set(
    markers: Marker[],
    place: (marker: Marker) => { at: Vector3; storey: string | null },
    shown: { isolated: string | null; isPlan: boolean },
  ): void {
    const list = markers.slice(0, MARKERS_MAX).map((marker) => {
      const { at, storey } = place(marker)
      const isShown = shown.isolated === null || storey === shown.isolated
      return { marker, storey, at, size: 0, x: 0, y: 0, isShown }
    })
    // Drawn in order: the most severe last, so that nothing covers it.
    list.sort((a, b) => RANK[b.marker.state] - RANK[a.marker.state])
    const visible = list.filter((item) => item.isShown).length
    const isDetailed = (shown.isolated !== null || shown.isPlan) && visible <= ICONS_MAX
    this.placed = list
    this.upload(isDetailed)
  }

  setPalette(palette: Palette): void {
    this.atlas.draw(palette)
  }

  setSection(plane: Plane | null): void {
    this.section = plane
    for (const material of this.materials) material.clippingPlanes = plane === null ? [] : [plane]
  }

  setPixelRatio(ratio: number): void {
    for (const material of this.materials) {
      const uniform = material.uniforms['pixelRatio']
      if (uniform !== undefined) uniform.value = ratio
    }
  }

  /** Where each marker is on the screen, in CSS pixels. */
  project(camera: Camera, width: number, height: number): void {
    const point = new Vector3()
    for (const item of this.placed) {
      if (!item.isShown) continue
      point.copy(item.at).project(camera)
      const isCutAway = (this.section?.distanceToPoint(item.at) ?? 0) < 0
      const isBehind = isCutAway || point.z > 1 || point.z < -1
      item.x = isBehind ? -1e4 : ((point.x + 1) / 2) * width
      item.y = isBehind ? -1e4 : ((1 - point.y) / 2) * height
    }
  }

  /** The marker under a pointer; the most severe and nearest wins. */
  hit(x: number, y: number): Placed | null {
    let best: Placed | null = null
    let nearest = Infinity
    for (let i = this.placed.length - 1; i >= 0; i -= 1) {
      const item = this.placed[i]
      if (item === undefined || !item.isShown) continue
      const reach = Math.max(9, item.size / 2 + 3)
      const distance = Math.hypot(item.x - x, item.y - y)
      if (distance <= reach && distance + RANK[item.marker.state] * 2 < nearest) {
        nearest = distance + RANK[item.marker.state] * 2
        best = item
      }
    }
    return best
  }

  dispose(): void {
    this.geometry.dispose()
    for (const material of this.materials) material.dispose()
    this.atlas.dispose()
    this.root.removeFromParent()
  }

  private upload(isDetailed: boolean): void {
    const count = this.placed.length
    const ensure = (name: string, items: number): BufferAttribute => {
      const existing = this.geometry.getAttribute(name)
      if (existing instanceof BufferAttribute && existing.count >= count) return existing
      const room = Math.max(64, 2 ** Math.ceil(Math.log2(count + 1)))
      const made = new BufferAttribute(new Float32Array(room * items), items)
      made.setUsage(DynamicDrawUsage)
      this.geometry.setAttribute(name, made)
      return made
    }
    const position = ensure('position', 3)
    const cell = ensure('cell', 1)
    const size = ensure('size', 1)
    const alpha = ensure('alpha', 1)
    for (const [i, item] of this.placed.entries()) {
      const { state, icon, selected } = item.marker
      const isDot = !isDetailed && !selected
      const isPlain = state === 'normal' || state === 'simulated'
      item.size = isAlerting(state) ? 27 : isDot ? (isPlain ? 9 : 13) : isPlain ? 23 : 22
      position.setXYZ(i, item.at.x, item.at.y, item.at.z)
      cell.setX(i, cellOf(state, icon, isDot))
      size.setX(i, item.size)
      // Walls dim an ordinary marker behind them; an alert or the selection shines through.
      const isLoud = isAlerting(state) || selected
      alpha.setX(i, item.isShown ? (isLoud ? 1 / BEHIND : 1) : 0)
    }
    for (const attribute of [position, cell, size, alpha]) attribute.needsUpdate = true
    this.geometry.setDrawRange(0, count)
  }
}
