// Which pages somebody has: by what they may do, and for support by what the customer granted.
import { i18n } from '@lingui/core'
import { useSuspenseQuery } from '@tanstack/react-query'

import { rightsQuery, sessionQuery } from '../api/queries'
import type { Rights, Session, SupportArea } from '../api/types'
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

/** What one has to be able to do for a page, over a part at least. */
const NEEDS: Record<string, string[]> = {
  '/': ['twin.list', 'device.list', 'telemetry.read', 'alert.list'],
  '/alerts': ['alert.list', 'device.list'],
  '/devices': ['device.list'],
  '/streams': ['stream.read'],
  '/imports': ['telemetry.write', 'device.list'],
  '/packages': ['package.read', 'device.list'],
  '/device-profiles': ['decoder.read', 'device.list'],
  '/twins': ['twin.list'],
  '/rules': ['rule.list', 'device.list'],
  '/routing': ['route.read'],
  '/ledger': ['ledger.read'],
  '/promises': ['promise.read'],
  '/public-zones': ['collection.read'],
  '/registers': ['register.read'],
  '/activity': ['activity.read'],
  '/incidents': ['incident.list'],
  '/breaches': ['incident.list'],
  '/governance': ['governance.see'],
  '/support': ['support.manage'],
  '/support-desk': ['support.serve'],
}

/** What the person in front may do. */
export class May {
  constructor(
    readonly session: Session,
    private readonly rights: Rights,
  ) {}

  /** Over the whole organisation. */
  whole(action: string): boolean {
    return this.rights.whole.includes(action)
  }

  /** Over a part of it at least. */
  somewhere(action: string): boolean {
    return this.whole(action) || this.rights.parts.includes(action)
  }

  /** Whether there is something they may do over a part only. */
  get isConfined(): boolean {
    return this.rights.parts.length > 0
  }

  /** The pages they have. */
  get places(): Place[] {
    const { support } = this.session
    const has = (to: string) =>
      support !== null
        ? SUPPORT_PLACES[to]?.every((area) => support.areas.includes(area))
        : NEEDS[to]?.every((action) => this.somewhere(action))
    const found = places().filter(({ to }) => has(to))
    return support === null && !this.isStaff ? [...found, settings()] : found
  }

  /** The platform's own staff, at their desk and nowhere else. */
  get isStaff(): boolean {
    return this.whole('support.serve') && !this.whole('tenant.read')
  }

  /** Watches the building: alerts, time range and search are theirs. */
  get watches(): boolean {
    return this.places.some(({ to }) => to === '/alerts')
  }

  /** Answers for tenants, if theirs is a partner's or the platform's. */
  get answers(): boolean {
    return this.session.support === null && this.whole('tenant.list_below')
  }

  /** Opens tickets and lets support in. */
  get managesSupport(): boolean {
    return this.session.support === null && this.whole('support.manage')
  }

  /** Sees who may do what. */
  get reviewsAccess(): boolean {
    return this.session.support === null && this.whole('role.read')
  }
}

export function useMay(): May {
  const { data: session } = useSuspenseQuery(sessionQuery)
  const { data: rights } = useSuspenseQuery(rightsQuery)
  return new May(session, rights)
}

function settings(): Place {
  return { to: '/settings', icon: 'settings', label: i18n.t('Settings') }
}

function places(): Place[] {
  return [
    { to: '/', icon: 'centre', label: i18n.t('Centre') },
    { to: '/alerts', icon: 'alerts', label: i18n.t('Alerts') },
    { to: '/devices', icon: 'devices', label: i18n.t('Devices') },
    { to: '/streams', icon: 'streams', label: i18n.t('Streams') },
    { to: '/imports', icon: 'upload', label: i18n.t('Import readings') },
    { to: '/packages', icon: 'parcel', label: i18n.t('Packages') },
    { to: '/device-profiles', icon: 'table', label: i18n.t('Device profiles') },
    { to: '/twins', icon: 'twins', label: i18n.t('Twins') },
    { to: '/rules', icon: 'rules', label: i18n.t('Rules') },
    { to: '/routing', icon: 'routing', label: i18n.t('Routing') },
    { to: '/ledger', icon: 'ledger', label: i18n.t('Ledger') },
    { to: '/promises', icon: 'promises', label: i18n.t('Promises') },
    { to: '/public-zones', icon: 'heat', label: i18n.t('Public zones') },
    { to: '/registers', icon: 'table', label: i18n.t('Registers') },
    { to: '/activity', icon: 'activity', label: i18n.t('Activity') },
    { to: '/incidents', icon: 'incidents', label: i18n.t('Incidents') },
    { to: '/breaches', icon: 'clock', label: i18n.t('Breaches') },
    { to: '/governance', icon: 'check', label: i18n.t('Governance') },
    { to: '/support', icon: 'support', label: i18n.t('Support') },
    { to: '/support-desk', icon: 'support', label: i18n.t('Support desk') },
  ]
}

/** Only partners and the platform's administration have it. */
export function customersPlace(): Place {
  return { to: '/customers', icon: 'tree', label: i18n.t('Tenants') }
}

/** The page of roles and access; it is reached from the settings. */
export function accessPlace(): Place {
  return { to: '/access', icon: 'key', label: i18n.t('Roles and access') }
}
