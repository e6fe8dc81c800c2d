import { expect, test } from 'vitest'

import { compareAlerts, countActive, worst, type AlertState, type Severity } from './severity'

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
  expect(countActive([alert('high', 'cleared'), alert('high', 'active_acknowledged')])).toEqual({
    critical: 0,
    high: 1,
    medium: 0,
    low: 0,
  })
})
