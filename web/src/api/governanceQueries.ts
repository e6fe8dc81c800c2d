// Query options of the governance workspace and of breaches.
import { infiniteQueryOptions, queryOptions } from '@tanstack/react-query'

import { body, client } from './client'
import { nextPage, PAGE, ROWS } from './paging'
import { queryClient } from './queries'

export const policiesQuery = infiniteQueryOptions({
  queryKey: ['governance', 'policies'],
  queryFn: ({ pageParam }) =>
    body(
      client.GET('/v1/policies', {
        params: { query: { limit: ROWS, ...(pageParam !== '' && { cursor: pageParam }) } },
      }),
    ),
  initialPageParam: '',
  getNextPageParam: nextPage,
})

export const risksQuery = infiniteQueryOptions({
  queryKey: ['governance', 'risks'],
  queryFn: ({ pageParam }) =>
    body(
      client.GET('/v1/risks', {
        params: { query: { limit: PAGE, ...(pageParam !== '' && { cursor: pageParam }) } },
      }),
    ),
  initialPageParam: '',
  getNextPageParam: nextPage,
})

export const heatMapQuery = queryOptions({
  queryKey: ['governance', 'heat-map'],
  queryFn: () => body(client.GET('/v1/risks/heat-map')),
})

export const tasksQuery = infiniteQueryOptions({
  queryKey: ['governance', 'tasks'],
  queryFn: ({ pageParam }) =>
    body(
      client.GET('/v1/tasks', {
        params: { query: { limit: PAGE, ...(pageParam !== '' && { cursor: pageParam }) } },
      }),
    ),
  initialPageParam: '',
  getNextPageParam: nextPage,
})

export const frameworksQuery = queryOptions({
  queryKey: ['governance', 'frameworks'],
  queryFn: () => body(client.GET('/v1/frameworks')),
})

export function controlsQuery(id: string) {
  return queryOptions({
    queryKey: ['governance', 'controls', id],
    queryFn: () =>
      body(client.GET('/v1/frameworks/{id}/controls', { params: { path: { id } } })),
  })
}

export const evidenceQuery = infiniteQueryOptions({
  queryKey: ['governance', 'evidence'],
  queryFn: ({ pageParam }) =>
    body(
      client.GET('/v1/evidence', {
        params: { query: { limit: ROWS, ...(pageParam !== '' && { cursor: pageParam }) } },
      }),
    ),
  initialPageParam: '',
  getNextPageParam: nextPage,
})

export const certificateRegisterQuery = queryOptions({
  queryKey: ['governance', 'certificates'],
  queryFn: () => body(client.GET('/v1/certificate-register')),
})

export const noticesQuery = queryOptions({
  queryKey: ['governance', 'notices'],
  queryFn: () => body(client.GET('/v1/notices')),
})

export const onboardingQuery = queryOptions({
  queryKey: ['governance', 'onboarding'],
  queryFn: () => body(client.GET('/v1/onboarding')),
})

export function governanceHistoryQuery(id: string) {
  return queryOptions({
    queryKey: ['governance', 'history', id],
    queryFn: () =>
      body(client.GET('/v1/governance/{id}/history', { params: { path: { id } } })),
  })
}

export const breachesQuery = infiniteQueryOptions({
  queryKey: ['governance', 'breaches'],
  queryFn: ({ pageParam }) =>
    body(
      client.GET('/v1/breaches', {
        params: { query: { limit: ROWS, ...(pageParam !== '' && { cursor: pageParam }) } },
      }),
    ),
  initialPageParam: '',
  getNextPageParam: nextPage,
})

/** Reads everything of the workspace anew. */
export function refreshGovernance() {
  return queryClient.invalidateQueries({ queryKey: ['governance'] })
}
