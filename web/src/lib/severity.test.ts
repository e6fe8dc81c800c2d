import { expect, test } from 'vitest'

import { compareAlerts, countActive, countLoud, worst, type AlertState, type Severity } from './severity'

function alert(severity: Severity, state: AlertState, raised_at = '2026-01-01T00:00:00Z') {
  return { severity, state, raised_at }
}

test('unacknowledged comes before severity, severity before age', () => {
  const list = [
    alert('critical', 'cleared'),
    alert('critical', 'active_acknowledged'),
    alert('low', 'active_unacknowledged'),
    alert('high', 'active_unacknowledged', '2026-01-01T00:00:00Z'),
    alert('high', 'active_unacknowledged', '2026-01-02T00:00:00Z'),
  ]
  expect(
    list.sort(compareAlerts).map((a) => [a.severity, a.state, a.raised_at.slice(8, 10)]),
  ).toEqual([
    ['high', 'active_unacknowledged', '02'],
    ['high', 'active_unacknowledged', '01'],
    ['low', 'active_unacknowledged', '01'],
    ['critical', 'active_acknowledged', '01'],
    ['critical', 'cleared', '01'],
  ])
})

test('worst and counts look at what is active', () => {
  expect(worst([])).toBeNull()
  expect(worst(['low', 'high', 'medium'])).toBe('high')
  const counted = [
    { severity: 'critical', state: 'active_unacknowledged', count: 30 },
    { severity: 'high', state: 'active_unacknowledged', count: 12_066 },
    { severity: 'high', state: 'active_acknowledged', count: 2 },
    { severity: 'high', state: 'cleared_unacknowledged', count: 7 },
    { severity: 'low', state: 'active_unacknowledged', count: 5 },
  ] as const
  expect(countActive(counted)).toEqual({ critical: 30, high: 12_068, medium: 0, low: 5 })
  expect(countLoud(counted)).toBe(12_096)
})
