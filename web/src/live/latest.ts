// Latest values by device and key, as an external store: components wake only for what they show.
import type { Quality, Value } from '../api/types'

export type LiveValue = { atMs: number; value: Value; quality: Quality }
export type LiveItem = {
  device_id: string
  key: string
  at_ms: number
  value: Value
  quality: Quality
}

/** More series than this are not held in a browser. */
export const SERIES_MAX = 50_000

export function seriesId(deviceId: string, key: string): string {
  return `${deviceId}\u0000${key}`
}

export class LatestStore {
  #values = new Map<string, LiveValue>()
  #one = new Map<string, Set<() => void>>()
  #all = new Set<() => void>()
  #version = 0

  get(deviceId: string, key: string): LiveValue | undefined {
    return this.#values.get(seriesId(deviceId, key))
  }

  get version(): number {
    return this.#version
  }

  /** Applies a snapshot or a delta; a value older than the one held changes nothing. */
  apply(items: LiveItem[]): void {
    let changed = false
    for (const item of items) {
      const id = seriesId(item.device_id, item.key)
      const held = this.#values.get(id)
      if (held !== undefined && held.atMs > item.at_ms) continue
      if (held === undefined && this.#values.size >= SERIES_MAX) continue
      this.#values.set(id, { atMs: item.at_ms, value: item.value, quality: item.quality })
      changed = true
      for (const wake of this.#one.get(id) ?? []) wake()
    }
    if (!changed) return
    this.#version += 1
    for (const wake of this.#all) wake()
  }

  clear(): void {
    this.#values.clear()
    this.#version += 1
    for (const wakes of this.#one.values()) for (const wake of wakes) wake()
    for (const wake of this.#all) wake()
  }

  watch(deviceId: string, key: string, wake: () => void): () => void {
    const id = seriesId(deviceId, key)
    const wakes = this.#one.get(id) ?? new Set()
    wakes.add(wake)
    this.#one.set(id, wakes)
    return () => {
      wakes.delete(wake)
      if (wakes.size === 0) this.#one.delete(id)
    }
  }

  watchAll(wake: () => void): () => void {
    this.#all.add(wake)
    return () => this.#all.delete(wake)
  }
}
