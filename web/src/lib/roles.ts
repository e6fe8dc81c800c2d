// The built-in roles by name, in the order of the matrix.
import { i18n } from '@lingui/core'

import type { Role } from '../api/types'

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

export function roleOptions(): { value: Role; label: string }[] {
  return ROLES.map((value) => ({ value, label: roleLabel(value) }))
}
