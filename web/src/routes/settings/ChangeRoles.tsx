// The roles that a person holds over the whole organisation, each with what it is for.
import { i18n } from '@lingui/core'
import { Checkbox } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useState } from 'react'

import { body, client } from '../../api/client'
import type { Role, User } from '../../api/types'
import { givable, ROLES, roleLabel, roleSentence } from '../../lib/roles'
import { Loading } from '../../ui/layout'
import { SubmitForm } from '../../ui/SubmitForm'
import { accessChanged, rolesQuery, useMay } from '../access/queries'

export function ChangeRoles(props: { user: User; onDone: () => void }) {
  const { user } = props
  const may = useMay()
  const roles = useQuery(rolesQuery)
  const [held, setHeld] = useState<readonly Role[]>(user.roles)
  if (!roles.data) return <Loading rows={6} />
  const fits = givable(roles.data, may)
  // What somebody else gave can be taken away, except the rank of an owner.
  const open = (role: Role) => fits.includes(role) || (role !== 'owner' && held.includes(role))
  const save = async () => {
    const params = { path: { id: user.id } }
    await body(client.PATCH('/v1/users/{id}', { params, body: { roles: [...held] } }))
    await accessChanged()
    props.onDone()
  }
  return (
    <SubmitForm action={i18n.t('Save')} submit={save} incomplete={held.length === 0}>
      <Checkbox.Group
        label={user.name || user.email}
        description={i18n.t('Over the whole organisation. Several roles add up.')}
        value={[...held]}
        onChange={(value) => setHeld(ROLES.filter((role) => value.includes(role)))}
      >
        <div className="role-boxes">
          {ROLES.map((role) => (
            <Checkbox
              key={role}
              value={role}
              disabled={!open(role)}
              label={roleLabel(role)}
              description={roleSentence(role)}
            />
          ))}
        </div>
      </Checkbox.Group>
    </SubmitForm>
  )
}
