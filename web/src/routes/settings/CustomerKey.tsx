// Settings: the key above the organisation’s keys. Whose it is, how it is, who used it last; and
// bringing, holding, changing and taking it away.
import { i18n } from '@lingui/core'
import { useLingui } from '@lingui/react'
import { Button, Group, NumberInput, PasswordInput, Select, Textarea, TextInput } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useState, type ReactNode } from 'react'

import { body, client } from '../../api/client'
import { customerKeyQuery, keysQuery } from '../../api/keyQueries'
import { queryClient } from '../../api/queries'
import type { CustomerKey } from '../../api/types'
import { Allowed } from '../../app/Allowed'
import { formatBytes } from '../../lib/format'
import { ConfirmTyped } from '../../ui/dialogs'
import { CopyField, Facts, Failure, Loading, Tag } from '../../ui/layout'
import { Modal } from '../../ui/overlays'
import { SubmitForm } from '../../ui/SubmitForm'
import { Age, Instant } from '../../ui/time'
import { useSubmit } from '../../ui/useSubmit'

type Kind = 'xks' | 'transit' | 'aws_kms' | 'pkcs11'
type Open = 'hold' | 'import' | 'revoke' | 'platform' | 'reseal' | null

function levelLabel(level: CustomerKey['level']): string {
  switch (level) {
    case 'platform':
      return i18n.t('the platform’s')
    case 'brought':
      return i18n.t('brought by you')
    case 'held':
      return i18n.t('held by you')
  }
}

function stateLabel(state: CustomerKey['state']): string {
  switch (state) {
    case 'active':
      return i18n.t('in use')
    case 'silent':
      return i18n.t('your key service does not answer')
    case 'revoked':
      return i18n.t('revoked')
    case 'gone':
      return i18n.t('destroyed where it was held')
    case 'destroyed':
      return i18n.t('destroyed')
  }
}

function kindLabel(kind: Kind): string {
  switch (kind) {
    case 'xks':
      return i18n.t('A key proxy (AWS external key store protocol)')
    case 'transit':
      return i18n.t('Vault or OpenBao, transit engine')
    case 'aws_kms':
      return 'AWS KMS'
    case 'pkcs11':
      return i18n.t('A module (PKCS#11)')
  }
}

async function changed() {
  await queryClient.invalidateQueries(customerKeyQuery)
  await queryClient.invalidateQueries(keysQuery)
}

export function CustomerKeyBlock() {
  const query = useQuery(customerKeyQuery)
  const [open, setOpen] = useState<Open>(null)
  const close = () => setOpen(null)
  const key = query.data
  return (
    <section className="block">
      <h2>{i18n.t('The key above your keys')}</h2>
      {query.isPending && <Loading rows={3} />}
      {query.isError && <Failure error={query.error} compact />}
      {key && <Shown shown={key} />}
      {key && (
        <Allowed to="key.manage">
          <Acts shown={key} onOpen={setOpen} />
        </Allowed>
      )}
      {key && (
        <Modal
          opened={open === 'hold'}
          onClose={close}
          title={i18n.t('Hold the key in your key service')}
          closeOnClickOutside={false}
        >
          <HoldForm shown={key} onDone={close} />
        </Modal>
      )}
      <Modal
        opened={open === 'import'}
        onClose={close}
        title={i18n.t('Bring a key')}
        closeOnClickOutside={false}
      >
        <ImportForm onDone={close} />
      </Modal>
      <ConfirmTyped
        opened={open === 'revoke'}
        onClose={close}
        title={i18n.t('Take the key away')}
        name="revoke"
        action={i18n.t('Take it away')}
        onConfirm={async () => {
          await client.POST('/v1/keys/revoke', { body: { confirm: 'revoke' } })
          await changed()
        }}
      >
        {key?.level === 'brought'
          ? i18n.t(
              'Nothing can be read or written after it. The key leaves the platform: only bringing the same key again gives your data back.',
            )
          : i18n.t('Nothing can be read or written until the key is used again.')}
      </ConfirmTyped>
      <ConfirmTyped
        opened={open === 'platform'}
        onClose={close}
        title={i18n.t('Use the platform’s key')}
        name="platform"
        action={i18n.t('Use the platform’s key')}
        onConfirm={async () => {
          await client.DELETE('/v1/keys/customer')
          await changed()
        }}
      >
        {i18n.t('Your own key is needed for nothing any more. Data is not rewritten.')}
      </ConfirmTyped>
      <ConfirmTyped
        opened={open === 'reseal'}
        onClose={close}
        title={i18n.t('Seal readings anew')}
        name="reseal"
        action={i18n.t('Seal them anew')}
        onConfirm={async () => {
          await client.POST('/v1/keys/reseal')
          await changed()
        }}
      >
        {i18n.t(
          'All readings are written anew under new data keys, and the old keys are destroyed: backups of before it lose their readings.',
        )}
      </ConfirmTyped>
    </section>
  )
}

function Shown({ shown }: { shown: CustomerKey }) {
  const { i18n: lingui } = useLingui()
  const { service, change, reseal } = shown
  const items: [string, ReactNode][] = [
    [
      i18n.t('Whose'),
      <span key="whose">
        {levelLabel(shown.level)} <Tag>{stateLabel(shown.state)}</Tag>{' '}
        {shown.state_since !== null && <Age at={shown.state_since} />}
      </span>,
    ],
    [
      i18n.t('Version'),
      <span key="version">
        {shown.version} {shown.created_at !== null && <Age at={shown.created_at} />}
      </span>,
    ],
  ]
  if (shown.last_used_at !== null)
    items.push([
      i18n.t('Last used'),
      <span key="used">
        <Age at={shown.last_used_at} />{' '}
        {shown.last_used_by !== null && <code>{shown.last_used_by}</code>}{' '}
        {shown.last_used_for !== null && <code>{shown.last_used_for}</code>}
      </span>,
    ])
  if (shown.fingerprint !== null)
    items.push([i18n.t('Fingerprint'), <code key="fingerprint">{shown.fingerprint}</code>])
  if (service !== null)
    items.push([
      i18n.t('Key service'),
      <span key="service">
        {kindLabel(service.kind as Kind)}: <code>{service.address}</code>{' '}
        <code>{service.key}</code>{' '}
        {i18n.t('in memory for {seconds} s', { seconds: service.ttl_s })}
        {service.problem !== null && <span lang="en"> {service.problem}</span>}
      </span>,
    ])
  if (shown.waiting_bytes > 0)
    items.push([
      i18n.t('Readings that wait for the key'),
      formatBytes(shown.waiting_bytes, lingui.locale),
    ])
  return (
    <>
      <Facts items={items} />
      {shown.behind && shown.state === 'active' && (
        <p className="hint">{i18n.t('What came while the key was away is being read into history.')}</p>
      )}
      {change !== null && (
        <p className="hint">
          {i18n.t('On its way: {level}, {total} data keys.', {
            level: levelLabel(change.level as CustomerKey['level']),
            total: change.total,
          })}{' '}
          {change.problem !== null && <span lang="en">{change.problem}</span>}
        </p>
      )}
      {reseal !== null && (
        <p className="hint">
          {i18n.t('Readings are sealed anew: {done} of {total} data keys are done.', {
            done: reseal.done,
            total: reseal.total,
          })}{' '}
          {reseal.problem !== null && <span lang="en">{reseal.problem}</span>}
        </p>
      )}
    </>
  )
}

function Acts(props: { shown: CustomerKey; onOpen: (open: Open) => void }) {
  const { shown, onOpen } = props
  const { busy, error, run } = useSubmit(() => void changed())
  const isClosed = shown.state === 'revoked'
  const isOver = shown.state === 'gone' || shown.state === 'destroyed'
  const may = (level: 'brought' | 'held') =>
    shown.plan_level === 'held' || shown.plan_level === level
  if (isOver) return null
  return (
    <>
      {error !== null && <Failure error={error} compact />}
      <Group justify="flex-end" gap="xs">
        {isClosed && shown.level !== 'brought' && (
          <Button size="xs" loading={busy} onClick={() => void run(() => client.POST('/v1/keys/restore'))}>
            {i18n.t('Use the key again')}
          </Button>
        )}
        {may('brought') && (!isClosed || shown.level === 'brought') && (
          <Button size="xs" variant="default" onClick={() => onOpen('import')}>
            {i18n.t('Bring a key')}
          </Button>
        )}
        {!isClosed && may('held') && shown.service_kinds.length > 0 && (
          <Button size="xs" variant="default" onClick={() => onOpen('hold')}>
            {i18n.t('Hold it yourself')}
          </Button>
        )}
        {!isClosed && (
          <Button
            size="xs"
            variant="default"
            loading={busy}
            onClick={() => void run(() => client.POST('/v1/keys/rotate'))}
          >
            {i18n.t('New version')}
          </Button>
        )}
        {!isClosed && (
          <Button size="xs" variant="default" onClick={() => onOpen('reseal')}>
            {i18n.t('Seal readings anew')}
          </Button>
        )}
        {!isClosed && shown.level !== 'platform' && (
          <Button size="xs" variant="default" onClick={() => onOpen('platform')}>
            {i18n.t('Use the platform’s key')}
          </Button>
        )}
        {!isClosed && (
          <Button size="xs" variant="default" color="red" onClick={() => onOpen('revoke')}>
            {i18n.t('Take the key away')}
          </Button>
        )}
      </Group>
    </>
  )
}

function HoldForm(props: { shown: CustomerKey; onDone: () => void }) {
  const { shown } = props
  const [kind, setKind] = useState<Kind>((shown.service?.kind ?? 'xks') as Kind)
  const [address, setAddress] = useState(shown.service?.address ?? '')
  const [key, setKey] = useState(shown.service?.key ?? '')
  const [place, setPlace] = useState(shown.service?.place ?? '')
  const [user, setUser] = useState('')
  const [credential, setCredential] = useState('')
  const [trust, setTrust] = useState('')
  const [ttl, setTtl] = useState<number>(shown.service?.ttl_s ?? 60)
  const [found, setFound] = useState<string | null>(null)
  const { busy, error, run } = useSubmit()
  const fields = { kind, address, key, place, user, credential, trust, ttl_s: ttl }
  const test = () =>
    run(async () => {
      setFound(null)
      const answer = await body(client.POST('/v1/keys/customer/test', { body: fields }))
      setFound(`${answer.key}, ${answer.spec}`)
    })
  const save = async () => {
    await client.PUT('/v1/keys/customer', { body: fields })
    await changed()
    props.onDone()
  }
  const text = (label: string, value: string, set: (text: string) => void, more: object = {}) => (
    <TextInput
      label={label}
      value={value}
      onChange={(event) => set(event.currentTarget.value)}
      {...more}
    />
  )
  return (
    <SubmitForm
      action={i18n.t('Put the key to use')}
      submit={save}
      incomplete={address === '' || key === ''}
    >
      <Select
        label={i18n.t('Key service')}
        allowDeselect={false}
        value={kind}
        onChange={(value) => setKind((value ?? 'xks') as Kind)}
        data={shown.service_kinds.map((value) => ({ value, label: kindLabel(value as Kind) }))}
      />
      {text(i18n.t('Address'), address, setAddress, {
        required: true,
        placeholder: 'https://keys.example.com',
      })}
      {text(i18n.t('Name of the key there'), key, setKey, { required: true })}
      {text(i18n.t('Mount, region or token label'), place, setPlace)}
      {text(i18n.t('Access key id'), user, setUser, { autoComplete: 'off' })}
      <PasswordInput
        label={i18n.t('Secret access key, token or PIN')}
        autoComplete="off"
        value={credential}
        onChange={(event) => setCredential(event.currentTarget.value)}
      />
      <Textarea
        label={i18n.t('Certificates to trust (PEM)')}
        description={i18n.t('Empty: the public authorities.')}
        autosize
        minRows={2}
        maxRows={6}
        spellCheck={false}
        value={trust}
        onChange={(event) => setTrust(event.currentTarget.value)}
      />
      <NumberInput
        label={i18n.t('Seconds in memory after an answer')}
        description={i18n.t('After that long without an answer nothing can be read. 0 to 300.')}
        min={0}
        max={300}
        value={ttl}
        onChange={(value) => setTtl(Number(value))}
      />
      {error !== null && <Failure error={error} compact />}
      {found !== null && (
        <p className="hint">{i18n.t('It works: {found}.', { found })}</p>
      )}
      <Group>
        <Button variant="default" loading={busy} onClick={() => void test()}>
          {i18n.t('Test the connection')}
        </Button>
      </Group>
    </SubmitForm>
  )
}

type Begun = { id: string; public_key: string; ends_at: string }

function ImportForm({ onDone }: { onDone: () => void }) {
  const [begun, setBegun] = useState<Begun | null>(null)
  const [wrapping, setWrapping] = useState<'rsa_aes_kwp' | 'rsa_oaep_sha256'>('rsa_aes_kwp')
  const [wrapped, setWrapped] = useState('')
  const { busy, error, run } = useSubmit()
  if (begun === null)
    return (
      <div className="stack">
        <p>
          {i18n.t(
            'First you get a public key, good for one import within a day. Wrap a key of 256 bits under it and keep that key: the platform cannot give it back to you.',
          )}
        </p>
        {error !== null && <Failure error={error} compact />}
        <Group justify="flex-end">
          <Button
            loading={busy}
            onClick={() =>
              void run(async () => {
                setBegun(await body(client.POST('/v1/keys/imports')))
              })
            }
          >
            {i18n.t('Make the public key')}
          </Button>
        </Group>
      </div>
    )
  const save = async () => {
    await client.PUT('/v1/keys/imports', {
      body: { id: begun.id, wrapping, wrapped_key: wrapped.replace(/\s/g, '') },
    })
    await changed()
    onDone()
  }
  return (
    <SubmitForm action={i18n.t('Bring the key')} submit={save} incomplete={wrapped.trim() === ''}>
      <CopyField multiline label={i18n.t('Public key')} text={begun.public_key} />
      <p className="dim">
        {i18n.t('Good until')} <Instant at={begun.ends_at} />
      </p>
      <Select
        label={i18n.t('How it is wrapped')}
        allowDeselect={false}
        value={wrapping}
        onChange={(value) =>
          setWrapping(value === 'rsa_oaep_sha256' ? 'rsa_oaep_sha256' : 'rsa_aes_kwp')
        }
        data={[
          { value: 'rsa_aes_kwp', label: 'CKM_RSA_AES_KEY_WRAP' },
          { value: 'rsa_oaep_sha256', label: 'RSA-OAEP, SHA-256' },
        ]}
      />
      <Textarea
        label={i18n.t('Wrapped key (Base64)')}
        required
        autosize
        minRows={3}
        maxRows={10}
        spellCheck={false}
        value={wrapped}
        onChange={(event) => setWrapped(event.currentTarget.value)}
      />
    </SubmitForm>
  )
}
