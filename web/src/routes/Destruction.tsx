// Destruction of readings: what was destroyed, how far each destruction is, and its certificate;
// looking at what one would meet, and confirming it.
import { i18n } from '@lingui/core'
import { useLingui } from '@lingui/react'
import { Button, Checkbox, Select, Textarea, TextInput } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useState } from 'react'

import { body, client } from '../api/client'
import { destructionsQuery, queryClient } from '../api/queries'
import type { Destruction, DestructionPreview, DestructionScope } from '../api/types'
import { Allowed } from '../app/Allowed'
import { useDeviceOptions, useDevicesById } from '../app/useDevices'
import { formatBytes, formatCount } from '../lib/format'
import { ConfirmTyped } from '../ui/dialogs'
import { Icon } from '../ui/icons'
import { Empty, Facts, Failure, Loading, Page, Tag } from '../ui/layout'
import { Modal } from '../ui/overlays'
import { SubmitForm } from '../ui/SubmitForm'
import { Instant } from '../ui/time'
import { RetentionBlock } from './Retention'

type Kind = 'device' | 'key' | 'subject' | 'month' | 'ledger'
const KINDS: Kind[] = ['device', 'key', 'subject', 'month', 'ledger']
/** The reason of acts at the end of a plan's audit period. */
const PERIOD_ENDED = 'audit period ended'

function kindLabel(kind: Destruction['scope']['kind']): string {
  switch (kind) {
    case 'device':
      return i18n.t('A device')
    case 'key':
      return i18n.t('A key')
    case 'subject':
      return i18n.t('A person')
    case 'month':
      return i18n.t('A month')
    case 'tenant':
      return i18n.t('The whole organisation')
    case 'ledger':
      return i18n.t('What the ledger has sealed')
  }
}

function stateLabel(one: Destruction): string {
  switch (one.state) {
    case 'asked':
      return i18n.t('begins')
    case 'waiting':
      return one.waits_for === 'ledger'
        ? i18n.t('waits until the ledger has sealed')
        : i18n.t('waits for what still reads the log')
    case 'destroying':
      return one.scope.kind === 'ledger'
        ? i18n.t('destroys the keys')
        : i18n.t('takes the readings out and destroys their keys')
    case 'certifying':
      return i18n.t('waits for its entry in the ledger')
    case 'done':
      return i18n.t('destroyed')
  }
}

function stayLabel(name: string): string {
  switch (name) {
    case 'ledger_payloads':
      return i18n.t('what the ledger sealed, until its own time is over')
    case 'activity_records':
      return i18n.t('records of who did what')
    case 'alerts':
      return i18n.t('alerts that were raised')
    case 'messages_on_their_way':
      return i18n.t('messages on their way to places outside')
    case 'retained_messages':
      return i18n.t('retained MQTT messages, until they are replaced')
    case 'attributes':
      return i18n.t('attributes of devices')
    case 'figures_of_ended_readings':
      return i18n.t('hourly figures of readings that had ended before')
    case 'readings':
      return i18n.t('readings in the history')
    case 'ledger_leaves':
      return i18n.t('the ledger’s newest entries, which are proven as before and cannot be opened')
    case 'exports':
      return i18n.t('what was exported before')
    default:
      return name
  }
}

function scopeValue(scope: Destruction['scope'], nameOf: (id: string) => string): string {
  const device = scope.device_id ? nameOf(scope.device_id) : null
  return [scope.key, scope.person, scope.month, device].filter(Boolean).join(' · ')
}

export function DestructionPage() {
  const [asking, setAsking] = useState(false)
  return (
    <Page
      title={i18n.t('Destruction')}
      lead={i18n.t('Readings that are destroyed for good, with a certificate, and how long they are kept.')}
      actions={
        <Allowed to="destruction.create">
          <Button
            leftSection={<Icon name="trash" size={16} />}
            color="var(--critical)"
            onClick={() => setAsking(true)}
          >
            {i18n.t('Destroy readings')}
          </Button>
        </Allowed>
      }
    >
      <RetentionBlock />
      <Destructions />
      <Modal opened={asking} onClose={() => setAsking(false)} title={i18n.t('Destroy readings')}>
        <DestroyForm onDone={() => setAsking(false)} />
      </Modal>
    </Page>
  )
}

function Destructions() {
  const query = useQuery(destructionsQuery)
  const ids = (query.data?.items ?? []).flatMap((one) => one.scope.device_id ?? [])
  const named = useDevicesById(ids)
  const nameOf = (id: string) => named.get(id)?.name ?? id
  if (query.isPending) return <Loading rows={3} />
  if (query.isError) return <Failure error={query.error} />
  if (query.data.items.length === 0) {
    return (
      <Empty icon="key" title={i18n.t('Nothing was destroyed on purpose')}>
        {i18n.t(
          'Readings past the plan’s time end by themselves. What is destroyed here is shown with its certificate.',
        )}
      </Empty>
    )
  }
  return (
    <section className="block">
      <h2>{i18n.t('Destructions')}</h2>
      <ul className="plain-list" aria-live="polite">
        {query.data.items.map((one) => (
          <Row key={one.id} one={one} nameOf={nameOf} />
        ))}
      </ul>
    </section>
  )
}

function Row({ one, nameOf }: { one: Destruction; nameOf: (id: string) => string }) {
  const { i18n: lingui } = useLingui()
  return (
    <li>
      <span>
        <strong>
          {kindLabel(one.scope.kind)} {scopeValue(one.scope, nameOf)}
        </strong>{' '}
        <span className="dim">
          {one.reason === PERIOD_ENDED ? i18n.t('End of the plan’s audit period') : one.reason} ·{' '}
          {one.requested_by} · <Instant at={one.requested_at} />
          {one.due_at && one.state !== 'done' && (
            <>
              {' '}
              · {i18n.t('over by')} <Instant at={one.due_at} />
            </>
          )}
        </span>
      </span>
      <Tag tone={one.state === 'done' ? 'neutral' : 'warn'}>{stateLabel(one)}</Tag>
      <span className="dim">
        {one.scope.kind === 'ledger'
          ? i18n.t('{keys, plural, one {# key} other {# keys}}', { keys: one.keys })
          : i18n.t('{readings} readings, {keys, plural, one {# key} other {# keys}}', {
              readings: formatCount(one.readings_destroyed, lingui.locale),
              keys: one.keys,
            })}
      </span>
      {one.has_certificate && (
        <a
          className="button"
          href={`/v1/destructions/${one.id}/certificate`}
          download="destruction-certificate.json"
        >
          <Icon name="download" size={16} /> {i18n.t('Certificate')}
        </a>
      )}
    </li>
  )
}

/** Two steps: what it would meet, then the confirmation of exactly that. */
function DestroyForm(props: { onDone: () => void }) {
  const [kind, setKind] = useState<Kind>('device')
  const [device, setDevice] = useState<string | null>(null)
  const [text, setText] = useState('')
  const [attributes, setAttributes] = useState(false)
  const [reason, setReason] = useState('')
  const [seen, setSeen] = useState<DestructionPreview | null>(null)
  const offered = useDeviceOptions(device ? [device] : [])
  const withDevice = kind === 'device' || kind === 'key'
  const scope: DestructionScope = {
    kind,
    ...(withDevice && device && { device_id: device }),
    ...(kind === 'key' && { key: text }),
    ...(kind === 'subject' && { person: text }),
    ...(kind === 'month' && { month: text }),
  }
  const asked = { scope, attributes: kind === 'device' && attributes }
  const look = async () => {
    setSeen(await body(client.POST('/v1/destructions/preview', { body: asked })))
  }
  const destroy = async (confirm: string) => {
    await body(client.POST('/v1/destructions', { body: { ...asked, reason, confirm } }))
    await queryClient.invalidateQueries({ queryKey: ['destructions'] })
    props.onDone()
  }
  const isWhole = kind === 'ledger' || (kind === 'device' ? device !== null : text.trim() !== '')
  return (
    <>
      <SubmitForm
        action={i18n.t('Look at what goes')}
        submit={look}
        incomplete={!isWhole || reason.trim() === ''}
      >
        <Select
          label={i18n.t('What')}
          allowDeselect={false}
          value={kind}
          onChange={(value) => {
            setKind(KINDS.find((known) => known === value) ?? kind)
            setText('')
          }}
          data={KINDS.map((value) => ({ value, label: kindLabel(value) }))}
        />
        {withDevice && (
          <Select
            label={kind === 'key' ? i18n.t('Of this device only') : i18n.t('Device')}
            required={kind === 'device'}
            clearable={kind === 'key'}
            value={device}
            onChange={setDevice}
            data={offered.options}
            {...offered.field}
          />
        )}
        {kind === 'key' && (
          <TextInput
            label={i18n.t('Key')}
            required
            value={text}
            onChange={(event) => setText(event.currentTarget.value)}
          />
        )}
        {kind === 'subject' && (
          <TextInput
            label={i18n.t('Name, as declarations of streams have it')}
            required
            maxLength={200}
            value={text}
            onChange={(event) => setText(event.currentTarget.value)}
          />
        )}
        {kind === 'month' && (
          <TextInput
            label={i18n.t('Month (UTC)')}
            type="month"
            required
            value={text}
            onChange={(event) => setText(event.currentTarget.value)}
          />
        )}
        {kind === 'device' && (
          <Checkbox
            label={i18n.t('Its attributes too')}
            checked={attributes}
            onChange={(event) => setAttributes(event.currentTarget.checked)}
          />
        )}
        {kind === 'ledger' && (
          <p className="dim">
            {i18n.t(
              'Everything sealed until now can never be opened again, by anybody. It is over within 30 days; the entries that stay are proven as before.',
            )}
          </p>
        )}
        <Textarea
          label={i18n.t('Why, in words: it stands in the certificate')}
          required
          maxLength={1000}
          value={reason}
          onChange={(event) => setReason(event.currentTarget.value)}
        />
      </SubmitForm>
      {seen && (
        <Confirm
          seen={seen}
          onConfirm={() => destroy(seen.confirm)}
          onClose={() => setSeen(null)}
        />
      )}
    </>
  )
}

function Confirm(props: {
  seen: DestructionPreview
  onConfirm: () => Promise<unknown>
  onClose: () => void
}) {
  const { i18n: lingui } = useLingui()
  const { counts, stays, is_held, backup_horizon } = props.seen
  const count = (value: number) => formatCount(value, lingui.locale)
  const word = i18n.t('destroy')
  return (
    <ConfirmTyped
      opened
      title={i18n.t('Destroy for good?')}
      name={word}
      action={i18n.t('Destroy')}
      onConfirm={props.onConfirm}
      onClose={props.onClose}
    >
      <Facts
        items={[
          [i18n.t('Readings, at most'), count(counts.readings)],
          [i18n.t('Series'), count(counts.series)],
          [i18n.t('Devices'), count(counts.devices)],
          [i18n.t('Stored pieces written anew'), `${count(counts.sections)} (${formatBytes(counts.bytes, lingui.locale)})`],
          [i18n.t('Older backups can be opened until'), <Instant key="horizon" at={backup_horizon} age={false} />],
        ]}
      />
      <p>{i18n.t('There is no way back. These stay:')}</p>
      <ul>
        {stays.map((name) => (
          <li key={name}>{stayLabel(name)}</li>
        ))}
      </ul>
      {is_held && (
        <p role="alert">
          {i18n.t('A hold keeps some of it: nothing can be destroyed before it has ended.')}
        </p>
      )}
    </ConfirmTyped>
  )
}
