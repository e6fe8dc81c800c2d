// Leaving the organisation of the session. The session ends with it.
import { i18n } from '@lingui/core'
import { Button } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useState } from 'react'

import { client } from '../../api/client'
import { queryClient, sessionQuery } from '../../api/queries'
import { ConfirmTyped } from '../../ui/dialogs'

export function Leave() {
  const tenant = useQuery(sessionQuery).data?.tenant
  const [open, setOpen] = useState(false)
  if (tenant === undefined) return null
  const leave = async () => {
    await client.POST('/v1/session/leave', { body: { tenant_id: tenant.id } })
    queryClient.clear()
    location.assign('/sign-in')
  }
  return (
    <div className="setting">
      <span>
        {i18n.t('Organisation')} <span className="dim">{tenant.name}</span>
      </span>
      <Button size="compact-xs" variant="default" onClick={() => setOpen(true)}>
        {i18n.t('Leave the organisation')}
      </Button>
      <ConfirmTyped
        opened={open}
        title={i18n.t('Leave the organisation')}
        name={tenant.name}
        action={i18n.t('Leave')}
        onConfirm={leave}
        onClose={() => setOpen(false)}
      >
        {i18n.t(
          'You lose what you may do here, and keys that you made stop working. If you belong to no other organisation, your account is deleted.',
        )}
      </ConfirmTyped>
    </div>
  )
}
