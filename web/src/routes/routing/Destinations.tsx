// Places outside to which messages may go. The signing secret of one is shown once.
import { i18n } from '@lingui/core'
import {
  Button,
  Checkbox,
  Group,
  MultiSelect,
  PasswordInput,
  Select,
  Switch,
  TextInput,
} from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useState } from 'react'

import { body, client, ifUnchanged } from '../../api/client'
import { usersQuery } from '../../api/queries'
import { routeDestinationsQuery } from '../../api/routingQueries'
import type { RouteDestination } from '../../api/types'
import { useAllowed } from '../../app/Allowed'
import { CopyField, Failure, Tag } from '../../ui/layout'
import { NamedList, type FormEnds } from '../../ui/NamedList'
import { Modal } from '../../ui/overlays'
import { SubmitForm } from '../../ui/SubmitForm'
import { toast } from '../../ui/toasts'
import { useSubmit } from '../../ui/useSubmit'

export function Destinations() {
  const query = useQuery(routeDestinationsQuery)
  const write = useAllowed()('route.write')
  return (
    <NamedList<RouteDestination>
      title={i18n.t('Destinations')}
      icon="upload"
      query={query as never}
      none={i18n.t('None. Nothing leaves before you register who is to receive it.')}
      facts={(one) => <DestinationFacts one={one} />}
      {...(write && {
        make: {
          title: i18n.t('Register a destination'),
          form: (_: RouteDestination | null, { onDone }: FormEnds) => (
            <DestinationForm one={null} onDone={onDone} />
          ),
        },
        change: {
          title: i18n.t('Change the destination'),
          form: (one: RouteDestination | null, { onDone, onReload }: FormEnds) => (
            <DestinationForm one={one} onDone={onDone} onReload={onReload} />
          ),
        },
        remove: {
          title: i18n.t('Remove the destination'),
          action: i18n.t('Remove'),
          text: i18n.t('Lost: what waits for it, and its parked messages.'),
          run: ({ id }: RouteDestination) =>
            client.DELETE('/v1/route-destinations/{id}', { params: { path: { id } } }),
        },
      })}
    />
  )
}

function DestinationFacts({ one }: { one: RouteDestination }) {
  const may = useAllowed()
  const [renewing, setRenewing] = useState(false)
  const { busy, error, run } = useSubmit()
  const sample = async () => {
    const answer = await body(
      client.POST('/v1/route-destinations/{id}/test', { params: { path: { id: one.id } } }),
    )
    toast(
      answer.delivered
        ? i18n.t('The sample was taken.')
        : i18n.t('The sample was not taken: {problem}', { problem: answer.problem ?? '' }),
    )
  }
  return (
    <span className="key-facts">
      <span className="dim">
        {one.recipient} · {one.purpose} {!one.enabled && <Tag tone="stale">{i18n.t('Off')}</Tag>}
      </span>
      <span className="dim">
        {one.kind === 'mail' ? (
          kindLabel(one.kind)
        ) : (
          <code>{[one.url, one.topic].filter(Boolean).join(' · ')}</code>
        )}
      </span>
      <Group gap="xs">
        {may('route.deliver') && (
          <Button
            size="compact-xs"
            variant="default"
            loading={busy}
            onClick={() => void run(sample)}
          >
            {i18n.t('Send a sample')}
          </Button>
        )}
        {may('route.write') && one.kind === 'webhook' && (
          <Button size="compact-xs" variant="default" onClick={() => setRenewing(true)}>
            {i18n.t('New secret')}
          </Button>
        )}
      </Group>
      {error !== null && <Failure error={error} compact />}
      <Modal
        opened={renewing}
        onClose={() => setRenewing(false)}
        title={i18n.t('New secret for {name}', { name: one.name })}
        closeOnClickOutside={false}
      >
        <Renew one={one} onDone={() => setRenewing(false)} />
      </Modal>
    </span>
  )
}

function Secret(props: { secret: string; onDone: () => void }) {
  return (
    <div className="stack">
      <p className="once">
        {i18n.t('The signing secret is shown once. The receiver checks messages with it.')}
      </p>
      <CopyField label={i18n.t('Signing secret')} text={props.secret} />
      <Button onClick={props.onDone}>{i18n.t('I have kept it')}</Button>
    </div>
  )
}

function Renew(props: { one: RouteDestination; onDone: () => void }) {
  const [secret, setSecret] = useState<string | null>(null)
  if (secret !== null) return <Secret secret={secret} onDone={props.onDone} />
  const renew = async () => {
    const params = { path: { id: props.one.id } }
    const made = await body(client.POST('/v1/route-destinations/{id}/secret', { params }))
    setSecret(made.secret ?? '')
  }
  return (
    <SubmitForm
      action={i18n.t('Make a new secret')}
      submit={renew}
      onCancel={props.onDone}
      destroys
    >
      <p>{i18n.t('Messages are signed with the new secret at once. The receiver needs it.')}</p>
    </SubmitForm>
  )
}

const SCHEMES: Record<string, string> = {
  webhook: 'https://',
  mqtt: 'mqtts://',
  nats: 'nats://',
  topic: '',
  mail: '',
}

/** Kinds that somebody signs in to. */
const BROKERS = ['mqtt', 'nats']

function kindLabel(kind: string): string {
  const labels: Record<string, string> = {
    webhook: i18n.t('HTTPS endpoint'),
    mqtt: i18n.t('MQTT broker'),
    nats: i18n.t('NATS server'),
    topic: i18n.t('Another topic here'),
    mail: i18n.t('E-mail'),
  }
  return labels[kind] ?? kind
}

function DestinationForm(props: {
  one: RouteDestination | null
  onDone: () => void
  onReload?: () => void
}) {
  const { one } = props
  const [name, setName] = useState(one?.name ?? '')
  const [recipient, setRecipient] = useState(one?.recipient ?? '')
  const [purpose, setPurpose] = useState(one?.purpose ?? '')
  const [kind, setKind] = useState<string>(one?.kind ?? 'webhook')
  const [url, setUrl] = useState(one?.url ?? 'https://')
  const [topic, setTopic] = useState(one?.topic ?? '')
  const [user, setUser] = useState(one?.user ?? '')
  const [people, setPeople] = useState<string[]>(one?.user_ids ?? [])
  const listsPeople = useAllowed()('user.list')
  const users = useQuery({ ...usersQuery, enabled: kind === 'mail' && listsPeople })
  const [password, setPassword] = useState('')
  const [enabled, setEnabled] = useState(one?.enabled ?? true)
  const [instructed, setInstructed] = useState(false)
  const [secret, setSecret] = useState<string | null>(null)
  if (secret !== null) return <Secret secret={secret} onDone={props.onDone} />
  const isInside = kind === 'topic'
  const isMail = kind === 'mail'
  const signsIn = BROKERS.includes(kind)
  const send = async () => {
    const broker = { topic, user, ...(password !== '' && { password }) }
    const inside = { topic, url: '' }
    const mail = { user_ids: people, url: '' }
    const fields = {
      name,
      kind: kind as never,
      recipient,
      purpose,
      url,
      instructed,
      enabled,
      ...(signsIn && broker),
      ...(isInside && inside),
      ...(isMail && mail),
    }
    if (one === null) {
      const made = await body(client.POST('/v1/route-destinations', { body: fields }))
      if (made.secret === null) props.onDone()
      else setSecret(made.secret)
      return
    }
    const params = { path: { id: one.id } }
    await body(
      client.PUT('/v1/route-destinations/{id}', { params, body: fields, ...ifUnchanged(one) }),
    )
    props.onDone()
  }
  const choose = (next: string) => {
    setKind(next)
    setUrl(SCHEMES[next] ?? '')
  }
  const ways = isMail ? [people.join()] : isInside ? [topic] : signsIn ? [url, topic] : [url]
  const texts = [name, recipient, purpose, ...ways]
  return (
    <SubmitForm
      action={one === null ? i18n.t('Register') : i18n.t('Change')}
      submit={send}
      incomplete={(!instructed && !isInside) || texts.some((text) => text.trim() === '')}
      {...(props.onReload && { onReload: props.onReload })}
    >
      <TextInput
        label={i18n.t('Name')}
        data-autofocus
        maxLength={100}
        value={name}
        onChange={(event) => setName(event.currentTarget.value)}
      />
      <TextInput
        label={i18n.t('Who receives it')}
        maxLength={100}
        value={recipient}
        onChange={(event) => setRecipient(event.currentTarget.value)}
      />
      <TextInput
        label={i18n.t('What for')}
        maxLength={500}
        value={purpose}
        onChange={(event) => setPurpose(event.currentTarget.value)}
      />
      <Select
        label={i18n.t('What it is')}
        allowDeselect={false}
        disabled={one !== null}
        data={Object.keys(SCHEMES).map((value) => ({ value, label: kindLabel(value) }))}
        value={kind}
        onChange={(value) => choose(value ?? 'webhook')}
      />
      {isMail && (
        <MultiSelect
          label={i18n.t('People')}
          description={i18n.t(
            'Up to ten. Only confirmed addresses get mail: at most one a minute, with several messages in it.',
          )}
          searchable
          maxValues={10}
          data={(users.data?.items ?? []).map(({ id, email, name: called }) => ({
            value: id,
            label: called === '' ? email : `${called} · ${email}`,
          }))}
          value={people}
          onChange={setPeople}
        />
      )}
      {isMail ? null : isInside ? (
        <TextInput
          label={i18n.t('Topic')}
          description={i18n.t(
            'Messages stay in your organisation. {device}, {type} and {topic} stand for those of a message.',
            { device: '{device}', type: '{type}', topic: '{topic}' },
          )}
          placeholder="out/{type}/{device}"
          value={topic}
          onChange={(event) => setTopic(event.currentTarget.value)}
        />
      ) : (
        <TextInput
          label={i18n.t('Address')}
          type="url"
          value={url}
          onChange={(event) => setUrl(event.currentTarget.value)}
        />
      )}
      {signsIn && (
        <>
          <TextInput
            label={kind === 'mqtt' ? i18n.t('Topic') : i18n.t('Subject')}
            value={topic}
            onChange={(event) => setTopic(event.currentTarget.value)}
          />
          <TextInput
            label={i18n.t('User name')}
            autoComplete="off"
            value={user}
            onChange={(event) => setUser(event.currentTarget.value)}
          />
          <PasswordInput
            label={i18n.t('Password')}
            {...(one !== null && {
              description: i18n.t('Empty: it stays. Needed where address, topic or user changes.'),
            })}
            autoComplete="new-password"
            value={password}
            onChange={(event) => setPassword(event.currentTarget.value)}
          />
        </>
      )}
      <Switch
        label={i18n.t('On')}
        checked={enabled}
        onChange={(event) => setEnabled(event.currentTarget.checked)}
      />
      {!isInside && (
        <Checkbox
          label={i18n.t('Our organisation instructed this recipient.')}
          checked={instructed}
          onChange={(event) => setInstructed(event.currentTarget.checked)}
        />
      )}
    </SubmitForm>
  )
}
