// Words for declarations of streams (policy: the customer judges) and kinds of credentials.
import { i18n } from '@lingui/core'

import type { Declaration } from '../api/types'

/** Kinds of device credentials; an unknown kind is shown as it is. */
export function credentialLabel(kind: string): string {
  switch (kind) {
    case 'access_token':
      return i18n.t('Access token')
    case 'x509':
      return i18n.t('Client certificate')
    case 'basic':
    case 'mqtt_basic':
      return i18n.t('Client id, user and password')
    default:
      return kind
  }
}

export function declarationLabel(declaration: Declaration): string {
  switch (declaration) {
    case 'undeclared':
      return i18n.t('Not declared')
    case 'non_personal':
      return i18n.t('Not personal data')
    case 'personal':
      return i18n.t('Personal data')
  }
}
