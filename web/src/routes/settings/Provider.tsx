// Sign-in through the organisation's own provider: what is set, and the form that sets it.
import { i18n } from '@lingui/core'
import { Button, Checkbox, Group, PasswordInput, Select, TagsInput, TextInput } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useState } from 'react'

import { client } from '../../api/client'
import { providerQuery } from '../../api/queries'
import type { ProviderSettings } from '../../api/types'
import { Allowed } from '../../app/Allowed'
import { ConfirmTyped } from '../../ui/dialogs'
import { CopyField, Facts, Failure, Loading, Tag } from '../../ui/layout'
import { Modal } from '../../ui/overlays'
import { SubmitForm } from '../../ui/SubmitForm'

const ROLES_OF_NEW = ['viewer', 'auditor', 'analyst', 'operator'] as const
type RoleOfNew = (typeof ROLES_OF_NEW)[number]

function roleOfNewLabel(role: RoleOfNew): string {
  switch (role) {
    case 'viewer':
      return i18n.t('Viewer')
    case 'auditor':
      return i18n.t('Auditor')
    case 'analyst':
      return i18n.t('Analyst')
    case 'operator':
      return i18n.t('Operator')
  }
}

export function ProviderBlock() {
  const query = useQuery(providerQuery)
  const [open, setOpen] = useState<'form' | 'remove' | null>(null)
  const close = () => setOpen(null)
  const provider = query.data
  const isSet = provider !== undefined && provider.issuer !== ''
  return (
    <section className="block">
      <div className="block-head">
        <h2>{i18n.t('Sign-in through your provider')}</h2>
        <Allowed to="identity_provider.write">
          <Button
            size="xs"
            variant="default"
            disabled={provider === undefined}
            onClick={() => setOpen('form')}
          >
            {isSet ? i18n.t('Change') : i18n.t('Set up a provider')}
          </Button>
        </Allowed>
      </div>
      {query.isPending && <Loading rows={3} />}
      {query.isError && <Failure error={query.error} compact />}
      {provider && !isSet && (
        <p className="hint">
          {i18n.t(
            'None yet. With an OpenID Connect provider of your own, your people sign in as they do elsewhere.',
          )}
        </p>
      )}
      {provider && isSet && (
        <Shown provider={provider} onRemove={() => setOpen('remove')} />
      )}
      {provider && (
        <Modal
          opened={open === 'form'}
          onClose={close}
          title={i18n.t('Sign-in through your provider')}
          closeOnClickOutside={false}
        >
          <Form
            provider={provider}
            onDone={() => {
              close()
              void query.refetch()
            }}
          />
        </Modal>
      )}
      <ConfirmTyped
        opened={open === 'remove'}
        onClose={close}
        title={i18n.t('Remove the provider')}
        name={provider?.name ?? ''}
        action={i18n.t('Remove')}
        onConfirm={async () => {
          await client.DELETE('/v1/identity-provider')
          await query.refetch()
        }}
      >
        {i18n.t('Whoever signed in through it is signed out. Passwords and passkeys go on working.')}
      </ConfirmTyped>
    </section>
  )
}

function Shown(props: { provider: ProviderSettings; onRemove: () => void }) {
  const { provider } = props
  const role = ROLES_OF_NEW.find((one) => one === provider.role_of_new)
  return (
    <>
      <Facts
        items={[
          [
            i18n.t('Provider'),
            <span key="provider">
              {provider.name}{' '}
              <Tag>{provider.enabled ? i18n.t('offered') : i18n.t('not offered')}</Tag>
            </span>,
          ],
          [i18n.t('Issuer'), <code key="issuer">{provider.issuer}</code>],
          [i18n.t('Domains'), provider.domains.join(', ')],
          [
            i18n.t('Whoever is new'),
            role === undefined
              ? i18n.t('needs an invitation')
              : i18n.t('becomes: {role}', { role: roleOfNewLabel(role) }),
          ],
        ]}
      />
      <CopyField label={i18n.t('Where your people begin')} text={provider.sign_in_address} />
      <Allowed to="identity_provider.write">
        <Group justify="flex-end">
          <Button size="compact-xs" variant="default" onClick={props.onRemove}>
            {i18n.t('Remove')}
          </Button>
        </Group>
      </Allowed>
    </>
  )
}

function Form(props: { provider: ProviderSettings; onDone: () => void }) {
  const { provider } = props
  const isSet = provider.issuer !== ''
  const [name, setName] = useState(provider.name)
  const [issuer, setIssuer] = useState(provider.issuer)
  const [clientId, setClientId] = useState(provider.client_id)
  const [secret, setSecret] = useState('')
  const [domains, setDomains] = useState(provider.domains)
  const [role, setRole] = useState<string>(provider.role_of_new ?? '')
  const [enabled, setEnabled] = useState(provider.enabled || !isSet)
  const [twoFactors, setTwoFactors] = useState(provider.counts_as_second_factor)
  const save = async () => {
    const role_of_new = ROLES_OF_NEW.find((one) => one === role)
    await client.PUT('/v1/identity-provider', {
      body: {
        name,
        issuer,
        client_id: clientId,
        domains,
        enabled,
        counts_as_second_factor: twoFactors,
        ...(secret !== '' && { client_secret: secret }),
        ...(role_of_new && { role_of_new }),
      },
    })
    props.onDone()
  }
  const text = (label: string, value: string, set: (text: string) => void, more: object = {}) => (
    <TextInput
      label={label}
      required
      value={value}
      onChange={(event) => set(event.currentTarget.value)}
      {...more}
    />
  )
  return (
    <SubmitForm action={i18n.t('Save')} submit={save} incomplete={domains.length === 0}>
      <CopyField
        multiline
        label={i18n.t('Redirect address to register there')}
        text={provider.redirect_uris.join('\n')}
      />
      {text(i18n.t('Name on the sign-in page'), name, setName, {
        'data-autofocus': true,
        maxLength: 60,
      })}
      {text(i18n.t('Issuer'), issuer, setIssuer, {
        type: 'url',
        placeholder: 'https://id.example.com',
        description: i18n.t('An https address, exactly as the provider states it.'),
      })}
      {text(i18n.t('Client id'), clientId, setClientId)}
      <PasswordInput
        label={i18n.t('Client secret')}
        description={
          provider.has_secret
            ? i18n.t('Left empty, the one that is stored stays.')
            : i18n.t('Empty for a client without a secret.')
        }
        autoComplete="off"
        value={secret}
        onChange={(event) => setSecret(event.currentTarget.value)}
      />
      <TagsInput
        label={i18n.t('E-mail domains that count')}
        placeholder="example.com"
        required
        value={domains}
        onChange={setDomains}
        acceptValueOnBlur
        clearable={false}
      />
      <Select
        label={i18n.t('Whoever is new')}
        allowDeselect={false}
        value={role}
        onChange={(value) => setRole(value ?? '')}
        data={[
          { value: '', label: i18n.t('needs an invitation') },
          ...ROLES_OF_NEW.map((value) => ({
            value,
            label: i18n.t('becomes: {role}', { role: roleOfNewLabel(value) }),
          })),
        ]}
      />
      <Checkbox
        label={i18n.t('A sign-in there counts as two factors')}
        checked={twoFactors}
        onChange={(event) => setTwoFactors(event.currentTarget.checked)}
      />
      <Checkbox
        label={i18n.t('Offer it on the sign-in page')}
        checked={enabled}
        onChange={(event) => setEnabled(event.currentTarget.checked)}
      />
    </SubmitForm>
  )
}
