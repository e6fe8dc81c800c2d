// Queries about privacy: the published texts, and one's own consents.
import { queryOptions } from '@tanstack/react-query'

import { body, client } from './client'
import type { components } from './schema'

export const DOCUMENTS = [
  'privacy',
  'terms',
  'dpa',
  'cookies',
  'roles',
  'sub-processors',
  'jurisdictions',
] as const

export type LegalDocument = (typeof DOCUMENTS)[number]

export const legalQuery = (document: LegalDocument, language: string, organisation?: string) =>
  queryOptions({
    queryKey: ['legal', document, language, organisation],
    queryFn: () =>
      body(
        client.GET('/v1/legal', {
          params: { query: { document, language, ...(organisation && { organisation }) } },
        }),
      ),
    staleTime: 300_000,
  })

export const privacyQuery = (language: string) =>
  queryOptions({
    queryKey: ['account', 'privacy', language],
    queryFn: () => body(client.GET('/v1/account/privacy', { params: { query: { language } } })),
  })

export const consentRecordsQuery = queryOptions({
  queryKey: ['account', 'consents'],
  queryFn: () => body(client.GET('/v1/account/consents')),
})

export type LegalText = components['schemas']['LegalTextBody']
export type Privacy = components['schemas']['PrivacyBody']
export type Consent = components['schemas']['ConsentBody']
export type Purpose = components['schemas']['PurposeBody']
