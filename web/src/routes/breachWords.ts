// What is said of breaches of personal data: risks, notices, grounds, what is owed, what is known.
import { i18n } from '@lingui/core'

import type { BreachFields } from '../api/types'

export const RISKS = ['unknown', 'unlikely', 'risk', 'high'] as const
export const PHASES = ['first', 'further', 'final'] as const
export const TO = ['authority', 'subjects', 'controllers'] as const
/** Grounds on which people are not told of a high risk. */
export const GROUNDS = ['protected', 'removed', 'disproportionate'] as const

export function riskLabel(risk: BreachFields['risk']): string {
  return {
    unknown: i18n.t('not known yet'),
    unlikely: i18n.t('unlikely'),
    risk: i18n.t('a risk'),
    high: i18n.t('a high risk'),
  }[risk]
}

export function toLabel(to: (typeof TO)[number]): string {
  return {
    authority: i18n.t('The authority'),
    subjects: i18n.t('The people concerned'),
    controllers: i18n.t('The controllers'),
  }[to]
}

export function phaseLabel(phase: (typeof PHASES)[number]): string {
  return {
    first: i18n.t('First notice'),
    further: i18n.t('Further notice'),
    final: i18n.t('Final notice'),
  }[phase]
}

export function groundLabel(ground: (typeof GROUNDS)[number]): string {
  return {
    protected: i18n.t('No unauthorised person can read the data (Article 34(3)(a))'),
    removed: i18n.t('The high risk was removed since (Article 34(3)(b))'),
    disproportionate: i18n.t('Too much effort: the public is told instead (Article 34(3)(c))'),
  }[ground]
}

/** What a breach still owes. */
export function owedLabel(owed: string): string {
  const words: Record<string, string> = {
    first: i18n.t('a first notice within 72 hours'),
    subjects: i18n.t('a notice to the people concerned'),
    final: i18n.t('a final notice'),
  }
  return words[owed] ?? owed
}

export function stateLabel(state: string): string {
  const words: Record<string, string> = {
    open: i18n.t('open'),
    told: i18n.t('notice sent'),
    closed: i18n.t('closed'),
  }
  return words[state] ?? state
}

/** The fields of what is known, by name. */
export function fieldLabels(): Record<string, string> {
  return {
    nature: i18n.t('What happened, and to which people and records'),
    subjects: i18n.t('About how many people'),
    records: i18n.t('About how many records'),
    contact: i18n.t('Whom to ask'),
    consequences: i18n.t('Likely consequences'),
    measures: i18n.t('Measures taken and proposed'),
    risk: i18n.t('Risk for the people concerned'),
    risk_reason: i18n.t('Why the risk is that'),
    not_told_ground: i18n.t('On which ground the people concerned are not told'),
    why_not_subjects: i18n.t('What that ground rests on'),
    public_notice: i18n.t('Where the public is told in their place'),
    authority: i18n.t('Authority'),
    authority_email: i18n.t('Address of the authority'),
    late_reason: i18n.t('Why a notice comes later than 72 hours'),
    recipients: i18n.t('Who had the data'),
    regions: i18n.t('Where it was'),
  }
}
