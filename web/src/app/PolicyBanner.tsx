// A change of the policy that is on its way, until the person says that they saw it. Using the
// service is no consent: this asks for none.
import { i18n } from '@lingui/core'
import { useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'

import { client } from '../api/client'
import { privacyQuery } from '../api/privacyQueries'
import { ProblemError } from '../api/problem'
import { queryClient } from '../api/queries'
import { Instant } from '../ui/time'
import { toast } from '../ui/toasts'

export function PolicyBanner() {
  const announcement = useQuery({
    ...privacyQuery(i18n.locale),
    staleTime: 600_000,
  }).data?.announcement
  if (!announcement || announcement.seen) return null
  const see = async () => {
    try {
      await client.POST('/v1/legal/seen', { body: { version: announcement.version } })
      await queryClient.invalidateQueries({ queryKey: ['account', 'privacy'] })
    } catch (error) {
      toast(ProblemError.of(error).message)
    }
  }
  return (
    <div className="banner" data-tone="policy">
      <span className="banner-text">
        {i18n.t('A new version of the policy takes effect on')}{' '}
        <Instant at={announcement.effective_at} age={false} />: {announcement.summary}{' '}
        <Link to="/legal/$document" params={{ document: 'privacy' }}>
          {i18n.t('Privacy policy')}
        </Link>
      </span>
      <button type="button" className="banner-button" onClick={() => void see()}>
        {i18n.t('I have seen it')}
      </button>
    </div>
  )
}
