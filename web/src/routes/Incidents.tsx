// Incidents: access that was unlike the usual, and what people did about it.
import { i18n } from '@lingui/core'
import { Button, Group, Select, Textarea, TextInput } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useNavigate } from '@tanstack/react-router'
import { useMemo, useState } from 'react'

import { body, client } from '../api/client'
import { ProblemError } from '../api/problem'
import {
  incidentQuery,
  incidentsQuery,
  queryClient,
  securityAlertsQuery,
} from '../api/queries'
import type { Incident, SecurityAlert } from '../api/types'
import { Allowed } from '../app/Allowed'
import { useAppSearch, usePatchSearch } from '../app/search'
import { SEVERITIES } from '../lib/severity'
import { DataTable, type Column } from '../ui/DataTable'
import { Icon } from '../ui/icons'
import { Empty, Facts, Failure, Loading, Page, Tag } from '../ui/layout'
import { severityLabel, SeverityMark } from '../ui/marks'
import { Drawer, Modal } from '../ui/overlays'
import { Age, Instant } from '../ui/time'
import { toast } from '../ui/toasts'
import { SubmitForm } from '../ui/SubmitForm'

export function findingLabel(kind: Incident['kind']): string {
  switch (kind) {
    case 'credential_stuffing':
      return i18n.t('Many sign-ins fail from one address')
    case 'impossible_travel':
      return i18n.t('Sign-ins further apart than anybody travels')
    case 'new_device':
      return i18n.t('New device from a new network')
    case 'bulk_export':
      return i18n.t('Very much data taken away')
    case 'denied_spike':
      return i18n.t('Many refusals of one actor')
    case 'refused_keys':
      return i18n.t('Many refused API keys from one address')
    case 'odd_hours':
      return i18n.t('Sign-in at an unusual hour')
    case 'certificates_ending':
      return i18n.t('Certificates of devices end soon')
    case 'storage_damaged':
      return i18n.t('Stored data does not read back')
    case 'quota_near':
      return i18n.t('Most of what the plan gives is used')
    case 'promise_broken':
      return i18n.t('A promise of the published policy is not kept')
    case 'mailbox_unread':
      return i18n.t('The mailbox for requests is not read, or mails are left in it')
    case 'other':
      return i18n.t('Opened by hand')
  }
}

/** What usually helps. */
function advice(kind: Incident['kind']): string | null {
  switch (kind) {
    case 'credential_stuffing':
      return i18n.t(
        'Look in Activity whether a sign-in from that address succeeded. If so, end the session and have the password changed.',
      )
    case 'impossible_travel':
    case 'new_device':
    case 'odd_hours':
      return i18n.t('Ask the person. If it was not them, end their sessions and reset the password.')
    case 'bulk_export':
    case 'denied_spike':
      return i18n.t('Ask whoever it was what for. If nobody knows, revoke the key or the session.')
    case 'certificates_ending':
      return i18n.t(
        'Give the devices new certificates, or the authority a new list, before the stated time.',
      )
    case 'storage_damaged':
      return i18n.t(
        'Look at Operations what is damaged and what can be done. Check the disk before anything is put back.',
      )
    case 'quota_near':
      return i18n.t('Look at Usage. Ask for another plan, or keep less, before the plan is used up.')
    case 'promise_broken':
      return i18n.t(
        'Look at Promises what the check found and where. Mend it, then run the check again there.',
      )
    case 'mailbox_unread':
      return i18n.t(
        'Look at Requests what is wrong with the mailbox: server, user, password or folder. Where mails are left, close what can be closed.',
      )
    case 'refused_keys':
      return i18n.t('Often a program with an expired key. If not, block the address.')
    case 'other':
      return null
  }
}

function titleOf(incident: Incident): string {
  return incident.kind === 'other' ? incident.title : findingLabel(incident.kind)
}

const refresh = () =>
  Promise.all(
    ['incidents', 'security-alerts'].map((key) =>
      queryClient.invalidateQueries({ queryKey: [key] }),
    ),
  )

export function IncidentsPage() {
  const search = useAppSearch()
  const patch = usePatchSearch()
  const query = useQuery(incidentsQuery)
  const [opening, setOpening] = useState(false)
  const columns = useMemo<Column<Incident>[]>(
    () => [
      {
        id: 'severity',
        header: i18n.t('Severity'),
        width: 'min(112px, 15vw)',
        sort: (i) => SEVERITIES.indexOf(i.severity),
        cell: (i) => <SeverityMark severity={i.severity} label quiet={i.closed_at !== null} />,
      },
      {
        id: 'what',
        header: i18n.t('What'),
        sort: titleOf,
        cell: (i) => (
          <button type="button" className="link-button" onClick={() => patch({ select: i.id })}>
            {titleOf(i)}
          </button>
        ),
      },
      {
        id: 'opened',
        header: i18n.t('Since'),
        sort: (i) => -Date.parse(i.opened_at),
        cell: (i) => <Age at={i.opened_at} />,
      },
      {
        id: 'state',
        header: i18n.t('State'),
        give: 'second',
        sort: (i) => (i.closed_at === null ? 0 : 1),
        cell: (i) =>
          i.closed_at === null ? <Tag tone="warn">{i18n.t('open')}</Tag> : i18n.t('closed'),
      },
    ],
    [patch],
  )
  const open = (
    <Allowed to="incident.open">
      <button type="button" className="button primary" onClick={() => setOpening(true)}>
        <Icon name="plus" size={16} /> {i18n.t('Open an incident')}
      </button>
    </Allowed>
  )
  return (
    <Page
      title={i18n.t('Incidents')}
      lead={i18n.t('Access that was unlike the usual, and what was done about it.')}
      actions={open}
    >
      <Alerts />
      {query.isPending && <Loading />}
      {query.isError && <Failure error={query.error} retry={() => void query.refetch()} />}
      {query.data?.items.length === 0 && (
        <Empty icon="incidents" title={i18n.t('No incident')}>
          {i18n.t(
            'Failed sign-ins in series, impossible travel, new devices, large exports: each raises an alert and opens an incident here.',
          )}
        </Empty>
      )}
      {query.data && query.data.items.length > 0 && (
        <DataTable
          label={i18n.t('Incidents')}
          rows={query.data.items}
          columns={columns}
          rowId={(i) => i.id}
          onOpen={(i) => patch({ select: i.id })}
        />
      )}
      <Drawer
        opened={search.select !== undefined}
        onClose={() => patch({ select: undefined })}
        position="right"
        title={i18n.t('Incident')}
      >
        {search.select !== undefined && <OneIncident id={search.select} />}
      </Drawer>
      <Modal opened={opening} onClose={() => setOpening(false)} title={i18n.t('Open an incident')}>
        <OpenForm
          onDone={(id) => {
            setOpening(false)
            void refresh()
            patch({ select: id })
          }}
        />
      </Modal>
    </Page>
  )
}

/** Security alerts that nobody has taken note of. */
function Alerts() {
  const query = useQuery(securityAlertsQuery)
  const patch = usePatchSearch()
  const waiting = (query.data?.items ?? []).filter((alert) => alert.acknowledged_at === null)
  if (waiting.length === 0) return null
  const acknowledge = async (alert: SecurityAlert) => {
    try {
      const params = { path: { id: alert.id } }
      await client.POST('/v1/security-alerts/{id}/acknowledge', { params })
      await refresh()
    } catch (error) {
      toast(ProblemError.of(error).message)
    }
  }
  return (
    <section className="block">
      <h2>{i18n.t('Security alerts')}</h2>
      <ul className="signal-list">
        {waiting.map((alert) => (
          <li key={alert.id}>
            <SeverityMark severity={alert.severity} />
            <span className="cell-main">
              <button
                type="button"
                className="link-button"
                onClick={() => patch({ select: alert.incident_id })}
              >
                {findingLabel(alert.kind)}
              </button>
              <span className="dim">
                {alert.seen.map(({ name, value }) => `${name}: ${value}`).join(' · ')}
              </span>
            </span>
            <Age at={alert.raised_at} />
            <Allowed to="incident.update">
              <Button size="compact-xs" variant="default" onClick={() => void acknowledge(alert)}>
                {i18n.t('Acknowledge')}
              </Button>
            </Allowed>
          </li>
        ))}
      </ul>
    </section>
  )
}

function noteLabel(kind: Incident['notes'][number]['kind']): string {
  switch (kind) {
    case 'opened':
      return i18n.t('opened')
    case 'alert':
      return i18n.t('alert')
    case 'note':
      return i18n.t('note')
    case 'closed':
      return i18n.t('closed')
  }
}

function OneIncident(props: { id: string }) {
  const navigate = useNavigate()
  const query = useQuery(incidentQuery(props.id))
  const [text, setText] = useState('')
  const [busy, setBusy] = useState(false)
  const [error, setError] = useState<unknown>(null)
  if (query.isError) return <Failure error={query.error} compact />
  if (query.data === undefined) return <Loading rows={4} />
  const incident = query.data
  const params = { path: { id: incident.id } }
  const send = async (path: '/v1/incidents/{id}/notes' | '/v1/incidents/{id}/close') => {
    setBusy(true)
    setError(null)
    try {
      await body(client.POST(path, { params, body: { text } }))
      setText('')
      await refresh()
    } catch (failure) {
      setError(failure)
    } finally {
      setBusy(false)
    }
  }
  const breach = async () => {
    setBusy(true)
    setError(null)
    try {
      const opened = { title: titleOf(incident), incident: incident.id, role: 'controller' as const }
      const made = await body(
        client.POST('/v1/breaches', { body: { ...opened, risk: 'unknown' as const } }),
      )
      void navigate({ to: '/breaches', search: { select: made.id } })
    } catch (failure) {
      setError(failure)
    } finally {
      setBusy(false)
    }
  }
  const help = advice(incident.kind)
  return (
    <div className="stack">
      <h3>{titleOf(incident)}</h3>
      <Facts
        items={[
          [
            i18n.t('Severity'),
            <SeverityMark key="severity" severity={incident.severity} label />,
          ],
          [i18n.t('Opened'), <Instant key="opened" at={incident.opened_at} />],
          [
            i18n.t('Closed'),
            incident.closed_at === null ? (
              i18n.t('not yet')
            ) : (
              <Instant key="closed" at={incident.closed_at} />
            ),
          ],
        ]}
      />
      {help !== null && (
        <p className="hint">
          <strong>{i18n.t('What usually helps:')}</strong> {help}
        </p>
      )}
      <ol className="incident-notes">
        {incident.notes.map((note, index) => (
          <li key={index}>
            <span className="dim">
              <Instant at={note.at} age={false} /> · {note.by ?? i18n.t('Platform')} ·{' '}
              {noteLabel(note.kind)}
            </span>
            <span>{note.text}</span>
          </li>
        ))}
      </ol>
      <Allowed to="incident.update">
        <Textarea
          label={i18n.t('What was found, what was done')}
          autosize
          minRows={3}
          maxLength={4000}
          value={text}
          onChange={(event) => setText(event.currentTarget.value)}
        />
        {error !== null && <Failure error={error} compact />}
        <Group justify="flex-end">
          <Button
            variant="default"
            loading={busy}
            disabled={text.trim() === ''}
            onClick={() => void send('/v1/incidents/{id}/notes')}
          >
            {i18n.t('Add the note')}
          </Button>
          <Button variant="default" loading={busy} onClick={() => void breach()}>
            {i18n.t('Treat as a breach')}
          </Button>
          {incident.closed_at === null && (
            <Button
              loading={busy}
              disabled={text.trim() === ''}
              onClick={() => void send('/v1/incidents/{id}/close')}
            >
              {i18n.t('Close the incident')}
            </Button>
          )}
        </Group>
      </Allowed>
    </div>
  )
}

function OpenForm(props: { onDone: (id: string) => void }) {
  const [title, setTitle] = useState('')
  const [text, setText] = useState('')
  const [severity, setSeverity] = useState<Incident['severity']>('medium')
  const submit = async () => {
    const made = await body(client.POST('/v1/incidents', { body: { title, severity, text } }))
    props.onDone(made.id)
  }
  return (
    <SubmitForm action={i18n.t('Open')} submit={submit}>
      <TextInput
        label={i18n.t('Title')}
        required
        data-autofocus
        maxLength={200}
        value={title}
        onChange={(event) => setTitle(event.currentTarget.value)}
      />
      <Select
        label={i18n.t('Severity')}
        allowDeselect={false}
        value={severity}
        onChange={(value) => setSeverity(SEVERITIES.find((known) => known === value) ?? severity)}
        data={SEVERITIES.map((value) => ({ value, label: severityLabel(value) }))}
      />
      <Textarea
        label={i18n.t('What happened')}
        required
        autosize
        minRows={3}
        maxLength={4000}
        value={text}
        onChange={(event) => setText(event.currentTarget.value)}
      />
    </SubmitForm>
  )
}
