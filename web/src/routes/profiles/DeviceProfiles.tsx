// Profiles of devices: how their payloads are decoded, what each did, what it was before.
import { i18n } from '@lingui/core'
import { Button, MultiSelect } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { useState } from 'react'

import { body, client, ifUnchanged } from '../../api/client'
import { ProblemError } from '../../api/problem'
import {
  deviceProfilesQuery,
  profileDevicesQuery,
  profileVersionsQuery,
} from '../../api/profileQueries'
import { queryClient } from '../../api/queries'
import type { DeviceProfile } from '../../api/types'
import { Allowed, useAllowed } from '../../app/Allowed'
import { useDeviceOptions, useDevicesById } from '../../app/useDevices'
import { ConfirmTyped } from '../../ui/dialogs'
import { Icon } from '../../ui/icons'
import { Empty, Facts, Failure, InEnglish, Loading, Page, Tag } from '../../ui/layout'
import { SubmitForm } from '../../ui/SubmitForm'
import { Instant } from '../../ui/time'
import { toast } from '../../ui/toasts'
import { ProfileForm } from './ProfileForm'

const refresh = () => queryClient.invalidateQueries({ queryKey: ['device-profiles'] })

export function DeviceProfilesPage() {
  const query = useQuery(deviceProfilesQuery)
  /** Null: nothing is edited; 'new': one that is not there yet. */
  const [edited, setEdited] = useState<DeviceProfile | 'new' | null>(null)
  const add = (
    <Allowed to="decoder.write">
      <Button leftSection={<Icon name="plus" size={15} />} onClick={() => setEdited('new')}>
        {i18n.t('Add a profile')}
      </Button>
    </Allowed>
  )
  const items = query.data?.items ?? []
  const leave = () => {
    setEdited(null)
    void refresh()
  }
  return (
    <Page
      title={i18n.t('Device profiles')}
      lead={i18n.t('Payloads that are not JSON become readings by a decoder.')}
      actions={edited === null && items.length > 0 && add}
    >
      {query.isPending && <Loading />}
      {query.isError && <Failure error={query.error} retry={() => void query.refetch()} />}
      {edited !== null && (
        <ProfileForm
          key={edited === 'new' ? 'new' : `${edited.id} ${edited.version}`}
          profile={edited === 'new' ? null : edited}
          onDone={leave}
          onCancel={() => setEdited(null)}
          onReload={() =>
            void query.refetch().then(({ data }) => {
              const id = edited === 'new' ? null : edited.id
              setEdited(data?.items.find((one) => one.id === id) ?? null)
            })
          }
        />
      )}
      {edited === null && query.data && items.length === 0 && (
        <Empty icon="table" title={i18n.t('No device profiles yet')} action={add}>
          {i18n.t(
            'Add one for devices that send bytes: write how they are read, try it on a sample, and choose the device types.',
          )}
        </Empty>
      )}
      {edited === null &&
        items.map((one) => <One key={one.id} one={one} edit={() => setEdited(one)} />)}
    </Page>
  )
}

function One({ one, edit }: { one: DeviceProfile; edit: () => void }) {
  const may = useAllowed()('decoder.write')
  const [open, setOpen] = useState<'devices' | 'versions' | null>(null)
  const [deleting, setDeleting] = useState(false)
  const toggle = (part: 'devices' | 'versions') => setOpen(open === part ? null : part)
  const { name, description, enabled, device_types, topics } = one.settings
  return (
    <section className="block" aria-label={name}>
      <div className="block-head">
        <h2>
          {name} {!enabled && <Tag tone="stale">{i18n.t('Off')}</Tag>}
        </h2>
        <Button
          size="xs"
          variant="default"
          aria-expanded={open === 'devices'}
          onClick={() => toggle('devices')}
        >
          {i18n.t('{count, plural, =0 {No devices} one {# device} other {# devices}}', {
            count: one.devices,
          })}
        </Button>
        <Button
          size="xs"
          variant="default"
          aria-expanded={open === 'versions'}
          onClick={() => toggle('versions')}
        >
          {i18n.t('Versions')}
        </Button>
        {may && (
          <>
            <Button size="xs" variant="default" onClick={edit}>
              {i18n.t('Edit')}
            </Button>
            <Button
              size="xs"
              variant="default"
              leftSection={<Icon name="trash" size={14} />}
              onClick={() => setDeleting(true)}
            >
              {i18n.t('Delete')}
            </Button>
          </>
        )}
      </div>
      {description !== '' && <p className="hint">{description}</p>}
      <Facts
        items={[
          [i18n.t('Device types'), device_types.join(', ') || i18n.t('none')],
          [i18n.t('Topics'), <code key="t">{topics.join(', ')}</code>],
          [i18n.t('Decoded since the start'), String(one.decoded)],
          [i18n.t('Refused since the start'), String(one.refused)],
          [i18n.t('Changed'), <Instant key="c" at={one.updated_at} />],
        ]}
      />
      {one.last_refusal !== null && <LastRefusal refusal={one.last_refusal} />}
      {open === 'devices' && <Devices one={one} />}
      {open === 'versions' && <Versions one={one} />}
      <ConfirmTyped
        opened={deleting}
        onClose={() => setDeleting(false)}
        title={i18n.t('Delete the profile')}
        name={name}
        action={i18n.t('Delete')}
        onConfirm={async () => {
          // What is open of it would be asked for once more when it is gone.
          setOpen(null)
          await client.DELETE('/v1/device-profiles/{id}', { params: { path: { id: one.id } } })
          await refresh()
        }}
      >
        {i18n.t(
          'Lost: the decoder and its versions. Payloads of its devices that are not JSON are refused from then on.',
        )}
      </ConfirmTyped>
    </section>
  )
}

function LastRefusal({ refusal }: { refusal: NonNullable<DeviceProfile['last_refusal']> }) {
  return (
    <div>
      <p className="hint">
        {i18n.t('Refused last')}: <Instant at={refusal.at} />,{' '}
        <Link to="/devices/$id" params={{ id: refusal.device_id }}>
          {i18n.t('the device')}
        </Link>
      </p>
      <pre className="bench-result" data-fault>
        {refusal.detail}
      </pre>
      <InEnglish />
    </div>
  )
}

function Versions({ one }: { one: DeviceProfile }) {
  const query = useQuery(profileVersionsQuery(one.id))
  const may = useAllowed()('decoder.write')
  const [shown, setShown] = useState<number | null>(null)
  const restore = async (version: number, read: { version: number }) => {
    try {
      return await body(
        client.POST('/v1/device-profiles/{id}/restore', {
          params: { path: { id: one.id } },
          body: { version },
          ...ifUnchanged(read),
        }),
      )
    } catch (error) {
      toast(ProblemError.of(error).message)
      return null
    } finally {
      await refresh()
    }
  }
  const goBack = async (version: number) => {
    const before = one.version
    const made = await restore(version, one)
    if (made === null) return
    toast(i18n.t('The profile is as in version {version} again.', { version }), {
      label: i18n.t('Undo'),
      run: () => void restore(before, made),
    })
  }
  return (
    <>
      {query.isPending && <Loading rows={2} />}
      {query.isError && <Failure error={query.error} compact />}
      <ul className="plain-list">
        {query.data?.items.map(({ version, at, by, settings }) => (
          <li key={version}>
            <span>
              {i18n.t('Version {version}', { version })} · <Instant at={at} /> ·{' '}
              <span className="dim">{by}</span>
            </span>
            <Button
              size="compact-xs"
              variant="default"
              aria-expanded={shown === version}
              onClick={() => setShown(shown === version ? null : version)}
            >
              {i18n.t('Show the decoder')}
            </Button>
            {may && version !== one.version && (
              <Button size="compact-xs" variant="default" onClick={() => void goBack(version)}>
                {i18n.t('Go back to it')}
              </Button>
            )}
            {shown === version && <pre className="bench-result">{settings.source}</pre>}
          </li>
        ))}
      </ul>
    </>
  )
}

type Change = '/v1/device-profiles/{id}/devices' | '/v1/device-profiles/{id}/release'

function Devices({ one }: { one: DeviceProfile }) {
  const query = useQuery(profileDevicesQuery(one.id))
  const ids = query.data?.device_ids ?? []
  const named = useDevicesById(ids)
  const may = useAllowed()('decoder.write')
  const change = async (path: Change, device_ids: string[]) => {
    await client.POST(path, { params: { path: { id: one.id } }, body: { device_ids } })
    await refresh()
  }
  const release = async (id: string) => {
    try {
      await change('/v1/device-profiles/{id}/release', [id])
    } catch (error) {
      toast(ProblemError.of(error).message)
      return
    }
    toast(i18n.t('It has the profile of its type again.'), {
      label: i18n.t('Undo'),
      run: () => void change('/v1/device-profiles/{id}/devices', [id]),
    })
  }
  return (
    <>
      {query.isPending && <Loading rows={2} />}
      {query.isError && <Failure error={query.error} compact />}
      {query.data && ids.length === 0 && (
        <p className="hint">{i18n.t('No device has it as its own: it is that of its types.')}</p>
      )}
      <ul className="plain-list">
        {ids.map((id) => (
          <li key={id}>
            <span>
              <Link to="/devices/$id" params={{ id }}>
                {named.get(id)?.name ?? id}
              </Link>
            </span>
            {may && (
              <Button size="compact-xs" variant="default" onClick={() => void release(id)}>
                {i18n.t('Take it back')}
              </Button>
            )}
          </li>
        ))}
      </ul>
      {may && <Assign assign={(chosen) => change('/v1/device-profiles/{id}/devices', chosen)} />}
    </>
  )
}

function Assign({ assign }: { assign: (devices: string[]) => Promise<void> }) {
  const [chosen, setChosen] = useState<string[]>([])
  const { options, field } = useDeviceOptions(chosen)
  return (
    <SubmitForm
      action={i18n.t('They are to have it')}
      submit={() => assign(chosen)}
      onDone={() => setChosen([])}
      incomplete={chosen.length === 0}
    >
      <MultiSelect
        label={i18n.t('Devices')}
        data={options}
        value={chosen}
        onChange={setChosen}
        {...field}
      />
    </SubmitForm>
  )
}
