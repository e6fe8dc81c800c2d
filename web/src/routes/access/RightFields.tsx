// Choosing a role, built in or the organisation's own, and the part of the organisation where it
// counts.
import { i18n } from '@lingui/core'
import { Select } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'

import { modelQuery } from '../../api/queries'
import { useTwins } from '../../app/useTwins'
import type { AccessScopeInput, CustomRole, Role, Roles } from '../../api/types'
import { givable, roleLabel, roleSentence } from '../../lib/roles'
import { branchesOf } from './names'
import { groupsQuery, rolesQuery, useMay, workspacesQuery } from './queries'

/** A list that scrolls itself when it is long. */
export const LONG_LIST = { withScrollArea: false, classNames: { options: 'choices' } } as const

export type Right = { role?: Role; custom_role_id?: string; scope?: AccessScopeInput }

/** What an own role does, in numbers. */
export function ownSentence(role: CustomRole): string {
  return i18n.t('Permits {permits}, denies {denies}.', {
    permits: role.allows.length,
    denies: role.denies.length,
  })
}

type Choice = { value: string; label: string; sentence: string }

function choices(roles: Roles, may: (action: string) => boolean, grant: boolean): Choice[] {
  const fits = givable(roles, may).filter((role) => !grant || role !== 'owner')
  return fits.map((role) => ({
    value: role,
    label: roleLabel(role),
    sentence: roleSentence(role),
  }))
}

/** A role one may give, each with what it is for. */
export function RoleField(props: {
  value: string
  onChange: (value: string) => void
  /** Own roles are given by grants and keys only. */
  own?: boolean
}) {
  const may = useMay()
  const roles = useQuery(rolesQuery)
  const builtIn = roles.data ? choices(roles.data, may, props.own === true) : []
  const own = (props.own ? (roles.data?.custom ?? []) : []).map((role) => ({
    value: role.id,
    label: role.name,
    sentence: ownSentence(role),
  }))
  const chosen = [...builtIn, ...own].find((choice) => choice.value === props.value)
  const sentences = new Map([...builtIn, ...own].map((one) => [one.value, one.sentence]))
  return (
    <Select
      label={i18n.t('Role')}
      description={chosen?.sentence}
      inputWrapperOrder={['label', 'input', 'description', 'error']}
      allowDeselect={false}
      {...LONG_LIST}
      value={chosen ? props.value : null}
      onChange={(value) => value !== null && props.onChange(value)}
      data={
        own.length === 0
          ? builtIn
          : [
              { group: i18n.t('Built in'), items: builtIn },
              { group: i18n.t('Your own'), items: own },
            ]
      }
      renderOption={({ option }) => (
        <span className="choice">
          <span>{option.label}</span>
          <span className="dim">{sentences.get(option.value)}</span>
        </span>
      )}
    />
  )
}

/** The two fields of the interface out of a chosen role. */
export function roleOf(value: string): Pick<Right, 'role' | 'custom_role_id'> {
  return value.includes('-') ? { custom_role_id: value } : { role: value as Role }
}

const WHOLE = 'whole'

function scopeOf(part: string, node: string | null): AccessScopeInput {
  const [kind, id = ''] = part.split(':')
  if (kind === 'workspace') return { workspace_id: id }
  if (kind === 'group') return { group_id: id }
  if (kind === 'twin') return { twin_id: id, ...(node !== null && { node_id: node }) }
  return {}
}

function partOf(scope: AccessScopeInput): string {
  if (scope.workspace_id) return `workspace:${scope.workspace_id}`
  if (scope.group_id) return `group:${scope.group_id}`
  return scope.twin_id ? `twin:${scope.twin_id}` : WHOLE
}

/** A part of the organisation: a workspace, a group, a building, a storey or room of it. */
export function ScopeField(props: {
  value: AccessScopeInput
  onChange: (scope: AccessScopeInput) => void
}) {
  const groups = useQuery(groupsQuery)
  const workspaces = useQuery(workspacesQuery)
  const twins = useTwins()
  const part = partOf(props.value)
  const items = (kind: string, list: { id: string; name: string }[] | undefined) =>
    (list ?? []).map(({ id, name }) => ({ value: `${kind}:${id}`, label: name }))
  const parts = [
    { group: i18n.t('Workspaces'), items: items('workspace', workspaces.data?.items) },
    { group: i18n.t('Groups of devices'), items: items('group', groups.data?.items) },
    { group: i18n.t('Buildings'), items: items('twin', twins.data?.items) },
  ].filter((group) => group.items.length > 0)
  return (
    <>
      <Select
        label={i18n.t('Where')}
        {...LONG_LIST}
        allowDeselect={false}
        searchable
        value={part}
        onChange={(value) => props.onChange(scopeOf(value ?? WHOLE, null))}
        data={[{ value: WHOLE, label: i18n.t('The whole organisation') }, ...parts]}
      />
      {props.value.twin_id && (
        <BranchField
          twin={props.value.twin_id}
          value={props.value.node_id ?? null}
          onChange={(node) => props.onChange(scopeOf(part, node))}
        />
      )}
    </>
  )
}

function BranchField(props: {
  twin: string
  value: string | null
  onChange: (node: string | null) => void
}) {
  const model = useQuery(modelQuery(props.twin))
  const branches = model.data ? branchesOf(model.data) : []
  return (
    <Select
      label={i18n.t('Storey or room')}
      {...LONG_LIST}
      placeholder={i18n.t('Whole building')}
      searchable
      clearable
      clearButtonProps={{ 'aria-label': i18n.t('Whole building') }}
      value={props.value}
      onChange={props.onChange}
      data={branches.map(({ id, name }) => ({ value: id, label: name }))}
    />
  )
}
