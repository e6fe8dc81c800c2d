// Where the name of a room stands: well inside it, wherever its outline bends.
export type Flat = { x: number; z: number }

const STEPS = 12

function isInside(ring: Flat[], x: number, z: number): boolean {
  let inside = false
  for (const [i, a] of ring.entries()) {
    const b = ring[(i + ring.length - 1) % ring.length] ?? a
    if (a.z > z !== b.z > z && x < ((b.x - a.x) * (z - a.z)) / (b.z - a.z) + a.x) inside = !inside
  }
  return inside
}

function toEdge(ring: Flat[], x: number, z: number): number {
  return ring.reduce((nearest, a, i) => {
    const b = ring[(i + 1) % ring.length] ?? a
    const [dx, dz] = [b.x - a.x, b.z - a.z]
    const long = dx * dx + dz * dz
    const t = long === 0 ? 0 : Math.max(0, Math.min(1, ((x - a.x) * dx + (z - a.z) * dz) / long))
    return Math.min(nearest, Math.hypot(x - a.x - t * dx, z - a.z - t * dz))
  }, Infinity)
}

/** Of a grid over the room, the point that is furthest from its walls (its pole, nearly). */
export function middleOf(ring: Flat[]): Flat {
  const [xs, zs] = [ring.map((point) => point.x), ring.map((point) => point.z)]
  const [x0, x1, z0, z1] = [Math.min(...xs), Math.max(...xs), Math.min(...zs), Math.max(...zs)]
  let best = { x: (x0 + x1) / 2, z: (z0 + z1) / 2 }
  let far = isInside(ring, best.x, best.z) ? toEdge(ring, best.x, best.z) : -1
  for (let i = 1; i < STEPS; i += 1) {
    for (let j = 1; j < STEPS; j += 1) {
      const [x, z] = [x0 + ((x1 - x0) * i) / STEPS, z0 + ((z1 - z0) * j) / STEPS]
      if (!isInside(ring, x, z)) continue
      const edge = toEdge(ring, x, z)
      // A little better is not worth leaving the middle for.
      if (edge > far * 1.02 + 0.01) [best, far] = [{ x, z }, edge]
    }
  }
  return best
}
