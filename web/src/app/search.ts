// The state that lives in the address bar. Anything invalid there is ignored, never an error.
import { useNavigate, useSearch } from '@tanstack/react-router'
import { useCallback } from 'react'
import * as z from 'zod'

import { BUCKETS, SHOWS } from '../lib/historyChoice'
import { PRESETS, resolveRange, type Range } from '../lib/time'
import { useNow } from '../lib/now'

// Compiled validators would need eval, which the content security policy forbids. It has to be said
// before the first schema is made.
z.config({ jitless: true })

const text = z.string().max(400).optional().catch(undefined)
const instant = z.iso.datetime({ offset: true }).optional().catch(undefined)

export const searchSchema = z.object({
  range: z.enum(PRESETS).optional().catch(undefined),
  from: instant,
  to: instant,
  /** Replay: the moment shown instead of now. */
  at: instant,
  twin: text,
  select: text,
  storey: text,
  heat: text,
  view: z.enum(['3d', 'plan', 'table']).optional().catch(undefined),
  cut: z.number().min(0).max(1).optional().catch(undefined),
  markers: z.boolean().optional().catch(undefined),
  filter: text,
  /** How histories are shown: in which stretches, what of each, by whose clock. */
  bucket: z.enum(BUCKETS).optional().catch(undefined),
  show: z.enum(SHOWS).optional().catch(undefined),
  zone: text,
  /** Which part of a page that has several. */
  tab: text,
  /** Of records: whose acts, and what the action begins with. */
  actor: text,
  action: text,
  /** Of devices: only those with an error. */
  errors: z.boolean().optional().catch(undefined),
  q: text,
  next: text,
  /** Whose sign-in page this is. */
  organisation: text,
})

export type AppSearch = z.infer<typeof searchSchema>

/** Kept while moving between pages. */
export const RETAINED = ['range', 'from', 'to', 'at', 'twin'] as const satisfies (keyof AppSearch)[]

export function useAppSearch(): AppSearch {
  return useSearch({ strict: false }) as AppSearch
}

export function usePatchSearch(): (
  patch: Partial<AppSearch>,
  options?: { push?: boolean },
) => void {
  const navigate = useNavigate()
  return useCallback(
    (patch, options) =>
      void navigate({
        to: '.',
        search: (old: AppSearch) => ({ ...old, ...patch }),
        replace: options?.push !== true,
        resetScroll: false,
      } as never),
    [navigate],
  )
}

/** The one time range of every page. It moves on in steps of five seconds while it rolls. */
export function useRange(): Range {
  const search = useAppSearch()
  return resolveRange(search, useNow(5_000))
}
