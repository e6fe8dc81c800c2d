// One ticking clock for every relative age on the page; it rests while the page is hidden. It goes
// by the platform's time, which a simulated clock has moved away from the browser's.
import { useSyncExternalStore } from 'react'

const TICK_MS = 1_000
/** Less apart than this, the two clocks count as one: an answer tells its second, and travels. */
const APART_MS = 5_000

let aheadMs = 0
let now = Date.now()
let timer: ReturnType<typeof setInterval> | null = null
const watchers = new Set<() => void>()

function tick(): void {
  if (document.hidden) return
  now = platformNow()
  for (const wake of watchers) wake()
}

function watch(wake: () => void): () => void {
  watchers.add(wake)
  timer ??= setInterval(tick, TICK_MS)
  return () => {
    watchers.delete(wake)
    if (watchers.size === 0 && timer !== null) {
      clearInterval(timer)
      timer = null
    }
  }
}

/** How far the platform is ahead of the browser, by the `Date` of an answer and what was known. */
export function aheadBy(date: string | null, browserMs: number, knownMs: number): number {
  const foundMs = Date.parse(date ?? '') - browserMs
  if (!Number.isFinite(foundMs)) return knownMs
  const nextMs = Math.abs(foundMs) < APART_MS ? 0 : foundMs
  return Math.abs(nextMs - knownMs) < APART_MS ? knownMs : nextMs
}

/** Takes the platform's time from an answer. */
export function hearTime(date: string | null): void {
  const nextMs = aheadBy(date, Date.now(), aheadMs)
  if (nextMs === aheadMs) return
  aheadMs = nextMs
  now = platformNow()
  for (const wake of watchers) wake()
}

/** The platform's time. */
export function platformNow(): number {
  return Date.now() + aheadMs
}

/** The current time, rounded down to `stepMs` so that slow readers wake seldom. */
export function useNow(stepMs = TICK_MS): number {
  return useSyncExternalStore(watch, () => Math.floor(now / stepMs) * stepMs)
}
