// API keys: what each may do and where, from which networks, until when, when it was last used. The
// secret of a new one is shown once.
import { i18n } from '@lingui/core'
import { Button, Select, Textarea, TextInput } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useState } from 'react'

import { body, client } from '../../api/client'
import { apiKeysQuery, usersQuery } from '../../api/queries'
import type { AccessScopeInput, ApiKey } from '../../api/types'
import { platformNow } from '../../lib/now'
import { DEFAULT_ROLE } from '../../lib/roles'
import { CopyField } from '../../ui/layout'
import { NamedList, type FormEnds } from '../../ui/NamedList'
import { Age, Instant } from '../../ui/time'
import { SubmitForm } from '../../ui/SubmitForm'
import { roleName, ScopeName } from '../access/names'
import { rolesQuery, useMay } from '../access/queries'
import { RoleField, roleOf, ScopeField } from '../access/RightFields'

const DAY_MS = 86_400_000
const DAYS = ['7', '30', '90', '365']

export function ApiKeys() {
  const may = useMay()
  const query = useQuery(apiKeysQuery)
  return (
    <NamedList<ApiKey>
      title={i18n.t('API keys')}
      icon="key"
      query={query}
      none={i18n.t('No key yet. Programs sign in with one, people do not.')}
      facts={(key) => <KeyFacts apiKey={key} />}
      {...(may('api_key.create') && {
        make: {
          title: i18n.t('New API key'),
          form: (_: ApiKey | null, { onDone }: FormEnds) => <ApiKeyForm onDone={onDone} />,
        },
      })}
      {...(may('api_key.delete') && {
        remove: {
          title: i18n.t('Revoke the API key'),
          action: i18n.t('Revoke'),
          text: i18n.t('Programs that use it are refused from now on.'),
          run: ({ id }: ApiKey) => client.DELETE('/v1/api-keys/{id}', { params: { path: { id } } }),
        },
      })}
    />
  )
}

function networkLabel(from: string): string {
  const labels: Record<string, string> = {
    loopback: i18n.t('from this machine'),
    private: i18n.t('from a private network'),
    public: i18n.t('from the internet'),
  }
  return labels[from] ?? from
}

function KeyFacts({ apiKey }: { apiKey: ApiKey }) {
  const roles = useQuery(rolesQuery)
  const users = useQuery(usersQuery)
  const maker = users.data?.items.find((user) => user.id === apiKey.maker_id)
  return (
    <span className="key-facts">
      <span className="dim">
        {roles.data ? roleName(roles.data, apiKey.role, apiKey.custom_role_id) : '…'} ·{' '}
        <ScopeName scope={apiKey.scope} />
        {maker && <> · {i18n.t('made by {name}', { name: maker.name || maker.email })}</>}
      </span>
      <span className="dim">
        {apiKey.last_used_at ? (
          <>
            {i18n.t('last used')} <Age at={apiKey.last_used_at} />
            {apiKey.last_used_from && ` ${networkLabel(apiKey.last_used_from)}`}
          </>
        ) : (
          i18n.t('never used')
        )}{' '}
        · {i18n.t('until')} <Instant at={apiKey.expires_at} age={false} />
      </span>
      {apiKey.addresses.length > 0 && (
        <span className="dim">
          {i18n.t('only from {networks}', { networks: apiKey.addresses.join(', ') })}
        </span>
      )}
    </span>
  )
}

function ApiKeyForm(props: { onDone: () => void }) {
  const [name, setName] = useState('')
  const [role, setRole] = useState<string>(DEFAULT_ROLE)
  const [scope, setScope] = useState<AccessScopeInput>({})
  const [networks, setNetworks] = useState('')
  const [days, setDays] = useState('90')
  const [secret, setSecret] = useState<string | null>(null)
  if (secret !== null) {
    return (
      <div className="stack">
        <p className="once">
          {i18n.t('This secret is shown once. Only its fingerprint is stored.')}
        </p>
        <CopyField label={i18n.t('Secret of {name}', { name })} text={secret} />
        <Button onClick={props.onDone}>{i18n.t('I have kept the secret')}</Button>
      </div>
    )
  }
  const make = async () => {
    const expires_at = new Date(platformNow() + Number(days) * DAY_MS).toISOString()
    const addresses = networks.split(/[\s,]+/).filter(Boolean)
    const made = await body(
      client.POST('/v1/api-keys', {
        body: { name, ...roleOf(role), scope, addresses, expires_at },
      }),
    )
    setSecret(made.secret)
  }
  return (
    <SubmitForm action={i18n.t('Make the key')} submit={make} incomplete={name.trim() === ''}>
      <TextInput
        label={i18n.t('Name')}
        required
        data-autofocus
        value={name}
        onChange={(e) => setName(e.currentTarget.value)}
      />
      <RoleField own value={role} onChange={setRole} />
      <ScopeField value={scope} onChange={setScope} />
      <Textarea
        label={i18n.t('Works from (optional)')}
        description={i18n.t('Addresses or networks, one a line. Left empty: from everywhere.')}
        placeholder={'192.0.2.0/24\n2001:db8::/32'}
        autosize
        minRows={2}
        maxRows={6}
        value={networks}
        onChange={(e) => setNetworks(e.currentTarget.value)}
      />
      <Select
        label={i18n.t('Expires')}
        allowDeselect={false}
        value={days}
        onChange={(value) => setDays(value ?? '90')}
        data={DAYS.map((value) => ({
          value,
          label: i18n.t('in {count} days', { count: Number(value) }),
        }))}
      />
      <p className="dim">
        {i18n.t('The key is never worth more than you are: it loses what you lose.')}
      </p>
    </SubmitForm>
  )
}
