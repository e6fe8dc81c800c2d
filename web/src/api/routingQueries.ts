// Queries of routing: destinations, rules, counts and parked messages. Counts and what is parked
// change while somebody looks.
import { queryOptions } from '@tanstack/react-query'

import { body, client } from './client'

const SOON_MS = 5_000

export const routeDestinationsQuery = queryOptions({
  queryKey: ['routing', 'destinations'],
  queryFn: () => body(client.GET('/v1/route-destinations')),
})

export const routeRulesQuery = queryOptions({
  queryKey: ['routing', 'rules'],
  queryFn: () => body(client.GET('/v1/route-rules')),
})

export const routeCountsQuery = queryOptions({
  queryKey: ['routing', 'counts'],
  queryFn: () => body(client.GET('/v1/route-counts')),
  refetchInterval: SOON_MS,
})

export const parkedMessagesQuery = queryOptions({
  queryKey: ['routing', 'parked'],
  queryFn: () => body(client.GET('/v1/route-messages')),
  refetchInterval: SOON_MS,
})

/** What a parked message says. */
export function parkedMessageQuery(id: string) {
  return queryOptions({
    queryKey: ['routing', 'parked', id],
    queryFn: () => body(client.GET('/v1/route-messages/{id}', { params: { path: { id } } })),
  })
}
