// Alerts: what is abnormal, what still waits for a person; acknowledge one or many.
import { i18n } from '@lingui/core'
import { useLingui } from '@lingui/react'
import { Checkbox, Select } from '@mantine/core'
import { useInfiniteQuery, useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { useMemo, useState } from 'react'

import { alertPagesQuery, alertQuery } from '../api/alertQueries'
import type { Alert, AlertFilter } from '../api/types'
import { Allowed, useAllowed } from '../app/Allowed'
import { useAppSearch, usePatchSearch } from '../app/search'
import { formatValue } from '../lib/format'
import { needsAcknowledgement, SEVERITIES, type Severity } from '../lib/severity'
import { alertSentence } from '../lib/sentence'
import { DataTable, type Column } from '../ui/DataTable'
import { Icon } from '../ui/icons'
import { ListEnd } from '../ui/ListEnd'
import { Empty, Failure, Loading, Page } from '../ui/layout'
import { alertStateLabel, severityLabel, SeverityMark } from '../ui/marks'
import { Age } from '../ui/time'
import { Views } from '../ui/Views'
import { AcknowledgeForm, AlertBody } from './AlertBody'
import { Drawer, Modal } from '../ui/overlays'

const VIEWS = ['attention', 'active', 'open', 'all'] as const

function viewLabel(view: AlertFilter): string {
  switch (view) {
    case 'attention':
      return i18n.t('Active and unacknowledged')
    case 'active':
      return i18n.t('Active')
    case 'unacknowledged':
      return i18n.t('Unacknowledged')
    case 'open':
      return i18n.t('Still open')
    case 'all':
      return i18n.t('All')
  }
}

/** The alerts of a view, the most urgent first, as far as they were read; and how many there are. */
function useAlerts(view: AlertFilter, severity: Severity | undefined) {
  const wanted = { filter: view, order: 'urgency', ...(severity && { severity }) } as const
  const query = useInfiniteQuery(alertPagesQuery(wanted))
  const alerts = useMemo(() => query.data?.pages.flatMap((page) => page.items) ?? [], [query.data])
  return { query, alerts, total: query.data?.pages[0]?.total ?? 0 }
}

/** The alert in the address bar: one of the list, or read by itself. */
function useOpened(id: string | undefined, alerts: Alert[], isRead: boolean): Alert | undefined {
  const listed = alerts.find((alert) => alert.id === id)
  const isElsewhere = id !== undefined && isRead && listed === undefined
  const { data } = useQuery({ ...alertQuery(id ?? ''), enabled: isElsewhere, retry: false })
  return listed ?? (isElsewhere ? data : undefined)
}

/** Where an alert is in its building. */
function buildingSearch({ id, twin_id }: Alert) {
  return { select: `alert:${id}`, ...(twin_id && { twin: twin_id }) }
}

/** The column in which alerts are chosen. */
function choice(chosen: Set<string>, setChosen: (chosen: Set<string>) => void): Column<Alert> {
  return {
    id: 'choose',
    header: i18n.t('Choose'),
    bare: true,
    width: '36px',
    cell: (alert) =>
      needsAcknowledgement(alert.state) && (
        <Checkbox
          size="xs"
          aria-label={i18n.t('Choose {message}', { message: alertSentence(alert) })}
          checked={chosen.has(alert.id)}
          onChange={(event) => {
            const next = new Set(chosen)
            if (event.currentTarget.checked) next.add(alert.id)
            else next.delete(alert.id)
            setChosen(next)
          }}
        />
      ),
  }
}

export function AlertsPage() {
  const { i18n: lingui } = useLingui()
  const search = useAppSearch()
  const patch = usePatchSearch()
  const view = VIEWS.find((v) => v === search.filter) ?? 'attention'
  const severity = SEVERITIES.find((s) => s === search.q)
  const { query, alerts, total } = useAlerts(view, severity)
  const [chosen, setChosen] = useState<Set<string>>(new Set())
  const [acknowledging, setAcknowledging] = useState(false)
  const opened = useOpened(search.select, alerts, query.isSuccess)
  const acknowledges = useAllowed()('alert.acknowledge')
  const waiting = alerts.filter((a) => acknowledges && needsAcknowledgement(a.state))
  const ids = waiting.filter((a) => chosen.has(a.id)).map((a) => a.id)
  const columns = useMemo<Column<Alert>[]>(
    () => [
      ...(acknowledges ? [choice(chosen, setChosen)] : []),
      {
        id: 'severity',
        header: i18n.t('Severity'),
        width: 'min(112px, 11vw)',
        sort: (a) => SEVERITIES.indexOf(a.severity),
        cell: (a) => (
          <SeverityMark severity={a.severity} label quiet={!a.state.startsWith('active')} />
        ),
      },
      {
        id: 'what',
        header: i18n.t('What'),
        sort: (a) => a.message,
        cell: (a) => (
          <button
            type="button"
            className="link-button cell-main"
            onClick={() => patch({ select: a.id })}
          >
            <span title={alertSentence(a)}>{alertSentence(a)}</span>
            <span className="dim">
              {a.rule_name}
              <span className="narrow-only">
                {' · '}
                <Age at={a.raised_at} />
              </span>
            </span>
          </button>
        ),
      },
      {
        id: 'device',
        header: i18n.t('Device'),
        sort: (a) => a.device_name,
        cell: (a) => a.device_name,
        give: 'second',
      },
      {
        id: 'value',
        header: i18n.t('Value then'),
        align: 'end',
        give: 'first',
        cell: (a) => (
          <span className="num">
            {formatValue(a.value as never, a.unit ?? undefined, lingui.locale)}
          </span>
        ),
      },
      {
        id: 'state',
        header: i18n.t('State'),
        sort: (a) => a.state,
        give: 'first',
        cell: (a) => alertStateLabel(a.state),
      },
      {
        id: 'raised',
        header: i18n.t('Raised'),
        align: 'end',
        give: 'second',
        sort: (a) => -Date.parse(a.raised_at),
        cell: (a) => <Age at={a.raised_at} />,
      },
      {
        id: 'fly',
        header: i18n.t('Fly there'),
        bare: true,
        width: '44px',
        cell: (a) => (
          <Link
            to="/"
            search={buildingSearch(a) as never}
            className="icon-button"
            aria-label={i18n.t('Show {device} in the building', { device: a.device_name })}
          >
            <Icon name="fly" size={16} />
          </Link>
        ),
      },
    ],
    [acknowledges, chosen, patch, lingui.locale],
  )
  return (
    <Page
      title={i18n.t('Alerts')}
      lead={i18n.t('What left its limits, since when, and who has seen it.')}
      actions={
        waiting.length > 0 && (
          <>
            <button
              type="button"
              className="button"
              onClick={() =>
                setChosen(
                  ids.length === waiting.length ? new Set() : new Set(waiting.map((a) => a.id)),
                )
              }
            >
              {ids.length === waiting.length ? i18n.t('Choose none') : i18n.t('Choose all')}
            </button>
            <button
              type="button"
              className="button primary"
              disabled={ids.length === 0}
              onClick={() => setAcknowledging(true)}
            >
              {i18n.t('Acknowledge {count}', { count: ids.length })}
            </button>
          </>
        )
      }
    >
      <div className="filters">
        <Views
          label={i18n.t('Filter')}
          value={view}
          views={VIEWS.map((value) => ({ value, label: viewLabel(value) }))}
          onChange={(value) => patch({ filter: value === 'attention' ? undefined : value })}
        />
        <Select
          size="xs"
          clearable
          aria-label={i18n.t('Severity')}
          placeholder={i18n.t('Every severity')}
          value={severity ?? null}
          onChange={(value) => patch({ q: value ?? undefined })}
          data={SEVERITIES.map((value) => ({ value, label: severityLabel(value) }))}
        />
        {query.isSuccess && (
          <span className="dim num">
            {i18n.t('{count, plural, one {# alert} other {# alerts}}', { count: total })}
          </span>
        )}
      </div>
      {query.isError && <Failure error={query.error} retry={() => void query.refetch()} />}
      {query.isPending ? (
        <Loading />
      ) : alerts.length === 0 ? (
        <Empty
          icon="check"
          title={view === 'attention' ? i18n.t('Nothing needs you') : i18n.t('No alert here')}
        >
          {i18n.t(
            'Alerts come from rules: a limit that was crossed, or a device that fell silent.',
          )}{' '}
          <Allowed to="rule.list">
            <Link to="/rules">{i18n.t('See the rules')}</Link>
          </Allowed>
        </Empty>
      ) : (
        <DataTable
          label={i18n.t('Alerts')}
          rows={alerts}
          columns={columns}
          rowId={(a) => a.id}
          onOpen={(a) => patch({ select: a.id })}
          isSelected={(a) => a.id === search.select}
          rowTone={(a) => (a.state === 'active_unacknowledged' ? a.severity : undefined)}
          partial={alerts.length < total}
        />
      )}
      <ListEnd
        shown={alerts.length}
        total={total}
        hasMore={query.hasNextPage}
        busy={query.isFetchingNextPage}
        onMore={() => void query.fetchNextPage()}
      />
      <Drawer
        opened={opened !== undefined}
        onClose={() => patch({ select: undefined })}
        position="right"
        title={i18n.t('Alert')}
      >
        {opened && (
          <div className="stack">
            <AlertBody alert={opened} />
            <Link to="/" search={buildingSearch(opened) as never} className="button">
              <Icon name="fly" size={14} /> {i18n.t('Show in the building')}
            </Link>
          </div>
        )}
      </Drawer>
      <Modal
        opened={acknowledging}
        onClose={() => setAcknowledging(false)}
        title={i18n.t('Acknowledge {count}', { count: ids.length })}
      >
        <AcknowledgeForm
          ids={ids}
          onDone={() => {
            setAcknowledging(false)
            setChosen(new Set())
          }}
        />
      </Modal>
    </Page>
  )
}
