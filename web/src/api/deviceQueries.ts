// Query options of devices.
import { infiniteQueryOptions, keepPreviousData, queryOptions } from '@tanstack/react-query'

import { body, client } from './client'
import { nextPage, PAGE, ROWS } from './paging'
import { ProblemError } from './problem'
import type { Device } from './types'

/** Devices of one building that are drawn; the page says when it has more. */
const DRAWN_MAX = 5_000
/** Devices in one request for their ids, and in all that are looked up so. */
const IDS_PER_REQUEST = 100
const NAMED_MAX = 1_000

/** The devices of a building, up to a bound, and how many it has. */
async function devicesOf(twin_id: string): Promise<{ items: Device[]; total: number }> {
  const items: Device[] = []
  let total = 0
  let cursor: string | undefined
  do {
    const query = { limit: PAGE, twin_id, ...(cursor && { cursor }) }
    const page = await body(client.GET('/v1/devices', { params: { query } }))
    items.push(...(page.items as Device[]))
    total = page.total ?? total
    cursor = page.next_cursor ?? undefined
  } while (cursor !== undefined && items.length < DRAWN_MAX)
  return { items, total }
}

export function devicesOfQuery(twinId: string) {
  return queryOptions({
    queryKey: ['devices', 'of', twinId],
    queryFn: () => devicesOf(twinId),
    staleTime: 60_000,
  })
}

/** Whether a device was claimed, or waits to be. */
export function deviceClaimQuery(id: string) {
  return queryOptions({
    queryKey: ['devices', 'claim', id],
    queryFn: () => body(client.GET('/v1/devices/{id}/claim', { params: { path: { id } } })),
  })
}

/** Which devices are wanted: by words of their names and kinds, by their building. */
export type DevicesWanted = { search?: string; twin_id?: string; has_refusals?: boolean }

/** A list of devices that is read on as far as the person wants, up to a bound. */
export function devicePagesQuery(wanted: DevicesWanted) {
  return infiniteQueryOptions({
    queryKey: ['devices', 'pages', wanted],
    queryFn: ({ pageParam }) =>
      body(
        client.GET('/v1/devices', {
          params: {
            query: { ...wanted, limit: ROWS, ...(pageParam !== '' && { cursor: pageParam }) },
          },
        }),
      ),
    initialPageParam: '',
    getNextPageParam: nextPage,
    placeholderData: keepPreviousData,
    staleTime: 60_000,
  })
}

/** The first devices that a search finds. */
export function foundDevicesQuery(wanted: DevicesWanted, limit: number) {
  return queryOptions({
    queryKey: ['devices', 'found', wanted, limit],
    queryFn: async () => {
      const query = { ...wanted, limit }
      return (await body(client.GET('/v1/devices', { params: { query } }))).items as Device[]
    },
    placeholderData: keepPreviousData,
    staleTime: 60_000,
  })
}

/** Devices by their ids, each once: as many at a time as a request may ask for, up to a bound. */
export function idChunks(ids: Iterable<string>): string[][] {
  const wanted = [...new Set(ids)].sort().slice(0, NAMED_MAX)
  const chunks = []
  for (let start = 0; start < wanted.length; start += IDS_PER_REQUEST) {
    chunks.push(wanted.slice(start, start + IDS_PER_REQUEST))
  }
  return chunks
}

export function devicesByIdQuery(ids: Iterable<string>) {
  const chunks = idChunks(ids)
  return queryOptions({
    queryKey: ['devices', 'by id', chunks],
    queryFn: async () => {
      const pages = await Promise.all(
        chunks.map((chunk) => {
          const query = { ids: chunk.join(','), limit: IDS_PER_REQUEST }
          return body(client.GET('/v1/devices', { params: { query } }))
        }),
      )
      return pages.flatMap((page) => page.items as Device[])
    },
    enabled: chunks.length > 0,
    placeholderData: keepPreviousData,
    staleTime: 60_000,
  })
}

export function deviceQuery(id: string) {
  return queryOptions({
    queryKey: ['devices', 'one', id],
    queryFn: async () => {
      const { data, response } = await client.GET('/v1/devices/{id}', { params: { path: { id } } })
      if (data === undefined) throw ProblemError.unreachable()
      return { device: data as Device, etag: response.headers.get('etag') }
    },
    // Until its first reading arrives a device has no keys to subscribe to.
    refetchInterval: (query) => (query.state.data?.device.keys.length === 0 ? 3_000 : false),
  })
}

export function credentialsQuery(id: string) {
  return queryOptions({
    queryKey: ['devices', 'one', id, 'credentials'],
    queryFn: () => body(client.GET('/v1/devices/{id}/credentials', { params: { path: { id } } })),
  })
}

/** The keys that a gateway signs its batches with, and what came of them. */
export function edgeKeysQuery(id: string) {
  return queryOptions({
    queryKey: ['devices', 'one', id, 'edge-keys'],
    queryFn: () => body(client.GET('/v1/devices/{id}/edge-keys', { params: { path: { id } } })),
    refetchInterval: 30_000,
  })
}

/** The last messages of a device that were refused where the protocol cannot tell it. */
export function refusalsQuery(id: string) {
  return queryOptions({
    queryKey: ['devices', 'one', id, 'refusals'],
    queryFn: () => body(client.GET('/v1/devices/{id}/refusals', { params: { path: { id } } })),
    refetchInterval: 30_000,
  })
}

/** The last connections of a device. */
export function connectionsQuery(id: string) {
  return queryOptions({
    queryKey: ['devices', 'one', id, 'connections'],
    queryFn: () => body(client.GET('/v1/devices/{id}/connections', { params: { path: { id } } })),
    refetchInterval: 15_000,
  })
}

/** The simulation of a device that runs, or ran within the last day. */
export function simulationQuery(id: string) {
  return queryOptions({
    queryKey: ['devices', 'one', id, 'simulation'],
    queryFn: () => body(client.GET('/v1/devices/{id}/simulation', { params: { path: { id } } })),
    refetchInterval: (query) => (query.state.data?.simulation?.running ? 3_000 : 30_000),
  })
}

/** The streams of a device with what counts for each. */
export function deviceStreamsQuery(id: string) {
  return queryOptions({
    queryKey: ['streams', 'of', id],
    queryFn: () =>
      body(
        client.GET('/v1/streams', {
          params: { query: { device_id: id, state: 'all', limit: 500 } },
        }),
      ),
  })
}

/** A device as an edge node of Sparkplug B, or behind one; `node` is null when it is none. */
export function sparkplugQuery(id: string) {
  return queryOptions({
    queryKey: ['devices', 'one', id, 'sparkplug'],
    queryFn: () => body(client.GET('/v1/devices/{id}/sparkplug', { params: { path: { id } } })),
    refetchInterval: (query) => (query.state.data?.node == null ? 60_000 : 10_000),
  })
}

export function attributesQuery(id: string) {
  return queryOptions({
    queryKey: ['devices', 'one', id, 'attributes'],
    queryFn: () => body(client.GET('/v1/devices/{id}/attributes', { params: { path: { id } } })),
  })
}

/** The kept commands to a device, newest first: the first page, looked at again while one waits. */
export function callsQuery(id: string) {
  return queryOptions({
    queryKey: ['devices', 'one', id, 'calls'],
    queryFn: () =>
      body(
        client.GET('/v1/devices/{id}/rpc', { params: { path: { id }, query: { limit: 50 } } }),
      ),
    refetchInterval: (query) =>
      query.state.data?.items.some((call) => ['queued', 'sent', 'delivered'].includes(call.state))
        ? 5_000
        : false,
  })
}

export const packagesQuery = queryOptions({
  queryKey: ['packages'],
  queryFn: () => body(client.GET('/v1/packages')),
})

/** The devices that are to have a package. */
export function packageDevicesQuery(id: string) {
  return queryOptions({
    queryKey: ['packages', id, 'devices'],
    queryFn: () => body(client.GET('/v1/packages/{id}/devices', { params: { path: { id } } })),
  })
}

/** What devices say of their update, as far as it may be read. */
export function packageStatesQuery(ids: string[], key: string, mayRead: boolean) {
  return queryOptions({
    queryKey: ['packages', 'states', key, ids],
    queryFn: async () => {
      const wanted = { device_ids: ids, keys: [key] }
      const found = await body(client.POST('/v1/telemetry/latest', { body: wanted }))
      return new Map(found.items.map((one) => [one.device_id, String(one.value)]))
    },
    enabled: mayRead && ids.length > 0,
    refetchInterval: 10_000,
  })
}
