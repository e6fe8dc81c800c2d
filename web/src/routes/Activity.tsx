// Activity: who did what to which thing, and how it ended.
import { i18n } from '@lingui/core'
import { Button } from '@mantine/core'
import { useInfiniteQuery } from '@tanstack/react-query'
import { useMemo } from 'react'

import { activityQuery } from '../api/queries'
import type { Activity } from '../api/types'
import { shorten } from '../lib/format'
import { DataTable, type Column } from '../ui/DataTable'
import { Empty, Failure, Loading, Page, Tag } from '../ui/layout'
import { Instant } from '../ui/time'

const FINE = new Set(['allowed', 'ok', 'success', 'done'])

export function ActivityPage() {
  const query = useInfiniteQuery(activityQuery)
  const rows = useMemo(() => query.data?.pages.flatMap((page) => page.items) ?? [], [query.data])
  const columns = useMemo<Column<Activity>[]>(
    () => [
      {
        id: 'at',
        header: i18n.t('When'),
        sort: (a) => -Date.parse(a.at),
        cell: (a) => <Instant at={a.at} />,
      },
      {
        id: 'actor',
        header: i18n.t('Who'),
        sort: (a) => a.actor,
        cell: (a) => <span title={a.actor}>{shorten(a.actor, 14)}</span>,
      },
      {
        id: 'action',
        header: i18n.t('Did'),
        sort: (a) => a.action,
        cell: (a) => <code>{a.action}</code>,
      },
      {
        id: 'resource',
        header: i18n.t('On what'),
        give: 'first',
        sort: (a) => a.resource,
        cell: (a) => <span title={a.resource}>{shorten(a.resource, 18)}</span>,
      },
      {
        id: 'outcome',
        header: i18n.t('Outcome'),
        sort: (a) => a.outcome,
        cell: (a) => (FINE.has(a.outcome) ? a.outcome : <Tag tone="warn">{a.outcome}</Tag>),
      },
      {
        id: 'request',
        header: i18n.t('Request'),
        give: 'second',
        cell: (a) => <code title={a.request_id}>{shorten(a.request_id, 4)}</code>,
      },
    ],
    [],
  )
  return (
    <Page
      title={i18n.t('Activity')}
      lead={i18n.t(
        'Every act of people and programs in this organisation. Kept for at most 90 days.',
      )}
    >
      {query.isPending && <Loading rows={10} />}
      {query.isError && <Failure error={query.error} retry={() => void query.refetch()} />}
      {query.isSuccess && rows.length === 0 && (
        <Empty icon="activity" title={i18n.t('Nothing happened yet')}>
          {i18n.t(
            'Signing in, changing a rule, acknowledging an alert: each leaves one line here.',
          )}
        </Empty>
      )}
      {rows.length > 0 && (
        <DataTable label={i18n.t('Activity')} rows={rows} columns={columns} rowId={(a) => a.id} />
      )}
      {query.hasNextPage && (
        <Button
          size="xs"
          variant="default"
          loading={query.isFetchingNextPage}
          onClick={() => void query.fetchNextPage()}
        >
          {i18n.t('Earlier')}
        </Button>
      )}
    </Page>
  )
}
