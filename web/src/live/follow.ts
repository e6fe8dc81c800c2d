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
  const again = (...resources: string[]) => {
    for (const resource of resources) void queries.invalidateQueries({ queryKey: [resource] })
  }
  const stops = [
    connection.subscribe('alerts', {}, (message) => {
      if (message.type === 'missed') again('alerts')
      if (message.type !== 'alert') return
      again('alerts')
      onAlert(message.alert)
    }),
    connection.subscribe('twins', {}, (message) => {
      if (message.type === 'missed') again('twins', 'devices')
      if (message.type !== 'twin') return
      again('twins')
      if (message.change === 'bindings') again('devices')
    }),
    connection.watchReturns(() => again('alerts', 'twins', 'devices')),
  ]
  return () => stops.forEach((stop) => stop())
}
