// Query options of the keys: what protects what, and the customer's own key.
import { queryOptions } from '@tanstack/react-query'

import { body, client } from './client'

export const customerKeyQuery = queryOptions({
  queryKey: ['customer-key'],
  queryFn: () => body(client.GET('/v1/keys/customer')),
  // A service that went away or came back shows by itself.
  refetchInterval: 15_000,
})

export const keysQuery = queryOptions({
  queryKey: ['keys'],
  queryFn: () => body(client.GET('/v1/keys')),
})
