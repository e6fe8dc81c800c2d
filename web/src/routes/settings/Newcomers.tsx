// How devices come in by themselves: authorities whose certificates let them in, with revocation
// lists, and provisioning profiles. Key and secret of a profile are shown once.
import { i18n } from '@lingui/core'
import { Button, FileButton, Group, NumberInput, Select, Switch, TextInput } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useState } from 'react'

import { body, client } from '../../api/client'
import { deviceAuthoritiesQuery, provisionProfilesQuery } from '../../api/queries'
import type { DeviceAuthority, ProvisionProfile } from '../../api/types'
import { platformNow } from '../../lib/now'
import { CopyField, Failure, Tag } from '../../ui/layout'
import { NamedList, type FormEnds } from '../../ui/NamedList'
import { SubmitForm } from '../../ui/SubmitForm'
import { Instant } from '../../ui/time'
import { useSubmit } from '../../ui/useSubmit'
import { useMay } from '../access/queries'
import { Pem, ProofField } from '../DeviceCredentials'
import { Claims } from './Claims'

const DAY_MS = 86_400_000

export function Newcomers() {
  return (
    <div className="columns">
      <Authorities />
      <Profiles />
      <Claims />
    </div>
  )
}

function Authorities() {
  const query = useQuery(deviceAuthoritiesQuery)
  const write = useMay()('provisioning.write')
  return (
    <NamedList<DeviceAuthority>
      title={i18n.t('Certificate authorities of devices')}
      icon="key"
      query={query as never}
      none={i18n.t('None. Devices with certificates come in one by one.')}
      facts={(one) => <AuthorityFacts authority={one} changed={() => void query.refetch()} />}
      {...(write && {
        make: {
          title: i18n.t('Register an authority'),
          form: (_: DeviceAuthority | null, { onDone }: FormEnds) => (
            <AuthorityForm onDone={onDone} />
          ),
        },
        remove: {
          title: i18n.t('Remove the authority'),
          action: i18n.t('Remove'),
          text: i18n.t('Devices that it lets in are disconnected and refused. They stay on record.'),
          run: ({ id }: DeviceAuthority) =>
            client.DELETE('/v1/device-authorities/{id}', { params: { path: { id } } }),
        },
      })}
    />
  )
}

function AuthorityFacts(props: { authority: DeviceAuthority; changed: () => void }) {
  const { authority } = props
  const write = useMay()('provisioning.write')
  const { busy, error, run } = useSubmit(props.changed)
  const send = (file: File) =>
    client.PUT('/v1/device-authorities/{id}/revocation-list', {
      params: { path: { id: authority.id } },
      body: file as never,
      bodySerializer: (content: unknown) => content as Blob,
      headers: { 'content-type': 'application/pkix-crl' },
    })
  const toggle = () =>
    client.PUT('/v1/device-authorities/{id}', {
      params: { path: { id: authority.id } },
      body: {
        name: authority.name,
        creates: authority.creates,
        device_name: authority.device_name,
        devices_max: authority.devices_max,
        type: authority.type,
        group_id: authority.group_id,
        networks: authority.networks,
        disabled: !authority.disabled,
      },
    })
  return (
    <span className="key-facts">
      <span className="dim">
        {authority.subject} · {i18n.t('valid until')}{' '}
        <Instant at={authority.valid_until} age={false} />{' '}
        {authority.disabled && <Tag tone="stale">{i18n.t('Disabled')}</Tag>}
      </span>
      <span className="dim">
        {authority.creates
          ? i18n.t('makes devices named {pattern}, {made} of {max} so far', {
              pattern: authority.device_name,
              made: authority.made,
              max: authority.devices_max,
            })
          : i18n.t('makes no devices')}
      </span>
      <span className="dim">
        {authority.revocation_until === null ? (
          i18n.t('no revocation list')
        ) : (
          <>
            {i18n.t('{count, plural, one {# certificate revoked} other {# certificates revoked}}', {
              count: authority.revoked ?? 0,
            })}{' '}
            · {i18n.t('next list by')} <Instant at={authority.revocation_until} age={false} />
          </>
        )}
      </span>
      {write && (
        <Group gap="xs">
          <FileButton onChange={(file) => file && void run(() => send(file))}>
            {(button) => (
              <Button {...button} size="compact-xs" variant="default" loading={busy}>
                {i18n.t('Hand in a revocation list')}
              </Button>
            )}
          </FileButton>
          <Button
            size="compact-xs"
            variant="default"
            loading={busy}
            onClick={() => void run(toggle)}
          >
            {authority.disabled ? i18n.t('Enable') : i18n.t('Disable')}
          </Button>
        </Group>
      )}
      {error !== null && <Failure error={error} compact />}
    </span>
  )
}

function AuthorityForm(props: { onDone: () => void }) {
  const [name, setName] = useState('')
  const [certificate, setCertificate] = useState('')
  const [proof, setProof] = useState('')
  const [creates, setCreates] = useState(false)
  const [pattern, setPattern] = useState('*')
  const [max, setMax] = useState(1000)
  const register = () =>
    client.POST('/v1/device-authorities', {
      body: {
        certificate,
        proof,
        settings: { name, creates, device_name: pattern, devices_max: max },
      },
    })
  const incomplete = name.trim() === '' || certificate.trim() === '' || proof.trim() === ''
  return (
    <SubmitForm
      action={i18n.t('Register')}
      submit={register}
      onDone={props.onDone}
      incomplete={incomplete}
    >
      <TextInput
        label={i18n.t('Name')}
        required
        data-autofocus
        value={name}
        onChange={(e) => setName(e.currentTarget.value)}
      />
      <Pem
        label={i18n.t('Certificate of the authority')}
        value={certificate}
        onChange={setCertificate}
      />
      <ProofField certificate={certificate} value={proof} onChange={setProof} />
      <Switch
        label={i18n.t('Make a device for a certificate that has none')}
        checked={creates}
        onChange={(e) => setCreates(e.currentTarget.checked)}
      />
      {creates && (
        <>
          <TextInput
            label={i18n.t('Name of such a device')}
            description={i18n.t('* stands for the common name of its certificate.')}
            value={pattern}
            onChange={(e) => setPattern(e.currentTarget.value)}
          />
          <DevicesMax value={max} onChange={setMax} />
        </>
      )}
    </SubmitForm>
  )
}

function DevicesMax(props: { value: number; onChange: (value: number) => void }) {
  return (
    <NumberInput
      label={i18n.t('How many devices at most')}
      min={1}
      max={100_000}
      allowDecimal={false}
      value={props.value}
      onChange={(value) => props.onChange(Number(value) || 1)}
    />
  )
}

function strategyLabel(strategy: string): string {
  return strategy === 'create_new'
    ? i18n.t('makes devices with new names')
    : i18n.t('gives devices that were made before their credential')
}

function Profiles() {
  const query = useQuery(provisionProfilesQuery)
  const write = useMay()('provisioning.write')
  return (
    <NamedList<ProvisionProfile>
      title={i18n.t('Provisioning profiles')}
      icon="key"
      query={query as never}
      none={i18n.t('None. Devices are made by people and programs.')}
      facts={(one) => <ProfileFacts profile={one} changed={() => void query.refetch()} />}
      {...(write && {
        make: {
          title: i18n.t('New profile'),
          form: (_: ProvisionProfile | null, { onDone }: FormEnds) => (
            <ProfileForm onDone={onDone} />
          ),
        },
        remove: {
          title: i18n.t('Delete the profile'),
          action: i18n.t('Delete'),
          text: i18n.t('Its key and secret let nobody in any more. Devices that came in stay.'),
          run: ({ id }: ProvisionProfile) =>
            client.DELETE('/v1/provision-profiles/{id}', { params: { path: { id } } }),
        },
      })}
    />
  )
}

function ProfileFacts(props: { profile: ProvisionProfile; changed: () => void }) {
  const { profile } = props
  const write = useMay()('provisioning.write')
  const { busy, error, run } = useSubmit(props.changed)
  const toggle = () =>
    client.PATCH('/v1/provision-profiles/{id}', {
      params: { path: { id: profile.id } },
      body: { disabled: profile.disabled_at === null },
    })
  return (
    <span className="key-facts">
      <span className="dim">
        {strategyLabel(profile.strategy)} ·{' '}
        {i18n.t('{made} of {max} so far', { made: profile.made, max: profile.devices_max })}{' '}
        {profile.disabled_at !== null && <Tag tone="stale">{i18n.t('Disabled')}</Tag>}
      </span>
      {profile.expires_at !== null && (
        <span className="dim">
          {i18n.t('until')} <Instant at={profile.expires_at} age={false} />
        </span>
      )}
      {write && (
        <Button size="compact-xs" variant="default" loading={busy} onClick={() => void run(toggle)}>
          {profile.disabled_at === null ? i18n.t('Disable') : i18n.t('Enable')}
        </Button>
      )}
      {error !== null && <Failure error={error} compact />}
    </span>
  )
}

function ProfileForm(props: { onDone: () => void }) {
  const [name, setName] = useState('')
  const [strategy, setStrategy] = useState('create_new')
  const [max, setMax] = useState(100)
  const [days, setDays] = useState('30')
  const [made, setMade] = useState<{ key: string; secret: string } | null>(null)
  if (made !== null) {
    return (
      <div className="stack">
        <p className="once">{i18n.t('Key and secret are shown once. Devices show both.')}</p>
        <CopyField label="provisionDeviceKey" text={made.key} />
        <CopyField label="provisionDeviceSecret" text={made.secret} />
        <Button onClick={props.onDone}>{i18n.t('I have kept both')}</Button>
      </div>
    )
  }
  const make = async () => {
    const expires_at = new Date(platformNow() + Number(days) * DAY_MS).toISOString()
    setMade(
      await body(
        client.POST('/v1/provision-profiles', {
          body: { name, strategy: strategy as never, devices_max: max, expires_at },
        }),
      ),
    )
  }
  return (
    <SubmitForm
      action={i18n.t('Make the profile')}
      submit={make}
      incomplete={name.trim() === ''}
    >
      <TextInput
        label={i18n.t('Name')}
        required
        data-autofocus
        value={name}
        onChange={(e) => setName(e.currentTarget.value)}
      />
      <Select
        label={i18n.t('What it does')}
        allowDeselect={false}
        data={['create_new', 'pre_provisioned'].map((value) => ({
          value,
          label: strategyLabel(value),
        }))}
        value={strategy}
        onChange={(value) => setStrategy(value ?? 'create_new')}
      />
      <DevicesMax value={max} onChange={setMax} />
      <Select
        label={i18n.t('Expires')}
        allowDeselect={false}
        value={days}
        onChange={(value) => setDays(value ?? '30')}
        data={['1', '7', '30', '90', '365'].map((value) => ({
          value,
          label: i18n.t('in {count} days', { count: Number(value) }),
        }))}
      />
    </SubmitForm>
  )
}
