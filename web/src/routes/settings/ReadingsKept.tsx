// How long the organisation's readings are kept, and until when more is kept than that.
import { i18n } from '@lingui/core'
import { useQuery } from '@tanstack/react-query'

import { Instant } from '../../ui/time'
import { tenantQuery } from '../partners/queries'

export function ReadingsKept({ tenant }: { tenant: string }) {
  const { data: own } = useQuery(tenantQuery(tenant))
  const days = own?.plan?.limits.retention_days ?? null
  if (days === null) return null
  const wait = own?.retention_wait ?? null
  return (
    <section className="block">
      <h2>{i18n.t('How long readings are kept')}</h2>
      <p>
        {i18n.t('Your plan keeps readings for {days, plural, one {# day} other {# days}}. Older ones are destroyed for good, by whole days.', {
          days,
        })}
      </p>
      {wait !== null && (
        <div className="once">
          <p>
            {i18n.t(
              'This was shortened. Until the time below everything is kept as before, and whoever answers for you can take it back.',
            )}
          </p>
          <p>
            <Instant at={wait.until} />
          </p>
        </div>
      )}
    </section>
  )
}
