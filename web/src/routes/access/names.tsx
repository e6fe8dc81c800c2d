// Names of what stands in grants: roles, parts of the organisation, people and programs.
import { i18n } from '@lingui/core'
import { useQuery } from '@tanstack/react-query'

import { apiKeysQuery, modelQuery, twinsQuery, usersQuery } from '../../api/queries'
import type { AccessScope, Role, Roles, TwinModel } from '../../api/types'
import { roleLabel } from '../../lib/roles'
import { groupsQuery, useMay, workspacesQuery } from './queries'

/** The name of a role, built in or the organisation's own. */
export function roleName(roles: Roles, role: string | null, custom: string | null): string {
  if (role) return roleLabel(role as Role)
  return roles.custom.find((one) => one.id === custom)?.name ?? i18n.t('a role that is gone')
}

type Named = { id: string; name: string }
type Held = { user_id: string | null; api_key_id: string | null }

function named(list: Named[] | undefined, id: string): string {
  return list?.find((one) => one.id === id)?.name ?? '…'
}

/** The storeys and rooms of a building, storeys first. */
export function branchesOf(model: TwinModel): Named[] {
  const storeys = model.storeys.map(({ id, name }) => ({ id, name }))
  const spaces = model.spaces.map(({ id, name, long_name }) => ({
    id,
    name: long_name ? `${name} ${long_name}` : name,
  }))
  return [...storeys, ...spaces]
}

export function ScopeName({ scope }: { scope: AccessScope }) {
  const may = useMay()
  const groups = useQuery(groupsQuery)
  const workspaces = useQuery(workspacesQuery)
  const twins = useQuery({ ...twinsQuery, enabled: may('twin.list') && Boolean(scope.twin_id) })
  const model = useQuery({
    ...modelQuery(scope.twin_id ?? ''),
    enabled: may('twin.read') && Boolean(scope.twin_id && scope.node_id),
  })
  if (scope.workspace_id) return named(workspaces.data?.items, scope.workspace_id)
  if (scope.group_id) return named(groups.data?.items, scope.group_id)
  if (!scope.twin_id) return i18n.t('The whole organisation')
  const twin = named(twins.data?.items, scope.twin_id)
  if (!scope.node_id) return twin
  const branch = model.data ? named(branchesOf(model.data), scope.node_id) : '…'
  return `${twin} · ${branch}`
}

export type Holder = { value: string; label: string; user_id?: string; api_key_id?: string }

/** People and programs that may hold something; a person is told from a program by the prefix. */
export function useHolders(): { people: Holder[]; keys: Holder[]; of: (one: Held) => string } {
  const may = useMay()
  const users = useQuery({ ...usersQuery, enabled: may('user.list') })
  const apiKeys = useQuery({ ...apiKeysQuery, enabled: may('api_key.list') })
  const people = (users.data?.items ?? []).map((user) => ({
    value: `person:${user.id}`,
    label: user.name ? `${user.name} (${user.email})` : user.email,
    user_id: user.id,
  }))
  const keys = (apiKeys.data?.items ?? []).map((key) => ({
    value: `key:${key.id}`,
    label: key.name,
    api_key_id: key.id,
  }))
  const of = (one: Held) =>
    people.find((person) => person.user_id === one.user_id)?.label ??
    keys.find((key) => key.api_key_id === one.api_key_id)?.label ??
    (one.user_id ? i18n.t('a person') : i18n.t('an API key'))
  return { people, keys, of }
}
