// What is known of a device beside what it measures: said by itself, shared with it, or kept for
// the organisation. The last two are changed here; each change can be taken back.
import { i18n } from '@lingui/core'
import { useLingui } from '@lingui/react'
import { Button, Select, Textarea, TextInput } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useState } from 'react'

import { body, client } from '../api/client'
import { attributesQuery } from '../api/deviceQueries'
import { queryClient } from '../api/queries'
import type { Device, Value } from '../api/types'
import { useAllowed } from '../app/Allowed'
import { formatScalar } from '../lib/format'
import { Icon } from '../ui/icons'
import { Facts, Failure, failureSentence } from '../ui/layout'
import { Modal } from '../ui/overlays'
import { SubmitForm } from '../ui/SubmitForm'
import { Instant } from '../ui/time'
import { toast } from '../ui/toasts'
import { attributeText, attributeValue } from './attributeValue'
import { declarationLabel } from './declaration'

const WRITABLE = ['shared', 'server'] as const
type Scope = (typeof WRITABLE)[number]
type Editing = { scope: Scope; key: string | null; value: Value }

function scopeLabel(scope: 'client' | Scope): string {
  switch (scope) {
    case 'client':
      return i18n.t('From the device')
    case 'shared':
      return i18n.t('Shared with the device')
    case 'server':
      return i18n.t('Server only')
  }
}

/** Writes one attribute; null deletes it. */
async function write(device: Device, scope: Scope, key: string, value: Value): Promise<void> {
  await body(
    client.PATCH('/v1/devices/{id}/attributes', {
      params: { path: { id: device.id } },
      body: { shared: {}, server: {}, [scope]: { [key]: value } } as never,
    }),
  )
  await queryClient.invalidateQueries({ queryKey: attributesQuery(device.id).queryKey })
}

async function takeBack(device: Device, scope: Scope, key: string, value: Value): Promise<void> {
  try {
    await write(device, scope, key, value)
    toast(i18n.t('Taken back'))
  } catch (error) {
    toast(failureSentence(error))
  }
}

/** Writes, and says so with the way back. */
async function change(
  device: Device,
  { scope, key }: { scope: Scope; key: string },
  [before, after]: [Value, Value],
): Promise<void> {
  await write(device, scope, key, after)
  const what = key
  toast(after === null ? i18n.t('Deleted: {what}', { what }) : i18n.t('Saved: {what}', { what }), {
    label: i18n.t('Undo'),
    run: () => void takeBack(device, scope, key, before),
  })
}

export function Attributes({ device }: { device: Device }) {
  const may = useAllowed({ device_id: device.id })
  const query = useQuery({ ...attributesQuery(device.id), enabled: may('attribute.read') })
  const [editing, setEditing] = useState<Editing | null>(null)
  const writes = may('attribute.write')
  const known = query.data
  const remove = async (scope: Scope, key: string, value: Value) => {
    try {
      await change(device, { scope, key }, [value, null])
    } catch (error) {
      toast(failureSentence(error))
    }
  }
  return (
    <section className="block" id="attributes">
      <div className="block-head">
        <h2>{i18n.t('Attributes')}</h2>
        {writes && (
          <Button
            size="compact-xs"
            variant="default"
            leftSection={<Icon name="plus" size={14} />}
            onClick={() => setEditing({ scope: 'shared', key: null, value: '' })}
          >
            {i18n.t('Add an attribute')}
          </Button>
        )}
      </div>
      {query.isError && <Failure error={query.error} compact />}
      {known && Object.keys(known.client).length > 0 && (
        <div>
          <h3>{scopeLabel('client')}</h3>
          <Said entries={known.client as Record<string, Value>} />
        </div>
      )}
      {known &&
        WRITABLE.map((scope) => (
          <Kept
            key={scope}
            scope={scope}
            entries={known[scope] as Record<string, Value>}
            writes={writes}
            onEdit={(key, value) => setEditing({ scope, key, value })}
            onDelete={(key, value) => void remove(scope, key, value)}
          />
        ))}
      <Facts
        items={[
          [i18n.t('Identifier'), <code key="id">{device.id}</code>],
          [i18n.t('Added'), <Instant key="c" at={device.created_at} />],
          [i18n.t('Declared as'), declarationLabel(device.declaration)],
        ]}
      />
      <Modal
        opened={editing !== null}
        onClose={() => setEditing(null)}
        title={editing?.key == null ? i18n.t('Add an attribute') : i18n.t('Change the attribute')}
      >
        {editing !== null && (
          <Form
            editing={editing}
            known={(scope, key) => ((known?.[scope] ?? {}) as Record<string, Value>)[key] ?? null}
            onSave={(scope, key, pair) => change(device, { scope, key }, pair)}
            onDone={() => setEditing(null)}
          />
        )}
      </Modal>
    </section>
  )
}

function Said({ entries }: { entries: Record<string, Value> }) {
  const { i18n: lingui } = useLingui()
  return (
    <Facts
      items={Object.entries(entries).map(([key, value]) => [
        key,
        formatScalar(value as never, lingui.locale),
      ])}
    />
  )
}

function Kept(props: {
  scope: Scope
  entries: Record<string, Value>
  writes: boolean
  onEdit: (key: string, value: Value) => void
  onDelete: (key: string, value: Value) => void
}) {
  const { i18n: lingui } = useLingui()
  const entries = Object.entries(props.entries)
  if (entries.length === 0) return null
  return (
    <div>
      <h3>{scopeLabel(props.scope)}</h3>
      {!props.writes ? (
        <Said entries={props.entries} />
      ) : (
        <ul className="plain-list">
          {entries.map(([key, value]) => (
            <li key={key}>
              <span>
                <span className="dim">{key}</span>{' '}
                <span>{formatScalar(value as never, lingui.locale)}</span>
              </span>
              <Button
                size="compact-xs"
                variant="default"
                aria-label={i18n.t('Change {what}', { what: key })}
                onClick={() => props.onEdit(key, value)}
              >
                {i18n.t('Change')}
              </Button>
              <Button
                size="compact-xs"
                variant="default"
                aria-label={i18n.t('Delete {what}', { what: key })}
                onClick={() => props.onDelete(key, value)}
              >
                {i18n.t('Delete')}
              </Button>
            </li>
          ))}
        </ul>
      )}
    </div>
  )
}

function Form(props: {
  editing: Editing
  known: (scope: Scope, key: string) => Value
  onSave: (scope: Scope, key: string, pair: [Value, Value]) => Promise<void>
  onDone: () => void
}) {
  const { editing } = props
  const given = editing.value
  const [scope, setScope] = useState<Scope>(editing.scope)
  const [key, setKey] = useState(editing.key ?? '')
  const [text, setText] = useState(attributeText(given))
  const value = attributeValue(text)
  const save = () => props.onSave(scope, key.trim(), [props.known(scope, key.trim()), value])
  return (
    <SubmitForm
      action={i18n.t('Save')}
      submit={save}
      onDone={props.onDone}
      onCancel={props.onDone}
      incomplete={key.trim() === '' || text.trim() === '' || value === null}
    >
      {editing.key === null && (
        <Select
          label={i18n.t('For whom')}
          allowDeselect={false}
          data={WRITABLE.map((one) => ({ value: one, label: scopeLabel(one) }))}
          value={scope}
          onChange={(one) => setScope((one ?? 'shared') as Scope)}
        />
      )}
      <TextInput
        label={i18n.t('Key')}
        value={key}
        readOnly={editing.key !== null}
        maxLength={128}
        autoComplete="off"
        onChange={(event) => setKey(event.currentTarget.value)}
      />
      <Textarea
        label={i18n.t('Value')}
        description={i18n.t('A number, true or false, JSON, or else a text.')}
        data-autofocus
        autosize
        minRows={1}
        value={text}
        onChange={(event) => setText(event.currentTarget.value)}
      />
    </SubmitForm>
  )
}
