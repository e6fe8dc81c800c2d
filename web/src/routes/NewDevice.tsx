// The form for a new device, and the one showing of its token.
import { i18n } from '@lingui/core'
import { Button, Group, Select, TextInput } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useState } from 'react'

import { body, client } from '../api/client'
import { modelQuery, queryClient } from '../api/queries'
import { useTwins } from '../app/useTwins'
import type { Declaration } from '../api/types'
import { CopyField } from '../ui/layout'
import { SubmitForm } from '../ui/SubmitForm'
import { declarationLabel } from './declaration'

export function TokenOnce(props: { name: string; token: string; onDone: () => void }) {
  const host = location.hostname
  const { token } = props
  return (
    <div className="stack">
      <p className="once">
        {i18n.t(
          'This token is shown once. Only its fingerprint is stored; a lost token is replaced, not recovered.',
        )}
      </p>
      <CopyField label={i18n.t('Access token of {name}', { name: props.name })} text={token} />
      <CopyField
        multiline
        label="MQTT"
        text={`mosquitto_pub -h ${host} -p 8883 --cafile ca.pem -q 1 \\\n  -u ${token} -t v1/devices/me/telemetry -m '{"temperature":21.5}'`}
      />
      <CopyField
        multiline
        label="HTTP"
        text={`curl --cacert ca.pem https://${location.host}/api/v1/telemetry \\\n  -H 'Authorization: Bearer ${token}' \\\n  -H 'Content-Type: application/json' -d '{"temperature":21.5}'`}
      />
      <p className="dim">
        {i18n.t('ca.pem is this server’s certificate authority:')} <code>veritwin ca export</code>
      </p>
      <Group justify="flex-end">
        <Button onClick={props.onDone}>{i18n.t('I have kept the token')}</Button>
      </Group>
    </div>
  )
}

export function NewDeviceForm(props: { onDone: () => void }) {
  const twins = useTwins()
  const [name, setName] = useState('')
  const [type, setType] = useState('')
  const [twinId, setTwinId] = useState<string | null>(null)
  const [spaceId, setSpaceId] = useState<string | null>(null)
  const [declaration, setDeclaration] = useState<Declaration>('undeclared')
  const [token, setToken] = useState<string | null>(null)
  const model = useQuery({ ...modelQuery(twinId ?? ''), enabled: twinId !== null })
  const submit = async () => {
    const created = await body(
      client.POST('/v1/devices', {
        body: {
          name,
          declaration,
          ...(type !== '' && { type }),
          ...(twinId !== null && { twin_id: twinId }),
          ...(spaceId !== null && { space_id: spaceId }),
        },
      }),
    )
    setToken(created.token)
    await queryClient.invalidateQueries({ queryKey: ['devices'] })
  }
  if (token !== null) return <TokenOnce name={name} token={token} onDone={props.onDone} />
  return (
    <SubmitForm
      action={i18n.t('Add and show the token')}
      submit={submit}
      incomplete={name.trim() === ''}
      onCancel={props.onDone}
    >
      <TextInput
        label={i18n.t('Name')}
        required
        data-autofocus
        value={name}
        onChange={(e) => setName(e.currentTarget.value)}
      />
      <TextInput
        label={i18n.t('Type (optional)')}
        description={i18n.t('Rules can cover all devices of a type.')}
        value={type}
        onChange={(e) => setType(e.currentTarget.value)}
      />
      <Select
        label={i18n.t('Building')}
        clearable
        data={(twins.data?.items ?? []).map((t) => ({ value: t.id, label: t.name }))}
        value={twinId}
        onChange={(value) => {
          setTwinId(value)
          setSpaceId(null)
        }}
      />
      <Select
        label={i18n.t('Room')}
        clearable
        searchable
        disabled={twinId === null}
        data={(model.data?.spaces ?? []).map((s) => ({
          value: s.id,
          label: `${s.name} ${s.long_name ?? ''}`.trim(),
        }))}
        value={spaceId}
        onChange={setSpaceId}
      />
      <Select
        label={i18n.t('What it reports is')}
        description={i18n.t(
          'You judge. Until then it is stored sealed as personal data and shown to privacy officers only.',
        )}
        allowDeselect={false}
        data={(['undeclared', 'non_personal', 'personal'] as const).map((value) => ({
          value,
          label: declarationLabel(value),
        }))}
        value={declaration}
        onChange={(value) => setDeclaration((value ?? 'undeclared') as Declaration)}
      />
    </SubmitForm>
  )
}
