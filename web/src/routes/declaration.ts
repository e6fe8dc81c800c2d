// What a customer declares a stream to be (policy: the customer judges).
import { i18n } from '@lingui/core'

import type { Declaration } from '../api/types'

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
