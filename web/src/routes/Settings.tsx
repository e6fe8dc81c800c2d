// Settings: one's account, this browser, colleagues, API keys, and what a device has to trust.
import { i18n } from '@lingui/core'
import {
  Button,
  Group,
  SegmentedControl,
  Select,
  TextInput,
  useMantineColorScheme,
} from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useState } from 'react'

import { body, client } from '../api/client'
import { apiKeysQuery, keysQuery, sessionQuery, systemQuery } from '../api/queries'
import type { ApiKey, Role } from '../api/types'
import { ConfirmTyped } from '../ui/dialogs'
import { Icon } from '../ui/icons'
import { CopyField, Facts, Failure, Loading, Page, Tag } from '../ui/layout'
import { Age, Instant } from '../ui/time'
import { LanguageSelect } from './LanguageSelect'
import { Modal } from '../ui/overlays'
import { AccountBlocks } from './settings/Account'
import { People } from './settings/People'
import { ProviderBlock } from './settings/Provider'
import { roleLabel, RoleSelect } from './settings/roles'
import { useSubmit } from './settings/useSubmit'

export function SettingsPage() {
  const session = useQuery(sessionQuery)
  const roles = session.data?.user.roles ?? []
  const administrator = roles.includes('administrator')
  // Who may read the system's facts; others would see a refusal.
  const reader = ['owner', 'administrator', 'security_lead'].some((role) =>
    roles.includes(role as Role),
  )
  return (
    <Page
      title={i18n.t('Settings')}
      lead={session.data && `${session.data.tenant.name} · ${session.data.user.email}`}
    >
      <AccountBlocks />
      <div className="columns">
        <ThisBrowser />
        {reader && <Trust />}
      </div>
      {administrator && (
        <div className="columns">
          <People me={session.data?.user.id} />
          <ApiKeys />
        </div>
      )}
      {administrator && <ProviderBlock />}
      {administrator && <Keys />}
    </Page>
  )
}

function ThisBrowser() {
  const { colorScheme, setColorScheme } = useMantineColorScheme()
  return (
    <section className="block">
      <h2>{i18n.t('This browser')}</h2>
      <div className="setting">
        <span>{i18n.t('Language')}</span>
        <LanguageSelect />
      </div>
      <div className="setting">
        <span>{i18n.t('Appearance')}</span>
        <SegmentedControl
          size="xs"
          aria-label={i18n.t('Appearance')}
          value={colorScheme}
          onChange={(value) => setColorScheme(value as 'light' | 'dark' | 'auto')}
          data={[
            { value: 'auto', label: i18n.t('As the system') },
            { value: 'light', label: i18n.t('Light') },
            { value: 'dark', label: i18n.t('Dark') },
          ]}
        />
      </div>
      <p className="dim">
        {i18n.t('Kept in this browser only. The one cookie holds your session.')}
      </p>
    </section>
  )
}

function Trust() {
  const query = useQuery(systemQuery)
  return (
    <section className="block">
      <h2>{i18n.t('What devices and browsers have to trust')}</h2>
      {query.isError && <Failure error={query.error} compact />}
      {query.isPending && <Loading rows={3} />}
      {query.data && (
        <>
          <Facts
            items={query.data.certificates.map((certificate) => [
              certificate.name,
              <span key={certificate.name}>
                {i18n.t('valid until')} <Instant at={certificate.not_after} />{' '}
                {certificate.own && <Tag>{i18n.t('your own')}</Tag>}
                {certificate.fingerprint && (
                  <code className="fingerprint">{certificate.fingerprint}</code>
                )}
              </span>,
            ])}
          />
          <CopyField
            multiline
            label={i18n.t('On the server')}
            text={'veritwin ca fingerprint\nveritwin ca export > ca.pem'}
          />
          <p className="dim">
            Veritwin {query.data.version} · {i18n.t('running since')}{' '}
            <Age at={query.data.started_at} />
            {query.data.simulated_clock && ` · ${i18n.t('simulated clock')}`}
          </p>
        </>
      )}
    </section>
  )
}

function ApiKeys() {
  const query = useQuery(apiKeysQuery)
  const [making, setMaking] = useState(false)
  const [removing, setRemoving] = useState<ApiKey | null>(null)
  return (
    <section className="block">
      <div className="block-head">
        <h2>{i18n.t('API keys')}</h2>
        <Button
          size="xs"
          variant="default"
          leftSection={<Icon name="plus" size={14} />}
          onClick={() => setMaking(true)}
        >
          {i18n.t('New key')}
        </Button>
      </div>
      {query.isPending && <Loading rows={3} />}
      {query.isError && <Failure error={query.error} compact />}
      {query.data?.items.length === 0 && (
        <p className="hint">{i18n.t('No key yet. Programs sign in with one, people do not.')}</p>
      )}
      <ul className="plain-list">
        {query.data?.items.map((key) => (
          <li key={key.id}>
            <Icon name="key" size={16} />
            <span>
              {key.name}{' '}
              <span className="dim">
                {roleLabel(key.role)} · {i18n.t('last used')} <Age at={key.last_used_at} />
              </span>
            </span>
            <span className="dim">
              {key.expires_at ? (
                <>
                  {i18n.t('until')} <Instant at={key.expires_at} age={false} />
                </>
              ) : (
                i18n.t('no expiry')
              )}
            </span>
            <Button size="compact-xs" variant="default" onClick={() => setRemoving(key)}>
              {i18n.t('Revoke')}
            </Button>
          </li>
        ))}
      </ul>
      <Modal
        opened={making}
        onClose={() => setMaking(false)}
        title={i18n.t('New API key')}
        closeOnClickOutside={false}
      >
        <ApiKeyForm
          onDone={() => {
            setMaking(false)
            void query.refetch()
          }}
        />
      </Modal>
      <ConfirmTyped
        opened={removing !== null}
        onClose={() => setRemoving(null)}
        title={i18n.t('Revoke the API key')}
        name={removing?.name ?? ''}
        action={i18n.t('Revoke')}
        onConfirm={async () => {
          await client.DELETE('/v1/api-keys/{id}', { params: { path: { id: removing?.id ?? '' } } })
          await query.refetch()
        }}
      >
        {i18n.t('Programs that use it are refused from now on.')}
      </ConfirmTyped>
    </section>
  )
}

const DAY_MS = 86_400_000

function ApiKeyForm(props: { onDone: () => void }) {
  const [name, setName] = useState('')
  const [role, setRole] = useState<Role>('operator')
  const [days, setDays] = useState('90')
  const [secret, setSecret] = useState<string | null>(null)
  const { busy, error, run } = useSubmit()
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
    const expires_at =
      days === '' ? undefined : new Date(Date.now() + Number(days) * DAY_MS).toISOString()
    const made = await body(
      client.POST('/v1/api-keys', { body: { name, role, ...(expires_at && { expires_at }) } }),
    )
    setSecret(made.secret)
  }
  return (
    <form
      className="stack"
      onSubmit={(event) => {
        event.preventDefault()
        void run(make)
      }}
    >
      <TextInput
        label={i18n.t('Name')}
        required
        data-autofocus
        value={name}
        onChange={(e) => setName(e.currentTarget.value)}
      />
      <RoleSelect value={role} onChange={setRole} />
      <Select
        label={i18n.t('Expires')}
        allowDeselect={false}
        value={days}
        onChange={(value) => setDays(value ?? '90')}
        data={[
          ...['30', '90', '365'].map((value) => ({
            value,
            label: i18n.t('in {count} days', { count: Number(value) }),
          })),
          { value: '', label: i18n.t('never') },
        ]}
      />
      {error !== null && <Failure error={error} compact />}
      <Group justify="flex-end">
        <Button type="submit" loading={busy} disabled={name.trim() === ''}>
          {i18n.t('Make the key')}
        </Button>
      </Group>
    </form>
  )
}

function Keys() {
  const query = useQuery(keysQuery)
  return (
    <section className="block">
      <h2>{i18n.t('Which key protects what')}</h2>
      {query.isPending && <Loading rows={3} />}
      {query.isError && <Failure error={query.error} compact />}
      <div className="table-scroll">
        <table className="table">
          <thead>
            <tr>
              <th>{i18n.t('Sealing key')}</th>
              <th>{i18n.t('Protects')}</th>
              <th>{i18n.t('Version')}</th>
              <th>{i18n.t('State')}</th>
              <th>{i18n.t('Made')}</th>
            </tr>
          </thead>
          <tbody>
            {query.data?.items.map((key) => (
              <tr key={key.name}>
                <td>{key.name}</td>
                <td>{key.protects}</td>
                <td className="num">{key.version}</td>
                <td>{key.state}</td>
                <td>
                  <Age at={key.created_at} />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  )
}
