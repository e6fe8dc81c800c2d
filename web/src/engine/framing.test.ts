import { Vector3 } from 'three'
import { expect, it } from 'vitest'

import { edgesOf, frame, seen, type Lens } from './framing'

const WINDOW = { width: 700, height: 660 }
const TOOLBAR = { x: 12, y: 12, width: 480, height: 34 }
const LADDER = { x: 600, y: 58, width: 88, height: 140 }
const SLIDER = { x: 20, y: 64, width: 20, height: 160 }
const TOOLS = [TOOLBAR, LADDER, SLIDER]

function lens(isFlat: boolean): Lens {
  const [azimuth, polar] = [-0.68, 1.06]
  const back = isFlat
    ? new Vector3(0, 1, 0)
    : new Vector3(Math.sin(azimuth) * Math.sin(polar), Math.cos(polar), Math.cos(azimuth) * Math.sin(polar))
  const right = isFlat ? new Vector3(1, 0, 0) : new Vector3(Math.cos(azimuth), 0, -Math.sin(azimuth))
  const up = isFlat ? new Vector3(0, 0, -1) : back.clone().cross(right)
  return { back, right, up, half: Math.tan(Math.PI / 12), isFlat, ...WINDOW }
}

function box(width: number, height: number, depth: number): Vector3[] {
  return [0, 1, 2, 3, 4, 5, 6, 7].map(
    (i) => new Vector3(i & 1 ? width : 0, i & 2 ? height : 0, i & 4 ? depth : 0),
  )
}

it('tools reach in from the edge that they hang on', () => {
  expect(edgesOf(TOOLS, WINDOW)).toEqual({ top: 46, right: 100, bottom: 0, left: 40 })
  expect(edgesOf([{ x: 12, y: 540, width: 232, height: 108 }], WINDOW).bottom).toBe(120)
})

it.each([
  ['a tower', 20, 60, 20, false], ['a flat hall', 80, 6, 50, false], ['a cube', 30, 30, 30, false],
  ['a plan', 60, 3, 40, true], ['a long plan', 12, 3, 70, true],
])('%s stands in the free part of the window', (_, width, height, depth, isFlat) => {
  const points = box(width, height, depth)
  const view = lens(isFlat)
  const aim = frame(points, view, TOOLS)
  for (const point of points) {
    const { x, y } = seen(point, view, aim)
    expect(x).toBeGreaterThan(0)
    expect(x).toBeLessThan(WINDOW.width)
    expect(y).toBeGreaterThan(0)
    expect(y).toBeLessThan(WINDOW.height)
    for (const tool of TOOLS) {
      const isUnder = x > tool.x && x < tool.x + tool.width && y > tool.y && y < tool.y + tool.height
      expect(isUnder).toBe(false)
    }
  }
  // Nothing in the way, the picture is as large or larger.
  expect(frame(points, view, []).distance).toBeLessThanOrEqual(aim.distance)
})
