// Queries of imports of readings.
import { queryOptions } from '@tanstack/react-query'

import { body, client } from './client'

export const importsQuery = queryOptions({
  queryKey: ['imports'],
  queryFn: () => body(client.GET('/v1/imports')),
})

/** The first rows that an import refused. */
export function importRefusedQuery(id: string) {
  return queryOptions({
    queryKey: ['imports', 'refused', id],
    queryFn: () =>
      body(client.GET('/v1/imports/{id}/refused', { params: { path: { id } } })),
  })
}
