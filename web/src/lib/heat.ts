// The heat scale: one colour-blind safe ramp (after cividis), its domain and its legend stops.
const RAMP: [number, number, number][] = [
  [32, 60, 102],
  [72, 83, 109],
  [110, 110, 117],
  [146, 138, 114],
  [188, 170, 101],
  [232, 207, 84],
]

export type Domain = { min: number; max: number }

/** The span of the finite values, widened when they are all alike; null when there are none. */
export function domainOf(values: Iterable<number>): Domain | null {
  let min = Infinity
  let max = -Infinity
  for (const value of values) {
    if (!Number.isFinite(value)) continue
    min = Math.min(min, value)
    max = Math.max(max, value)
  }
  if (min > max) return null
  if (max - min < 1e-9) return { min: min - 0.5, max: max + 0.5 }
  return { min, max }
}

export function heatColor(value: number, domain: Domain): string {
  const at = Math.min(1, Math.max(0, (value - domain.min) / (domain.max - domain.min)))
  const scaled = at * (RAMP.length - 1)
  const index = Math.min(RAMP.length - 2, Math.floor(scaled))
  const low = RAMP[index]
  const high = RAMP[index + 1]
  if (low === undefined || high === undefined) return '#808080'
  const channel = (i: 0 | 1 | 2) =>
    Math.round(low[i] + (high[i] - low[i]) * (scaled - index))
      .toString(16)
      .padStart(2, '0')
  return `#${channel(0)}${channel(1)}${channel(2)}`
}

export const HEAT_GRADIENT = `linear-gradient(90deg, ${RAMP.map(
  ([r, g, b]) => `rgb(${r} ${g} ${b})`,
).join(', ')})`
