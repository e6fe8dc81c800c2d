// A list that is read a page at a time: its rows, and the button for older ones.
import { i18n } from '@lingui/core'
import { Button } from '@mantine/core'
import { useEffect } from 'react'

/** What a list that is read in pages knows of itself. */
interface Pages<T> {
  data: { pages: { items: T[] }[] } | undefined
  hasNextPage: boolean
  isFetching: boolean
  isFetchingNextPage: boolean
  isFetchNextPageError: boolean
  fetchNextPage: () => Promise<unknown>
}

/** The rows that were read. Pages are read on until the row with the id `wanted` is among them. */
export function useRows<T extends { id: string }>(query: Pages<T>, wanted?: string): T[] {
  const { data, hasNextPage, fetchNextPage } = query
  const isIdle = !query.isFetching && !query.isFetchNextPageError
  const items = data?.pages.flatMap((page) => page.items) ?? []
  const isMissing = wanted !== undefined && !items.some((one) => one.id === wanted)
  useEffect(() => {
    if (isMissing && hasNextPage && isIdle) void fetchNextPage()
  }, [isMissing, hasNextPage, isIdle, fetchNextPage])
  return items
}

export function MoreRows<T>({ query }: { query: Pages<T> }) {
  if (!query.hasNextPage) return null
  return (
    <Button
      size="xs"
      variant="default"
      loading={query.isFetchingNextPage}
      onClick={() => void query.fetchNextPage()}
    >
      {i18n.t('Older entries')}
    </Button>
  )
}
