// What ends when: how long each kind of data of the organisation is kept, what decides, and where
// that is changed; and the end of the organisation itself.
import { i18n } from '@lingui/core'
import { useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'

import { keptQuery } from '../api/queries'
import type { Kept } from '../api/types'
import { useMay } from '../app/places'
import { DataTable } from '../ui/DataTable'
import { Failure, Loading, Page, Tag } from '../ui/layout'
import { Instant } from '../ui/time'
import { TenantEndBlock } from './TenantEnd'

const DAY_S = 86_400
const HOUR_S = 3_600

function classLabel(row: Kept): string {
  switch (row.class) {
    case 'readings':
      return i18n.t('Readings')
    case 'own_readings':
      return i18n.t('Readings, as your organisation says')
    case 'readings_by_rule':
      return i18n.t('Readings of {about}', { about: row.about ?? '' })
    case 'figures':
      return i18n.t('Hourly figures of readings that ended')
    case 'ledger':
      return i18n.t('What the ledger sealed: the audit period')
    case 'records':
      return i18n.t('Records of who did what')
    case 'mails':
      return i18n.t('Mails that were sent')
    case 'cases':
      return i18n.t('Requests of data subjects')
    case 'copies':
      return i18n.t('Copies of somebody’s data, to be fetched by a code')
    case 'sessions_idle':
      return i18n.t('Sessions that nobody uses')
    case 'sessions':
      return i18n.t('Sessions')
    case 'links':
      return i18n.t('Invitations and other one-time links')
    case 'connections':
      return i18n.t('Connections of devices')
    case 'imports':
      return i18n.t('Imports and what they refused')
    case 'calls':
      return i18n.t('Calls to devices')
    case 'parked_messages':
      return i18n.t('Messages that could not be delivered')
    case 'repeats':
      return i18n.t('Answers kept for requests that are sent again')
    case 'evidence':
      return i18n.t('Evidence of promises')
    case 'tasks_done':
      return i18n.t('Tasks that are done')
    case 'evidence_replaced':
      return i18n.t('Evidence that was replaced or has ended')
    case 'notices_published':
      return i18n.t('Notices that were published')
    case 'risks_closed':
      return i18n.t('Risks that are closed')
    case 'policies_retired':
      return i18n.t('Policies that were retired')
    case 'breaches_closed':
      return i18n.t('Breaches that are closed')
    case 'usage':
      return i18n.t('Counts of usage')
    case 'backups':
      return i18n.t('Destroyed data in backups')
    case 'organisation':
      return i18n.t('Accounts, devices, buildings and rules')
    case 'ended_organisation':
      return i18n.t('Everything, once the end of the organisation is decided')
    default:
      return row.class
  }
}

function lasts(seconds: number | null): string {
  if (seconds === null) return i18n.t('as long as the organisation')
  if (seconds % DAY_S === 0) {
    return i18n.t('{days, plural, one {# day} other {# days}}', { days: seconds / DAY_S })
  }
  if (seconds % HOUR_S === 0) {
    return i18n.t('{hours, plural, one {# hour} other {# hours}}', { hours: seconds / HOUR_S })
  }
  return i18n.t('{minutes, plural, one {# minute} other {# minutes}}', {
    minutes: Math.round(seconds / 60),
  })
}

function sinceLabel(since: string): string {
  switch (since) {
    case 'measured':
      return i18n.t('since they were measured')
    case 'sealed':
      return i18n.t('since it was sealed')
    case 'sent':
      return i18n.t('since they were sent')
    case 'closed':
      return i18n.t('since they were closed')
    case 'answered':
      return i18n.t('since the answer')
    case 'used':
      return i18n.t('since the last use')
    case 'destroyed':
      return i18n.t('since the destruction')
    case 'changed':
      return i18n.t('since they were changed last')
    case 'decided':
      return i18n.t('since the decision')
    default:
      return i18n.t('since they were made')
  }
}

function sourceLabel(source: string): string {
  switch (source) {
    case 'plan':
      return i18n.t('your plan')
    case 'rule':
      return i18n.t('your organisation')
    default:
      return i18n.t('the platform, for everybody')
  }
}

/** Who decides, with the way to where it is changed. */
function Who({ row }: { row: Kept }) {
  const label = sourceLabel(row.source)
  switch (row.link) {
    case '/destruction':
      return <Link to="/destruction">{label}</Link>
    case '/settings':
      return <Link to="/settings">{label}</Link>
    case '/what-ends-when':
      return <Link to="/what-ends-when">{label}</Link>
    default:
      return <span className="dim">{label}</span>
  }
}

export function WhatEndsWhenPage() {
  const may = useMay()
  return (
    <Page
      title={i18n.t('What ends when')}
      lead={i18n.t('How long everything is kept, out of what actually ends it.')}
    >
      {may.whole('retention.read') && <Schedule />}
      {may.whole('tenant.read') && <TenantEndBlock />}
    </Page>
  )
}

function Schedule() {
  const query = useQuery(keptQuery)
  if (query.isPending) return <Loading rows={8} />
  if (query.isError) return <Failure error={query.error} />
  return (
    <DataTable
      label={i18n.t('What ends when')}
      rows={query.data.items}
      rowId={(row) => `${row.class} ${row.about ?? ''}`}
      columns={[
        {
          id: 'class',
          header: i18n.t('What'),
          cell: (row: Kept) => (
            <span>
              {classLabel(row)} {row.is_held && <Tag tone="warn">{i18n.t('a hold keeps some')}</Tag>}
            </span>
          ),
        },
        {
          id: 'lasts',
          header: i18n.t('Is kept for'),
          cell: (row: Kept) => (
            <span>
              {lasts(row.seconds)}{' '}
              {row.waits_until && (
                <span className="dim">
                  {i18n.t('longer until')} <Instant at={row.waits_until} age={false} />
                </span>
              )}
            </span>
          ),
          sort: (row: Kept) => row.seconds ?? Number.MAX_SAFE_INTEGER,
        },
        {
          id: 'since',
          header: i18n.t('Counted'),
          give: 'first',
          cell: (row: Kept) => <span className="dim">{sinceLabel(row.since)}</span>,
        },
        {
          id: 'source',
          header: i18n.t('Who decides'),
          give: 'second',
          cell: (row: Kept) => <Who row={row} />,
        },
      ]}
    />
  )
}
