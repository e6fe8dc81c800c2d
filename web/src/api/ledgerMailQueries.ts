// Queries of mail to auditors: the mailings, what is kept of mail that was sent, and the keys that
// sign it.
import { infiniteQueryOptions, queryOptions } from '@tanstack/react-query'

import { body, client } from './client'
import { nextPage } from './paging'

export const mailingsQuery = queryOptions({
  queryKey: ['ledger', 'mailings'],
  queryFn: () => body(client.GET('/v1/ledger/mailings')),
  refetchInterval: 15_000,
})

export const sentMailsQuery = infiniteQueryOptions({
  queryKey: ['ledger', 'mails'],
  queryFn: ({ pageParam }) =>
    body(
      client.GET('/v1/ledger/mails', {
        params: { query: { limit: 50, ...(pageParam !== '' && { cursor: pageParam }) } },
      }),
    ),
  initialPageParam: '',
  getNextPageParam: nextPage,
})

export const mailKeysQuery = queryOptions({
  queryKey: ['system', 'mail-keys'],
  queryFn: () => body(client.GET('/v1/system/mail-keys')),
})
