// Framing: the nearest view of some points in which none of them lies under the tools over the
// picture. Pure geometry; the camera rig gives the direction and moves the camera.
import { Vector3 } from 'three'

import type { Rect } from './types'

export type Lens = {
  back: Vector3
  right: Vector3
  up: Vector3
  /** Tangent of half the angle of view from top to bottom. */
  half: number
  isFlat: boolean
  width: number
  height: number
}
type Edges = { top: number; right: number; bottom: number; left: number }
type Point = { x: number; y: number }
type Aim = { target: Vector3; distance: number }

/** Room left around what is framed, in pixels. */
const MARGIN_PX = 16
/** Of a window that the tools cover nearly whole, this share counts as free all the same. */
const FREE_SHARE_MIN = 0.4
const NEAREST = 6
/** How far a picture moves, as shares of the room beside it. */
const SHARES = [0.25, 0.5, 0.75, 1]
/** Between the picture and a tool, in pixels. */
const GAP_PX = 8

/**
 * The largest picture that stays clear of what is covered: as far from the middle as it has to be,
 * and smaller only when there is no such place.
 */
export function frame(points: Vector3[], lens: Lens, covered: Rect[]): Aim {
  const edges = edgesOf(covered, lens)
  const rooms = [...Array(16).keys()].map((which) => {
    const keep = (bit: number, room: number) => (which & bit ? room : 0) + MARGIN_PX
    return {
      top: keep(1, edges.top), right: keep(2, edges.right),
      bottom: keep(4, edges.bottom), left: keep(8, edges.left),
    }
  })
  const aims = rooms.map((room) => fill(points, lens, room))
  const largestFirst = [...aims].sort((a, b) => a.distance - b.distance)
  for (const aim of largestFirst) {
    const free = moved(points, lens, aim).find(
      (place) => !covered.some((rect) => touches(points, lens, place, rect)),
    )
    if (free !== undefined) return free
  }
  // Nothing is free: clear of every edge it is covered least.
  return aims.at(-1) ?? fill(points, lens, edges)
}

/** The same picture elsewhere in the window, the nearest places first. */
function moved(points: Vector3[], lens: Lens, aim: Aim): Aim[] {
  const at = points.map((point) => seen(point, lens, aim))
  const [xs, ys] = [at.map(({ x }) => x), at.map(({ y }) => y)]
  const steps = (before: number, after: number) => {
    const [back, on] = [Math.max(0, before - MARGIN_PX), Math.max(0, after - MARGIN_PX)]
    return [0, ...SHARES.flatMap((share) => [-back * share, on * share])]
  }
  const across = steps(Math.min(...xs), lens.width - Math.max(...xs))
  const down = steps(Math.min(...ys), lens.height - Math.max(...ys))
  const perPixel = (2 * lens.half * aim.distance) / lens.height
  return across
    .flatMap((x) => down.map((y) => ({ x, y })))
    .sort((a, b) => Math.hypot(a.x, a.y) - Math.hypot(b.x, b.y))
    .map(({ x, y }) => ({
      distance: aim.distance,
      target: aim.target.clone()
        .addScaledVector(lens.right, -x * perPixel)
        .addScaledVector(lens.up, y * perPixel),
    }))
}

/** How far what lies over the picture reaches in from the edge that it hangs on. */
export function edgesOf(covered: Rect[], { width, height }: { width: number; height: number }): Edges {
  const edges = { top: 0, right: 0, bottom: 0, left: 0 }
  for (const rect of covered) {
    const isWide = rect.width > rect.height
    const [toRight, toBottom] = [width - rect.x - rect.width, height - rect.y - rect.height]
    if (isWide && rect.y <= toBottom) edges.top = Math.max(edges.top, rect.y + rect.height)
    else if (isWide) edges.bottom = Math.max(edges.bottom, height - rect.y)
    else if (rect.x <= toRight) edges.left = Math.max(edges.left, rect.x + rect.width)
    else edges.right = Math.max(edges.right, width - rect.x)
  }
  return edges
}

/** The nearest view that fits the points into what is left between the edges, in its middle. */
function fill(points: Vector3[], lens: Lens, room: Edges): Aim {
  const { back, right, up, half, isFlat, width, height } = lens
  const free = (all: number, a: number, b: number) => Math.max(all * FREE_SHARE_MIN, all - a - b)
  const tall = half * (free(height, room.top, room.bottom) / height)
  const wide = half * (free(width, room.left, room.right) / height)
  const middle = points.reduce((sum, point) => sum.add(point), new Vector3())
  const target = middle.divideScalar(Math.max(1, points.length))
  let distance = NEAREST
  // Centring the picture moves the nearest points, which changes the distance: a few rounds settle.
  for (let round = 0; round < 4; round += 1) {
    let [x0, x1, y0, y1] = [Infinity, -Infinity, Infinity, -Infinity]
    distance = NEAREST
    for (const point of points) {
      const offset = point.clone().sub(target)
      const near = isFlat ? 0 : offset.dot(back)
      const [x, y] = [Math.abs(offset.dot(right)), Math.abs(offset.dot(up))]
      distance = Math.max(distance, near + x / wide, near + y / tall)
    }
    for (const point of points) {
      const offset = point.clone().sub(target)
      const depth = isFlat ? distance : distance - offset.dot(back)
      const [x, y] = [offset.dot(right) / depth, offset.dot(up) / depth]
      x0 = Math.min(x0, x)
      x1 = Math.max(x1, x)
      y0 = Math.min(y0, y)
      y1 = Math.max(y1, y)
    }
    target.addScaledVector(right, ((x0 + x1) / 2) * distance)
    target.addScaledVector(up, ((y0 + y1) / 2) * distance)
  }
  const perPixel = (2 * half * distance) / height
  target.addScaledVector(right, ((room.right - room.left) / 2) * perPixel)
  target.addScaledVector(up, ((room.top - room.bottom) / 2) * perPixel)
  return { target, distance }
}

/** Where a point is seen, in pixels from the top left. */
export function seen(point: Vector3, lens: Lens, aim: Aim): Point {
  const offset = point.clone().sub(aim.target)
  const depth = lens.isFlat ? aim.distance : aim.distance - offset.dot(lens.back)
  const scale = lens.height / 2 / (lens.half * depth)
  return {
    x: lens.width / 2 + offset.dot(lens.right) * scale,
    y: lens.height / 2 - offset.dot(lens.up) * scale,
  }
}

/** Whether the picture of the points reaches into a rectangle. */
function touches(points: Vector3[], lens: Lens, aim: Aim, rect: Rect): boolean {
  const picture = hull(points.map((point) => seen(point, lens, aim)))
  const [x0, x1] = [rect.x - GAP_PX, rect.x + rect.width + GAP_PX]
  const [y0, y1] = [rect.y - GAP_PX, rect.y + rect.height + GAP_PX]
  const corners = [{ x: x0, y: y0 }, { x: x1, y: y0 }, { x: x1, y: y1 }, { x: x0, y: y1 }]
  return !isApart(picture, corners) && !isApart(corners, picture)
}

/** Whether a side of one convex shape has all of the other beyond it (separating axis). */
function isApart(shape: Point[], other: Point[]): boolean {
  return shape.some((a, i) => {
    const b = shape[(i + 1) % shape.length] ?? a
    const side = (p: Point) => (b.x - a.x) * (p.y - a.y) - (b.y - a.y) * (p.x - a.x)
    const own = shape.map(side).find((value) => Math.abs(value) > 1e-9) ?? 0
    return own !== 0 && other.every((point) => side(point) * own < 0)
  })
}

/** The convex hull, by Andrew's monotone chain. */
function hull(points: Point[]): Point[] {
  const sorted = [...points].sort((a, b) => a.x - b.x || a.y - b.y)
  const half = (list: Point[]) => {
    const chain: Point[] = []
    for (const point of list) {
      for (;;) {
        const [a, b] = chain.slice(-2)
        if (a === undefined || b === undefined) break
        if ((b.x - a.x) * (point.y - a.y) - (b.y - a.y) * (point.x - a.x) > 0) break
        chain.pop()
      }
      chain.push(point)
    }
    return chain.slice(0, -1)
  }
  return [...half(sorted), ...half(sorted.reverse())]
}
