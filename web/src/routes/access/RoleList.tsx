// The roles: the organisation's own, what the built-in ones are for, and the whole matrix.
import { i18n } from '@lingui/core'
import { TextInput } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { Fragment, useState } from 'react'

import { client } from '../../api/client'
import type { CustomRole, Role, Roles } from '../../api/types'
import { actionLabel, areaLabel, byArea } from '../../lib/actions'
import { ROLES, roleLabel, roleSentence } from '../../lib/roles'
import { Icon } from '../../ui/icons'
import { Facts, TableScroll } from '../../ui/layout'
import { NamedList, type FormOf } from '../../ui/NamedList'
import { accessChanged, rolesQuery, useMay } from './queries'
import { ownSentence } from './RightFields'
import { RoleForm } from './RoleForm'

export function OwnRoles({ roles }: { roles: Roles }) {
  const may = useMay()
  const query = useQuery({ ...rolesQuery, select: ({ custom }) => ({ items: custom }) })
  const form: FormOf<CustomRole> = (role, ends) => (
    <RoleForm roles={roles} role={role} {...ends} />
  )
  return (
    <NamedList<CustomRole>
      plain
      size="xl"
      title={i18n.t('Your own roles')}
      icon="user"
      query={query}
      none={i18n.t('None yet. A role of your own permits exactly what you choose, or denies it.')}
      facts={(role) => <span className="dim">{ownSentence(role)}</span>}
      {...(may('role.write') && {
        make: { title: i18n.t('New role'), form },
        change: { title: i18n.t('Change a role'), form },
        remove: {
          title: i18n.t('Delete a role'),
          action: i18n.t('Delete'),
          text: i18n.t('Only a role that nobody holds can be deleted: take its grants away first.'),
          run: async ({ id }: CustomRole) => {
            await client.DELETE('/v1/roles/{id}', { params: { path: { id } } })
            await accessChanged()
          },
        },
      })}
    />
  )
}

export function BuiltInRoles() {
  return (
    <section className="block">
      <h2>{i18n.t('Built-in roles')}</h2>
      <Facts items={ROLES.map((role) => [roleLabel(role), roleSentence(role)])} />
    </section>
  )
}

export function Matrix({ roles }: { roles: Roles }) {
  const [wanted, setWanted] = useState('')
  const words = wanted.toLowerCase().split(/\s+/).filter(Boolean)
  const fits = (action: string) => {
    const text = `${actionLabel(action)} ${action}`.toLowerCase()
    return words.every((word) => text.includes(word))
  }
  const all = [...new Set(roles.built_in.flatMap(({ actions }) => actions))].sort()
  const areas = byArea(all.filter(fits))
  return (
    <section className="block">
      <h2>{i18n.t('What each role permits')}</h2>
      <p className="dim matrix-legend">
        <span>
          <Icon name="check" size={14} /> {i18n.t('people and API keys')}
        </span>
        <span>
          <Icon name="user" size={14} /> {i18n.t('people only')}
        </span>
      </p>
      <TextInput
        size="xs"
        aria-label={i18n.t('Search the actions')}
        placeholder={i18n.t('Search the actions')}
        leftSection={<Icon name="search" size={14} />}
        value={wanted}
        onChange={(event) => setWanted(event.currentTarget.value)}
        className="matrix-search"
      />
      <TableScroll label={i18n.t('What each role permits')} matrix>
        <table className="table">
          <thead>
            <tr>
              <th scope="col">{i18n.t('Action')}</th>
              {roles.built_in.map(({ role }) => (
                <th key={role} scope="col" data-align="centre">
                  {roleLabel(role as Role)}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {areas.map(([area, actions]) => (
              <Fragment key={area}>
                <tr className="matrix-area">
                  <th scope="colgroup" colSpan={roles.built_in.length + 1}>
                    <span>{areaLabel(area)}</span>
                  </th>
                </tr>
                {actions.map((action) => (
                  <tr key={action}>
                    <th scope="row">
                      <span className="cell-main">
                        <span>{actionLabel(action)}</span>
                        <code className="dim">{action}</code>
                      </span>
                    </th>
                    {roles.built_in.map((role) => (
                      <td key={role.role} data-align="centre">
                        <Cell
                          person={role.actions.includes(action)}
                          program={role.key_actions.includes(action)}
                        />
                      </td>
                    ))}
                  </tr>
                ))}
              </Fragment>
            ))}
          </tbody>
        </table>
      </TableScroll>
      {areas.length === 0 && <p className="hint">{i18n.t('Nothing found')}</p>}
    </section>
  )
}

function Cell({ person, program }: { person: boolean; program: boolean }) {
  if (!person && !program) return <span className="visually-hidden">{i18n.t('no')}</span>
  return (
    <span className="matrix-yes">
      <Icon name={program ? 'check' : 'user'} size={16} />
      <span className="visually-hidden">{program ? i18n.t('yes') : i18n.t('people only')}</span>
    </span>
  )
}
