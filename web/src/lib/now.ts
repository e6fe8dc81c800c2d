// One ticking clock for every relative age on the page; it rests while the page is hidden.
import { useSyncExternalStore } from 'react'

const TICK_MS = 1_000

let now = Date.now()
let timer: ReturnType<typeof setInterval> | null = null
const watchers = new Set<() => void>()

function tick(): void {
  if (document.hidden) return
  now = Date.now()
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

/** The current time, rounded down to `stepMs` so that slow readers wake seldom. */
export function useNow(stepMs = TICK_MS): number {
  return useSyncExternalStore(watch, () => Math.floor(now / stepMs) * stepMs)
}
