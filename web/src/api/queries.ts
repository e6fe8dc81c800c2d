// Query options per resource: keys, freshness and paging live here, not in the pages.
import {
  infiniteQueryOptions,
  keepPreviousData,
  QueryCache,
  QueryClient,
  queryOptions,
} from '@tanstack/react-query'

import { questionOf, tableQuestionOf, type HistoryChoice } from '../lib/historyChoice'
import { bucketMs, type Range } from '../lib/time'
import { body, bytes, client, table } from './client'
import { PAGE } from './paging'
import { ProblemError } from './problem'
import type { Networks, SeriesRef, TwinModel } from './types'

export const REPLAY_STEPS = 120
/** Series in one history request. */
const SERIES_PER_REQUEST = 100

/** Told when an answer says that the session has ended; the router sets it. */
export const sessionEnded = { handle: () => {} }

export const queryClient = new QueryClient({
  queryCache: new QueryCache({
    onError(error, query) {
      const before = query.queryKey[0] === 'session' || query.queryKey[0] === 'welcome'
      if (!before && ProblemError.of(error).status === 401) sessionEnded.handle()
    },
  }),
  defaultOptions: {
    queries: {
      staleTime: 15_000,
      retry: (count, error) => ProblemError.of(error).status === 0 && count < 2,
      refetchOnWindowFocus: false,
    },
  },
})

export const sessionQuery = queryOptions({
  queryKey: ['session'],
  queryFn: async () => {
    const session = await body(client.GET('/v1/session'))
    // 204: nobody is signed in. (A 401 would be an error on every visitor's console.)
    if (!session) throw new ProblemError({ title: 'not signed in', status: 401 })
    return session
  },
  staleTime: 5 * 60_000,
  retry: false,
})

/** What the person in front may do, over the whole organisation and over a part of it. */
export const rightsQuery = queryOptions({
  queryKey: ['session', 'rights'],
  queryFn: () => body(client.GET('/v1/session/rights')),
  staleTime: 60_000,
  retry: false,
})

/** What the person in front may do to one device or twin. */
export function rightsOnQuery(thing: { device_id?: string; twin_id?: string } | undefined) {
  return queryOptions({
    queryKey: ['session', 'rights', thing ?? null],
    queryFn: () =>
      body(client.GET('/v1/session/rights', { params: { query: { ...thing } } })),
    staleTime: 60_000,
    retry: false,
  })
}

export const accountQuery = queryOptions({
  queryKey: ['account'],
  queryFn: () => body(client.GET('/v1/account')),
})

export const networksQuery = queryOptions({
  queryKey: ['networks'],
  queryFn: async () => {
    const { data, response } = await client.GET('/v1/networks')
    if (data === undefined) throw ProblemError.unreachable()
    return { networks: data as Networks, etag: response.headers.get('etag') }
  },
})

export const openSessionsQuery = queryOptions({
  queryKey: ['account', 'sessions'],
  queryFn: () => body(client.GET('/v1/account/sessions')),
})

export const systemQuery = queryOptions({
  queryKey: ['system'],
  queryFn: () => body(client.GET('/v1/system')),
})

/** Through which provider the tenant's people may sign in. */
export const providerQuery = queryOptions({
  queryKey: ['identity-provider'],
  queryFn: () => body(client.GET('/v1/identity-provider')),
})

/** The provider that a sign-in page offers; null: none. */
export function providerOfferQuery(organisation?: string) {
  return queryOptions({
    queryKey: ['welcome', 'provider', organisation ?? null],
    queryFn: async () => {
      const params = { query: { ...(organisation && { organisation }) } }
      return (await body(client.GET('/v1/session/provider', { params }))) ?? null
    },
    staleTime: 5 * 60_000,
  })
}

export const twinsQuery = queryOptions({
  queryKey: ['twins'],
  queryFn: () => body(client.GET('/v1/twins')),
})

export function modelQuery(twinId: string) {
  return queryOptions({
    queryKey: ['twins', twinId, 'model'],
    // The client's types lose tuples: a point is a triple again from here on.
    queryFn: async () =>
      (await body(
        client.GET('/v1/twins/{id}/model', { params: { path: { id: twinId } } }),
      )) as TwinModel,
    staleTime: Infinity,
  })
}

export function geometryQuery(twinId: string) {
  return queryOptions({
    queryKey: ['twins', twinId, 'geometry'],
    queryFn: ({ signal }) => bytes(`/v1/twins/${twinId}/geometry`, signal),
    staleTime: Infinity,
    gcTime: 60_000,
  })
}

export const rulesQuery = queryOptions({
  queryKey: ['rules'],
  queryFn: () => body(client.GET('/v1/rules')),
})

/** A chart's history: raw when it fits, else minimum, maximum and mean per bucket; or as chosen. */
export function historyQuery(
  series: SeriesRef,
  range: Range,
  choice: HistoryChoice,
  locale: string,
) {
  // A rolling range would change every millisecond; a quarter minute is fine enough to refetch.
  const step = 15_000
  const fromMs = range.rolling ? Math.floor(range.fromMs / step) * step : range.fromMs
  const toMs = range.rolling ? Math.ceil(range.toMs / step) * step : range.toMs
  return queryOptions({
    queryKey: ['history', series.device_id, series.key, fromMs, toMs, choice, locale],
    queryFn: async () => {
      const answer = await body(
        client.POST('/v1/telemetry/query', {
          body: {
            series: [series],
            from: new Date(fromMs).toISOString(),
            to: new Date(toMs).toISOString(),
            ...questionOf(choice, locale),
            shape: 'columns',
          },
        }),
      )
      return answer.series[0] ?? null
    },
    placeholderData: keepPreviousData,
  })
}

/** Pages of a download: a million rows. */
const TABLE_PAGES_MAX = 10

/** A series as CSV, all of it up to a million rows; whether something is left. */
export async function historyTable(
  series: SeriesRef,
  range: Range,
  choice: HistoryChoice,
  locale: string,
): Promise<{ parts: string[]; isCut: boolean }> {
  const question = {
    series: [series],
    from: new Date(range.fromMs).toISOString(),
    to: new Date(range.toMs).toISOString(),
    ...tableQuestionOf(choice, locale),
  }
  const parts: string[] = []
  let cursor: string | null = null
  do {
    const page = await table('/v1/telemetry/query', { ...question, ...(cursor && { cursor }) })
    // Every page has the names of its columns; the table has them once.
    parts.push(cursor === null ? page.text : page.text.slice(page.text.indexOf('\n') + 1))
    cursor = page.cursor
  } while (cursor !== null && parts.length < TABLE_PAGES_MAX)
  return { parts, isCut: cursor !== null }
}

/** Bucketed history of many series for the replay of a scene. */
export function replayQuery(twinId: string, series: SeriesRef[], range: Range, enabled: boolean) {
  const width = bucketMs(range, REPLAY_STEPS)
  const fromMs = Math.floor(range.fromMs / width) * width
  const toMs = Math.ceil(range.toMs / width) * width
  return queryOptions({
    queryKey: ['replay', twinId, fromMs, toMs, series.length],
    enabled: enabled && series.length > 0,
    queryFn: async () => {
      const found = []
      for (let start = 0; start < series.length; start += SERIES_PER_REQUEST) {
        const answer = await body(
          client.POST('/v1/telemetry/query', {
            body: {
              series: series.slice(start, start + SERIES_PER_REQUEST),
              from: new Date(fromMs).toISOString(),
              to: new Date(toMs).toISOString(),
              bucket_ms: width,
              shape: 'columns',
            },
          }),
        )
        found.push(...answer.series)
      }
      return { series: found, widthMs: width, fromMs, toMs }
    },
    placeholderData: keepPreviousData,
    staleTime: 60_000,
  })
}

export const ledgerQuery = queryOptions({
  queryKey: ['ledger'],
  queryFn: () => body(client.GET('/v1/ledger')),
  refetchInterval: 5_000,
})

export const entriesQuery = infiniteQueryOptions({
  queryKey: ['ledger', 'entries'],
  queryFn: ({ pageParam }) =>
    body(
      client.GET('/v1/ledger/entries', {
        params: { query: { limit: 50, ...(pageParam !== '' && { cursor: pageParam }) } },
      }),
    ),
  initialPageParam: '',
  getNextPageParam: (page) => page.next_cursor ?? undefined,
})

export function proofQuery(index: number) {
  return queryOptions({
    queryKey: ['ledger', 'proof', index],
    queryFn: () =>
      body(client.GET('/v1/ledger/entries/{index}/proof', { params: { path: { index } } })),
    staleTime: 0,
  })
}

export function papersQuery(device_id: string, key: string, at: string) {
  return queryOptions({
    queryKey: ['papers', device_id, key, at],
    queryFn: () =>
      body(client.GET('/v1/ledger/papers', { params: { query: { device_id, key, at } } })),
    refetchInterval: ({ state }) =>
      isDestroyed(state.error)
        ? false
        : papersPollMs(state.data?.leaf != null, triesOf(state)),
  })
}

/** What was destroyed does not come back. */
export function isDestroyed(error: unknown): boolean {
  return error !== null && ProblemError.of(error).problem.type === '/problems/destroyed'
}

const PAPERS_POLL_MS = 2_000
/** Batches are sealed about once a second: what is not there by then is not about to be. */
export const PAPERS_TRIES_MAX = 8

/** When to look again for a reading's batch: not once it is found, and not for ever. */
export function papersPollMs(found: boolean, tries: number): number | false {
  return found || tries >= PAPERS_TRIES_MAX ? false : PAPERS_POLL_MS
}

export function triesOf(state: { dataUpdateCount: number; errorUpdateCount: number }): number {
  return state.dataUpdateCount + state.errorUpdateCount
}

export const promisesQuery = queryOptions({
  queryKey: ['promises'],
  queryFn: () => body(client.GET('/v1/promises')),
})

/** What the activity record is narrowed to; empty members narrow nothing. */
export type ActivityFilter = {
  actor?: string
  action?: string
  outcome?: string
  from?: string
  q?: string
}

export function activityQuery(filter: ActivityFilter) {
  return infiniteQueryOptions({
    queryKey: ['activity', filter],
    queryFn: ({ pageParam }) =>
      body(
        client.GET('/v1/activity', {
          params: {
            query: { ...filter, limit: 100, ...(pageParam !== '' && { cursor: pageParam }) },
          },
        }),
      ),
    initialPageParam: '',
    getNextPageParam: (page) => page.next_cursor ?? undefined,
    // Live while only the newest page is shown.
    refetchInterval: (query) => ((query.state.data?.pages.length ?? 0) > 1 ? false : 5_000),
    placeholderData: keepPreviousData,
  })
}

/** Open ones move on by themselves. */
export const destructionsQuery = queryOptions({
  queryKey: ['destructions'],
  queryFn: () => body(client.GET('/v1/destructions')),
  refetchInterval: (query) =>
    query.state.data?.items.some((one) => one.state !== 'done') ? 2_000 : false,
})

export const retentionQuery = queryOptions({
  queryKey: ['retention'],
  queryFn: () => body(client.GET('/v1/retention')),
})

export const retentionEndsQuery = queryOptions({
  queryKey: ['retention', 'ends'],
  queryFn: () => body(client.GET('/v1/retention/ends')),
})

export const keptQuery = queryOptions({
  queryKey: ['retention', 'schedule'],
  queryFn: () => body(client.GET('/v1/retention/schedule')),
})

export const tenantEndQuery = queryOptions({
  queryKey: ['tenant-end'],
  queryFn: () => body(client.GET('/v1/tenant-end')),
})

export const mailboxQuery = queryOptions({
  queryKey: ['mailbox'],
  queryFn: () => body(client.GET('/v1/requests/mailbox')),
})

/** Requests of data subjects, newest first: what is open, or all. */
export function casesQuery(onlyOpen: boolean) {
  return infiniteQueryOptions({
    queryKey: ['cases', 'list', onlyOpen],
    queryFn: ({ pageParam }) =>
      body(
        client.GET('/v1/requests', {
          params: {
            query: {
              limit: PAGE,
              ...(onlyOpen && { state: 'open' }),
              ...(pageParam !== '' && { cursor: pageParam }),
            },
          },
        }),
      ),
    initialPageParam: '',
    getNextPageParam: (page) => page.next_cursor ?? undefined,
  })
}

export function caseQuery(id: string) {
  return queryOptions({
    queryKey: ['cases', 'one', id],
    queryFn: () => body(client.GET('/v1/requests/{id}', { params: { path: { id } } })),
  })
}

export const ownRequestsQuery = queryOptions({
  queryKey: ['own-requests'],
  queryFn: () => body(client.GET('/v1/requests/own')),
})

export const optInsQuery = queryOptions({
  queryKey: ['opt-ins'],
  queryFn: () => body(client.GET('/v1/opt-ins')),
})

export const publicZonesQuery = queryOptions({
  queryKey: ['public-zones'],
  queryFn: () => body(client.GET('/v1/collection-zones')),
  refetchInterval: 60_000,
})

export const registerQuery = queryOptions({
  queryKey: ['register'],
  queryFn: () => body(client.GET('/v1/register-entries')),
})

export const trustPagesQuery = queryOptions({
  queryKey: ['trust-pages'],
  queryFn: () => body(client.GET('/v1/trust-pages')),
})

export const agreementsQuery = queryOptions({
  queryKey: ['agreements'],
  queryFn: () => body(client.GET('/v1/agreements')),
})

export const processingQuery = queryOptions({
  queryKey: ['processing'],
  queryFn: () => body(client.GET('/v1/processing-records')),
})

export const jurisdictionsQuery = queryOptions({
  queryKey: ['jurisdictions'],
  queryFn: () => body(client.GET('/v1/jurisdictions')),
})

export const figuresQuery = queryOptions({
  queryKey: ['analytics'],
  queryFn: () => body(client.GET('/v1/analytics')),
})

export const holdsQuery = queryOptions({
  queryKey: ['holds'],
  queryFn: () => body(client.GET('/v1/holds')),
})

export const securityAlertsQuery = queryOptions({
  queryKey: ['security-alerts'],
  queryFn: () => body(client.GET('/v1/security-alerts', { params: { query: { limit: PAGE } } })),
  refetchInterval: 15_000,
})

export const incidentsQuery = queryOptions({
  queryKey: ['incidents'],
  queryFn: () => body(client.GET('/v1/incidents', { params: { query: { limit: PAGE } } })),
  refetchInterval: 15_000,
})

export function incidentQuery(id: string) {
  return queryOptions({
    queryKey: ['incidents', id],
    queryFn: () => body(client.GET('/v1/incidents/{id}', { params: { path: { id } } })),
  })
}

export const supportQuery = queryOptions({
  queryKey: ['support'],
  queryFn: () => body(client.GET('/v1/support')),
  refetchInterval: 15_000,
})

export const deskQuery = queryOptions({
  queryKey: ['support-desk'],
  queryFn: () => body(client.GET('/v1/support-desk')),
  refetchInterval: 15_000,
})

export const usersQuery = queryOptions({
  queryKey: ['users'],
  queryFn: () => body(client.GET('/v1/users')),
})

export const invitationsQuery = queryOptions({
  queryKey: ['invitations'],
  queryFn: () => body(client.GET('/v1/invitations')),
})

export const apiKeysQuery = queryOptions({
  queryKey: ['api-keys'],
  queryFn: () => body(client.GET('/v1/api-keys')),
})

export const deviceAuthoritiesQuery = queryOptions({
  queryKey: ['device-authorities'],
  queryFn: () => body(client.GET('/v1/device-authorities')),
})

export const deviceClaimsQuery = queryOptions({
  queryKey: ['device-claims'],
  queryFn: () => body(client.GET('/v1/device-claims')),
})

export const provisionProfilesQuery = queryOptions({
  queryKey: ['provision-profiles'],
  queryFn: () => body(client.GET('/v1/provision-profiles')),
})
