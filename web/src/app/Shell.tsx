// The frame around every signed-in page: rail, top bar, banners, live connection, announcements.
import { i18n } from '@lingui/core'
import { Link, Navigate, Outlet, useRouterState } from '@tanstack/react-router'
import { useQuery, useSuspenseQuery } from '@tanstack/react-query'
import { useCallback, useEffect, useRef, useState } from 'react'

import { urgentAlertQuery } from '../api/alertQueries'
import { accountQuery, sessionQuery } from '../api/queries'
import type { Alert, Session } from '../api/types'
import { LiveProvider, useLiveStatus } from '../live/LiveProvider'
import { countLoud, isLoud } from '../lib/severity'
import { alertSentence } from '../lib/sentence'
import { BrandMark } from '../routes/partners/Face'
import { tenantsQuery } from '../routes/partners/queries'
import { Icon } from '../ui/icons'
import { severityLabel, SeverityMark } from '../ui/marks'
import { toast } from '../ui/toasts'
import { Palette } from './Palette'
import { PapersProvider } from './Papers'
import { customersPlace, useMay } from './places'
import { useAppSearch, usePatchSearch } from './search'
import { EndBanner } from './EndBanner'
import { PolicyBanner } from './PolicyBanner'
import { SupportBanner } from './SupportBanner'
import { SetUpSecondFactor } from '../routes/settings/SetUpSecondFactor'
import { TopBar } from './TopBar'
import { Age, Instant } from '../ui/time'

export function Shell() {
  const { data: session } = useSuspenseQuery(sessionQuery)
  const may = useMay()
  const [spoken, setSpoken] = useState('')
  const [paletteOpen, setPaletteOpen] = useState(false)
  useEffect(() => {
    const open = (event: KeyboardEvent) => {
      if (!(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== 'k') return
      event.preventDefault()
      setPaletteOpen((was) => !was)
    }
    addEventListener('keydown', open)
    return () => removeEventListener('keydown', open)
  }, [])
  const onAlert = useCallback((alert: Alert) => {
    if (alert.state !== 'active_unacknowledged') return
    const severity = severityLabel(alert.severity)
    const message = alertSentence(alert)
    setSpoken(i18n.t('New alert, {severity}: {message}', { severity, message }))
    // The loud ones stand in the banner until somebody acknowledges them.
    if (isLoud(alert)) return
    toast(
      <Link to="/" search={{ select: `alert:${alert.id}` } as never} className="toast-link">
        <SeverityMark severity={alert.severity} label /> {message}
      </Link>,
    )
  }, [])
  // Everything else is refused until the second factor is there.
  if (session.lacks_second_factor) return <SetUpSecondFactor />
  return (
    <LiveProvider onAlert={onAlert}>
      <PapersProvider>
        <a className="skip-link" href="#main">
          {i18n.t('Skip to the content')}
        </a>
        <div className="shell" data-read-only={session.support !== null || undefined}>
          <TopBar session={session} onSearch={() => setPaletteOpen(true)} />
          <Rail />
          <div className="shell-main">
            <Banners session={session} />
            <main id="main" tabIndex={-1}>
              <FocusOnNavigation />
              <Landing />
            </main>
          </div>
        </div>
        <Palette opened={paletteOpen && may.watches} onClose={() => setPaletteOpen(false)} />
        <div className="visually-hidden" role="alert" aria-live="assertive">
          {spoken}
        </div>
      </PapersProvider>
    </LiveProvider>
  )
}

/** Who has no command centre begins at the first page they have. */
function Landing() {
  const asked = useRouterState({ select: (state) => state.location.pathname })
  // The page that is shown until the one asked for is loaded.
  const shown = useRouterState({ select: (state) => state.matches.at(-1)?.fullPath })
  const [first] = useMay().places
  if (first === undefined || first.to === '/' || shown !== '/') return <Outlet />
  return asked === '/' ? <Navigate to={first.to} /> : null
}

function Rail() {
  const may = useMay()
  const [more, setMore] = useState(false)
  const tenants = useQuery({ ...tenantsQuery, enabled: may.answers })
  const answers = tenants.data !== undefined && tenants.data[0]?.kind !== 'customer'
  return (
    <nav className="rail" aria-label={i18n.t('Main')} data-more={more || undefined}>
      <Link to="/" className="rail-logo" aria-label={i18n.t('Veritwin, to the command centre')}>
        <BrandMark size={28} />
      </Link>
      {[...may.places, ...(answers ? [customersPlace()] : [])].map((place) => (
        <Link
          key={place.to}
          to={place.to}
          className="rail-item"
          activeOptions={{ exact: place.to === '/', includeSearch: false }}
          onClick={() => setMore(false)}
        >
          <Icon name={place.icon} size={20} />
          <span>{place.label}</span>
        </Link>
      ))}
      <button
        type="button"
        className="rail-item rail-more"
        aria-expanded={more}
        onClick={() => setMore(!more)}
      >
        <Icon name="more" size={20} />
        <span>{i18n.t('More')}</span>
      </button>
    </nav>
  )
}

/** After a change of page the focus goes to its heading, so that a screen reader reads it. */
function FocusOnNavigation() {
  const path = useRouterState({ select: (state) => state.resolvedLocation?.pathname })
  const first = useRef(true)
  useEffect(() => {
    if (first.current) {
      first.current = false
      return
    }
    document.getElementById('page-title')?.focus({ preventScroll: true })
  }, [path])
  return null
}

/** The worst alert that nobody has acknowledged, on every page, one press from its place. */
function LoudAlert() {
  const { data } = useQuery(urgentAlertQuery)
  const [expanded, setExpanded] = useState(false)
  const alert = data?.items[0]
  if (alert === undefined || !isLoud(alert)) return null
  const more = countLoud(data?.counts ?? []) - 1
  const search = { select: `alert:${alert.id}`, twin: alert.twin_id ?? undefined }
  return (
    <div
      className="banner"
      data-tone="alert"
      data-severity={alert.severity}
      data-expanded={expanded || undefined}
    >
      <SeverityMark severity={alert.severity} size={20} />
      <span className="banner-text">
        <strong>{alert.rule_name}</strong> {alertSentence(alert)}
      </span>
      <button
        type="button"
        className="banner-expand"
        aria-expanded={expanded}
        aria-label={expanded ? i18n.t('Show less') : i18n.t('Show the whole alert')}
        onClick={() => setExpanded(!expanded)}
      >
        <span aria-hidden="true">{expanded ? '▴' : '▾'}</span>
      </button>
      <Age at={alert.raised_at} />
      <Link to="/" search={search as never} className="banner-button">
        {i18n.t('Show where')}
      </Link>
      {more > 0 && (
        <Link to="/alerts" className="banner-more">
          {i18n.t('{count, plural, one {# more} other {# more}}', { count: more })}
        </Link>
      )}
    </div>
  )
}

/** An address that nobody has proven is worth little: its person is asked to, quietly. */
function UnprovenAddress() {
  const { data } = useQuery(accountQuery)
  const [hidden, setHidden] = useState(false)
  if (hidden || data === undefined || !data.mails || data.email_verified_at) return null
  return (
    <div className="banner" data-tone="address">
      <span className="banner-text">{i18n.t('Your e-mail address is not confirmed yet.')}</span>
      <Link to="/settings" className="banner-button">
        {i18n.t('Confirm')}
      </Link>
      <button
        type="button"
        className="banner-close"
        aria-label={i18n.t('Hide for now')}
        onClick={() => setHidden(true)}
      >
        <Icon name="close" size={14} />
      </button>
    </div>
  )
}

function Banners(props: { session: Session }) {
  const may = useMay()
  const status = useLiveStatus()
  const search = useAppSearch()
  const patch = usePatchSearch()
  return (
    <div className="banners" role="status">
      <SupportBanner session={props.session} />
      {props.session.support === null && <EndBanner />}
      {props.session.support === null && <PolicyBanner />}
      {props.session.tenant.simulated && (
        <div className="banner" data-tone="simulated">
          <span>
            <strong>{i18n.t('Simulated data.')}</strong>{' '}
            <span className="banner-detail">
              {i18n.t('No real building stands behind these values.')}
            </span>
          </span>
        </div>
      )}
      {may.watches && <LoudAlert />}
      {props.session.support === null && <UnprovenAddress />}
      {status === 'lost' && search.at === undefined && (
        <div className="banner" data-tone="lost">
          <span>
            <strong>{i18n.t('Not live.')}</strong>{' '}
            <span className="banner-detail">
              {i18n.t(
                'The connection is lost; values stand still at their last known state. Trying again.',
              )}
            </span>
          </span>
        </div>
      )}
      {search.at !== undefined && (
        <div className="banner" data-tone="replay">
          <span>
            <strong>{i18n.t('Not live: replay.')}</strong> {i18n.t('You see the state of')}{' '}
            <Instant at={search.at} />
          </span>
          <button type="button" className="banner-button" onClick={() => patch({ at: undefined })}>
            {i18n.t('Back to live')}
          </button>
        </div>
      )}
    </div>
  )
}
