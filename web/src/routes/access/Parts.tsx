// Parts of the organisation that grants are about: groups of devices, and workspaces of buildings
// and groups.
import { i18n } from '@lingui/core'
import { Button, Group, MultiSelect, Select, TextInput } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useState, type ReactNode } from 'react'

import { body, client } from '../../api/client'
import { devicesQuery, twinsQuery } from '../../api/queries'
import type { DeviceGroup, Workspace } from '../../api/types'
import { ConfirmTyped } from '../../ui/dialogs'
import { Icon } from '../../ui/icons'
import { Failure, Loading } from '../../ui/layout'
import { Modal } from '../../ui/overlays'
import { useSubmit } from '../settings/useSubmit'
import { accessChanged, groupsQuery, useMay, workspacesQuery } from './queries'
import { LONG_LIST } from './RightFields'

/** Names shown before the rest is a number. */
const NAMES_MAX = 4

function some(names: string[]): string {
  const shown = names.slice(0, NAMES_MAX).join(', ')
  const more = names.length - NAMES_MAX
  return more > 0 ? i18n.t('{shown} and {more} more', { shown, more }) : shown
}

type Part = { id: string; name: string }

function PartList<One extends Part>(props: {
  title: string
  lead: string
  none: string
  make: string
  change: string
  items: One[]
  detail: (one: One) => string
  form: (one: One | null, done: () => void) => ReactNode
  onDelete: (one: One) => Promise<unknown>
  state: ReactNode
}) {
  const may = useMay()
  const [editing, setEditing] = useState<One | 'new' | null>(null)
  const [deleting, setDeleting] = useState<One | null>(null)
  const writes = may('group.write')
  const make = writes && (
    <Button
      size="xs"
      variant="default"
      leftSection={<Icon name="plus" size={14} />}
      onClick={() => setEditing('new')}
    >
      {props.make}
    </Button>
  )
  const { items } = props
  return (
    <section className="block plain">
      <div className="block-head">
        <h2>{props.title}</h2>
        {make}
      </div>
      {props.state}
      {props.state === null && items.length === 0 && (
        <p className="hint">
          {props.none} {props.lead}
        </p>
      )}
      <ul className="plain-list">
        {items.map((one) => (
          <li key={one.id}>
            <Icon name="tree" size={16} />
            <span>
              {one.name} <span className="dim">{props.detail(one)}</span>
            </span>
            {writes && (
              <>
                <Button size="compact-xs" variant="default" onClick={() => setEditing(one)}>
                  {i18n.t('Change')}
                </Button>
                <Button size="compact-xs" variant="default" onClick={() => setDeleting(one)}>
                  {i18n.t('Delete')}
                </Button>
              </>
            )}
          </li>
        ))}
      </ul>
      <Modal
        opened={editing !== null}
        onClose={() => setEditing(null)}
        title={editing === 'new' ? props.make : props.change}
        closeOnClickOutside={false}
      >
        {editing !== null &&
          props.form(editing === 'new' ? null : editing, () => setEditing(null))}
      </Modal>
      <ConfirmTyped
        opened={deleting !== null}
        onClose={() => setDeleting(null)}
        title={i18n.t('Delete {name}', { name: deleting?.name ?? '' })}
        name={deleting?.name ?? ''}
        action={i18n.t('Delete')}
        onConfirm={async () => {
          if (deleting) await props.onDelete(deleting)
          await accessChanged()
        }}
      >
        {i18n.t('The grants over it go with it. What is in it stays.')}
      </ConfirmTyped>
    </section>
  )
}

function stateOf(query: { isPending: boolean; isError: boolean; error: unknown }): ReactNode {
  if (query.isPending) return <Loading rows={2} />
  return query.isError ? <Failure error={query.error} compact /> : null
}

export function Groups() {
  const may = useMay()
  const query = useQuery(groupsQuery)
  const devices = useQuery({ ...devicesQuery(), enabled: may('device.list') })
  const name = (id: string) => devices.data?.find((device) => device.id === id)?.name ?? '…'
  const detail = ({ device_ids }: DeviceGroup) => {
    const names = device_ids.map(name).sort()
    return names.length === 0 ? i18n.t('no device') : some(names)
  }
  return (
    <PartList<DeviceGroup>
      title={i18n.t('Groups of devices')}
      lead={i18n.t('A group names devices one by one, wherever they stand.')}
      none={i18n.t('No group yet.')}
      make={i18n.t('New group')}
      change={i18n.t('Change a group')}
      items={query.data?.items ?? []}
      detail={detail}
      state={stateOf(query)}
      form={(group, done) => <GroupForm group={group} onDone={done} />}
      onDelete={({ id }) => client.DELETE('/v1/groups/{id}', { params: { path: { id } } })}
    />
  )
}

function GroupForm(props: { group: DeviceGroup | null; onDone: () => void }) {
  const { group } = props
  const devices = useQuery(devicesQuery())
  const workspaces = useQuery(workspacesQuery)
  const [name, setName] = useState(group?.name ?? '')
  const [device_ids, setDevices] = useState<string[]>(group?.device_ids ?? [])
  const [workspace, setWorkspace] = useState(group?.workspace_id ?? null)
  const save = async () => {
    const input = { name, device_ids, workspace_id: workspace }
    const params = { path: { id: group?.id ?? '' } }
    await body(
      group === null
        ? client.POST('/v1/groups', { body: input })
        : client.PUT('/v1/groups/{id}', { params, body: input }),
    )
  }
  return (
    <PartForm name={name} onName={setName} isNew={group === null} save={save} {...props}>
      <MultiSelect
        label={i18n.t('Devices')}
        searchable
        hidePickedOptions
        limit={100}
        {...LONG_LIST}
        value={device_ids}
        onChange={setDevices}
        data={options(devices.data)}
      />
      {(workspaces.data?.items.length ?? 0) > 0 && (
        <Select
          label={i18n.t('Workspace')}
          placeholder={i18n.t('none')}
          clearable
          clearButtonProps={{ 'aria-label': i18n.t('none') }}
          value={workspace}
          onChange={setWorkspace}
          data={options(workspaces.data?.items)}
        />
      )}
    </PartForm>
  )
}

export function Workspaces() {
  const may = useMay()
  const query = useQuery(workspacesQuery)
  const groups = useQuery(groupsQuery)
  const twins = useQuery({ ...twinsQuery, enabled: may('twin.list') })
  const detail = ({ id, twin_ids }: Workspace) => {
    const buildings = twin_ids.map(
      (twin) => twins.data?.items.find((one) => one.id === twin)?.name ?? '…',
    )
    const inside = (groups.data?.items ?? []).filter((group) => group.workspace_id === id)
    const names = [...buildings, ...inside.map((group) => group.name)]
    return names.length === 0 ? i18n.t('empty') : some(names)
  }
  return (
    <PartList<Workspace>
      title={i18n.t('Workspaces')}
      lead={i18n.t('A workspace holds whole buildings and groups, such as those of one site.')}
      none={i18n.t('No workspace yet.')}
      make={i18n.t('New workspace')}
      change={i18n.t('Change a workspace')}
      items={query.data?.items ?? []}
      detail={detail}
      state={stateOf(query)}
      form={(space, done) => <WorkspaceForm space={space} onDone={done} />}
      onDelete={({ id }) => client.DELETE('/v1/workspaces/{id}', { params: { path: { id } } })}
    />
  )
}

function WorkspaceForm(props: { space: Workspace | null; onDone: () => void }) {
  const { space } = props
  const twins = useQuery(twinsQuery)
  const [name, setName] = useState(space?.name ?? '')
  const [twin_ids, setTwins] = useState<string[]>(space?.twin_ids ?? [])
  const save = async () => {
    const input = { name, twin_ids }
    const params = { path: { id: space?.id ?? '' } }
    await body(
      space === null
        ? client.POST('/v1/workspaces', { body: input })
        : client.PUT('/v1/workspaces/{id}', { params, body: input }),
    )
  }
  return (
    <PartForm name={name} onName={setName} isNew={space === null} save={save} {...props}>
      <MultiSelect
        label={i18n.t('Buildings')}
        description={i18n.t('A building is in one workspace: it leaves the one it was in.')}
        searchable
        hidePickedOptions
        value={twin_ids}
        onChange={setTwins}
        data={options(twins.data?.items)}
      />
    </PartForm>
  )
}

function options(list: Part[] | undefined): { value: string; label: string }[] {
  return (list ?? []).map(({ id, name }) => ({ value: id, label: name }))
}

function PartForm(props: {
  name: string
  onName: (name: string) => void
  isNew: boolean
  save: () => Promise<void>
  onDone: () => void
  children: ReactNode
}) {
  const { busy, error, run } = useSubmit()
  const submit = async () => {
    await props.save()
    await accessChanged()
    props.onDone()
  }
  return (
    <form
      className="stack"
      onSubmit={(event) => {
        event.preventDefault()
        void run(submit)
      }}
    >
      <TextInput
        label={i18n.t('Name')}
        required
        data-autofocus
        value={props.name}
        onChange={(event) => props.onName(event.currentTarget.value)}
      />
      {props.children}
      {error !== null && <Failure error={error} compact />}
      <Group justify="flex-end">
        <Button type="submit" loading={busy} disabled={props.name.trim() === ''}>
          {props.isNew ? i18n.t('Make') : i18n.t('Save')}
        </Button>
      </Group>
    </form>
  )
}
