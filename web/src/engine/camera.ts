// The camera rig: orbit in 3D, straight down in plan, flights between views, and the input of
// mouse, touch and keyboard. It draws nothing; it says when something changed.
import { Box3, OrthographicCamera, PerspectiveCamera, Vector3 } from 'three'

import { frame, type Lens } from './framing'
import type { Rect, View } from './types'

/** Longest flight, in milliseconds. */
const FLIGHT_MS = 260
const POLAR_MIN = 0.12
const POLAR_MAX = Math.PI / 2 - 0.03
const DISTANCE_MIN = 2
/** The nearest flight, as a share of the distance that shows the whole building. */
const NEAREST = 0.45
/** A pointer that moved less than this many pixels has clicked. */
const CLICK_SLOP_PX = 5

type Pose = { target: Vector3; azimuth: number; polar: number; distance: number }

export class CameraRig {
  private readonly perspective = new PerspectiveCamera(30, 1, 0.1, 1000)
  private readonly flat = new OrthographicCamera()
  private pose: Pose = { target: new Vector3(), azimuth: -0.68, polar: 1.06, distance: 60 }
  private flight: { from: Pose; to: Pose; start: number } | null = null
  private home: Pose = this.pose
  private size = { width: 1, height: 1 }
  private radius = 30
  private readonly pointers = new Map<number, { x: number; y: number }>()
  private travelled = 0
  private readonly listeners = new AbortController()
  view: View = '3d'

  constructor(
    private readonly canvas: HTMLCanvasElement,
    private readonly changed: () => void,
    private readonly clicked: (x: number, y: number) => void,
    private readonly hovered: (x: number, y: number) => void,
    private readonly isStill: () => boolean,
    private readonly covered: () => Rect[],
  ) {
    const signal = this.listeners.signal
    canvas.addEventListener('pointerdown', this.down, { signal })
    canvas.addEventListener('pointermove', this.move, { signal })
    canvas.addEventListener('pointerup', this.up, { signal })
    canvas.addEventListener('pointercancel', this.up, { signal })
    canvas.addEventListener('wheel', this.wheel, { signal, passive: false })
    canvas.addEventListener('keydown', this.key, { signal })
    canvas.addEventListener('contextmenu', (event) => event.preventDefault(), { signal })
    canvas.style.touchAction = 'none'
  }

  get camera(): PerspectiveCamera | OrthographicCamera {
    return this.view === 'plan' ? this.flat : this.perspective
  }

  get isFlying(): boolean {
    return this.flight !== null
  }

  setSize(width: number, height: number): void {
    this.size = { width: Math.max(1, width), height: Math.max(1, height) }
    this.place()
  }

  setView(view: View): void {
    this.view = view
    this.flight = null
    this.place()
  }

  /** Frames points, clear of the tools; `jump` leaves out the flight. */
  fit(points: Vector3[], options: { jump?: boolean; isHome?: boolean } = {}): void {
    if (points.length === 0) return
    const size = new Box3().setFromPoints(points).getSize(new Vector3())
    this.radius = Math.max(4, size.length() / 2)
    const next = { ...this.pose, ...frame(points, this.lens(), this.covered()) }
    if (options.isHome) this.home = next
    this.go(next, options.jump ?? false)
  }

  /** To a point, near enough to read it and far enough to see where in the building it is. */
  flyTo(point: Vector3, reach: number): void {
    const distance = Math.max(reach, this.home.distance * NEAREST)
    const target = point.clone()
    this.go({ ...this.pose, target, distance }, false)
  }

  private lens(): Lens {
    const { azimuth, polar } = this.pose
    const half = Math.tan((this.perspective.fov * Math.PI) / 360)
    const back = new Vector3(
      Math.sin(azimuth) * Math.sin(polar), Math.cos(polar), Math.cos(azimuth) * Math.sin(polar),
    )
    const right = new Vector3(Math.cos(azimuth), 0, -Math.sin(azimuth))
    const up = back.clone().cross(right)
    if (this.view === 'plan') {
      back.set(0, 1, 0)
      right.set(1, 0, 0)
      up.set(0, 0, -1)
    }
    return { back, right, up, half, isFlat: this.view === 'plan', ...this.size }
  }

  /** Moves on an ongoing flight. Called once per frame. */
  advance(now: number): void {
    const flight = this.flight
    if (flight === null) return
    const t = Math.min(1, (now - flight.start) / FLIGHT_MS)
    const eased = 1 - (1 - t) ** 3
    const mix = (a: number, b: number) => a + (b - a) * eased
    this.pose = {
      target: flight.from.target.clone().lerp(flight.to.target, eased),
      azimuth: mix(flight.from.azimuth, flight.to.azimuth),
      polar: mix(flight.from.polar, flight.to.polar),
      distance: mix(flight.from.distance, flight.to.distance),
    }
    if (t >= 1) this.flight = null
    this.place()
  }

  dispose(): void {
    this.listeners.abort()
  }

  private go(next: Pose, isJump: boolean): void {
    if (isJump || this.isStill()) {
      this.flight = null
      this.pose = next
      this.place()
    } else {
      this.flight = { from: this.pose, to: next, start: performance.now() }
    }
    this.changed()
  }

  private place(): void {
    const { target, azimuth, polar, distance } = this.pose
    const aspect = this.size.width / this.size.height
    const level = Math.sin(polar) * distance
    this.perspective.position.set(
      target.x + Math.sin(azimuth) * level,
      target.y + Math.cos(polar) * distance,
      target.z + Math.cos(azimuth) * level,
    )
    this.perspective.aspect = aspect
    this.perspective.near = Math.max(0.1, distance - this.radius * 4)
    this.perspective.far = distance + this.radius * 8
    this.perspective.lookAt(target)
    this.perspective.updateProjectionMatrix()
    this.perspective.updateMatrixWorld()
    const half = distance * Math.tan((this.perspective.fov * Math.PI) / 360)
    Object.assign(this.flat, { left: -half * aspect, right: half * aspect, top: half, bottom: -half })
    this.flat.near = 0.1
    this.flat.far = this.radius * 8 + 400
    this.flat.up.set(0, 0, -1)
    this.flat.position.set(target.x, target.y + this.radius * 4 + 200, target.z)
    this.flat.lookAt(target)
    this.flat.updateProjectionMatrix()
    this.flat.updateMatrixWorld()
  }

  private orbit(dx: number, dy: number): void {
    this.pose.azimuth -= dx
    this.pose.polar = Math.min(POLAR_MAX, Math.max(POLAR_MIN, this.pose.polar - dy))
    this.update()
  }

  /** Moves the target so that what is under the pointer stays under it; pixels. */
  private pan(dx: number, dy: number): void {
    const { azimuth, distance } = this.pose
    const metres = (2 * distance * Math.tan((this.perspective.fov * Math.PI) / 360)) / this.size.height
    const { target } = this.pose
    if (this.view === 'plan') {
      target.x -= dx * metres
      target.z -= dy * metres
    } else {
      const along = metres / Math.max(0.35, Math.cos(this.pose.polar))
      target.x -= Math.cos(azimuth) * dx * metres + Math.sin(azimuth) * dy * along
      target.z += Math.sin(azimuth) * dx * metres - Math.cos(azimuth) * dy * along
    }
    this.update()
  }

  private zoom(factor: number): void {
    const longest = this.radius * 6
    this.pose.distance = Math.min(longest, Math.max(DISTANCE_MIN, this.pose.distance * factor))
    this.update()
  }

  private update(): void {
    this.flight = null
    this.place()
    this.changed()
  }

  private readonly down = (event: PointerEvent) => {
    this.canvas.setPointerCapture(event.pointerId)
    this.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY })
    if (this.pointers.size === 1) this.travelled = 0
  }

  private readonly move = (event: PointerEvent) => {
    const last = this.pointers.get(event.pointerId)
    if (last === undefined) {
      const box = this.canvas.getBoundingClientRect()
      this.hovered(event.clientX - box.left, event.clientY - box.top)
      return
    }
    const dx = event.clientX - last.x
    const dy = event.clientY - last.y
    this.travelled += Math.abs(dx) + Math.abs(dy)
    const others = [...this.pointers].filter(([id]) => id !== event.pointerId)
    this.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY })
    const other = others[0]?.[1]
    if (other !== undefined) {
      const before = Math.hypot(last.x - other.x, last.y - other.y)
      const after = Math.hypot(event.clientX - other.x, event.clientY - other.y)
      if (before > 0 && after > 0) this.zoom(before / after)
      this.pan(dx / 2, dy / 2)
    } else if (this.travelled > CLICK_SLOP_PX) {
      const isPan = this.view === 'plan' || event.shiftKey || (event.buttons & 6) !== 0
      if (isPan) this.pan(dx, dy)
      else this.orbit(dx * 0.006, dy * 0.005)
    }
  }

  private readonly up = (event: PointerEvent) => {
    const wasAlone = this.pointers.size === 1
    this.pointers.delete(event.pointerId)
    if (event.type === 'pointerup' && wasAlone && event.button === 0 && this.travelled <= CLICK_SLOP_PX) {
      const box = this.canvas.getBoundingClientRect()
      this.clicked(event.clientX - box.left, event.clientY - box.top)
    }
  }

  private readonly wheel = (event: WheelEvent) => {
    event.preventDefault()
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? event.deltaY * 16 : event.deltaY
    const delta = Math.max(-120, Math.min(120, lines))
    const factor = Math.exp(delta * 0.0016)
    const box = this.canvas.getBoundingClientRect()
    const dx = event.clientX - box.left - box.width / 2
    const dy = event.clientY - box.top - box.height / 2
    this.zoom(factor)
    this.pan(dx * (factor - 1) * -1, dy * (factor - 1) * -1)
  }

  private readonly key = (event: KeyboardEvent) => {
    const step = event.shiftKey || this.view === 'plan' ? null : 0.12
    const move: Record<string, [number, number]> = {
      ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1],
    }
    const direction = move[event.key]
    if (direction !== undefined) {
      const [x, y] = direction
      if (step === null) this.pan(x * 48, y * 48)
      else this.orbit(x * step, y * step)
    } else if (event.key === '+' || event.key === '=') this.zoom(0.85)
    else if (event.key === '-') this.zoom(1 / 0.85)
    else if (event.key === 'Home') this.go({ ...this.home, target: this.home.target.clone() }, false)
    else return
    event.preventDefault()
  }
}
