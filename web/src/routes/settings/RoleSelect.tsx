// Choosing one of the built-in roles.
import { i18n } from '@lingui/core'
import { Select } from '@mantine/core'

import type { Role } from '../../api/types'
import { roleOptions } from '../../lib/roles'

export function RoleSelect(props: { value: Role; onChange: (role: Role) => void }) {
  return (
    <Select
      label={i18n.t('Role')}
      allowDeselect={false}
      value={props.value}
      onChange={(value) => {
        const chosen = roleOptions().find((option) => option.value === value)
        if (chosen) props.onChange(chosen.value)
      }}
      data={roleOptions()}
    />
  )
}
