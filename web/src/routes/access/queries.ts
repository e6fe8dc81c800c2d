// Queries about who may do what, and what the person in front may do about it.
import { queryOptions } from '@tanstack/react-query'

import { body, client } from '../../api/client'
import { queryClient, rightsQuery } from '../../api/queries'
import { useMay as useRights } from '../../app/places'

export const rolesQuery = queryOptions({
  queryKey: ['access', 'roles'],
  queryFn: () => body(client.GET('/v1/roles')),
})

export const grantsQuery = queryOptions({
  queryKey: ['access', 'grants'],
  queryFn: () => body(client.GET('/v1/grants')),
})

export const groupsQuery = queryOptions({
  queryKey: ['access', 'groups'],
  queryFn: () => body(client.GET('/v1/groups')),
})

export const workspacesQuery = queryOptions({
  queryKey: ['access', 'workspaces'],
  queryFn: () => body(client.GET('/v1/workspaces')),
})

export type Question = {
  user_id?: string
  api_key_id?: string
  action: string
  device_id?: string
  twin_id?: string
}

export function explainQuery(question: Question) {
  return queryOptions({
    queryKey: ['access', 'explain', question],
    queryFn: () => body(client.GET('/v1/access/explain', { params: { query: question } })),
    // Rights change at once: an old answer is a wrong one.
    staleTime: 0,
    gcTime: 0,
  })
}

/** Everything about access is read anew. */
export async function accessChanged(): Promise<void> {
  await queryClient.invalidateQueries({ queryKey: rightsQuery.queryKey })
  await queryClient.invalidateQueries({ queryKey: ['access'] })
}

/** Tells whether the person in front may do something over the whole organisation. */
export function useMay(): (action: string) => boolean {
  const rights = useRights()
  return (action) => rights.whole(action)
}
