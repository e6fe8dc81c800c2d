// Holds: what keeps records beyond 90 days. One person asks, another approves.
import { i18n } from '@lingui/core'
import { Button, Select, Textarea, TextInput } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useState } from 'react'

import { body, client } from '../api/client'
import { ProblemError } from '../api/problem'
import { holdsQuery, queryClient } from '../api/queries'
import type { Hold } from '../api/types'
import { Allowed, useAllowed } from '../app/Allowed'
import { platformNow } from '../lib/now'
import { Icon } from '../ui/icons'
import { Failure, Loading, Tag } from '../ui/layout'
import { Modal } from '../ui/overlays'
import { Instant } from '../ui/time'
import { toast } from '../ui/toasts'
import { SubmitForm } from '../ui/SubmitForm'
import { useHolders } from './access/names'
import { actionGroups } from './Activity'

const DAY_MS = 86_400_000
const REASONS = ['incident', 'fraud', 'legal_duty'] as const

function reasonLabel(reason: Hold['reason']): string {
  switch (reason) {
    case 'incident':
      return i18n.t('Incident')
    case 'fraud':
      return i18n.t('Fraud')
    case 'legal_duty':
      return i18n.t('Legal duty')
  }
}

function stateLabel(state: Hold['state']): string {
  switch (state) {
    case 'asked':
      return i18n.t('waits for a second person')
    case 'in_force':
      return i18n.t('in force')
    case 'release_asked':
      return i18n.t('in force, its end is asked for')
    case 'expired':
      return i18n.t('ended')
    case 'released':
      return i18n.t('released')
  }
}

function scopeText(hold: Hold, nameOf: (id: string) => string): string {
  const { action, actor, from, to, records } = hold.scope
  const group = actionGroups().find((known) => known.value === action)?.label ?? action
  return [
    group,
    actor && nameOf(actor),
    from && to && `${from.slice(0, 10)} – ${to.slice(0, 10)}`,
    records.length > 0 &&
      i18n.t('{count, plural, one {# record} other {# records}}', { count: records.length }),
  ]
    .filter(Boolean)
    .join(' · ')
}

export function Holds() {
  const may = useAllowed()
  const query = useQuery(holdsQuery)
  const { people, keys } = useHolders()
  const nameOf = (id: string) =>
    [...people, ...keys].find((one) => one.user_id === id || one.api_key_id === id)?.label ?? id
  const [asking, setAsking] = useState(false)
  const refresh = () => queryClient.invalidateQueries({ queryKey: ['holds'] })
  const act = async (work: () => Promise<unknown>) => {
    try {
      await work()
      await refresh()
    } catch (error) {
      toast(ProblemError.of(error).message)
    }
  }
  return (
    <section className="block">
      <div className="block-head">
        <h2>{i18n.t('Holds')}</h2>
        <Allowed to="hold.request">
          <Button
            size="xs"
            variant="default"
            leftSection={<Icon name="plus" size={14} />}
            onClick={() => setAsking(true)}
          >
            {i18n.t('Ask for a hold')}
          </Button>
        </Allowed>
      </div>
      {query.isPending && <Loading rows={2} />}
      {query.isError && <Failure error={query.error} compact />}
      {query.data?.items.length === 0 && (
        <p className="hint">
          {i18n.t(
            'Nothing is held: every record goes after 90 days. A hold keeps what an incident, a fraud or the law needs, and takes two people, as does ending it before its time.',
          )}
        </p>
      )}
      <ul className="plain-list">
        {query.data?.items.map((hold) => (
          <li key={hold.id}>
            <span>
              <strong>{scopeText(hold, nameOf)}</strong>{' '}
              <span className="dim">
                {reasonLabel(hold.reason)} · {hold.note} · {hold.requested_by}
                {hold.approved_by !== null && ` + ${hold.approved_by}`}
              </span>
            </span>
            <Tag tone={isKept(hold) ? 'warn' : 'neutral'}>
              {stateLabel(hold.state)}
            </Tag>
            <span className="dim">
              {i18n.t('until')} <Instant at={hold.expires_at} age={false} />
            </span>
            {hold.state === 'asked' && !hold.is_own && may('hold.approve') && (
              <Button
                size="compact-xs"
                onClick={() =>
                  void act(() =>
                    client.POST('/v1/holds/{id}/approve', { params: { path: { id: hold.id } } }),
                  )
                }
              >
                {i18n.t('Approve')}
              </Button>
            )}
            {hold.release_asked_by !== null && isKept(hold) && (
              <span className="dim">
                {i18n.t('{name} asked to end it', { name: hold.release_asked_by })}
              </span>
            )}
            {(hold.state === 'asked' || isKept(hold)) && may('hold.release') && (
              <ReleaseButton
                hold={hold}
                release={() =>
                  void act(() =>
                    client.DELETE('/v1/holds/{id}', { params: { path: { id: hold.id } } }),
                  )
                }
              />
            )}
          </li>
        ))}
      </ul>
      <Modal opened={asking} onClose={() => setAsking(false)} title={i18n.t('Ask for a hold')}>
        <HoldForm
          onDone={() => {
            setAsking(false)
            void refresh()
          }}
        />
      </Modal>
    </section>
  )
}

function isKept(hold: Hold): boolean {
  return hold.state === 'in_force' || hold.state === 'release_asked'
}

/** Ends a hold: one person asks, another confirms, never the one whose records it keeps,
 * nor whom they brought in. */
function ReleaseButton({ hold, release }: { hold: Hold; release: () => void }) {
  if (hold.is_held) {
    return <span className="dim">{i18n.t('about you, or whoever brought you in: two others end it')}</span>
  }
  if (hold.is_own_release) {
    return <span className="dim">{i18n.t('a second person confirms the end')}</span>
  }
  const label = {
    asked: i18n.t('Take back'),
    in_force: i18n.t('Ask to end it'),
    release_asked: i18n.t('Confirm the end'),
  }[hold.state as 'asked' | 'in_force' | 'release_asked']
  return (
    <Button size="compact-xs" variant="default" onClick={release}>
      {label}
    </Button>
  )
}

function HoldForm(props: { onDone: () => void }) {
  const [action, setAction] = useState('session.')
  const [reason, setReason] = useState<Hold['reason']>('incident')
  const [note, setNote] = useState('')
  const [until, setUntil] = useState(() =>
    new Date(platformNow() + 180 * DAY_MS).toISOString().slice(0, 10),
  )
  const submit = async () => {
    const expires_at = `${until}T00:00:00Z`
    const hold = { scope: { action, records: [] }, reason, note, expires_at }
    await body(client.POST('/v1/holds', { body: hold }))
    props.onDone()
  }
  return (
    <SubmitForm action={i18n.t('Ask')} submit={submit}>
      <Select
        label={i18n.t('Which records')}
        allowDeselect={false}
        value={action}
        onChange={(value) => setAction(value ?? action)}
        data={actionGroups()}
      />
      <Select
        label={i18n.t('Why')}
        allowDeselect={false}
        value={reason}
        onChange={(value) => setReason(REASONS.find((known) => known === value) ?? reason)}
        data={REASONS.map((value) => ({ value, label: reasonLabel(value) }))}
      />
      <Textarea
        label={i18n.t('In words')}
        required
        maxLength={1000}
        value={note}
        onChange={(event) => setNote(event.currentTarget.value)}
      />
      <TextInput
        label={i18n.t('Until')}
        type="date"
        required
        value={until}
        onChange={(event) => setUntil(event.currentTarget.value)}
      />
      <p className="hint">
        {i18n.t(
          'It holds nothing until somebody else approves it: not somebody whom you brought in, or gave a role, within the last seven days, nor who did that for you.',
        )}
      </p>
    </SubmitForm>
  )
}
