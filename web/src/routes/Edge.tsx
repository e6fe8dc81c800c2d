// A gateway as a store-and-forward edge: which keys sign its batches, and what came of them.
import { i18n } from '@lingui/core'
import { useLingui } from '@lingui/react'
import { Button, TextInput } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { type ReactNode, useState } from 'react'

import { body, client } from '../api/client'
import { edgeKeysQuery } from '../api/deviceQueries'
import type { Device, EdgeKey } from '../api/types'
import { useAllowed } from '../app/Allowed'
import { formatCount, shorten } from '../lib/format'
import { ConfirmTyped } from '../ui/dialogs'
import { Icon } from '../ui/icons'
import { CopyField, Facts, Failure, Tag } from '../ui/layout'
import { Modal } from '../ui/overlays'
import { SubmitForm } from '../ui/SubmitForm'
import { Age, Instant } from '../ui/time'

export function Edge({ device }: { device: Device }) {
  const may = useAllowed({ device_id: device.id })
  if (!device.is_gateway || !may('credential.list')) return null
  return <Keys device={device} />
}

function Keys({ device }: { device: Device }) {
  const query = useQuery(edgeKeysQuery(device.id))
  const may = useAllowed({ device_id: device.id })
  const [adding, setAdding] = useState(false)
  const [revoking, setRevoking] = useState<string | null>(null)
  const keys = (query.data?.items ?? []) as EdgeKey[]
  const done = () => {
    setAdding(false)
    void query.refetch()
  }
  return (
    <section className="block">
      <h2>{i18n.t('Edge')}</h2>
      {query.isError && <Failure error={query.error} compact />}
      {query.isSuccess && keys.length === 0 && (
        <p className="hint">
          {i18n.t(
            'An edge keeps what devices of its site send while the platform cannot be reached, and signs it. Register its key to let its batches in.',
          )}
        </p>
      )}
      <ul className="plain-list">
        {keys.map((key) => (
          <li key={key.id}>
            <Icon name="key" size={16} />
            <KeyFacts edgeKey={key} />
            {key.revoked_at === null && may('credential.delete') && (
              <Button size="compact-xs" variant="default" onClick={() => setRevoking(key.id)}>
                {i18n.t('Revoke')}
              </Button>
            )}
          </li>
        ))}
      </ul>
      {may('credential.create') && (
        <Button
          size="xs"
          variant="default"
          leftSection={<Icon name="plus" size={14} />}
          onClick={() => setAdding(true)}
        >
          {i18n.t('Register an edge key')}
        </Button>
      )}
      <Modal
        opened={adding}
        onClose={() => setAdding(false)}
        title={i18n.t('Register an edge key')}
        size="lg"
      >
        {adding && <KeyForm device={device} onDone={done} />}
      </Modal>
      <ConfirmTyped
        opened={revoking !== null}
        onClose={() => setRevoking(null)}
        title={i18n.t('Revoke the edge key')}
        name={device.name}
        action={i18n.t('Revoke')}
        onConfirm={async () => {
          await client.DELETE('/v1/devices/{id}/edge-keys/{edge_key}', {
            params: { path: { id: device.id, edge_key: revoking ?? '' } },
          })
          await query.refetch()
        }}
      >
        {i18n.t(
          'Nothing is taken any more that is signed with it, also what waits at the edge. What was handed over stays.',
        )}
      </ConfirmTyped>
    </section>
  )
}

function ranges(all: EdgeKey['missing']): string {
  const one = ({ first, last }: EdgeKey['missing'][number]) =>
    first === last ? `${first}` : `${first}–${last}`
  return all.map(one).join(', ')
}

function KeyFacts({ edgeKey: key }: { edgeKey: EdgeKey }) {
  const { i18n: lingui } = useLingui()
  const count = (value: number) => formatCount(value, lingui.locale)
  const facts: [string, ReactNode][] = [
    [i18n.t('Last batch'), key.last_counter === 0 ? '–' : count(key.last_counter)],
    [i18n.t('Last heard'), key.last_seen_at === null ? '–' : <Age at={key.last_seen_at} />],
    [i18n.t('Waiting at the edge'), key.waiting === null ? '–' : count(key.waiting)],
  ]
  if (key.missing.length > 0) facts.push([i18n.t('Never submitted'), ranges(key.missing)])
  if (key.given_up.length > 0) {
    facts.push([i18n.t('Given up, the disk was full'), ranges(key.given_up)])
  }
  if (key.forks > 0) facts.push([i18n.t('Contradictions refused'), count(key.forks)])
  return (
    <div className="grows">
      {key.name || i18n.t('Edge key')} <code>{shorten(key.fingerprint, 8)}</code>{' '}
      {key.revoked_at !== null && <Tag tone="stale">{i18n.t('Revoked')}</Tag>}{' '}
      <span className="dim">
        {i18n.t('since')} <Instant at={key.revoked_at ?? key.created_at} age={false} />
      </span>
      <Facts items={facts} />
    </div>
  )
}

function KeyForm({ device, onDone }: { device: Device; onDone: () => void }) {
  const [key, setKey] = useState('')
  const [name, setName] = useState('')
  const register = () =>
    body(
      client.POST('/v1/devices/{id}/edge-keys', {
        params: { path: { id: device.id } },
        body: { public_key: key.trim(), name },
      }),
    )
  return (
    <SubmitForm
      action={i18n.t('Register')}
      submit={register}
      onDone={onDone}
      incomplete={!/^[0-9a-fA-F]{64}$/.test(key.trim())}
    >
      <p className="hint">
        {i18n.t('Write this id into the edge’s configuration, then make the edge:')}
      </p>
      <CopyField label={i18n.t('Gateway')} text={device.id} />
      <CopyField label={i18n.t('Command')} text="veritwin edge init --config edge.toml" />
      <TextInput
        label={i18n.t('Public key')}
        description={i18n.t('64 hexadecimal digits, as the edge prints them')}
        value={key}
        onChange={(event) => setKey(event.currentTarget.value)}
      />
      <TextInput
        label={i18n.t('Name (optional)')}
        value={name}
        onChange={(event) => setName(event.currentTarget.value)}
      />
    </SubmitForm>
  )
}
