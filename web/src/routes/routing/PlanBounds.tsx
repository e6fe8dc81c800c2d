// What the organisation’s plan bounds of routing.
import { i18n } from '@lingui/core'
import { useLingui } from '@lingui/react'
import { useQuery } from '@tanstack/react-query'

import { sessionQuery } from '../../api/queries'
import { useMay } from '../../app/places'
import { formatCount } from '../../lib/format'
import { tenantQuery } from '../partners/queries'

export function PlanBounds() {
  const may = useMay()
  const session = useQuery(sessionQuery)
  const tenant = session.data?.tenant.id
  if (tenant === undefined || !may.whole('tenant.read')) return null
  return <Bounds tenant={tenant} />
}

function Bounds({ tenant }: { tenant: string }) {
  const { i18n: lingui } = useLingui()
  const { data: own } = useQuery(tenantQuery(tenant))
  const limits = own?.plan?.limits
  if (limits === undefined) return null
  const count = (of: number) => formatCount(of, lingui.locale)
  return (
    <>
      {limits.route_destinations !== null && (
        <p className="dim">
          {i18n.t('Your plan allows {max} routing destinations.', {
            max: count(limits.route_destinations),
          })}
        </p>
      )}
      {limits.route_rules !== null && (
        <p className="dim">
          {i18n.t('Your plan allows {max} routing rules.', { max: count(limits.route_rules) })}
        </p>
      )}
      {limits.route_deliveries_per_minute !== null && (
        <p className="dim">
          {i18n.t('Your plan delivers {max} messages a minute; more wait for the next.', {
            max: count(limits.route_deliveries_per_minute),
          })}
        </p>
      )}
    </>
  )
}
