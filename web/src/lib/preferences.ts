// What a person chose for this browser. Kept in local storage, never sent anywhere.
import { useSyncExternalStore } from 'react'

import type { Zone } from './time'

export type Preferences = { zone: Zone; treeOpen: boolean; detailsOpen: boolean }

const STORAGE_KEY = 'veritwin.preferences'
const DEFAULTS: Preferences = { zone: 'local', treeOpen: true, detailsOpen: true }

let current = read()
const watchers = new Set<() => void>()

function read(): Preferences {
  try {
    const stored: unknown = JSON.parse(localStorage.getItem(STORAGE_KEY) ?? '{}')
    const found = typeof stored === 'object' && stored !== null ? stored : {}
    return { ...DEFAULTS, ...found }
  } catch {
    return DEFAULTS
  }
}

export function setPreference<K extends keyof Preferences>(name: K, value: Preferences[K]): void {
  current = { ...current, [name]: value }
  localStorage.setItem(STORAGE_KEY, JSON.stringify(current))
  for (const wake of watchers) wake()
}

export function usePreferences(): Preferences {
  return useSyncExternalStore(
    (wake) => {
      watchers.add(wake)
      return () => watchers.delete(wake)
    },
    () => current,
  )
}
