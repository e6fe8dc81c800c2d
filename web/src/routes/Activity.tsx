// Activity: who did what to which thing, from where, and how it ended; search, export, holds.
import { i18n } from '@lingui/core'
import { Button, Select, TextInput } from '@mantine/core'
import { useDebouncedCallback } from '@mantine/hooks'
import { useInfiniteQuery } from '@tanstack/react-query'
import { useMemo, useState } from 'react'

import { download } from '../api/client'
import { ProblemError } from '../api/problem'
import { activityQuery, type ActivityFilter } from '../api/queries'
import type { Activity, Value } from '../api/types'
import { useMay } from '../app/places'
import { useAppSearch, usePatchSearch, type AppSearch } from '../app/search'
import { actionLabel } from '../lib/actions'
import { shorten } from '../lib/format'
import { DataTable, type Column } from '../ui/DataTable'
import { Icon } from '../ui/icons'
import { Empty, Facts, Failure, Loading, Page, Tag } from '../ui/layout'
import { Drawer } from '../ui/overlays'
import { Age, Instant } from '../ui/time'
import { toast } from '../ui/toasts'
import { Cases } from './Cases'
import { Holds } from './Holds'
import { MailboxBlock } from './Mailbox'
import { RecordChange } from './RecordChange'

const OUTCOMES = ['done', 'denied', 'not_found', 'failed'] as const

function outcomeLabel(outcome: Activity['outcome']): string {
  switch (outcome) {
    case 'done':
      return i18n.t('done')
    case 'denied':
      return i18n.t('refused')
    case 'not_found':
      return i18n.t('not found')
    case 'failed':
      return i18n.t('failed')
  }
}

/** What actions begin with, in words. */
export function actionGroups(): { value: string; label: string }[] {
  return [
    { value: 'session.', label: i18n.t('Sign-ins') },
    { value: 'device.', label: i18n.t('Devices') },
    { value: 'telemetry.', label: i18n.t('Telemetry') },
    { value: 'twin.', label: i18n.t('Twins') },
    { value: 'rule.', label: i18n.t('Rules') },
    { value: 'alert.', label: i18n.t('Alerts') },
    { value: 'user.', label: i18n.t('People') },
    { value: 'api_key.', label: i18n.t('API keys') },
    { value: 'activity.', label: i18n.t('Activity') },
    { value: 'ledger.', label: i18n.t('Ledger') },
    { value: 'incident.', label: i18n.t('Incidents') },
    { value: 'support.', label: i18n.t('Support') },
  ]
}

function filterOf(search: AppSearch): ActivityFilter {
  return {
    ...(search.actor && { actor: search.actor }),
    ...(search.action && { action: search.action }),
    ...(search.filter && { outcome: search.filter }),
    ...(search.q && { q: search.q }),
  }
}

/** People from above are told by whom they belong to: their names are not ours to know. */
function actorOf(a: Activity): string {
  return a.actor_of === null ? a.actor : i18n.t('somebody of {name}', { name: a.actor_of })
}

function placeOf(a: Activity): string {
  return [a.city, a.country].filter((part) => part !== null).join(', ')
}

export function ActivityPage() {
  const search = useAppSearch()
  const patch = usePatchSearch()
  const filter = filterOf(search)
  const query = useInfiniteQuery(activityQuery(filter))
  const rows = useMemo(() => query.data?.pages.flatMap((page) => page.items) ?? [], [query.data])
  const opened = rows.find((a) => a.id === search.select)
  const columns = useMemo<Column<Activity>[]>(
    () => [
      {
        id: 'at',
        header: i18n.t('When'),
        sort: (a) => -Date.parse(a.at),
        cell: (a) => (
          <>
            <span className="wide-only">
              <Instant at={a.at} age={false} />
            </span>
            <span className="narrow-only nowrap">
              <Age at={a.at} />
            </span>
          </>
        ),
      },
      {
        id: 'actor',
        header: i18n.t('Who'),
        give: 'second',
        sort: actorOf,
        cell: (a) => <span title={actorOf(a)}>{shorten(actorOf(a), 14)}</span>,
      },
      {
        id: 'action',
        header: i18n.t('Did'),
        sort: (a) => a.action,
        cell: (a) => (
          <button
            type="button"
            className="link-button cell-main"
            onClick={() => patch({ select: a.id })}
          >
            <span>
              {actionLabel(a.action)}
              {a.times !== null && ` ×${a.times + 1}`}
            </span>
            <span className="dim">
              <code className="wide-only">{a.action}</code>
              <span className="narrow-only">
                {shorten(actorOf(a), 12)} · {outcomeLabel(a.outcome)}
              </span>
            </span>
          </button>
        ),
      },
      {
        id: 'resource',
        header: i18n.t('On what'),
        give: 'first',
        sort: (a) => a.resource,
        cell: (a) => <span title={a.resource}>{shorten(a.resource, 18)}</span>,
      },
      {
        id: 'from',
        header: i18n.t('From where'),
        give: 'first',
        sort: (a) => `${placeOf(a)} ${a.address ?? ''}`,
        cell: (a) => (
          <span className="cell-main">
            <span className="num">{a.address ?? '—'}</span>
            <span className="dim">{placeOf(a)}</span>
          </span>
        ),
      },
      {
        id: 'outcome',
        header: i18n.t('Outcome'),
        give: 'second',
        sort: (a) => a.outcome,
        cell: (a) =>
          a.outcome === 'done' ? (
            outcomeLabel(a.outcome)
          ) : (
            <Tag tone="warn">{outcomeLabel(a.outcome)}</Tag>
          ),
      },
    ],
    [patch],
  )
  return (
    <Page
      title={i18n.t('Activity')}
      lead={i18n.t(
        'Every act of people, programs and support in this organisation. Kept for at most 90 days, longer only under a hold.',
      )}
      actions={<Exports filter={filter} />}
    >
      <Filters />
      {query.isPending && <Loading rows={10} />}
      {query.isError && <Failure error={query.error} retry={() => void query.refetch()} />}
      {query.isSuccess && rows.length === 0 && (
        <Empty icon="activity" title={i18n.t('Nothing fits')}>
          {Object.keys(filter).length > 0
            ? i18n.t('No record of the last 90 days fits these filters.')
            : i18n.t(
                'Signing in, changing a rule, acknowledging an alert: each leaves one line here.',
              )}
        </Empty>
      )}
      {rows.length > 0 && (
        <DataTable
          label={i18n.t('Activity')}
          rows={rows}
          columns={columns}
          rowId={(a) => a.id}
          onOpen={(a) => patch({ select: a.id })}
          isSelected={(a) => a.id === search.select}
        />
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
      <CasesForWhoMay />
      <HoldsForWhoMay />
      <Drawer
        opened={opened !== undefined}
        onClose={() => patch({ select: undefined })}
        position="right"
        title={i18n.t('Record')}
      >
        {opened && <Record record={opened} />}
      </Drawer>
    </Page>
  )
}

function CasesForWhoMay() {
  return useMay().whole('request.read') ? (
    <>
      <Cases />
      <MailboxBlock />
    </>
  ) : null
}

function HoldsForWhoMay() {
  return useMay().whole('hold.list') ? <Holds /> : null
}

function Exports(props: { filter: ActivityFilter }) {
  const [fetching, setFetching] = useState('')
  const take = async (format: string) => {
    setFetching(format)
    try {
      const path = `/v1/activity/export?${new URLSearchParams({ format, ...props.filter })}`
      await download(path, `activity.${format}`)
    } catch (error) {
      toast(ProblemError.of(error).message)
    }
    setFetching('')
  }
  return (
    <>
      {['csv', 'json'].map((format) => (
        <Button
          key={format}
          size="xs"
          variant="default"
          leftSection={<Icon name="download" size={16} />}
          loading={fetching === format}
          onClick={() => void take(format)}
        >
          {i18n.t('Export {format}', { format: format.toUpperCase() })}
        </Button>
      ))}
    </>
  )
}

function Filters() {
  const search = useAppSearch()
  const patch = usePatchSearch()
  const [text, setText] = useState(search.q ?? '')
  const narrow = useDebouncedCallback((q: string) => patch({ q: q || undefined }), 300)
  return (
    <div className="filters" role="search">
      <TextInput
        size="xs"
        w={240}
        aria-label={i18n.t('Search the records')}
        placeholder={i18n.t('Name, address, city, change …')}
        value={text}
        onChange={(event) => {
          setText(event.currentTarget.value)
          narrow(event.currentTarget.value)
        }}
      />
      <Select
        size="xs"
        w={160}
        clearable
        aria-label={i18n.t('What was done')}
        placeholder={i18n.t('Everything')}
        value={search.action ?? null}
        onChange={(action) => patch({ action: action ?? undefined })}
        data={actionGroups()}
      />
      <Select
        size="xs"
        w={160}
        clearable
        aria-label={i18n.t('Outcome')}
        placeholder={i18n.t('Any outcome')}
        value={search.filter ?? null}
        onChange={(filter) => patch({ filter: filter ?? undefined })}
        data={OUTCOMES.map((value) => ({ value, label: outcomeLabel(value) }))}
      />
      {search.actor && (
        <Button
          size="xs"
          variant="default"
          leftSection={<Icon name="close" size={12} />}
          onClick={() => patch({ actor: undefined })}
        >
          {i18n.t('One actor only')}
        </Button>
      )}
    </div>
  )
}

function Record(props: { record: Activity }) {
  const { record } = props
  const patch = usePatchSearch()
  const known = (items: [string, string | null][]) =>
    items.filter((item): item is [string, string] => item[1] !== null && item[1] !== '')
  return (
    <div className="stack">
      <Facts
        items={[
          [i18n.t('When'), <Instant key="at" at={record.at} />],
          [i18n.t('Who'), actorOf(record)],
          [
            i18n.t('Did'),
            <span key="did">
              {actionLabel(record.action)} <code className="dim">{record.action}</code>
            </span>,
          ],
          [i18n.t('On what'), record.resource],
          [i18n.t('Outcome'), outcomeLabel(record.outcome)],
          ...known([
            [i18n.t('Address'), record.address],
            [i18n.t('City and country'), placeOf(record)],
            [i18n.t('Browser'), record.browser],
            [i18n.t('System'), record.system],
            [i18n.t('Session'), record.session_id],
            [i18n.t('Request'), record.request_id],
          ]),
        ]}
      />
      {record.actor_id !== null && (
        <Button
          size="xs"
          variant="default"
          onClick={() => patch({ actor: record.actor_id ?? undefined, select: undefined })}
        >
          {i18n.t('Show only what this actor did')}
        </Button>
      )}
      <RecordChange before={record.before as Value} after={record.after as Value} />
    </div>
  )
}
