// Words for what a purpose rests on, who receives data, and how one stands to a consent.
import { i18n } from '@lingui/core'

export function basisLabel(basis: string): string {
  const words: Record<string, string> = {
    instruction: i18n.t('your instruction'),
    contract: i18n.t('contract'),
    legitimate_interest: i18n.t('legitimate interest'),
    legal_obligation: i18n.t('legal duty'),
    consent: i18n.t('consent'),
  }
  return words[basis] ?? basis
}

export function recipientLabel(recipient: string): string {
  const words: Record<string, string> = {
    administrators: i18n.t('administrators of your organisation'),
    auditors: i18n.t('auditors your organisation named'),
    authorities: i18n.t('authorities, where the law compels us'),
    email_provider: i18n.t('the e-mail provider'),
    payment_processor: i18n.t('the payment processor'),
    registered_places: i18n.t('places your organisation registered'),
    sms_gateway: i18n.t('the SMS gateway'),
  }
  return words[recipient] ?? recipient
}

export function consentLabel(state: string): string {
  const words: Record<string, string> = {
    none: i18n.t('not given'),
    given: i18n.t('given'),
    withdrawn: i18n.t('withdrawn'),
    earlier_text: i18n.t('given to an earlier text'),
  }
  return words[state] ?? state
}

/** What one should know of a field before one gives it. */
export function fieldHint(field: string | null | undefined): string | undefined {
  return field === 'address'
    ? i18n.t('Administrators of every organisation that you belong to can read it.')
    : undefined
}

export function fieldLabel(field: string | null | undefined): string {
  return field === 'phone' ? i18n.t('Telephone number') : i18n.t('Postal address')
}
