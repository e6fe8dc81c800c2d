// What was used, and what the platform's own administration sees of backups and stored data.
import { queryOptions } from '@tanstack/react-query'

import { body, client } from './client'
import type { TenantUsage } from './types'

/** Lists longer than this are not fetched silently. */
const TENANTS_MAX = 2_000
const PAGE = 500

export const usageQuery = queryOptions({
  queryKey: ['usage'],
  queryFn: () => body(client.GET('/v1/usage')),
})

export const tenantUsageQuery = queryOptions({
  queryKey: ['usage', 'below'],
  queryFn: async (): Promise<TenantUsage[]> => {
    const found: TenantUsage[] = []
    let cursor: string | null = null
    do {
      const query: { limit: number; cursor?: string } = { limit: PAGE }
      if (cursor !== null) query.cursor = cursor
      const page = await body(client.GET('/v1/usage/below', { params: { query } }))
      found.push(...page.items)
      cursor = page.next_cursor
    } while (cursor !== null && found.length < TENANTS_MAX)
    return found
  },
})

export const operationsQuery = queryOptions({
  queryKey: ['operations'],
  queryFn: () => body(client.GET('/v1/operations')),
  refetchInterval: 30_000,
})
