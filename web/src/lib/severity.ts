// The four alert severities and the alert states: order, and which need a person.
export const SEVERITIES = ['critical', 'high', 'medium', 'low'] as const
export type Severity = (typeof SEVERITIES)[number]

export const ALERT_STATES = [
  'active_unacknowledged',
  'cleared_unacknowledged',
  'active_acknowledged',
  'cleared',
] as const
export type AlertState = (typeof ALERT_STATES)[number]

type Ranked = { severity: Severity; state: AlertState; raised_at: string }

export function isActive(state: AlertState): boolean {
  return state === 'active_unacknowledged' || state === 'active_acknowledged'
}

export function needsAcknowledgement(state: AlertState): boolean {
  return state === 'active_unacknowledged' || state === 'cleared_unacknowledged'
}

/** Most urgent first: state, then severity, then the newest. */
export function compareAlerts(a: Ranked, b: Ranked): number {
  return (
    ALERT_STATES.indexOf(a.state) - ALERT_STATES.indexOf(b.state) ||
    SEVERITIES.indexOf(a.severity) - SEVERITIES.indexOf(b.severity) ||
    Date.parse(b.raised_at) - Date.parse(a.raised_at)
  )
}

/** The most severe of a list, or null for an empty one. */
export function worst(list: Iterable<Severity>): Severity | null {
  let rank: number = SEVERITIES.length
  for (const severity of list) rank = Math.min(rank, SEVERITIES.indexOf(severity))
  return SEVERITIES[rank] ?? null
}

/** How many alerts are of one severity and in one state, as the server counted them. */
export type Counted = { severity: Severity; state: AlertState; count: number }

export function countActive(counted: Iterable<Counted>): Record<Severity, number> {
  const counts: Record<Severity, number> = { critical: 0, high: 0, medium: 0, low: 0 }
  for (const one of counted) if (isActive(one.state)) counts[one.severity] += one.count
  return counts
}

/** Severe, active and not acknowledged: what stands in the banner until somebody has seen it. */
export function isLoud({ severity, state }: Pick<Ranked, 'severity' | 'state'>): boolean {
  return (severity === 'critical' || severity === 'high') && state === 'active_unacknowledged'
}

export function countLoud(counted: Iterable<Counted>): number {
  let count = 0
  for (const one of counted) if (isLoud(one)) count += one.count
  return count
}
