// Turns triangles so that they run counter-clockwise seen from outside their solid. Booleans and
// some exporters leave single faces or whole solids inside out, and a cut through a building shows it.

/** Larger solids keep the facing they came with: the test is quadratic. */
export const TRIANGLES_TURNED_MAX = 700
/** A ray along the exact normal meets edges of box-like solids; this leans it, differently per axis. */
const LEAN = [0.0131, 0.0177, 0.0093] as const
const NEAR = 1e-4

/** Nine numbers per triangle, changed in place from `start` on. */
export function turnOutwards(corners: number[], start: number): void {
  const count = (corners.length - start) / 9
  if (count < 4 || count > TRIANGLES_TURNED_MAX) return
  const g = (triangle: number, field: number) => corners[start + triangle * 9 + field] ?? 0
  for (let triangle = 0; triangle < count; triangle += 1) {
    const u = [0, 1, 2].map((axis) => g(triangle, 3 + axis) - g(triangle, axis))
    const w = [0, 1, 2].map((axis) => g(triangle, 6 + axis) - g(triangle, axis))
    const [ux = 0, uy = 0, uz = 0] = u
    const [wx = 0, wy = 0, wz = 0] = w
    const normal = [uy * wz - uz * wy, uz * wx - ux * wz, ux * wy - uy * wx]
    const length = Math.hypot(...normal)
    if (length < 1e-12) continue
    const direction = normal.map((value, axis) => value / length + (LEAN[axis] ?? 0))
    // Off the centroid, so that neighbours split along a diagonal are not met on it.
    const origin = [0, 1, 2].map(
      (axis) => g(triangle, axis) * 0.31 + g(triangle, 3 + axis) * 0.36 + g(triangle, 6 + axis) * 0.33,
    )
    let crossings = 0
    for (let other = 0; other < count; other += 1) {
      if (other !== triangle && meets(g, other, origin, direction)) crossings += 1
    }
    if (crossings % 2 === 1) swap(corners, start + triangle * 9)
  }
}

/** Möller and Trumbore, "Fast, minimum storage ray/triangle intersection" (1997). */
function meets(
  g: (triangle: number, field: number) => number,
  triangle: number,
  [ox = 0, oy = 0, oz = 0]: number[],
  [dx = 0, dy = 0, dz = 0]: number[],
): boolean {
  const [ax, ay, az] = [g(triangle, 0), g(triangle, 1), g(triangle, 2)]
  const [ux, uy, uz] = [g(triangle, 3) - ax, g(triangle, 4) - ay, g(triangle, 5) - az]
  const [wx, wy, wz] = [g(triangle, 6) - ax, g(triangle, 7) - ay, g(triangle, 8) - az]
  const [px, py, pz] = [dy * wz - dz * wy, dz * wx - dx * wz, dx * wy - dy * wx]
  const determinant = ux * px + uy * py + uz * pz
  if (Math.abs(determinant) < 1e-12) return false
  const [tx, ty, tz] = [ox - ax, oy - ay, oz - az]
  const a = (tx * px + ty * py + tz * pz) / determinant
  if (a < 0 || a > 1) return false
  const [qx, qy, qz] = [ty * uz - tz * uy, tz * ux - tx * uz, tx * uy - ty * ux]
  const b = (dx * qx + dy * qy + dz * qz) / determinant
  if (b < 0 || a + b > 1) return false
  return (wx * qx + wy * qy + wz * qz) / determinant > NEAR
}

function swap(corners: number[], at: number): void {
  for (let axis = 0; axis < 3; axis += 1) {
    const kept = corners[at + 3 + axis] ?? 0
    corners[at + 3 + axis] = corners[at + 6 + axis] ?? 0
    corners[at + 6 + axis] = kept
  }
}
