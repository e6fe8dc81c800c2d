// What lets a device in: tokens, passwords, certificates. A secret is shown once, when it is made.
import { i18n } from '@lingui/core'
import { Button, Group, PasswordInput, Select, Textarea, TextInput } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useState } from 'react'

import { body, client } from '../api/client'
import { credentialsQuery } from '../api/deviceQueries'
import type { Credential, Device } from '../api/types'
import { useAllowed } from '../app/Allowed'
import { shorten } from '../lib/format'
import { platformNow } from '../lib/now'
import { ConfirmTyped } from '../ui/dialogs'
import { Icon } from '../ui/icons'
import { CopyField, Failure, Tag } from '../ui/layout'
import { Modal } from '../ui/overlays'
import { SubmitForm } from '../ui/SubmitForm'
import { Age, Instant } from '../ui/time'
import { useSubmit } from '../ui/useSubmit'
import { credentialLabel } from './declaration'
import { TokenOnce } from './NewDevice'

const HOUR_MS = 3_600_000
const OVERLAPS = [1, 24, 168, 720]

export function Credentials({ device }: { device: Device }) {
  const query = useQuery(credentialsQuery(device.id))
  const may = useAllowed({ device_id: device.id })
  const [making, setMaking] = useState<{ replaces: Credential | null } | null>(null)
  const [revoking, setRevoking] = useState<string | null>(null)
  const { busy, error, run } = useSubmit(() => void query.refetch())
  const path = (credential: string) => ({ params: { path: { id: device.id, credential } } })
  const disable = (credential: Credential) =>
    client.PATCH('/v1/devices/{id}/credentials/{credential}', {
      ...path(credential.id),
      body: { disabled: credential.disabled_at === null },
    })
  const done = () => {
    setMaking(null)
    void query.refetch()
  }
  return (
    <section className="block" id="credentials">
      <h2>{i18n.t('Credentials')}</h2>
      {(query.isError || error !== null) && <Failure error={error ?? query.error} compact />}
      <ul className="plain-list">
        {(query.data?.items ?? []).map((credential) => (
          <li key={credential.id}>
            <Icon name="key" size={16} />
            <CredentialFacts credential={credential as Credential} />
            <Group gap="xs">
              {may('credential.create') && may('credential.update') && (
                <Button
                  size="compact-xs"
                  variant="default"
                  onClick={() => setMaking({ replaces: credential as Credential })}
                >
                  {i18n.t('Change over')}
                </Button>
              )}
              {may('credential.update') && (
                <Button
                  size="compact-xs"
                  variant="default"
                  disabled={busy}
                  onClick={() => void run(() => disable(credential as Credential))}
                >
                  {credential.disabled_at === null ? i18n.t('Disable') : i18n.t('Enable')}
                </Button>
              )}
              {may('credential.delete') && (
                <Button
                  size="compact-xs"
                  variant="default"
                  onClick={() => setRevoking(credential.id)}
                >
                  {i18n.t('Revoke')}
                </Button>
              )}
            </Group>
          </li>
        ))}
      </ul>
      {may('credential.create') && (
        <Button
          size="xs"
          variant="default"
          leftSection={<Icon name="plus" size={14} />}
          onClick={() => setMaking({ replaces: null })}
        >
          {i18n.t('New credential')}
        </Button>
      )}
      <Modal
        opened={making !== null}
        onClose={done}
        title={making?.replaces ? i18n.t('Change over') : i18n.t('New credential')}
        size="lg"
        closeOnClickOutside={false}
      >
        {making !== null && (
          <CredentialForm device={device} replaces={making.replaces} onDone={done} />
        )}
      </Modal>
      <ConfirmTyped
        opened={revoking !== null}
        onClose={() => setRevoking(null)}
        title={i18n.t('Revoke the credential')}
        name={device.name}
        action={i18n.t('Revoke')}
        onConfirm={async () => {
          await client.DELETE('/v1/devices/{id}/credentials/{credential}', path(revoking ?? ''))
          await query.refetch()
        }}
      >
        {i18n.t('A device that uses it is disconnected and cannot report until it has another.')}
      </ConfirmTyped>
    </section>
  )
}

function CredentialFacts({ credential }: { credential: Credential }) {
  const shown = [credential.client_id, credential.user, credential.common_name].filter(Boolean)
  const fingerprint = credential.fingerprint
  return (
    <span>
      {credential.name || credentialLabel(credential.kind)}{' '}
      {credential.name !== '' && <span className="dim">{credentialLabel(credential.kind)}</span>}{' '}
      <code>{fingerprint ? shorten(fingerprint, 6) : shorten(credential.id, 6)}</code>{' '}
      {credential.disabled_at !== null && <Tag tone="stale">{i18n.t('Disabled')}</Tag>}
      <span className="dim">
        {shown.length > 0 && `${shown.join(' · ')} · `}
        {i18n.t('since')} <Instant at={credential.created_at} age={false} />
        {credential.valid_until !== null && (
          <>
            {' '}
            · {i18n.t('until')} <Instant at={credential.valid_until} age={false} />
          </>
        )}{' '}
        ·{' '}
        {credential.last_used_at === null ? (
          i18n.t('never used')
        ) : (
          <>
            {i18n.t('last used')} <Age at={credential.last_used_at} />
          </>
        )}
      </span>
    </span>
  )
}

type Kind = 'access_token' | 'basic' | 'x509'
const KINDS: Kind[] = ['access_token', 'basic', 'x509']

function CredentialForm(props: {
  device: Device
  replaces: Credential | null
  onDone: () => void
}) {
  const { device, replaces } = props
  const [kind, setKind] = useState<Kind>((replaces?.kind as Kind | undefined) ?? 'access_token')
  const [name, setName] = useState('')
  const [clientId, setClientId] = useState(replaces?.client_id ?? '')
  const [user, setUser] = useState(replaces?.user ?? '')
  const [password, setPassword] = useState('')
  const [certificate, setCertificate] = useState('')
  const [proof, setProof] = useState('')
  const [hours, setHours] = useState('24')
  const [secret, setSecret] = useState<{ token: string | null; password: string | null } | null>(
    null,
  )
  if (secret?.token) {
    return <TokenOnce name={device.name} token={secret.token} onDone={props.onDone} />
  }
  if (secret?.password) {
    return (
      <div className="stack">
        <p className="once">
          {i18n.t('This secret is shown once. Only its fingerprint is stored.')}
        </p>
        <CopyField
          label={i18n.t('Password of {name}', { name: device.name })}
          text={secret.password}
        />
        <Button onClick={props.onDone}>{i18n.t('I have kept the secret')}</Button>
      </div>
    )
  }
  const make = async () => {
    const until = new Date(platformNow() + Number(hours) * HOUR_MS).toISOString()
    const made = await body(
      client.POST('/v1/devices/{id}/credentials', {
        params: { path: { id: device.id } },
        body: {
          kind,
          name,
          ...(kind === 'basic' && {
            client_id: clientId || null,
            user: user || null,
            password: password || null,
          }),
          ...(kind === 'x509' && { certificate, proof }),
          ...(replaces && { replaces: { id: replaces.id, until } }),
        },
      }),
    )
    const { token = null, password: given = null } = made
    if (token === null && given === null) props.onDone()
    else setSecret({ token, password: given })
  }
  const incomplete =
    (kind === 'basic' && clientId === '' && user === '') ||
    (kind === 'x509' && (certificate.trim() === '' || proof.trim() === ''))
  return (
    <SubmitForm
      action={i18n.t('Make the credential')}
      submit={make}
      incomplete={incomplete}
      onCancel={props.onDone}
    >
      <Select
        label={i18n.t('What the device shows')}
        allowDeselect={false}
        data={KINDS.map((value) => ({ value, label: credentialLabel(value) }))}
        value={kind}
        onChange={(value) => setKind((value ?? 'access_token') as Kind)}
      />
      <TextInput
        label={i18n.t('Name (optional)')}
        value={name}
        onChange={(e) => setName(e.currentTarget.value)}
      />
      {kind === 'basic' && (
        <>
          <TextInput
            label={i18n.t('User name')}
            value={user}
            onChange={(e) => setUser(e.currentTarget.value)}
          />
          <TextInput
            label={i18n.t('Client id (optional)')}
            description={i18n.t('The device then has to give this one.')}
            value={clientId}
            onChange={(e) => setClientId(e.currentTarget.value)}
          />
          <PasswordInput
            label={i18n.t('Password (optional)')}
            description={i18n.t('12 to 256 bytes. Left empty: one is made and shown once.')}
            autoComplete="new-password"
            value={password}
            onChange={(e) => setPassword(e.currentTarget.value)}
          />
        </>
      )}
      {kind === 'x509' && (
        <>
          <Pem
            label={i18n.t('Certificate of the device')}
            value={certificate}
            onChange={setCertificate}
          />
          <ProofField certificate={certificate} value={proof} onChange={setProof} own />
        </>
      )}
      {replaces && (
        <Select
          label={i18n.t('The old one goes on for')}
          allowDeselect={false}
          data={OVERLAPS.map((count) => ({
            value: String(count),
            label: i18n.t('{count, plural, one {# hour} other {# hours}}', { count }),
          }))}
          value={hours}
          onChange={(value) => setHours(value ?? '24')}
        />
      )}
    </SubmitForm>
  )
}

export function Pem(props: { label: string; value: string; onChange: (text: string) => void }) {
  return (
    <Textarea
      label={props.label}
      required
      autosize
      minRows={4}
      maxRows={8}
      spellCheck={false}
      autoComplete="off"
      placeholder="-----BEGIN CERTIFICATE-----"
      value={props.value}
      onChange={(event) => props.onChange(event.currentTarget.value)}
    />
  )
}

/** Shows the code that the proof carries, and how it is signed, once there is a certificate. */
export function ProofField(props: {
  certificate: string
  value: string
  onChange: (text: string) => void
  /** The proof is the device's own. */
  own?: boolean
}) {
  const [made, setMade] = useState<{ certificate: string; code: string } | null>(null)
  const { busy, error, run } = useSubmit()
  const ask = async () => {
    const { certificate } = props
    const answer = await body(client.POST('/v1/device-authorities/code', { body: { certificate } }))
    setMade({ certificate, code: answer.code })
  }
  // A code is of one certificate: another one in the field needs its own.
  const code = made?.certificate === props.certificate ? made.code : null
  const command = props.own
    ? `openssl req -x509 -key device.key -subj "/CN=${code}" -days 1`
    : `openssl req -new -newkey rsa:2048 -nodes -keyout proof.key -subj "/CN=${code}" -out proof.csr\nopenssl x509 -req -in proof.csr -CA ca.pem -CAkey ca.key -days 1`
  return (
    <>
      <p className="dim">
        {i18n.t(
          'Show that you hold its private key: sign a certificate that carries this code. The key stays with you.',
        )}
      </p>
      {code === null ? (
        <Button
          variant="default"
          loading={busy}
          disabled={props.certificate.trim() === ''}
          onClick={() => void run(ask)}
        >
          {i18n.t('Get the code')}
        </Button>
      ) : (
        <CopyField multiline label={i18n.t('Sign the code')} text={command} />
      )}
      {error !== null && <Failure error={error} compact />}
      <Pem label={i18n.t('Proof')} value={props.value} onChange={props.onChange} />
    </>
  )
}
