// That the organisation ends, for everybody in it, with the way to what can be done about it.
import { i18n } from '@lingui/core'
import { useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'

import { tenantEndQuery } from '../api/queries'
import { Instant } from '../ui/time'
import { useMay } from './places'

export function EndBanner() {
  const may = useMay()
  const query = useQuery({
    ...tenantEndQuery,
    enabled: may.whole('tenant.read'),
    staleTime: 600_000,
  })
  const end = query.data?.end
  if (!end) return null
  return (
    <div className="banner" data-tone="policy">
      <span className="banner-text">
        {end.ends_at === null ? (
          i18n.t('Somebody asked for the end of this organisation.')
        ) : (
          <>
            {i18n.t('Everything of this organisation is destroyed on')}{' '}
            <Instant at={end.ends_at} age={false} />.
          </>
        )}{' '}
        <Link to="/what-ends-when">{i18n.t('What ends when')}</Link>
      </span>
    </div>
  )
}
