// One alert in full: what, where, since when, how far off, what helps, history, acknowledgement.
import { i18n } from '@lingui/core'
import { useLingui } from '@lingui/react'
import { Button, Textarea } from '@mantine/core'
import { useState, type ReactNode } from 'react'

import { body, client } from '../api/client'
import { queryClient } from '../api/queries'
import type { Alert } from '../api/types'
import { Allowed } from '../app/Allowed'
import { SealButton } from '../app/Papers'
import { formatValue } from '../lib/format'
import { needsAcknowledgement } from '../lib/severity'
import { alertSentence } from '../lib/sentence'
import { Icon } from '../ui/icons'
import { Facts, Failure } from '../ui/layout'
import { alertStateLabel, SeverityMark } from '../ui/marks'
import { toast } from '../ui/toasts'
import { Instant } from '../ui/time'
import { AlertEvents } from './AlertEvents'

/** As many as one request may hold; more are several requests. */
const AT_ONCE = 500

export async function acknowledge(ids: string[], comment: string): Promise<void> {
  const words = comment.trim() !== '' && { comment: comment.trim() }
  try {
    for (let start = 0; start < ids.length; start += AT_ONCE) {
      await body(
        client.POST('/v1/alerts/acknowledge', {
          body: { ids: ids.slice(start, start + AT_ONCE), ...words },
        }),
      )
    }
  } finally {
    await queryClient.invalidateQueries({ queryKey: ['alerts'] })
  }
  toast(
    i18n.t('{count, plural, one {# alert acknowledged} other {# alerts acknowledged}}', {
      count: ids.length,
    }),
  )
}

export function AcknowledgeForm(props: { ids: string[]; onDone?: () => void }) {
  const [comment, setComment] = useState('')
  const [busy, setBusy] = useState(false)
  const [error, setError] = useState<unknown>(null)
  const submit = async () => {
    setBusy(true)
    setError(null)
    try {
      await acknowledge(props.ids, comment)
      props.onDone?.()
    } catch (failure) {
      setError(failure)
    } finally {
      setBusy(false)
    }
  }
  return (
    <form
      className="stack acknowledge"
      onSubmit={(event) => {
        event.preventDefault()
        void submit()
      }}
    >
      <Textarea
        size="xs"
        autosize
        minRows={1}
        maxRows={5}
        maxLength={1000}
        label={i18n.t('Comment (optional, kept with the alert)')}
        value={comment}
        onChange={(event) => setComment(event.currentTarget.value)}
      />
      {error !== null && <Failure error={error} compact />}
      <Button type="submit" size="xs" loading={busy} leftSection={<Icon name="check" size={14} />}>
        {i18n.t('Acknowledge')}
      </Button>
    </form>
  )
}

export function AlertBody({
  alert,
  onFly,
  children,
}: {
  alert: Alert
  onFly?: () => void
  /** Shown between the facts and what to do. */
  children?: ReactNode
}) {
  const { i18n: lingui } = useLingui()
  const unit = alert.unit ?? undefined
  return (
    <article className="alert-body" data-severity={alert.severity}>
      <header className="details-head">
        <span className="over">
          <SeverityMark severity={alert.severity} label /> · {alertStateLabel(alert.state)}
        </span>
        <h2>{alertSentence(alert)}</h2>
      </header>
      <Facts
        items={[
          [
            i18n.t('Value then'),
            <span key="v" className="num row">
              {formatValue(alert.value as never, unit, lingui.locale)}
              {alert.key && (
                <SealButton
                  of={{
                    deviceId: alert.device_id,
                    deviceName: alert.device_name,
                    key: alert.key,
                    atMs: Date.parse(alert.raised_at),
                  }}
                />
              )}
            </span>,
          ],
          [
            i18n.t('Limit'),
            <span key="t" className="num">
              {alert.threshold === null ? '—' : formatValue(alert.threshold, unit, lingui.locale)}
            </span>,
          ],
          [i18n.t('Device'), alert.device_name],
          [i18n.t('Rule'), alert.rule_name],
          [i18n.t('Raised'), <Instant key="r" at={alert.raised_at} />],
          ...(alert.cleared_at
            ? [
                [i18n.t('Returned'), <Instant key="c" at={alert.cleared_at} />] as [
                  string,
                  React.ReactNode,
                ],
              ]
            : []),
        ]}
      />
      {alert.what_helps && (
        <div className="what-helps">
          <h3>{i18n.t('What usually helps')}</h3>
          <p>{alert.what_helps}</p>
        </div>
      )}
      {needsAcknowledgement(alert.state) && (
        <Allowed to="alert.acknowledge" on={{ device_id: alert.device_id }}>
          <AcknowledgeForm ids={[alert.id]} key={alert.id} />
        </Allowed>
      )}
      {onFly && (
        <Button
          size="xs"
          variant="default"
          leftSection={<Icon name="fly" size={14} />}
          onClick={onFly}
        >
          {i18n.t('Fly there')}
        </Button>
      )}
      {children}
      <AlertEvents events={alert.events} />
    </article>
  )
}
