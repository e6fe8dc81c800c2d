// Which pages somebody has: by role, and for support by what the customer granted.
import { i18n } from '@lingui/core'

import type { Session, SupportArea } from '../api/types'
import type { IconName } from '../ui/icons'

export type Place = { to: string; icon: IconName; label: string }

/** Pages that support may be shown, by what a customer has to grant for them. */
const SUPPORT_PLACES: Record<string, SupportArea[]> = {
  '/': ['twin', 'devices', 'telemetry', 'alerts'],
  '/devices': ['devices'],
  '/twins': ['twin'],
  '/alerts': ['alerts', 'devices'],
  '/rules': ['alerts'],
}
const HANDLE_INCIDENTS = ['owner', 'administrator', 'privacy_officer', 'security_lead', 'auditor']

function isStaff(session: Session): boolean {
  return session.support === null && session.user.roles.every((role) => role === 'support')
}

/** The pages that somebody has. */
export function placesOf(session: Session): Place[] {
  const { support } = session
  const desk: Place = { to: '/support-desk', icon: 'support', label: i18n.t('Support desk') }
  if (isStaff(session)) return [desk]
  if (support !== null) {
    return places().filter(({ to }) =>
      SUPPORT_PLACES[to]?.every((area) => support.areas.includes(area)),
    )
  }
  const handles = session.user.roles.some((role) => HANDLE_INCIDENTS.includes(role))
  return places().filter(
    ({ to }) =>
      (to !== '/incidents' || handles) && (to !== '/support' || managesSupport(session)),
  )
}

function places(): Place[] {
  return [
    { to: '/', icon: 'centre', label: i18n.t('Centre') },
    { to: '/alerts', icon: 'alerts', label: i18n.t('Alerts') },
    { to: '/devices', icon: 'devices', label: i18n.t('Devices') },
    { to: '/twins', icon: 'twins', label: i18n.t('Twins') },
    { to: '/rules', icon: 'rules', label: i18n.t('Rules') },
    { to: '/ledger', icon: 'ledger', label: i18n.t('Ledger') },
    { to: '/promises', icon: 'promises', label: i18n.t('Promises') },
    { to: '/activity', icon: 'activity', label: i18n.t('Activity') },
    { to: '/incidents', icon: 'incidents', label: i18n.t('Incidents') },
    { to: '/support', icon: 'support', label: i18n.t('Support') },
    { to: '/settings', icon: 'settings', label: i18n.t('Settings') },
  ]
}

/** Only partners and the platform's administration have it. */
export function customersPlace(): Place {
  return { to: '/customers', icon: 'tree', label: i18n.t('Tenants') }
}

/** Whether somebody may answer for tenants, if theirs is a partner's or the platform's. */
export function mayAnswer(session: Session): boolean {
  return session.support === null && !isStaff(session)
}

const MANAGES_SUPPORT = ['owner', 'administrator', 'security_lead']

/** Whether somebody opens tickets and grants access. */
export function managesSupport(session: Session): boolean {
  return (
    session.support === null && session.user.roles.some((role) => MANAGES_SUPPORT.includes(role))
  )
}

const REVIEW_ACCESS = ['owner', 'administrator', 'auditor', 'privacy_officer', 'security_lead']

/** Whether somebody sees who may do what. */
export function reviewsAccess(session: Session): boolean {
  return session.support === null && session.user.roles.some((role) => REVIEW_ACCESS.includes(role))
}

/** The page of roles and access; it is reached from the settings. */
export function accessPlace(): Place {
  return { to: '/access', icon: 'key', label: i18n.t('Roles and access') }
}

/** Whether somebody watches the building: alerts, time range and search are theirs. */
export function watches(session: Session): boolean {
  return placesOf(session).some(({ to }) => to === '/alerts')
}
