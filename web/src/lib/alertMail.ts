// An alert's events with its mail gathered: who was told the same at about the same time is one step.
import type { Alert } from '../api/types'

type Event = Alert['events'][number]

export type MailStep = {
  kind: 'notified' | 'not_mailed' | 'mail_waits'
  at: string
  /** Masked addresses. */
  to: string[]
  reason: string | null
  code: string | null
  count: number
}

/** Mail of one write leaves within this time, when the server is quick. */
const TOGETHER_MS = 60_000

function mailStep(event: Event): MailStep | null {
  const { kind, at, mail } = event
  if (kind !== 'notified' && kind !== 'not_mailed' && kind !== 'mail_waits') return null
  const to = mail?.to
  return {
    kind,
    at,
    to: to === null || to === undefined ? [] : [to],
    reason: mail?.reason ?? null,
    code: mail?.code ?? null,
    count: mail?.count ?? 1,
  }
}

function isSame(a: MailStep, b: MailStep): boolean {
  const isNear = Math.abs(Date.parse(a.at) - Date.parse(b.at)) <= TOGETHER_MS
  const isNamed = a.to.length > 0 && b.to.length > 0
  return isNear && isNamed && a.kind === b.kind && a.reason === b.reason && a.code === b.code
}

/** The events in their order, mail to several people as one step. */
export function gathered(events: Event[]): (Event | MailStep)[] {
  const steps: (Event | MailStep)[] = []
  for (const event of events) {
    const step = mailStep(event)
    const last = steps.at(-1)
    if (step === null) steps.push(event)
    else if (last !== undefined && 'to' in last && isSame(last, step)) last.to.push(...step.to)
    else steps.push(step)
  }
  return steps
}
