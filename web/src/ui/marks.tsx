// Marks that mean something: each is a shape, a word and a colour, never colour alone.
import { i18n } from '@lingui/core'

import type { PromiseState, Quality } from '../api/types'
import type { AlertState, Severity } from '../lib/severity'

const SEVERITY_SHAPES: Record<Severity, string> = {
  critical: 'M6.5 1.500h7l5 5v7l-5 5h-7l-5-5v-7z',
  high: 'M10 1.5 19 17.500H1z',
  medium: 'M10 1 19 10l-9 9-9-9z',
  low: 'M10 2a8 8 0 1 0 0 16 8 8 0 0 0 0-16',
}
const SEVERITY_DIGITS: Record<Severity, string> = {
  critical: '1',
  high: '2',
  medium: '3',
  low: '4',
}

export function severityLabel(severity: Severity): string {
  switch (severity) {
    case 'critical':
      return i18n.t('Critical')
    case 'high':
      return i18n.t('High')
    case 'medium':
      return i18n.t('Medium')
    case 'low':
      return i18n.t('Low')
  }
}

export function SeverityMark(props: {
  severity: Severity
  label?: boolean
  quiet?: boolean
  size?: number
}) {
  const { severity, size = 16 } = props
  return (
    <span className="mark" data-severity={severity} data-quiet={props.quiet || undefined}>
      <svg viewBox="0 0 20 20" width={size} height={size} aria-hidden="true">
        <path d={SEVERITY_SHAPES[severity]} />
        <text x="10" y={severity === 'high' ? 15.5 : 13.9}>
          {SEVERITY_DIGITS[severity]}
        </text>
      </svg>
      <span className={props.label ? 'mark-label' : 'visually-hidden'}>
        {severityLabel(severity)}
      </span>
    </span>
  )
}

export function alertStateLabel(state: AlertState): string {
  switch (state) {
    case 'active_unacknowledged':
      return i18n.t('Active, not acknowledged')
    case 'active_acknowledged':
      return i18n.t('Active, acknowledged')
    case 'cleared_unacknowledged':
      return i18n.t('Returned, not acknowledged')
    case 'cleared':
      return i18n.t('Returned')
  }
}

export function promiseStateLabel(state: PromiseState): string {
  switch (state) {
    case 'proven':
      return i18n.t('Proven')
    case 'failing':
      return i18n.t('Failing')
    case 'stale':
      return i18n.t('Stale')
    case 'not_evidenced':
      return i18n.t('Not evidenced')
    case 'not_applicable':
      return i18n.t('Not applicable')
  }
}

const PROMISE_SHAPES: Record<PromiseState, React.ReactNode> = {
  proven: <path d="m3.5 10.5 4.5 4.700L16.5 5.5" />,
  failing: <path className="filled" d="M6.5 1.500h7l5 5v7l-5 5h-7l-5-5v-7zM7 7l6 6M13 7l-6 6" />,
  stale: <path d="M10 2.500a7.5 7.5 0 1 0 0 15 7.5 7.5 0 0 0 0-15M10 6v4.500h3.5" />,
  not_evidenced: <path className="dashed" d="M10 2.500a7.5 7.5 0 1 0 0 15 7.5 7.5 0 0 0 0-15" />,
  not_applicable: <path d="M4 10h12" />,
}

export function PromiseMark(props: { state: PromiseState; label?: boolean }) {
  return (
    <span className="mark promise-mark" data-state={props.state}>
      <svg viewBox="0 0 20 20" width={16} height={16} aria-hidden="true">
        {PROMISE_SHAPES[props.state]}
      </svg>
      <span className={props.label === false ? 'visually-hidden' : 'mark-label'}>
        {promiseStateLabel(props.state)}
      </span>
    </span>
  )
}

export type Condition = Quality | 'stale' | 'offline' | 'missing'

export function conditionLabel(condition: Condition): string {
  switch (condition) {
    case 'good':
      return i18n.t('Good')
    case 'uncertain':
      return i18n.t('Uncertain')
    case 'bad':
      return i18n.t('Bad quality')
    case 'simulated':
      return i18n.t('Simulated')
    case 'stale':
      return i18n.t('Stale')
    case 'offline':
      return i18n.t('Offline')
    case 'missing':
      return i18n.t('No value')
  }
}

const CONDITION_SHAPES: Record<Condition, string> = {
  good: 'm4 10.5 4 4.200L16 6',
  uncertain: 'M3 11c2.5-4 5-4 7-1.500s4.5 2.5 7-1.5',
  bad: 'm4.5 4.5 11 11M15.5 4.500l-11 11',
  simulated: 'M4 16 8 4M10 16l4-12M16 16l1-3',
  stale: 'M10 2.500a7.5 7.5 0 1 0 0 15 7.5 7.5 0 0 0 0-15M10 6v4.500h3.5',
  offline: 'M10 2.500a7.5 7.5 0 1 0 0 15 7.5 7.5 0 0 0 0-15M4.7 4.700l10.6 10.6',
  missing: 'M4 10h12',
}

export function ConditionMark(props: { condition: Condition; label?: boolean }) {
  return (
    <span className="mark condition-mark" data-condition={props.condition}>
      <svg viewBox="0 0 20 20" width={14} height={14} aria-hidden="true">
        <path d={CONDITION_SHAPES[props.condition]} />
      </svg>
      <span className={props.label === false ? 'visually-hidden' : 'mark-label'}>
        {conditionLabel(props.condition)}
      </span>
    </span>
  )
}
