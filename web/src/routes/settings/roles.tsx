// The names of roles, and choosing one.
import { i18n } from '@lingui/core'
import { Select } from '@mantine/core'

import type { Role } from '../../api/types'

export function roleLabel(role: Role): string {
  return role === 'administrator' ? i18n.t('Administrator') : i18n.t('Operator')
}

export function RoleSelect(props: { value: Role; onChange: (role: Role) => void }) {
  return (
    <Select
      label={i18n.t('Role')}
      allowDeselect={false}
      value={props.value}
      onChange={(value) => props.onChange(value === 'administrator' ? 'administrator' : 'operator')}
      data={(['operator', 'administrator'] as const).map((value) => ({
        value,
        label: roleLabel(value),
      }))}
    />
  )
}
