// Query options of streams and what is declared of them.
import { infiniteQueryOptions, keepPreviousData, queryOptions } from '@tanstack/react-query'

import { body, client } from './client'
import { nextPage, ROWS } from './paging'

/** In which state streams are wanted. */
export const STREAM_STATES = ['waiting', 'personal', 'non_personal'] as const
export type StreamState = (typeof STREAM_STATES)[number]

export function streamPagesQuery(state: StreamState) {
  return infiniteQueryOptions({
    queryKey: ['streams', state],
    queryFn: ({ pageParam }) =>
      body(
        client.GET('/v1/streams', {
          params: { query: { state, limit: ROWS, ...(pageParam !== '' && { cursor: pageParam }) } },
        }),
      ),
    initialPageParam: '',
    getNextPageParam: nextPage,
    placeholderData: keepPreviousData,
  })
}

export const streamRulesQuery = queryOptions({
  queryKey: ['stream-rules'],
  queryFn: () => body(client.GET('/v1/stream-rules')),
})

const RECENT = 20

export const declarationsQuery = queryOptions({
  queryKey: ['stream-declarations'],
  queryFn: () =>
    body(client.GET('/v1/stream-declarations', { params: { query: { limit: RECENT } } })),
})
