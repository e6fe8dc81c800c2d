// Building blocks of pages: headers, empty and failed states, definition lists, copy fields.
import { i18n } from '@lingui/core'
import { useLingui } from '@lingui/react'
import { Button, Skeleton } from '@mantine/core'
import { useEffect, useState, type ReactNode } from 'react'

import { ProblemError } from '../api/problem'
import { actionLabel } from '../lib/actions'
import { title } from '../lib/product'
import { Icon, type IconName } from './icons'

export function Page(props: {
  title: string
  lead?: ReactNode
  actions?: ReactNode
  children: ReactNode
}) {
  useEffect(() => {
    document.title = title(props.title)
  }, [props.title])
  return (
    <div className="page">
      <header className="page-head">
        <div>
          <h1 tabIndex={-1} id="page-title">
            {props.title}
          </h1>
          {props.lead && <p className="lead">{props.lead}</p>}
        </div>
        {props.actions && <div className="page-actions">{props.actions}</div>}
      </header>
      {props.children}
    </div>
  )
}

export function Empty(props: {
  icon: IconName
  title: string
  children?: ReactNode
  action?: ReactNode
}) {
  return (
    <div className="empty">
      <span className="empty-icon">
        <Icon name={props.icon} size={28} />
      </span>
      <h2>{props.title}</h2>
      {props.children && <p>{props.children}</p>}
      {props.action && <div className="empty-action">{props.action}</div>}
    </div>
  )
}

/** Somebody else wrote since this was read. */
function isChanged({ problem }: ProblemError): boolean {
  return problem.status === 412 || problem.type === '/problems/changed'
}

function changedMeanwhile(): Explained {
  return {
    happened: i18n.t('Somebody else changed this in the meantime.'),
    safe: i18n.t('Their change is kept, yours was not applied.'),
    todo: i18n.t('Reload, look at the new state, then change it again.'),
  }
}

/** What the platform says of everything that is not there. */
const NOTHING_THERE = /^(there is )?no such resource$|^$/

type Explained = { happened: string; safe: string; todo: string }

/** An action is named in the reader's words; anything else is said as it is. */
function notAllowed(detail: string | undefined): string {
  const action = /^your role does not allow: ([a-z_]+\.[a-z_]+)$/.exec(detail ?? '')?.[1]
  if (action !== undefined) {
    return i18n.t('Your role does not allow this: {act}', { act: actionLabel(action) })
  }
  return detail ?? i18n.t('Your role does not allow this.')
}

/** What is wrong with the key above the organisation’s keys; null if nothing is. */
function keyAway(type: string | undefined): Explained | null {
  switch (type) {
    case '/problems/key-unavailable':
      return {
        happened: i18n.t('Your key service does not answer: nothing can be shown without your key.'),
        safe: i18n.t('Devices keep reporting. What they send is stored sealed and shown once the key is back.'),
        todo: i18n.t('Look after your key service. This goes on by itself.'),
      }
    case '/problems/key-revoked':
      return {
        happened: i18n.t('The key of your organisation’s data is revoked.'),
        safe: i18n.t('Nothing is lost, and nothing can be read or written until it is given back.'),
        todo: i18n.t('An owner or the security lead gives it back under Settings, Keys.'),
      }
    case '/problems/key-destroyed':
      return {
        happened: i18n.t('The key of your organisation’s data was destroyed.'),
        safe: i18n.t('What it protected cannot be opened by anybody any more.'),
        todo: i18n.t('The certificate of destruction says what that means.'),
      }
    default:
      return null
  }
}

function explain(error: ProblemError): Explained {
  const { problem } = error
  const kept = i18n.t('Nothing was changed.')
  const away = keyAway(problem.type)
  if (away !== null) return away
  switch (problem.status) {
    case 0:
      return {
        happened: i18n.t('The server did not answer.'),
        safe: i18n.t(
          'What was acknowledged before is stored. Devices keep reporting on their own.',
        ),
        todo: i18n.t('Check the connection, then try again.'),
      }
    case 401:
      return {
        happened: i18n.t('You are not signed in, or the session has ended.'),
        safe: kept,
        todo: i18n.t('Sign in again.'),
      }
    case 403:
      return {
        happened: notAllowed(problem.detail),
        safe: kept,
        todo: i18n.t('Ask an administrator of your organisation.'),
      }
    case 404:
      return {
        happened: NOTHING_THERE.test(problem.detail ?? '')
          ? i18n.t('There is no such thing here.')
          : (problem.detail ?? problem.title),
        safe: kept,
        todo: i18n.t('It may have been removed. Go back to the list.'),
      }
    case 410:
      return {
        happened: i18n.t('The ledger’s records of this time were destroyed for good.'),
        safe: i18n.t('They were past the time that your plan keeps them. The ledger’s entries stay, and their proofs hold.'),
        todo: i18n.t('Newer values have their papers.'),
      }
    case 412:
      return changedMeanwhile()
    case 409:
      if (isChanged(error)) return changedMeanwhile()
      return {
        happened: problem.detail ?? problem.title,
        safe: kept,
        todo: i18n.t('Look at the present state, then try again.'),
      }
    case 429:
      return {
        happened: i18n.t('Too many requests in a short time.'),
        safe: kept,
        todo: i18n.t('Wait a moment, then try again.'),
      }
    default:
      return {
        happened: problem.detail ?? problem.title,
        safe: kept,
        todo:
          problem.status >= 500
            ? i18n.t('Try again. If it stays, tell the operator the time and this text.')
            : i18n.t('Correct the input and try again.'),
      }
  }
}

/** What happened, in one sentence. */
export function failureSentence(error: unknown): string {
  return explain(ProblemError.of(error)).happened
}

function place(error: ProblemError): string | null {
  const { row, column, position, limit } = error.problem
  const parts = []
  if (row !== undefined) parts.push(i18n.t('row {row}', { row }))
  if (column !== undefined) parts.push(i18n.t('column {column}', { column }))
  // The file as a whole is no place in it.
  if (position !== undefined && position !== 'file')
    parts.push(i18n.t('position {position}', { position }))
  if (limit !== undefined) parts.push(i18n.t('limit {limit}', { limit }))
  return parts.length === 0 ? null : parts.join(', ')
}

export function Failure(props: {
  error: unknown
  retry?: () => void
  /** Shows what somebody else wrote meanwhile. */
  reload?: () => void
  compact?: boolean
}) {
  const error = ProblemError.of(props.error)
  const { happened, safe, todo } = explain(error)
  const where = place(error)
  return (
    <div className="failure" role="alert" data-compact={props.compact || undefined}>
      <p className="failure-happened">
        {/* What the platform itself says is in English. */}
        <span {...(error.status > 0 && happened === error.problem.detail && { lang: 'en' })}>{happened}</span>
        {where && <span className="failure-where"> ({where})</span>}
      </p>
      <p>{safe}</p>
      <p>
        {todo}{' '}
        {props.retry && error.status !== 403 && (
          <Button size="compact-xs" variant="default" onClick={props.retry}>
            {i18n.t('Try again')}
          </Button>
        )}
        {props.reload && isChanged(error) && (
          <Button size="compact-xs" variant="default" onClick={props.reload}>
            {i18n.t('Reload')}
          </Button>
        )}
      </p>
    </div>
  )
}

export function Loading(props: { rows?: number }) {
  return (
    <div className="loading" role="status" aria-busy="true" aria-label={i18n.t('Loading')}>
      {Array.from({ length: props.rows ?? 6 }, (_, i) => (
        <Skeleton key={i} height={20} radius="sm" />
      ))}
    </div>
  )
}

/** Said beside texts that stay in the language they were written in; nothing to readers of it. */
export function InEnglish() {
  const { i18n: lingui } = useLingui()
  if (lingui.locale.startsWith('en')) return null
  return <p className="dim in-english">{i18n.t('These texts are in English only.')}</p>
}

export function Facts(props: { items: [string, ReactNode][] }) {
  return (
    <dl className="facts">
      {props.items.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  )
}

export function Tag(props: {
  tone?: 'neutral' | 'warn' | 'simulated' | 'stale'
  children: ReactNode
}) {
  return (
    <span className="tag" data-tone={props.tone ?? 'neutral'}>
      {props.children}
    </span>
  )
}

/** Text to take along, with a button that says when it was copied. */
export function CopyField(props: { label: string; text: string; multiline?: boolean }) {
  const [copied, setCopied] = useState(false)
  const copy = async () => {
    await navigator.clipboard.writeText(props.text)
    setCopied(true)
    setTimeout(() => setCopied(false), 2_000)
  }
  return (
    <div className="copy-field">
      <div className="copy-head">
        <span className="field-label">{props.label}</span>
        <Button
          size="compact-xs"
          variant="default"
          leftSection={<Icon name={copied ? 'check' : 'copy'} size={14} />}
          onClick={() => void copy()}
          aria-label={i18n.t('Copy {what}', { what: props.label })}
        >
          <span aria-live="polite">{copied ? i18n.t('Copied') : i18n.t('Copy')}</span>
        </Button>
      </div>
      <pre className={props.multiline ? 'code multiline' : 'code'} tabIndex={0}>
        {props.text}
      </pre>
    </div>
  )
}

/** A table that scrolls sideways where it is wider than its place, with the keyboard too. */
export function TableScroll(props: { label: string; matrix?: boolean; children: ReactNode }) {
  const className = props.matrix ? 'table-scroll matrix' : 'table-scroll'
  return (
    <div className={className} tabIndex={0} role="region" aria-label={props.label}>
      {props.children}
    </div>
  )
}
