// Banners about support: whoever is in somebody else's tenant always sees it, and so does the
// customer while access is open that nobody there asked for.
import { i18n } from '@lingui/core'
import { useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'

import { client } from '../api/client'
import { ProblemError } from '../api/problem'
import { supportQuery } from '../api/queries'
import type { Session } from '../api/types'
import { areaList } from '../routes/Support'
import { startAgain } from '../routes/SupportDesk'
import { Instant } from '../ui/time'
import { toast } from '../ui/toasts'
import { useMay } from './places'

export function SupportBanner(props: { session: Session }) {
  const { session } = props
  const may = useMay()
  if (session.support !== null) return <Inside session={session} />
  return may.managesSupport ? <Opened /> : null
}

function Inside(props: { session: Session }) {
  const { support, tenant } = props.session
  if (support === null) return null
  const leave = async () => {
    try {
      await client.DELETE('/v1/support-desk/session')
      startAgain('/support-desk')
    } catch (error) {
      toast(ProblemError.of(error).message)
      startAgain('/sign-in')
    }
  }
  return (
    <div className="banner" data-tone="support">
      <span className="banner-text">
        <strong>{i18n.t('Support, read-only, in {tenant}.', { tenant: tenant.name })}</strong>{' '}
        {i18n.t('Open to you: {areas}. Every step is recorded for the customer.', {
          areas: areaList(support.areas),
        })}{' '}
        {i18n.t('Until')} <Instant at={support.expires_at} />
      </span>
      <button type="button" className="banner-button" onClick={() => void leave()}>
        {i18n.t('Leave')}
      </button>
    </div>
  )
}

function Opened() {
  const { data } = useQuery(supportQuery)
  const granted = data?.tickets.flatMap((ticket) => ticket.grants) ?? []
  const emergency = data?.break_glass.find((grant) => grant.state === 'live')
  const live = emergency ?? granted.find((grant) => grant.state === 'live')
  if (live === undefined) return null
  return (
    <div className="banner" data-tone="support">
      <span className="banner-text">
        <strong>
          {emergency === undefined
            ? i18n.t('Support may look in.')
            : i18n.t('Support opened access without your request.')}
        </strong>{' '}
        {areaList(live.areas)} · {i18n.t('until')} <Instant at={live.expires_at} />
      </span>
      <Link to="/support" className="banner-button">
        {i18n.t('Show the steps')}
      </Link>
    </div>
  )
}
