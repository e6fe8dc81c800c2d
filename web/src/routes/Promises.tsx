// The promise board: every sentence of the policy, its state, its evidence and the age of both.
import { i18n } from '@lingui/core'
import { Button } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { useState } from 'react'

import { body, client } from '../api/client'
import { promisesQuery, queryClient } from '../api/queries'
import type { PromiseRow, PromiseState } from '../api/types'
import { Allowed } from '../app/Allowed'
import { useAppSearch, usePatchSearch } from '../app/search'
import { humanised } from '../lib/keys'
import { Icon } from '../ui/icons'
import { Facts, Failure, InEnglish, Loading, Page } from '../ui/layout'
import { PromiseMark, promiseStateLabel } from '../ui/marks'
import { Age, Instant } from '../ui/time'

const MEBIBYTE = 1024 * 1024
/** What needs somebody comes first, then what holds, then what nobody looks at yet. */
const STATES: PromiseState[] = ['failing', 'stale', 'proven', 'not_evidenced', 'not_applicable']

/** Who answers for a promise, by the register's names. */
function ownerLabel(owner: string): string {
  const labels: Record<string, string> = {
    data_protection_officer: i18n.t('Data protection officer'),
    security_officer: i18n.t('Security officer'),
    product_owner: i18n.t('Product owner'),
    support_lead: i18n.t('Support lead'),
    operator: i18n.t('Operator of the platform'),
  }
  return labels[owner] ?? humanised(owner)
}

function scopeLabel(scope: PromiseRow['scope']): string {
  switch (scope) {
    case 'nobody':
      return i18n.t('What it makes itself, in organisations of nobody')
    case 'platform':
      return i18n.t('The platform')
    case 'everybody':
      return i18n.t('The platform and what it keeps of everybody; it counts, and shows nothing')
  }
}

export function PromisesPage() {
  const query = useQuery(promisesQuery)
  const { filter } = useAppSearch()
  const patch = usePatchSearch()
  const rows: PromiseRow[] = query.data?.items ?? []
  const shown = rows
    .filter((row) => filter === undefined || row.state === filter)
    .sort((a, b) => STATES.indexOf(a.state) - STATES.indexOf(b.state))
  return (
    <Page
      title={i18n.t('Promises')}
      lead={i18n.t(
        'Every sentence of the policy that can be kept or broken. A check looks from outside; nobody can set one to proven by hand.',
      )}
      actions={
        <Link to="/policy" className="button">
          {i18n.t('Privacy policy')}
        </Link>
      }
    >
      {query.isPending && <Loading rows={12} />}
      {query.isError && <Failure error={query.error} retry={() => void query.refetch()} />}
      {rows.length > 0 && (
        <>
          <div className="promise-summary" role="group" aria-label={i18n.t('Filter by state')}>
            {STATES.map((state) => (
              <button
                key={state}
                type="button"
                aria-pressed={filter === state}
                data-state={state}
                onClick={() => patch({ filter: filter === state ? undefined : state })}
              >
                <span className="promise-count num">
                  {rows.filter((row) => row.state === state).length}
                </span>
                <PromiseMark state={state} />
              </button>
            ))}
          </div>
          <InEnglish />
          <p className="visually-hidden" aria-live="polite">
            {i18n.t('{count, plural, one {# promise} other {# promises}}', { count: shown.length })}
          </p>
          <ul className="promises">
            {shown.map((row) => (
              <Row key={row.id} row={row} />
            ))}
          </ul>
          {shown.length === 0 && (
            <p className="dim pad">{filter && promiseStateLabel(filter as PromiseState)}: 0</p>
          )}
        </>
      )}
    </Page>
  )
}

function Row({ row }: { row: PromiseRow }) {
  const { select } = useAppSearch()
  const patch = usePatchSearch()
  const opened = select === row.id
  const bodyId = `promise-${row.id}`
  return (
    <li className="promise" data-state={row.state}>
      <button
        type="button"
        className="promise-row"
        aria-expanded={opened}
        aria-controls={bodyId}
        onClick={() => patch({ select: opened ? undefined : row.id })}
      >
        <span className="promise-id num">{row.id}</span>
        <span className="promise-state">
          <PromiseMark state={row.state} />
        </span>
        <span className="promise-text" lang="en">
          {row.text}
        </span>
        <span className="promise-age dim">
          <Age at={row.checked_at} />
        </span>
        <Icon name="chevron" size={14} />
      </button>
      {opened && (
        <div className="promise-body" id={bodyId}>
          <Explanation row={row} />
        </div>
      )}
    </li>
  )
}

function inEnglish(text: string) {
  return <span lang="en">{text}</span>
}

function Explanation({ row }: { row: PromiseRow }) {
  const [busy, setBusy] = useState(false)
  const [error, setError] = useState<unknown>(null)
  const check = async () => {
    setBusy(true)
    setError(null)
    try {
      await body(client.POST('/v1/promises/{id}/check', { params: { path: { id: row.id } } }))
      await queryClient.invalidateQueries({ queryKey: ['promises'] })
    } catch (failure) {
      setError(failure)
    } finally {
      setBusy(false)
    }
  }
  const details = row.evidence?.details
  return (
    <>
      {row.state === 'proven' ? (
        <>
          <p className="promise-reason" lang="en">
            {row.evidence?.summary}
          </p>
          {row.reason && (
            <p className="dim" lang="en">
              {row.reason}
            </p>
          )}
        </>
      ) : (
        <>
          {row.reason && (
            <p className="promise-reason" lang="en">
              {row.reason}
            </p>
          )}
          {row.evidence && <p lang="en">{row.evidence.summary}</p>}
        </>
      )}
      <Facts
        items={[
          [i18n.t('How it is kept'), inEnglish(row.feature)],
          [i18n.t('Source'), inEnglish(row.source)],
          [i18n.t('Who must act'), ownerLabel(row.owner)],
          [i18n.t('What the check looks at'), scopeLabel(row.scope)],
          [
            i18n.t('How often, and how long it may take'),
            i18n.t('every {hours} h, {minutes} min', {
              hours: Math.round(row.interval_seconds / 3600),
              minutes: Math.ceil(row.timeout_seconds / 60),
            }),
          ],
          [
            i18n.t('What it may spend'),
            i18n.t('{seconds} s of processor time, {mebibytes} MiB read and written', {
              seconds: row.cpu_seconds_max,
              mebibytes: Math.floor(row.io_bytes_max / MEBIBYTE),
            }),
          ],
          ...(row.last_cpu_ms != null && row.last_io_bytes != null
            ? [
                [
                  i18n.t('What the last check spent'),
                  i18n.t('{seconds} s of processor time, {mebibytes} MiB read and written', {
                    seconds: (row.last_cpu_ms / 1000).toFixed(1),
                    mebibytes: (row.last_io_bytes / MEBIBYTE).toFixed(1),
                  }),
                ] as [string, React.ReactNode],
              ]
            : []),
          [i18n.t('Last check'), <Instant key="l" at={row.checked_at} />],
          [i18n.t('Next check'), <Instant key="n" at={row.next_check_at} age={false} />],
          ...(row.evidence?.ledger_index != null
            ? [
                [
                  i18n.t('Evidence in the ledger'),
                  <span key="e">
                    {row.evidence.is_leaf_earlier
                      ? i18n.t(
                          'Entry {index} of the platform’s own log, of an earlier run that found the same',
                          { index: row.evidence.ledger_index },
                        )
                      : i18n.t('Entry {index} of the platform’s own log', {
                          index: row.evidence.ledger_index,
                        })}
                  </span>,
                ] as [string, React.ReactNode],
              ]
            : []),
        ]}
      />
      {details !== undefined && details.length > 0 && (
        <details>
          <summary>{i18n.t('What the check saw')}</summary>
          <div lang="en">
            <Facts items={details.map(([name, value]) => [name ?? '', value ?? ''])} />
          </div>
        </details>
      )}
      {error !== null && <Failure error={error} compact />}
      <Allowed to="promise.check">
        <Button size="xs" variant="default" loading={busy} onClick={() => void check()}>
          {i18n.t('Run the check now')}
        </Button>
      </Allowed>
    </>
  )
}
