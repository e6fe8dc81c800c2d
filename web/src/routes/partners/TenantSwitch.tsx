// The name of the tenant in the top bar; a menu for whoever belongs to several.
import { i18n } from '@lingui/core'
import { Menu } from '@mantine/core'
import { useQuery, useQueryClient } from '@tanstack/react-query'

import { body, client } from '../../api/client'
import { ProblemError } from '../../api/problem'
import { Icon } from '../../ui/icons'
import { toast } from '../../ui/toasts'
import { belongingsQuery } from './queries'

export function TenantSwitch(props: { name: string; fixed: boolean }) {
  const queries = useQueryClient()
  const { data } = useQuery({ ...belongingsQuery, enabled: !props.fixed })
  const tenants = data?.items ?? []
  if (tenants.length < 2) return <span className="tenant-name">{props.name}</span>
  const go = async (tenant_id: string) => {
    try {
      await body(client.POST('/v1/session/tenants', { body: { tenant_id } }))
      queries.clear()
      // Another tenant is another building, another time, another live connection: begin anew.
      location.assign('/')
    } catch (failure) {
      toast(ProblemError.of(failure).message)
    }
  }
  return (
    <Menu position="bottom-start">
      <Menu.Target>
        <button
          type="button"
          className="bar-button tenant-name"
          aria-label={i18n.t('Organisation: {name}. Go to another', { name: props.name })}
        >
          {props.name} <Icon name="down" size={14} />
        </button>
      </Menu.Target>
      <Menu.Dropdown>
        {tenants.map((tenant) => (
          <Menu.Item
            key={tenant.id}
            disabled={tenant.current}
            onClick={() => void go(tenant.id)}
            rightSection={tenant.current && <Icon name="check" size={14} />}
          >
            {tenant.name}
          </Menu.Item>
        ))}
      </Menu.Dropdown>
    </Menu>
  )
}
