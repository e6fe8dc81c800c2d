// Writing a role of the organisation's own: for each action, permit, deny, or nothing.
import { i18n } from '@lingui/core'
import { SegmentedControl, Select, TextInput } from '@mantine/core'
import { useState } from 'react'

import { body, client, ifUnchanged } from '../../api/client'
import type { CustomRole, Role, Roles } from '../../api/types'
import { actionLabel, areaLabel, byArea } from '../../lib/actions'
import { ROLES, roleLabel } from '../../lib/roles'
import type { FormEnds } from '../../ui/NamedList'
import { SubmitForm } from '../../ui/SubmitForm'
import { accessChanged, useMay } from './queries'

type Says = 'permits' | 'denies'
type Chosen = ReadonlyMap<string, Says>

function chosenOf(role: CustomRole | null): Chosen {
  const chosen = new Map<string, Says>()
  for (const action of role?.allows ?? []) chosen.set(action, 'permits')
  for (const action of role?.denies ?? []) chosen.set(action, 'denies')
  return chosen
}

function those(chosen: Chosen, says: Says): string[] {
  return [...chosen].filter(([, said]) => said === says).map(([action]) => action)
}

export function RoleForm(props: { roles: Roles; role: CustomRole | null } & FormEnds) {
  const { roles, role } = props
  const may = useMay()
  const [name, setName] = useState(role?.name ?? '')
  const [chosen, setChosen] = useState(() => chosenOf(role))
  const set = (action: string, says: Says | null) => {
    const next = new Map(chosen)
    if (says === null) next.delete(action)
    else next.set(action, says)
    setChosen(next)
  }
  const start = (from: string | null) => {
    const actions = roles.built_in.find((one) => one.role === from)?.actions ?? []
    const fits = actions.filter((action) => roles.grantable.includes(action) && may(action))
    setChosen(new Map(fits.map((action) => [action, 'permits'])))
  }
  const save = async () => {
    const input = { name, allows: those(chosen, 'permits'), denies: those(chosen, 'denies') }
    if (role === null) await body(client.POST('/v1/roles', { body: input }))
    else {
      const params = { path: { id: role.id } }
      await body(client.PUT('/v1/roles/{id}', { params, body: input, ...ifUnchanged(role) }))
    }
    await accessChanged()
    props.onDone()
  }
  return (
    <SubmitForm
      action={role === null ? i18n.t('Make the role') : i18n.t('Save')}
      submit={save}
      incomplete={name.trim() === '' || chosen.size === 0}
      onReload={props.onReload}
    >
      <div className="form-row">
        <TextInput
          label={i18n.t('Name')}
          required
          data-autofocus
          value={name}
          onChange={(event) => setName(event.currentTarget.value)}
        />
        {role === null && (
          <Select
            label={i18n.t('Start from')}
            placeholder={i18n.t('nothing')}
            clearable
            clearButtonProps={{ 'aria-label': i18n.t('nothing') }}
            onChange={start}
            data={ROLES.filter((one) => one !== 'support').map((value) => ({
              value,
              label: roleLabel(value as Role),
            }))}
          />
        )}
      </div>
      <p className="dim">
        {i18n.t(
          'What is neither permitted nor denied is left to the other roles that somebody holds. A denial wins over all of them.',
        )}
      </p>
      <div className="role-areas">
        {byArea(roles.grantable).map(([area, actions]) => (
          <details key={area} className="role-area">
            <summary>
              <span>{areaLabel(area)}</span>
              <Counts chosen={chosen} actions={actions} />
            </summary>
            <ul>
              {actions.map((action) => (
                <Line
                  key={action}
                  action={action}
                  says={chosen.get(action) ?? null}
                  held={may(action)}
                  onChange={(says) => set(action, says)}
                />
              ))}
            </ul>
          </details>
        ))}
      </div>
    </SubmitForm>
  )
}

function Counts({ chosen, actions }: { chosen: Chosen; actions: string[] }) {
  const count = (says: Says) => actions.filter((action) => chosen.get(action) === says).length
  const [permits, denies] = [count('permits'), count('denies')]
  const parts = [
    permits > 0 && i18n.t('permits {count}', { count: permits }),
    denies > 0 && i18n.t('denies {count}', { count: denies }),
  ]
  return <span className="dim">{parts.filter(Boolean).join(' · ')}</span>
}

function Line(props: {
  action: string
  says: Says | null
  /** Nobody permits what they do not hold themselves. */
  held: boolean
  onChange: (says: Says | null) => void
}) {
  const { action } = props
  return (
    <li data-says={props.says ?? undefined}>
      <span className="cell-main">
        <span>{actionLabel(action)}</span>
        <code className="dim">{action}</code>
      </span>
      <SegmentedControl
        size="xs"
        aria-label={actionLabel(action)}
        value={props.says ?? 'silent'}
        onChange={(value) => props.onChange(value === 'silent' ? null : (value as Says))}
        data={[
          { value: 'silent', label: i18n.t('Leave open') },
          { value: 'permits', label: i18n.t('Permit'), disabled: !props.held },
          { value: 'denies', label: i18n.t('Deny') },
        ]}
      />
    </li>
  )
}
