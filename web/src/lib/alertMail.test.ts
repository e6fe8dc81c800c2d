import { expect, test } from 'vitest'

import { gathered } from './alertMail'

const at = (second: number) => new Date(second * 1000).toISOString()
const none = { by: null, comment: null, reason: null, left_out: null }
const told = (second: number, to: string) => ({
  ...none,
  kind: 'notified' as const,
  at: at(second),
  mail: { to, reason: null, code: null, count: null },
})
const refused = (second: number, to: string, code: string) => ({
  ...none,
  kind: 'not_mailed' as const,
  at: at(second),
  mail: { to, reason: 'refused', code, count: null },
})

test('who was told the same at about the same time is one step', () => {
  const raised = { ...none, kind: 'raised' as const, at: at(0), mail: null }
  const steps = gathered([raised, told(1, 'a…@x'), told(2, 'b…@x'), told(900, 'a…@x')])
  expect(steps.map((step) => ('to' in step ? step.to : step.kind))).toEqual([
    'raised',
    ['a…@x', 'b…@x'],
    ['a…@x'],
  ])
})

test('another answer of the server is another step, and a note without addresses stands alone', () => {
  const full = {
    ...none,
    kind: 'not_mailed' as const,
    at: at(3),
    mail: { to: null, reason: 'mails_waiting_max', code: null, count: 20 },
  }
  const steps = gathered([refused(1, 'a…@x', '550'), refused(2, 'b…@x', '552'), full, full])
  expect(steps.map((step) => ('to' in step ? [step.to.length, step.count] : null))).toEqual([
    [1, 1],
    [1, 1],
    [0, 20],
    [0, 20],
  ])
})
