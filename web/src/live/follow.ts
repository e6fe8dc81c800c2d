// Keeps what was fetched in step with the live connection, over breaks and dropped events too.
import type { QueryClient } from '@tanstack/react-query'

import type { Alert } from '../api/types'
import type { LiveConnection } from './socket'

/** Follows alerts and twins until the returned function is called. */
export function follow(
  connection: LiveConnection,
  queries: QueryClient,
  onAlert: (alert: Alert) => void,
): () => void {
  const again = paced((resource) => void queries.invalidateQueries({ queryKey: [resource] }))
  const stops = [
    connection.subscribe('alerts', {}, (message) => {
      if (message.type === 'missed') again('alerts')
      if (message.type !== 'alert') return
      again('alerts')
      onAlert(message.alert)
    }),
    connection.subscribe('twins', {}, (message) => {
      if (message.type === 'missed') again('twins', 'devices', 'alerts')
      if (message.type !== 'twin') return
      again('twins')
      // Devices take their open alerts along.
      if (message.change === 'bindings' || message.change === 'deleted') again('devices', 'alerts')
    }),
    connection.watchReturns(() => again('alerts', 'twins', 'devices')),
    again.stop,
  ]
  return () => stops.forEach((stop) => stop())
}

/** Ten thousand events in a second are a reason to read a list again, not ten thousand times. */
const PACE_MS = 2_000

/** Runs at once for the first call about a resource, then at most once in every step of time. */
function paced(run: (resource: string) => void) {
  const waiting = new Map<string, { timer: ReturnType<typeof setTimeout>; again: boolean }>()
  const one = (resource: string) => {
    const held = waiting.get(resource)
    if (held !== undefined) {
      held.again = true
      return
    }
    run(resource)
    const timer = setTimeout(() => {
      const { again } = waiting.get(resource) ?? {}
      waiting.delete(resource)
      if (again) one(resource)
    }, PACE_MS)
    waiting.set(resource, { timer, again: false })
  }
  const stop = () => {
    for (const { timer } of waiting.values()) clearTimeout(timer)
    waiting.clear()
  }
  return Object.assign((...resources: string[]) => resources.forEach(one), { stop })
}
