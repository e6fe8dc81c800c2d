// What the partners' pages and every door ask for.
import { queryOptions } from '@tanstack/react-query'

import { body, client } from '../../api/client'
import type { components } from '../../api/schema'
import type { Answer } from '../../api/types'
import { setProduct } from '../../lib/product'

type Schemas = components['schemas']
export type Tenant = Answer<Schemas['TenantBody']>
export type Plan = Answer<Schemas['PlanBody']>
export type Limits = Answer<Schemas['LimitsBody']>
export type Expiring = Answer<Schemas['TenantExpiringBody']>
export type Face = Answer<Schemas['FaceBody']>
export type BrandFields = Required<Schemas['BrandFields']>
export type Message = Answer<Schemas['MessageBody']>

/** A list longer than this is not fetched silently. */
const TENANTS_MAX = 2_000
const PAGE = 500

/** How the host name of this page, or the sign-in page of one organisation, presents itself; known
 * before anybody signs in. */
export function faceAtQuery(organisation?: string) {
  return queryOptions({
    queryKey: ['welcome', 'face', organisation ?? null],
    queryFn: async () => {
      const params = { query: { ...(organisation && { organisation }) } }
      const face = await body(client.GET('/v1/face', { params }))
      setProduct(face.product)
      return face
    },
    staleTime: 5 * 60_000,
  })
}

export const faceQuery = faceAtQuery()

export const tenantsQuery = queryOptions({
  queryKey: ['tenants'],
  queryFn: async (): Promise<Tenant[]> => {
    const found: Tenant[] = []
    let cursor: string | null = null
    do {
      const query: { limit: number; cursor?: string } = { limit: PAGE }
      if (cursor !== null) query.cursor = cursor
      const page = await body(client.GET('/v1/tenants', { params: { query } }))
      found.push(...page.items)
      cursor = page.next_cursor
    } while (cursor !== null && found.length < TENANTS_MAX)
    return found
  },
})

export const plansQuery = queryOptions({
  queryKey: ['plans'],
  queryFn: () => body(client.GET('/v1/plans')),
})

/** What would end of a tenant if it had a plan; '' for none. */
export function tenantExpiringQuery(id: string, plan: string) {
  return queryOptions({
    queryKey: ['tenants', id, 'expiring', plan],
    queryFn: () => {
      const query = plan === '' ? {} : { plan_id: plan }
      return body(client.GET('/v1/tenants/{id}/expiring', { params: { path: { id }, query } }))
    },
  })
}

/** A tenant: one's own, or one directly below. */
export function tenantQuery(id: string) {
  return queryOptions({
    queryKey: ['tenants', id],
    queryFn: () => body(client.GET('/v1/tenants/{id}', { params: { path: { id } } })),
  })
}

/** What would end now if a plan kept readings, and the ledger’s records, for so many days. */
export function expiringQuery(
  id: string,
  days: { retention_days: number | null; audit_days: number | null },
) {
  return queryOptions({
    queryKey: ['plans', id, 'expiring', days],
    queryFn: () => {
      const params = { path: { id }, query: days }
      return body(client.GET('/v1/plans/{id}/expiring', { params }))
    },
  })
}

export const brandQuery = queryOptions({
  queryKey: ['brand'],
  queryFn: () => body(client.GET('/v1/brand')),
})

/** The tenant's host names, and until when their own certificates last. */
export const certificatesQuery = queryOptions({
  queryKey: ['certificates'],
  queryFn: () => body(client.GET('/v1/certificates')),
})

export const messagesQuery = queryOptions({
  queryKey: ['contact'],
  queryFn: () => body(client.GET('/v1/contact')),
})

export const belongingsQuery = queryOptions({
  queryKey: ['session', 'tenants'],
  queryFn: () => body(client.GET('/v1/session/tenants')),
  staleTime: 5 * 60_000,
})
