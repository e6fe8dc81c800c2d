// Query options of alerts.
import { infiniteQueryOptions, keepPreviousData, queryOptions } from '@tanstack/react-query'

import { body, client } from './client'
import { nextPage, PAGE, ROWS } from './paging'
import type { AlertFilter } from './types'

/** Which alerts are wanted; all that is given must hold. */
export type AlertsWanted = {
  filter: AlertFilter
  /** One, or several with commas between. */
  severity?: string
  device_id?: string
  twin_id?: string
  /** What waits for a person first, then the worst; else the newest first. */
  order?: 'urgency'
}

/** The first alerts of a list, with how many there are in all. */
export function alertsQuery(wanted: AlertsWanted, limit = PAGE) {
  return queryOptions({
    queryKey: ['alerts', wanted, limit],
    queryFn: () => body(client.GET('/v1/alerts', { params: { query: { ...wanted, limit } } })),
    placeholderData: keepPreviousData,
  })
}

/** What header and banner say: the counts of active alerts, and the most urgent one. */
export const urgentAlertQuery = alertsQuery({ filter: 'active', order: 'urgency' }, 1)

/** A list of alerts that is read on as far as the person wants, up to a bound. */
export function alertPagesQuery(wanted: AlertsWanted) {
  return infiniteQueryOptions({
    queryKey: ['alerts', 'pages', wanted],
    queryFn: ({ pageParam }) =>
      body(
        client.GET('/v1/alerts', {
          params: {
            query: { ...wanted, limit: ROWS, ...(pageParam !== '' && { cursor: pageParam }) },
          },
        }),
      ),
    initialPageParam: '',
    getNextPageParam: nextPage,
    placeholderData: keepPreviousData,
  })
}

export function alertQuery(id: string) {
  return queryOptions({
    queryKey: ['alerts', 'one', id],
    queryFn: () => body(client.GET('/v1/alerts/{id}', { params: { path: { id } } })),
  })
}
