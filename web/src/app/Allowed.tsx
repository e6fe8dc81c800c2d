// Controls that change something, for those who may: nobody is offered what would be refused.
import { useQuery } from '@tanstack/react-query'
import type { ReactNode } from 'react'

import { rightsOnQuery } from '../api/queries'
import { useMay } from './places'

/** A device or a twin that something would be done to. */
export type Thing = { device_id: string } | { twin_id: string }

/**
 * Tells whether the person in front may do something, to a thing or somewhere at least. Who may do
 * it over a part only is asked about the thing itself.
 */
export function useAllowed(thing?: Thing): (action: string) => boolean {
  const may = useMay()
  const isConfined = may.isConfined
  const there = useQuery({ ...rightsOnQuery(thing), enabled: thing !== undefined && isConfined })
  return (action) => {
    if (may.whole(action)) return true
    if (thing === undefined) return may.somewhere(action)
    return may.somewhere(action) && (there.data?.here.includes(action) ?? false)
  }
}

/** Shows its children to whoever may do this. */
export function Allowed(props: { to: string; on?: Thing; children: ReactNode }) {
  return useAllowed(props.on)(props.to) ? <>{props.children}</> : null
}
