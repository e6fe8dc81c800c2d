// Words for what a stream's declaration rests on, and whose data it is.
import { i18n } from '@lingui/core'

import type { Stream, StreamSubject } from '../../api/types'

export function groundLabel(ground: Stream['ground']): string {
  switch (ground) {
    case 'stream':
      return i18n.t('said of this stream')
    case 'device':
      return i18n.t('said of the device')
    case 'rule':
      return i18n.t('by a rule')
    case 'presumed':
      return i18n.t('presumed: access control')
    case 'nothing':
      return i18n.t('nobody said')
  }
}

export function subjectText(subject: StreamSubject): string {
  if (subject.kind === 'field') return i18n.t('named by {field}', { field: subject.field })
  return subject.person ?? i18n.t('the device’s person')
}
