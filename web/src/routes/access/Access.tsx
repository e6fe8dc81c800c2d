// Roles and access: who holds which role over which part of the organisation, what each role
// permits, the parts themselves, and why somebody may or may not do something.
import { i18n } from '@lingui/core'
import { Tabs } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'

import { useAppSearch, usePatchSearch } from '../../app/search'
import { Failure, Loading, Page } from '../../ui/layout'
import { Grants } from './Grants'
import { Groups, Workspaces } from './Parts'
import { rolesQuery } from './queries'
import { BuiltInRoles, Matrix, OwnRoles } from './RoleList'
import { Why } from './Why'

const TABS = ['grants', 'roles', 'parts', 'why'] as const

export function AccessPage() {
  const roles = useQuery(rolesQuery)
  const search = useAppSearch()
  const patch = usePatchSearch()
  const tab = TABS.find((one) => one === search.tab) ?? 'grants'
  const labels = {
    grants: i18n.t('Grants'),
    roles: i18n.t('Roles'),
    parts: i18n.t('Groups'),
    why: i18n.t('Why?'),
  }
  return (
    <Page
      title={i18n.t('Roles and access')}
      lead={i18n.t('Who may do what, where, and why. A change counts at once.')}
    >
      {roles.isPending && <Loading rows={8} />}
      {roles.isError && <Failure error={roles.error} retry={() => void roles.refetch()} />}
      {roles.data && (
        <Tabs
          value={tab}
          onChange={(value) => patch({ tab: value ?? undefined })}
          keepMounted={false}
          className="access"
        >
          <Tabs.List>
            {TABS.map((one) => (
              <Tabs.Tab key={one} value={one}>
                {labels[one]}
              </Tabs.Tab>
            ))}
          </Tabs.List>
          <Tabs.Panel value="grants">
            <Grants roles={roles.data} />
          </Tabs.Panel>
          <Tabs.Panel value="roles">
            <OwnRoles roles={roles.data} />
            <BuiltInRoles />
            <Matrix roles={roles.data} />
          </Tabs.Panel>
          <Tabs.Panel value="parts">
            <Groups />
            <Workspaces />
          </Tabs.Panel>
          <Tabs.Panel value="why">
            <Why roles={roles.data} />
          </Tabs.Panel>
        </Tabs>
      )}
    </Page>
  )
}
