// Firmware and software packages: keep one, say which devices are to have it, see how far they are.
import { i18n } from '@lingui/core'
import { useLingui } from '@lingui/react'
import { Button, FileInput, MultiSelect, Progress, Select, TextInput } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { useState } from 'react'

import { body, client, upload } from '../api/client'
import { packageDevicesQuery, packagesQuery, packageStatesQuery } from '../api/deviceQueries'
import { ProblemError } from '../api/problem'
import { queryClient } from '../api/queries'
import type { Package } from '../api/types'
import { Allowed, useAllowed } from '../app/Allowed'
import { useDeviceOptions, useDevicesById } from '../app/useDevices'
import { formatBytes } from '../lib/format'
import { ConfirmTyped } from '../ui/dialogs'
import { Icon } from '../ui/icons'
import { Empty, Facts, Failure, Loading, Page, Tag } from '../ui/layout'
import { Modal } from '../ui/overlays'
import { SubmitForm } from '../ui/SubmitForm'
import { Instant } from '../ui/time'
import { toast } from '../ui/toasts'
import { groupsQuery } from './access/queries'

function kindLabel(kind: string): string {
  return kind === 'firmware' ? i18n.t('Firmware') : i18n.t('Software')
}

const refresh = () => queryClient.invalidateQueries({ queryKey: ['packages'] })

export function PackagesPage() {
  const query = useQuery(packagesQuery)
  const [keeping, setKeeping] = useState(false)
  const keep = (
    <Allowed to="package.write">
      <Button leftSection={<Icon name="upload" size={15} />} onClick={() => setKeeping(true)}>
        {i18n.t('Upload a package')}
      </Button>
    </Allowed>
  )
  const items = query.data?.items ?? []
  return (
    <Page
      title={i18n.t('Packages')}
      lead={i18n.t('Firmware and software that devices fetch piece by piece.')}
      actions={items.length > 0 && keep}
    >
      {query.isPending && <Loading />}
      {query.isError && <Failure error={query.error} retry={() => void query.refetch()} />}
      {query.data && items.length === 0 && (
        <Empty icon="parcel" title={i18n.t('No packages yet')} action={keep}>
          {i18n.t(
            'Upload one and choose the devices: they are told, fetch it, and say here how far they are.',
          )}
        </Empty>
      )}
      {items.map((one) => (
        <One key={one.id} one={one} />
      ))}
      <Modal
        opened={keeping}
        onClose={() => setKeeping(false)}
        title={i18n.t('Upload a package')}
        closeOnClickOutside={false}
      >
        <Keep onDone={() => setKeeping(false)} />
      </Modal>
    </Page>
  )
}

function Keep({ onDone }: { onDone: () => void }) {
  const [file, setFile] = useState<File | null>(null)
  const [kind, setKind] = useState<string | null>('firmware')
  const [title, setTitle] = useState('')
  const [version, setVersion] = useState('')
  const [algorithm, setAlgorithm] = useState<string | null>('sha256')
  const [checksum, setChecksum] = useState('')
  const [progress, setProgress] = useState<number | null>(null)
  const send = async () => {
    const query = new URLSearchParams({
      kind: kind ?? 'firmware',
      title: title.trim(),
      version: version.trim(),
      checksum_algorithm: algorithm ?? 'sha256',
      ...(checksum.trim() !== '' && { checksum: checksum.trim() }),
    })
    setProgress(0)
    try {
      await upload({
        method: 'POST',
        path: `/v1/packages?${query.toString()}`,
        type: 'application/octet-stream',
        content: file as File,
        onProgress: setProgress,
      })
    } finally {
      setProgress(null)
    }
    await refresh()
  }
  return (
    <SubmitForm
      action={i18n.t('Keep it')}
      submit={send}
      onDone={onDone}
      incomplete={file === null || title.trim() === '' || version.trim() === ''}
    >
      <FileInput label={i18n.t('File')} value={file} onChange={setFile} />
      <Select
        label={i18n.t('What it is')}
        data={['firmware', 'software'].map((value) => ({ value, label: kindLabel(value) }))}
        value={kind}
        onChange={setKind}
        allowDeselect={false}
      />
      <TextInput
        label={i18n.t('Title')}
        value={title}
        maxLength={255}
        onChange={(event) => setTitle(event.currentTarget.value)}
      />
      <TextInput
        label={i18n.t('Version')}
        value={version}
        maxLength={255}
        onChange={(event) => setVersion(event.currentTarget.value)}
      />
      <Select
        label={i18n.t('Checksum')}
        data={['sha256', 'sha384', 'sha512'].map((value) => ({
          value,
          label: value.toUpperCase(),
        }))}
        value={algorithm}
        onChange={setAlgorithm}
        allowDeselect={false}
      />
      <TextInput
        label={i18n.t('The checksum that it has to have')}
        description={i18n.t('Leave it empty if you do not know it.')}
        value={checksum}
        onChange={(event) => setChecksum(event.currentTarget.value)}
      />
      {progress !== null && (
        <Progress value={progress * 100} aria-label={i18n.t('Sending the file')} />
      )}
    </SubmitForm>
  )
}

function One({ one }: { one: Package }) {
  const { i18n: lingui } = useLingui()
  const may = useAllowed()
  const [open, setOpen] = useState(false)
  const [deleting, setDeleting] = useState(false)
  const name = `${one.title} ${one.version}`
  return (
    <section className="block">
      <div className="block-head">
        <h2>
          {name} <Tag>{kindLabel(one.kind)}</Tag>
        </h2>
        <Button size="xs" variant="default" aria-expanded={open} onClick={() => setOpen(!open)}>
          {i18n.t('{count, plural, =0 {No devices} one {# device} other {# devices}}', {
            count: one.devices,
          })}
        </Button>
        {may('package.write') && (
          <Button
            size="xs"
            variant="default"
            leftSection={<Icon name="trash" size={14} />}
            disabled={one.devices > 0}
            onClick={() => setDeleting(true)}
          >
            {i18n.t('Delete')}
          </Button>
        )}
      </div>
      <Facts
        items={[
          [i18n.t('Size'), formatBytes(one.bytes, lingui.locale)],
          [one.checksum_algorithm.toUpperCase(), <code key="c">{one.checksum}</code>],
          [i18n.t('Added'), <Instant key="a" at={one.created_at} />],
        ]}
      />
      {open && <Devices one={one} />}
      <ConfirmTyped
        opened={deleting}
        onClose={() => setDeleting(false)}
        title={i18n.t('Delete the package')}
        name={name}
        action={i18n.t('Delete')}
        onConfirm={async () => {
          await client.DELETE('/v1/packages/{id}', { params: { path: { id: one.id } } })
          await refresh()
        }}
      >
        {i18n.t('Lost: the package. Devices that fetched it keep what they have.')}
      </ConfirmTyped>
    </section>
  )
}

type Change = '/v1/packages/{id}/devices' | '/v1/packages/{id}/release'
type Targets = { device_ids: string[]; group_id?: string }

function Devices({ one }: { one: Package }) {
  const query = useQuery(packageDevicesQuery(one.id))
  const ids = query.data?.device_ids ?? []
  const named = useDevicesById(ids)
  const key = one.kind === 'firmware' ? 'fw_state' : 'sw_state'
  const may = useAllowed()
  const mayRead = may('telemetry.read')
  const states = useQuery(packageStatesQuery(ids, key, mayRead))
  const mayAssign = may('device.update')
  const change = async (path: Change, targets: Targets) => {
    const { changed } = await body(
      client.POST(path, { params: { path: { id: one.id } }, body: targets }),
    )
    await Promise.all([refresh(), query.refetch()])
    return changed
  }
  const attempt = async (path: Change, id: string) => {
    try {
      await change(path, { device_ids: [id] })
      return true
    } catch (error) {
      toast(ProblemError.of(error).message)
      return false
    }
  }
  const release = async (id: string) => {
    if (!(await attempt('/v1/packages/{id}/release', id))) return
    toast(i18n.t('It is not to have this package any more.'), {
      label: i18n.t('Undo'),
      run: () => void attempt('/v1/packages/{id}/devices', id),
    })
  }
  return (
    <>
      {query.isPending && <Loading rows={2} />}
      {query.isError && <Failure error={query.error} compact />}
      {query.data && ids.length === 0 && (
        <p className="hint">{i18n.t('No device is to have it yet.')}</p>
      )}
      <ul className="plain-list">
        {ids.map((id) => (
          <li key={id}>
            <Link to="/devices/$id" params={{ id }}>
              {named.get(id)?.name ?? id}
            </Link>
            {states.data && (
              <Tag>{states.data.get(id) ?? i18n.t('has not said anything yet')}</Tag>
            )}
            {mayAssign && (
              <Button size="compact-xs" variant="default" onClick={() => void release(id)}>
                {i18n.t('Take it back')}
              </Button>
            )}
          </li>
        ))}
      </ul>
      {mayAssign && (
        <Assign assign={(targets) => change('/v1/packages/{id}/devices', targets)} />
      )}
    </>
  )
}

/** Chooses devices, and a group whose devices of this moment are meant. */
function Assign({ assign }: { assign: (targets: Targets) => Promise<number> }) {
  const mayGroups = useAllowed()('group.read')
  const groups = useQuery({ ...groupsQuery, enabled: mayGroups })
  const [chosen, setChosen] = useState<string[]>([])
  const [group, setGroup] = useState<string | null>(null)
  const { options, field } = useDeviceOptions(chosen)
  const named = groups.data?.items ?? []
  const submit = async () => {
    const count = await assign({
      device_ids: chosen,
      ...(group !== null && { group_id: group }),
    })
    toast(
      i18n.t(
        '{count, plural, =0 {All of them were to have it already.} one {# device is to have it now.} other {# devices are to have it now.}}',
        { count },
      ),
    )
  }
  return (
    <SubmitForm
      action={i18n.t('They are to have it')}
      submit={submit}
      onDone={() => {
        setChosen([])
        setGroup(null)
      }}
      incomplete={chosen.length === 0 && group === null}
    >
      <MultiSelect
        label={i18n.t('Devices')}
        data={options}
        value={chosen}
        onChange={setChosen}
        {...field}
      />
      {named.length > 0 && (
        <Select
          label={i18n.t('A group: the devices that are in it now')}
          data={named.map(({ id, name }) => ({ value: id, label: name }))}
          value={group}
          onChange={setGroup}
          searchable
          clearable
        />
      )}
    </SubmitForm>
  )
}
