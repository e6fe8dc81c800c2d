// The built-in roles by name, in the order of the matrix, with what each is for.
import { i18n } from '@lingui/core'

import type { Role, Roles } from '../api/types'

export const ROLES: readonly Role[] = [
  'owner',
  'administrator',
  'operator',
  'analyst',
  'viewer',
  'auditor',
  'privacy_officer',
  'security_lead',
  'integrator',
  'support',
]

/** What a new person or key gets when nothing else is chosen: the least that shows something. */
export const DEFAULT_ROLE: Role = 'viewer'

export function roleLabel(role: Role): string {
  const labels: Record<Role, string> = {
    owner: i18n.t('Owner'),
    administrator: i18n.t('Administrator'),
    operator: i18n.t('Operator'),
    analyst: i18n.t('Analyst'),
    viewer: i18n.t('Viewer'),
    auditor: i18n.t('Auditor'),
    privacy_officer: i18n.t('Privacy officer'),
    security_lead: i18n.t('Security lead'),
    integrator: i18n.t('Integrator'),
    support: i18n.t('Support'),
  }
  return labels[role]
}

/** What somebody with the role does, in one sentence. */
export function roleSentence(role: Role): string {
  const sentences: Record<Role, string> = {
    owner: i18n.t('Answers for the whole organisation and appoints other owners.'),
    administrator: i18n.t('Sets everything up and decides who may do what, but makes no owners.'),
    operator: i18n.t('Watches the building, reads rules and attributes, acknowledges alerts.'),
    analyst: i18n.t('Watches and reads what lies behind the values; changes nothing.'),
    viewer: i18n.t('Sees buildings, devices, values and alerts; changes nothing.'),
    auditor: i18n.t('Reads records and the ledger and takes copies; sees no values.'),
    privacy_officer: i18n.t('Judges personal data, reads records, runs the checks of the promises.'),
    security_lead: i18n.t('Watches over access and incidents, and takes keys away.'),
    integrator: i18n.t('Connects devices, buildings and rules; sees no people and no records.'),
    support: i18n.t('May do nothing by itself: for people who only hold grants over a part.'),
  }
  return sentences[role]
}

/** Of the desk: whoever appoints the platform's staff does not sit there. */
const OF_THE_DESK = ['support.serve', 'support.break_glass']

/** The roles that somebody may give: those that permit nothing they may not do themselves. */
export function givable(roles: Roles, may: (action: string) => boolean): Role[] {
  const fits = (action: string) => may(action) || OF_THE_DESK.includes(action)
  return ROLES.filter((role) => {
    const known = roles.built_in.find((one) => one.role === role)
    return known !== undefined && known.actions.every(fits)
  })
}
