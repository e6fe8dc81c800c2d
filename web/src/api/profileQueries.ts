// Profiles of devices, what they were, and what a decoder makes of samples.
import { keepPreviousData, queryOptions } from '@tanstack/react-query'

import { body, client } from './client'
import type { DecoderSample } from './types'

export const deviceProfilesQuery = queryOptions({
  queryKey: ['device-profiles'],
  queryFn: () => body(client.GET('/v1/device-profiles')),
  refetchInterval: 15_000,
})

/** What a profile was, newest first. */
export function profileVersionsQuery(id: string) {
  return queryOptions({
    queryKey: ['device-profiles', id, 'versions'],
    queryFn: () =>
      body(client.GET('/v1/device-profiles/{id}/versions', { params: { path: { id } } })),
  })
}

/** The devices that have a profile as their own. */
export function profileDevicesQuery(id: string) {
  return queryOptions({
    queryKey: ['device-profiles', id, 'devices'],
    queryFn: () =>
      body(client.GET('/v1/device-profiles/{id}/devices', { params: { path: { id } } })),
  })
}

/** What a decoder makes of samples. The results before stay until there are new ones. */
export function decoderTestQuery(source: string, samples: DecoderSample[], enabled: boolean) {
  return queryOptions({
    queryKey: ['decoder-test', source, samples],
    queryFn: ({ signal }) =>
      body(client.POST('/v1/device-profiles/test', { body: { source, samples }, signal })),
    placeholderData: keepPreviousData,
    enabled,
    gcTime: 10_000,
    retry: false,
  })
}
