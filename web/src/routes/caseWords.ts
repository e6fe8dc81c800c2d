// What lines of a request's history and steps of an erasure are called.
import { i18n } from '@lingui/core'

/** A line of the history; one of a newer platform by its own name. */
export function eventLabel(kind: string): string {
  switch (kind) {
    case 'received':
      return i18n.t('Received')
    case 'acknowledged':
      return i18n.t('Acknowledged')
    case 'code_sent':
      return i18n.t('A code was mailed')
    case 'identity_asked':
      return i18n.t('It was asked who it is')
    case 'verified':
      return i18n.t('It is known who asks')
    case 'person_named':
      return i18n.t('Named as in personal streams')
    case 'right_named':
      return i18n.t('Which right the mail is about was said')
    case 'mail':
      return i18n.t('A mail came')
    case 'extended':
      return i18n.t('More time was taken')
    case 'refused':
      return i18n.t('Refused')
    case 'reopened':
      return i18n.t('Opened again')
    case 'answered':
      return i18n.t('Answered')
    case 'withdrawn':
      return i18n.t('Taken back')
    case 'lifted':
      return i18n.t('Ended')
    case 'note':
      return i18n.t('Note')
    case 'letter':
      return i18n.t('Letter to hand over')
    case 'copy_fetched':
      return i18n.t('The copy was fetched')
    case 'carrying_out':
      return i18n.t('The erasure has begun')
    case 'waits':
      return i18n.t('The erasure waits')
    case 'account_ended':
      return i18n.t('The account is gone')
    case 'acknowledge_soon':
      return i18n.t('To be acknowledged soon')
    case 'acknowledge_missed':
      return i18n.t('Not acknowledged in time')
    case 'answer_soon':
      return i18n.t('To be answered within a week')
    case 'answer_tomorrow':
      return i18n.t('To be answered tomorrow')
    case 'answer_missed':
      return i18n.t('Not answered in time')
    case 'not_verified':
      return i18n.t('It was not shown who asks')
    default:
      return kind
  }
}

/** A step of an erasure. */
export function stepLabel(name: string): string {
  switch (name) {
    case 'counted':
      return i18n.t('Counted before')
    case 'account':
      return i18n.t('Account')
    case 'memberships':
      return i18n.t('Memberships and rights')
    case 'sign_in':
      return i18n.t('Sessions and ways to sign in')
    case 'records':
      return i18n.t('Records of what was done')
    case 'acts':
      return i18n.t('What they did to alerts and incidents')
    case 'mails':
      return i18n.t('Mails')
    case 'messages':
      return i18n.t('Messages')
    case 'requests':
      return i18n.t('Other requests')
    case 'consents':
      return i18n.t('Consents')
    case 'registers':
      return i18n.t('Registers')
    case 'readings':
      return i18n.t('Readings')
    case 'declarations':
      return i18n.t('Whose devices they are')
    case 'ledger':
      return i18n.t('Ledger')
    case 'objects':
      return i18n.t('Twins and packages')
    case 'backups':
      return i18n.t('Backups')
    case 'things':
      return i18n.t('Devices and buildings')
    case 'platform':
      return i18n.t('The platform itself')
    case 'told':
      return i18n.t('The person was told')
    case 'forgotten':
      return i18n.t('The address is gone')
    default:
      return name
  }
}
