// Parts of the organisation that grants are about: groups of devices, and workspaces of buildings
// and groups.
import { i18n } from '@lingui/core'
import { MultiSelect, Select, TextInput } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useState, type ReactNode } from 'react'

import { body, client, ifUnchanged } from '../../api/client'
import { useDeviceOptions, useDevicesById } from '../../app/useDevices'
import { useTwins } from '../../app/useTwins'
import type { DeviceGroup, Workspace } from '../../api/types'
import { NamedList, type FormEnds, type FormOf, type Named } from '../../ui/NamedList'
import { SubmitForm } from '../../ui/SubmitForm'
import { accessChanged, groupsQuery, useMay, workspacesQuery } from './queries'
import { LONG_LIST } from './RightFields'

/** Names shown before the rest is a number. */
const NAMES_MAX = 4

function some(names: string[], count = names.length): string {
  const shown = names.slice(0, NAMES_MAX).join(', ')
  const more = count - NAMES_MAX
  return more > 0 ? i18n.t('{shown} and {more} more', { shown, more }) : shown
}

export function Groups() {
  const may = useMay()
  const query = useQuery(groupsQuery)
  const first = ({ device_ids }: DeviceGroup) => device_ids.slice(0, NAMES_MAX)
  const shown = may('device.list') ? (query.data?.items ?? []).flatMap(first) : []
  const devices = useDevicesById(shown)
  const detail = (group: DeviceGroup) => {
    const names = first(group).map((id) => devices.get(id)?.name ?? '…')
    return names.length === 0 ? i18n.t('no device') : some(names.sort(), group.device_ids.length)
  }
  return (
    <NamedList<DeviceGroup>
      plain
      title={i18n.t('Groups of devices')}
      icon="tree"
      query={query}
      none={i18n.t('No group yet. A group names devices one by one, wherever they stand.')}
      facts={(group) => <span className="dim">{detail(group)}</span>}
      {...(may('group.write') && {
        make: { title: i18n.t('New group'), form: groupForm },
        change: { title: i18n.t('Change a group'), form: groupForm },
        remove: removal(({ id }) => client.DELETE('/v1/groups/{id}', { params: { path: { id } } })),
      })}
    />
  )
}

const groupForm: FormOf<DeviceGroup> = (group, form) => <GroupForm group={group} {...form} />

/** Taking a part away, with what that means. */
function removal(run: (part: Named) => Promise<unknown>) {
  return {
    title: i18n.t('Delete'),
    action: i18n.t('Delete'),
    text: i18n.t('The grants over it go with it. What is in it stays.'),
    run: async (part: Named) => {
      await run(part)
      await accessChanged()
    },
  }
}

function GroupForm(props: { group: DeviceGroup | null } & FormEnds) {
  const { group } = props
  const workspaces = useQuery(workspacesQuery)
  const [name, setName] = useState(group?.name ?? '')
  const [device_ids, setDevices] = useState<string[]>(group?.device_ids ?? [])
  const devices = useDeviceOptions(device_ids)
  const [workspace, setWorkspace] = useState(group?.workspace_id ?? null)
  const save = async () => {
    const input = { name, device_ids, workspace_id: workspace }
    const params = { path: { id: group?.id ?? '' } }
    await body(
      group === null
        ? client.POST('/v1/groups', { body: input })
        : client.PUT('/v1/groups/{id}', { params, body: input, ...ifUnchanged(group) }),
    )
  }
  return (
    <PartForm name={name} onName={setName} isNew={group === null} save={save} {...props}>
      <MultiSelect
        label={i18n.t('Devices')}
        {...devices.field}
        hidePickedOptions
        {...LONG_LIST}
        value={device_ids}
        onChange={setDevices}
        data={devices.options}
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
  const twins = useTwins()
  const detail = ({ id, twin_ids }: Workspace) => {
    const buildings = twin_ids.map(
      (twin) => twins.data?.items.find((one) => one.id === twin)?.name ?? '…',
    )
    const inside = (groups.data?.items ?? []).filter((group) => group.workspace_id === id)
    const names = [...buildings, ...inside.map((group) => group.name)]
    return names.length === 0 ? i18n.t('empty') : some(names)
  }
  return (
    <NamedList<Workspace>
      plain
      title={i18n.t('Workspaces')}
      icon="tree"
      query={query}
      none={i18n.t(
        'No workspace yet. A workspace holds whole buildings and groups, such as those of one site.',
      )}
      facts={(space) => <span className="dim">{detail(space)}</span>}
      {...(may('group.write') && {
        make: { title: i18n.t('New workspace'), form: workspaceForm },
        change: { title: i18n.t('Change a workspace'), form: workspaceForm },
        remove: removal(({ id }) =>
          client.DELETE('/v1/workspaces/{id}', { params: { path: { id } } }),
        ),
      })}
    />
  )
}

const workspaceForm: FormOf<Workspace> = (space, form) => <WorkspaceForm space={space} {...form} />

function WorkspaceForm(props: { space: Workspace | null } & FormEnds) {
  const { space } = props
  const twins = useTwins()
  const [name, setName] = useState(space?.name ?? '')
  const [twin_ids, setTwins] = useState<string[]>(space?.twin_ids ?? [])
  const save = async () => {
    const input = { name, twin_ids }
    const params = { path: { id: space?.id ?? '' } }
    await body(
      space === null
        ? client.POST('/v1/workspaces', { body: input })
        : client.PUT('/v1/workspaces/{id}', { params, body: input, ...ifUnchanged(space) }),
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

function options(list: Named[] | undefined): { value: string; label: string }[] {
  return (list ?? []).map(({ id, name }) => ({ value: id, label: name }))
}

function PartForm(
  props: {
    name: string
    onName: (name: string) => void
    isNew: boolean
    save: () => Promise<void>
    children: ReactNode
  } & FormEnds,
) {
  const submit = async () => {
    await props.save()
    await accessChanged()
    props.onDone()
  }
  return (
    <SubmitForm
      action={props.isNew ? i18n.t('Make') : i18n.t('Save')}
      submit={submit}
      incomplete={props.name.trim() === ''}
      onReload={props.onReload}
    >
      <TextInput
        label={i18n.t('Name')}
        required
        data-autofocus
        value={props.name}
        onChange={(event) => props.onName(event.currentTarget.value)}
      />
      {props.children}
    </SubmitForm>
  )
}
