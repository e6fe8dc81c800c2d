// Routing: which messages go to which places outside, and what did not get there.
import { i18n } from '@lingui/core'

import { Page } from '../../ui/layout'
import { Destinations } from './Destinations'
import { Parked } from './Parked'
import { PlanBounds } from './PlanBounds'
import { RouteRules } from './RouteRules'

export function RoutingPage() {
  return (
    <Page
      title={i18n.t('Routing')}
      lead={i18n.t('Which messages go to which systems outside, and only to those you registered.')}
    >
      <PlanBounds />
      <div className="columns">
        <RouteRules />
        <Destinations />
      </div>
      <Parked />
    </Page>
  )
}
