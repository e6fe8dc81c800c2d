// An alert's life so far: what happened to it, and whom its mail reached or did not.
import { i18n } from '@lingui/core'

import type { Alert } from '../api/types'
import { gathered, type MailStep } from '../lib/alertMail'
import { Instant } from '../ui/time'

function reasonText({ reason, code }: MailStep): string | null {
  switch (reason) {
    case 'refused':
      return i18n.t('the mail server refused it (code {code})', { code: code ?? '—' })
    case 'address':
      return i18n.t('that is not an e-mail address')
    case 'given_up':
      return i18n.t('the mail server did not take it in ten tries')
    case 'too_old':
      return i18n.t('it could not leave for an hour and is no news any more')
    case 'restricted':
      return i18n.t('its recipient restricted what is done with their data')
    case 'no_server':
      return i18n.t('no mail server is configured')
    case 'mails_waiting_max':
      return i18n.t('too many mails of the organisation wait')
    case 'no_connection':
      return i18n.t('the mail server cannot be reached')
    case 'tls':
      return i18n.t('the connection to the mail server is not safe')
    case 'sign_in':
      return i18n.t('the mail server does not accept the platform’s password')
    case 'unsigned':
      return i18n.t('the keys that sign mail cannot be had')
    case 'deferred':
      return i18n.t('the mail server wants it later (code {code})', { code: code ?? '—' })
    default:
      return reason
  }
}

function mailText(step: MailStep): string {
  const why = reasonText(step)
  const to = step.to.join(', ')
  const count = step.count
  if (step.kind === 'notified') {
    return to === '' ? i18n.t('Mailed') : i18n.t('Mailed to {to}', { to })
  }
  if (step.kind === 'mail_waits') {
    return why === null
      ? i18n.t('Mail to {to} waits', { to })
      : i18n.t('Mail to {to} waits: {why}', { to, why })
  }
  if (to === '') {
    const missed = i18n.t(
      '{count, plural, one {# recipient not mailed} other {# recipients not mailed}}',
      { count },
    )
    return why === null ? missed : `${missed}: ${why}`
  }
  return i18n.t('Not mailed to {to}: {why}', { to, why: why ?? '—' })
}

function label(kind: string, reason: string | null): string {
  switch (kind) {
    case 'raised':
      return i18n.t('Raised')
    case 'cleared':
      switch (reason) {
        case 'rule_changed':
          return i18n.t('Ended: the rule was changed, or covers this device no more')
        case 'device_removed':
          return i18n.t('Ended: the device was removed')
        case 'data_returned':
          return i18n.t('Returned to normal: data arrives again')
        default:
          return i18n.t('Returned to normal')
      }
    case 'acknowledged':
      return i18n.t('Acknowledged')
    default:
      return kind
  }
}

/** How many changes a step stands for. */
function LeftOut({ count }: { count: number }) {
  return (
    <span className="dim">
      {i18n.t(
        '{count, plural, one {# change before it was not kept} other {# changes before it were not kept}}',
        { count },
      )}
    </span>
  )
}

export function AlertEvents({ events }: { events: Alert['events'] }) {
  if (events.length === 0) return null
  return (
    <ol className="events">
      {gathered(events).map((step, i) => (
        <li key={i}>
          <Instant at={step.at} />
          {'to' in step ? (
            <span className="mail-step">{mailText(step)}</span>
          ) : (
            <span>
              {label(step.kind, step.reason)}
              {step.by && ` · ${step.by}`}
            </span>
          )}
          {'comment' in step && step.comment && <q>{step.comment}</q>}
          {'left_out' in step && step.left_out && <LeftOut count={step.left_out} />}
        </li>
      ))}
    </ol>
  )
}
