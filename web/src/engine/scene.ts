// The command centre's scene: owns the renderer and the loop, and puts building, floors, markers,
// overlay and camera together. Draws on demand only; an idle scene draws nothing.
import {
  Box3, Color, DirectionalLight, Group, HemisphereLight, Mesh, MeshBasicMaterial, PCFShadowMap, Plane,
  PlaneGeometry, Raycaster, Scene as Stage, ShadowMaterial, Vector2, Vector3, WebGLRenderer,
} from 'three'

import { Building, cornersOf, CUT_HEIGHT } from './building'
import { CameraRig } from './camera'
import { Floors } from './floors'
import { Frame } from './frame'
import { Markers } from './markers'
import { Overlay, type RoomName } from './overlay'
import { palettes } from './palette'
import type {
  Heat, Marker, Pick, Scene, SceneModel, SceneOptions, Section, Target, Theme, View,
} from './types'

const PIXEL_RATIO_MAX = 2
/** Gap between exploded storeys as a share of their height. */
const EXPLODE_SHARE = 1.15

export function createScene(canvas: HTMLCanvasElement, options: SceneOptions): Scene {
  return new Engine(canvas, options)
}

/** Whether WebGL runs on the processor, where shadows and smoothing cost three quarters of a frame. */
function isSoftwareDrawn(): boolean {
  const probe = document.createElement('canvas').getContext('webgl2')
  if (probe === null) return false
  const info = probe.getExtension('WEBGL_debug_renderer_info')
  const name = info === null ? '' : String(probe.getParameter(info.UNMASKED_RENDERER_WEBGL))
  probe.getExtension('WEBGL_lose_context')?.loseContext()
  return /swiftshader|llvmpipe|software|basic render/i.test(name)
}

class Engine implements Scene {
  private readonly renderer: WebGLRenderer
  private readonly stage = new Stage()
  private readonly cutPlane = new Plane(new Vector3(0, -1, 0), 1e6)
  private readonly building: Building
  private readonly floors = new Floors()
  private readonly markers: Markers
  private readonly overlay: Overlay
  private readonly rig: CameraRig
  private readonly sky = new HemisphereLight()
  private readonly sun = new DirectionalLight()
  private readonly ground: Mesh
  private readonly highlight = new Group()
  private readonly highlightPaint = new MeshBasicMaterial({
    transparent: true, opacity: 0.55, depthWrite: false, polygonOffset: true, polygonOffsetFactor: -2,
  })
  private readonly pointer = new Raycaster()
  private frame: Frame = new Frame({ min: [0, 0, 0], max: [1, 1, 1] })
  private model: SceneModel | null = null
  private theme: Theme
  private heat: Heat | null = null
  private list: Marker[] = []
  private wanted: string | null = null
  private isolated: string | null = null
  private factor = 0
  private section: Plane | null = null
  private isPlacing = false
  private isAlive = true
  private request = 0
  private drawn = 0
  private hover = ''
  private readonly listeners = new AbortController()
  private readonly isStill: boolean

  constructor(
    private readonly canvas: HTMLCanvasElement,
    private readonly options: SceneOptions,
  ) {
    this.theme = options.theme
    const palette = palettes[this.theme]
    this.isStill =
      options.reducedMotion ?? window.matchMedia('(prefers-reduced-motion: reduce)').matches
    const quality = options.quality ?? 'auto'
    const isFull = quality === 'full' || (quality === 'auto' && !isSoftwareDrawn())
    this.renderer = new WebGLRenderer({ canvas, antialias: isFull, powerPreference: 'high-performance' })
    this.renderer.localClippingEnabled = true
    this.renderer.shadowMap.enabled = isFull
    this.renderer.shadowMap.type = PCFShadowMap
    this.renderer.shadowMap.autoUpdate = false
    this.building = new Building(palette, this.cutPlane)
    this.markers = new Markers(palette)
    this.overlay = new Overlay(canvas)
    this.ground = new Mesh(new PlaneGeometry(1, 1), new ShadowMaterial({ depthWrite: false }))
    this.ground.rotation.x = -Math.PI / 2
    this.ground.receiveShadow = true
    this.sun.castShadow = true
    this.stage.add(
      this.sky, this.sun, this.sun.target, this.ground, this.building.root, this.highlight,
      this.markers.root,
    )
    this.rig = new CameraRig(canvas, this.invalidate, this.click, this.point, () => this.isStill, options.covered ?? (() => []))
    this.applyTheme()
    if (canvas.tabIndex < 0) canvas.tabIndex = 0
    const { signal } = this.listeners
    canvas.addEventListener('webglcontextlost', this.lost, { signal })
    canvas.addEventListener('webglcontextrestored', this.restored, { signal })
    this.resize()
  }

  get frames(): number {
    return this.drawn
  }

  get view(): View {
    return this.rig.view
  }

  loadModel(model: SceneModel): void {
    this.model = model
    this.frame = new Frame(model.bounds)
    this.building.setModel(model, this.frame)
    this.floors.setModel(model, this.frame, this.building)
    this.refit(true)
    this.applyStorey(true)
  }

  async loadGeometry(glb: ArrayBuffer): Promise<void> {
    const isThere = await this.building.setGeometry(glb, this.frame)
    if (!this.isAlive || !isThere) return
    this.refit(true)
    this.applyStorey(true)
  }

  setMarkers(markers: Marker[]): void {
    this.list = markers
    this.placeMarkers()
    this.invalidate()
  }

  setHeat(heat: Heat | null): void {
    const wasOn = this.heat !== null
    this.heat = heat
    this.floors.setHeat(heat, palettes[this.theme], this.isolated)
    if (wasOn !== (heat !== null)) this.refresh()
    this.invalidate()
  }

  isolateStorey(id: string | null): void {
    this.wanted = id
    this.applyStorey(false)
  }

  explode(factor: number): void {
    const next = Math.max(0, Math.min(2, factor))
    if (next === this.factor) return
    this.factor = next
    this.refresh()
    this.rig.fit(this.framed(this.isolated))
  }

  setSection(section: Section | null): void {
    this.section = null
    if (section !== null) {
      const normals = { x: [1, 0, 0], y: [0, 0, -1], z: [0, -1, 0] } as const
      const point = this.frame.toScene([section.at, section.at, section.at])
      const normal = new Vector3(...normals[section.axis])
      this.section = new Plane().setFromNormalAndCoplanarPoint(normal, point)
    }
    for (const part of [this.building.materials, this.floors, this.markers]) {
      part.setSection(this.section)
    }
    this.renderer.shadowMap.needsUpdate = true
    this.invalidate()
  }

  setView(view: View): void {
    if (view === this.rig.view) return
    this.rig.setView(view)
    this.applyStorey(true)
  }

  select(target: Target | null): void {
    for (const child of [...this.highlight.children]) {
      child.removeFromParent()
      // The buffers belong to the building; only the view onto them is ours.
      if (child instanceof Mesh) child.geometry.deleteAttribute('position').setIndex(null).dispose()
    }
    const palette = palettes[this.theme]
    this.floors.select(target?.kind === 'space' ? target.id : null, palette, this.building)
    if (target?.kind === 'element') {
      this.highlightPaint.color.set(palette.accent)
      for (const mesh of this.building.elementMeshes(target.id)) {
        mesh.material = this.highlightPaint
        mesh.renderOrder = 4
        this.highlight.add(mesh)
      }
    }
    this.invalidate()
  }

  flyTo(target: Target | null): void {
    if (target === null) return this.refit(false)
    if (target.kind === 'storey') {
      return this.rig.fit(this.framed(target.id))
    }
    if (target.kind === 'marker') {
      const item = this.markers.placed.find((candidate) => candidate.marker.id === target.id)
      if (item !== undefined) this.rig.flyTo(item.at, 24)
      return
    }
    if (target.kind === 'element') {
      const box = this.building.elementBox(target.id)
      if (box !== null) this.rig.flyTo(box.getCenter(new Vector3()), Math.max(12, box.getSize(new Vector3()).length() * 2.5))
      return
    }
    const ring = this.floors.ring(target.id)
    if (ring === null) return
    const middle = ring.reduce((sum, point) => sum.add(point), new Vector3()).divideScalar(ring.length)
    middle.y += this.offsetOf(this.floors.storeyOf(target.id))
    const reach = Math.max(...ring.map((point) => point.distanceTo(middle)))
    this.rig.flyTo(middle, Math.max(12, reach * 4))
  }

  setPlacing(placing: boolean): void {
    this.isPlacing = placing
    this.canvas.style.cursor = placing ? 'crosshair' : ''
  }

  setTheme(theme: Theme): void {
    this.theme = theme
    this.applyTheme()
    this.refresh()
  }

  resize(): void {
    const width = this.canvas.clientWidth
    const height = this.canvas.clientHeight
    const ratio = Math.min(PIXEL_RATIO_MAX, window.devicePixelRatio || 1)
    this.renderer.setPixelRatio(ratio)
    this.renderer.setSize(width, height, false)
    this.overlay.setSize(width, height, ratio)
    this.markers.setPixelRatio(ratio)
    this.rig.setSize(width, height)
    this.invalidate()
  }

  dispose(): void {
    this.isAlive = false
    cancelAnimationFrame(this.request)
    this.listeners.abort()
    this.select(null)
    this.rig.dispose()
    this.markers.dispose()
    this.floors.dispose()
    this.building.dispose()
    this.overlay.dispose()
    this.ground.geometry.dispose()
    for (const material of [this.ground.material, this.highlightPaint].flat()) material.dispose()
    this.sun.dispose()
    this.sky.dispose()
    this.renderer.dispose()
    this.renderer.forceContextLoss()
  }

  private readonly invalidate = (): void => {
    if (this.request === 0 && this.isAlive) this.request = requestAnimationFrame(this.draw)
  }

  private readonly draw = (now: number): void => {
    this.request = 0
    if (!this.isAlive || this.canvas.clientWidth === 0) return
    this.rig.advance(now)
    this.renderer.render(this.stage, this.rig.camera)
    const { clientWidth, clientHeight } = this.canvas
    this.markers.project(this.rig.camera, clientWidth, clientHeight)
    const isDetailed = this.isolated !== null || this.view === 'plan'
    this.overlay.draw(this.markers.placed, isDetailed ? this.roomNames() : [], palettes[this.theme], isDetailed)
    this.drawn += 1
    if (this.rig.isFlying) this.invalidate()
  }

  /** Puts everything in step after a change of storey, explosion, heat or theme. */
  private refresh(): void {
    const isolated = this.building.storey(this.isolated)
    for (const storey of this.building.storeys) storey.group.position.y = this.offsetOf(storey.id)
    if (isolated !== undefined) {
      const cut = Math.min(CUT_HEIGHT, isolated.height * 0.6)
      this.cutPlane.constant = isolated.floor + this.offsetOf(isolated.id) + cut
    }
    this.building.show(this.isolated, {
      isXray: this.heat !== null && this.isolated === null, isPlan: this.view === 'plan',
    })
    this.floors.setHeat(this.heat, palettes[this.theme], this.isolated)
    this.placeMarkers()
    this.renderer.shadowMap.needsUpdate = true
    this.invalidate()
  }

  /** A plan shows one storey: the one asked for, otherwise the lowest. */
  private applyStorey(isForced: boolean): void {
    const asked = this.building.storey(this.wanted)
    const shown = asked ?? (this.view === 'plan' ? this.building.storeys[0] : undefined)
    const next = shown?.id ?? null
    if (next === this.isolated && !isForced) return
    this.isolated = next
    this.refresh()
    this.rig.fit(this.framed(next), { jump: isForced })
  }

  /** What is looked at with a storey isolated: it and what carries it. */
  private framed(id: string | null): Vector3[] {
    const own = this.building.storey(id)
    const isIn = (storey: string | null) => {
      if (own === undefined) return true
      if (this.view === 'plan') return storey === own.id
      return (this.building.storey(storey)?.rank ?? Infinity) <= own.rank
    }
    const points = this.building.corners(isIn)
    if (points.length > 0 || this.model === null) return points
    return cornersOf(this.frame.box(this.model.bounds))
  }

  private offsetOf(storey: string | null): number {
    const found = this.building.storey(storey)
    return found === undefined ? 0 : found.rank * this.factor * found.height * EXPLODE_SHARE
  }

  private placeMarkers(): void {
    const shown = { isolated: this.isolated, isPlan: this.view === 'plan' }
    this.markers.set(this.list, (marker) => {
      const storey = marker.storeyId ?? this.floors.storeyOf(marker.spaceId)
      const at = this.frame.toScene(marker.position)
      at.y += this.offsetOf(storey)
      return { at, storey }
    }, shown)
  }

  private refit(isJump: boolean): void {
    const points = this.framed(null)
    const box = new Box3().setFromPoints(points)
    this.rig.fit(points, { jump: isJump, isHome: true })
    this.light(box.getCenter(new Vector3()), box.getSize(new Vector3()).length() / 2, box.min.y)
  }

  private light(center: Vector3, radius: number, floor: number): void {
    this.sun.position.copy(center).add(new Vector3(-0.85, 1.2, 0.3).multiplyScalar(radius * 1.6))
    this.sun.target.position.copy(center)
    const { camera, mapSize } = this.sun.shadow
    Object.assign(camera, { left: -radius, right: radius, top: radius, bottom: -radius, near: 1, far: radius * 5 })
    camera.updateProjectionMatrix()
    mapSize.set(2048, 2048)
    this.sun.shadow.radius = 3
    // The meshes have no normals, so that only a plain bias keeps surfaces from shading themselves.
    this.sun.shadow.bias = -0.0022
    this.ground.scale.setScalar(radius * 14)
    this.ground.position.set(center.x, floor - 0.02, center.z)
    this.renderer.shadowMap.needsUpdate = true
  }

  private applyTheme(): void {
    const palette = palettes[this.theme]
    this.renderer.setClearColor(new Color(palette.background))
    this.building.setPalette(palette)
    this.markers.setPalette(palette)
    this.sky.color.set(palette.sky)
    this.sky.groundColor.set(palette.bounce)
    this.sky.intensity = palette.ambient
    this.sun.intensity = palette.sun
    if (this.ground.material instanceof ShadowMaterial) this.ground.material.opacity = palette.shadow
  }

  private roomNames(): RoomName[] {
    const names: RoomName[] = []
    const { clientWidth, clientHeight } = this.canvas
    const onScreen = (point: Vector3) => {
      const p = point.clone().project(this.rig.camera)
      return { x: ((p.x + 1) / 2) * clientWidth, y: ((1 - p.y) / 2) * clientHeight }
    }
    for (const space of this.model?.spaces ?? []) {
      if (space.storey_id !== this.isolated) continue
      const ring = this.floors.ring(space.id)
      if (ring === null) continue
      const lift = new Vector3(0, this.offsetOf(this.isolated), 0)
      const screen = ring.map((point) => onScreen(point.clone().add(lift)))
      const [xs, ys] = [screen.map((p) => p.x), screen.map((p) => p.y)]
      const middle = this.floors.middle(space.id) ?? ring[0] ?? new Vector3()
      names.push({
        text: space.name, ...onScreen(middle.clone().add(lift)),
        width: Math.max(...xs) - Math.min(...xs), height: Math.max(...ys) - Math.min(...ys),
      })
    }
    return names
  }

  private aim(x: number, y: number): void {
    const { clientWidth, clientHeight } = this.canvas
    const at = new Vector2((x / clientWidth) * 2 - 1, 1 - (y / clientHeight) * 2)
    this.pointer.setFromCamera(at, this.rig.camera)
  }

  private isCutAway(point: Vector3, storey: boolean): boolean {
    if ((this.section?.distanceToPoint(point) ?? 0) < 0) return true
    return storey && this.isolated !== null && this.cutPlane.distanceToPoint(point) < 0
  }

  /** What is under a pixel: marker, then room (when floors can be seen), then element. */
  private pickAt(x: number, y: number): Pick {
    const marker = this.markers.hit(x, y)
    if (marker !== null) return { kind: 'marker', id: marker.marker.id }
    const place = this.placeAt(x, y)
    if (place?.spaceId != null) return { kind: 'space', id: place.spaceId }
    return place?.elementId == null ? null : { kind: 'element', id: place.elementId }
  }

  private placeAt(x: number, y: number) {
    this.aim(x, y)
    const isOpen = this.isolated !== null || this.heat !== null
    const solid = this.pointer
      .intersectObjects(this.building.solidMeshes(), false)
      .find((hit) => !this.isCutAway(hit.point, true))
    const floor = isOpen
      ? this.pointer.intersectObjects(this.floors.meshes(this.isolated), false)
        .find((hit) => !this.isCutAway(hit.point, false))
      : undefined
    const isFloorFirst = floor !== undefined &&
      (this.isolated === null || solid === undefined || floor.distance < solid.distance + 0.3)
    if (isFloorFirst) {
      const spaceId = this.floors.spaceAt(floor.object, floor.faceIndex ?? 0)
      return { point: floor.point, spaceId, storeyId: this.floors.storeyOf(spaceId), elementId: null }
    }
    if (solid === undefined || !(solid.object instanceof Mesh)) return null
    const owner = this.building.elementAt(solid.object, solid.faceIndex ?? 0)
    return {
      point: solid.point, spaceId: owner?.isSpace ? owner.id : null, storeyId: this.isolated,
      elementId: owner?.isSpace ? null : (owner?.id ?? null),
    }
  }

  private readonly click = (x: number, y: number): void => {
    if (!this.isPlacing) return this.options.onPick?.(this.pickAt(x, y))
    const place = this.placeAt(x, y)
    if (place === null) return
    const point = place.point.clone()
    point.y -= this.offsetOf(place.storeyId)
    const { spaceId, storeyId } = place
    this.options.onPlace?.({ position: this.frame.toModel(point), spaceId, storeyId })
  }

  /** Only markers react to hovering: it has to be free. */
  private readonly point = (x: number, y: number): void => {
    const item = this.markers.hit(x, y)
    const id = item?.marker.id ?? ''
    if (id === this.hover) return
    this.hover = id
    if (!this.isPlacing) this.canvas.style.cursor = id === '' ? '' : 'pointer'
    this.options.onHover?.(id === '' ? null : { kind: 'marker', id }, { x, y })
  }

  private readonly lost = (event: Event): void => {
    event.preventDefault()
    this.options.onFailure?.('the graphics context was lost')
  }

  private readonly restored = (): void => {
    this.renderer.shadowMap.needsUpdate = true
    this.invalidate()
  }
}
