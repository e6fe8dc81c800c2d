// Alerts: what is abnormal, what still waits for a person; acknowledge one or many.
import { i18n } from '@lingui/core'
import { useLingui } from '@lingui/react'
import { Checkbox, SegmentedControl, Select } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { useMemo, useState } from 'react'

import { alertsQuery } from '../api/queries'
import type { Alert, AlertFilter } from '../api/types'
import { Allowed, useAllowed } from '../app/Allowed'
import { useAppSearch, usePatchSearch } from '../app/search'
import { formatValue } from '../lib/format'
import { compareAlerts, needsAcknowledgement, SEVERITIES } from '../lib/severity'
import { alertSentence } from '../lib/sentence'
import { DataTable, type Column } from '../ui/DataTable'
import { Icon } from '../ui/icons'
import { Empty, Failure, Loading, Page } from '../ui/layout'
import { alertStateLabel, severityLabel, SeverityMark } from '../ui/marks'
import { Age } from '../ui/time'
import { AcknowledgeForm, AlertBody } from './AlertBody'
import { Drawer, Modal } from '../ui/overlays'

/** The server's filters, and the one people ask for most: active and unacknowledged. */
type View = AlertFilter | 'attention'
const VIEWS = ['attention', 'active', 'open', 'all'] as const

function viewLabel(view: View): string {
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

function useAlerts(view: View, severity: string | undefined) {
  const query = useQuery(alertsQuery(view === 'attention' ? 'active' : view))
  const alerts = useMemo(
    () =>
      (query.data?.items ?? [])
        .filter((alert) => view !== 'attention' || alert.state === 'active_unacknowledged')
        .filter((alert) => severity === undefined || alert.severity === severity)
        .sort(compareAlerts),
    [query.data, view, severity],
  )
  return { query, alerts }
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
  const { query, alerts } = useAlerts(view, search.q)
  const [chosen, setChosen] = useState<Set<string>>(new Set())
  const [acknowledging, setAcknowledging] = useState(false)
  const opened =
    alerts.find((a) => a.id === search.select) ??
    query.data?.items.find((a) => a.id === search.select)
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
            <span>{alertSentence(a)}</span>
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
            search={{ select: `alert:${a.id}`, ...(a.twin_id && { twin: a.twin_id }) } as never}
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
        <SegmentedControl
          size="xs"
          aria-label={i18n.t('Filter')}
          value={view}
          onChange={(value) => patch({ filter: value === 'attention' ? undefined : value })}
          data={VIEWS.map((value) => ({ value, label: viewLabel(value) }))}
        />
        <Select
          size="xs"
          clearable
          aria-label={i18n.t('Severity')}
          placeholder={i18n.t('Every severity')}
          value={search.q ?? null}
          onChange={(value) => patch({ q: value ?? undefined })}
          data={SEVERITIES.map((value) => ({ value, label: severityLabel(value) }))}
        />
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
        />
      )}
      <Drawer
        opened={opened !== undefined}
        onClose={() => patch({ select: undefined })}
        position="right"
        title={i18n.t('Alert')}
      >
        {opened && (
          <div className="stack">
            <AlertBody alert={opened} />
            <Link to="/" search={{ select: `alert:${opened.id}` } as never} className="button">
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
