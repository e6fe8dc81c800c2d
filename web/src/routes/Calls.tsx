// Commands to a device: send one, wait for its answer or keep it until the device comes, and see
// what became of those that are kept.
import { i18n } from '@lingui/core'
import { Button, Checkbox, NumberInput, TextInput, Textarea } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useState } from 'react'

import { body, client } from '../api/client'
import { callsQuery } from '../api/deviceQueries'
import { ProblemError } from '../api/problem'
import type { Call, Device } from '../api/types'
import { platformNow } from '../lib/now'
import { Failure, Loading, Tag } from '../ui/layout'
import { Modal } from '../ui/overlays'
import { SubmitForm } from '../ui/SubmitForm'
import { Age, Instant } from '../ui/time'
import { toast } from '../ui/toasts'

function stateLabel(state: string): string {
  switch (state) {
    case 'queued':
      return i18n.t('waits for the device')
    case 'sent':
      return i18n.t('on its way')
    case 'delivered':
      return i18n.t('the device has it')
    case 'successful':
      return i18n.t('done')
    case 'timeout':
      return i18n.t('no answer in time')
    case 'expired':
      return i18n.t('the device did not come in time')
    case 'failed':
      return i18n.t('not delivered')
    case 'deleted':
      return i18n.t('withdrawn')
    default:
      return state
  }
}

const OPEN = new Set(['queued', 'sent', 'delivered'])

function isJson(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

/** How long an answer is waited for, in seconds. */
const WAIT = { least: 1, usual: 10, most: 60 }
/** More outcomes of calls from this page are not held. */
const SENT_MAX = 20

type Sent = {
  number: number
  method: string
  atMs: number
  tookMs: number
  answer: string | null
  error: string | null
}

/** Calls to begin from; what a device understands is its own. */
const EXAMPLES: { method: string; params: string }[] = [
  { method: 'getState', params: '{}' },
  { method: 'setState', params: '{"on": true}' },
  { method: 'setValue', params: '{"key": "setpoint", "value": 21}' },
]

export function Calls({ device }: { device: Device }) {
  const query = useQuery(callsQuery(device.id))
  const [method, setMethod] = useState('')
  const [params, setParams] = useState('{}')
  const [seconds, setSeconds] = useState<number>(WAIT.usual)
  const [kept, setKept] = useState(false)
  const [oneWay, setOneWay] = useState(false)
  const [sent, setSent] = useState<Sent[]>([])
  const [confirming, setConfirming] = useState(false)
  const post = () =>
    body(
      client.POST('/v1/devices/{id}/rpc', {
        params: { path: { id: device.id } },
        body: {
          method: method.trim(),
          params: JSON.parse(params) as never,
          persistent: kept,
          one_way: oneWay,
          ...(!kept && !oneWay && { timeout_ms: seconds * 1_000 }),
        },
      }),
    )
  const note = (beganMs: number, answer: string | null, error: string | null) =>
    setSent((before) => {
      const number = (before[0]?.number ?? 0) + 1
      const took = { atMs: platformNow(), tookMs: platformNow() - beganMs }
      return [{ number, method: method.trim(), ...took, answer, error }, ...before].slice(0, SENT_MAX)
    })
  const send = async () => {
    const beganMs = platformNow()
    try {
      const { result } = await post()
      note(beganMs, oneWay ? i18n.t('It was sent.') : JSON.stringify(result, null, 2), null)
    } catch (error) {
      note(beganMs, null, ProblemError.of(error).message)
      throw error
    }
  }
  const keep = async () => {
    await post()
    await query.refetch()
  }
  return (
    <section className="block" id="commands">
      <h2>{i18n.t('Commands')}</h2>
      <div className="row" role="group" aria-label={i18n.t('Examples')}>
        <span className="dim">{i18n.t('Examples')}</span>
        {EXAMPLES.map((example) => (
          <Button
            key={example.method}
            size="compact-xs"
            variant="default"
            onClick={() => {
              setMethod(example.method)
              setParams(example.params)
            }}
          >
            <code>{example.method}</code>
          </Button>
        ))}
      </div>
      <SubmitForm
        action={i18n.t('Send the command')}
        submit={async () => (kept ? setConfirming(true) : await send())}
        incomplete={method.trim() === '' || !isJson(params)}
      >
        <TextInput
          label={i18n.t('Method')}
          value={method}
          maxLength={128}
          autoComplete="off"
          onChange={(event) => setMethod(event.currentTarget.value)}
        />
        <Textarea
          label={i18n.t('Parameters, as JSON')}
          value={params}
          autosize
          minRows={2}
          spellCheck={false}
          onChange={(event) => setParams(event.currentTarget.value)}
          error={isJson(params) ? null : i18n.t('This is not JSON.')}
        />
        <Checkbox
          label={i18n.t('Keep it until the device comes')}
          checked={kept}
          onChange={(event) => setKept(event.currentTarget.checked)}
        />
        <Checkbox
          label={i18n.t('Do not wait for an answer')}
          checked={oneWay}
          onChange={(event) => setOneWay(event.currentTarget.checked)}
        />
        {!kept && !oneWay && (
          <NumberInput
            label={i18n.t('Seconds to wait for the answer')}
            min={WAIT.least}
            max={WAIT.most}
            allowDecimal={false}
            value={seconds}
            onChange={(value) => setSeconds(Number(value) || WAIT.usual)}
          />
        )}
      </SubmitForm>
      <SentList sent={sent} />
      <h3>{i18n.t('Kept commands')}</h3>
      {query.isPending && <Loading rows={2} />}
      {query.isError && <Failure error={query.error} compact />}
      {query.data?.items.length === 0 && (
        <p className="hint">{i18n.t('None is kept. Those that ended stay here for a week.')}</p>
      )}
      <List
        device={device}
        items={query.data?.items ?? []}
        onChange={() => void query.refetch()}
      />
      <Modal
        opened={confirming}
        onClose={() => setConfirming(false)}
        title={i18n.t('Keep the command')}
      >
        <SubmitForm
          action={i18n.t('Keep the command')}
          submit={keep}
          onDone={() => setConfirming(false)}
          onCancel={() => setConfirming(false)}
        >
          <p>
            {i18n.t(
              'The device gets “{method}” as soon as it listens, within a day, whoever looks then. It can be withdrawn until the device has it.',
              { method: method.trim() },
            )}
          </p>
        </SubmitForm>
      </Modal>
    </section>
  )
}

/** What was sent from this page, and what became of it. Failures are said by the form. */
function SentList({ sent }: { sent: Sent[] }) {
  const newest = sent[0]
  return (
    <>
      {/* The answer alone is read aloud: the times in the list change all the while. */}
      <p className="visually-hidden" role="status">
        {newest?.answer != null && `${newest.method}: ${newest.answer}`}
      </p>
      {sent.length > 0 && <Outcomes sent={sent} />}
    </>
  )
}

function Outcomes({ sent }: { sent: Sent[] }) {
  return (
    <div>
      <h3>{i18n.t('Sent from this page')}</h3>
      <ul className="plain-list scrolls" tabIndex={0} aria-label={i18n.t('Sent from this page')}>
        {sent.map((one) => (
          <li key={one.number}>
            <span>
              <strong>{one.method}</strong>
              {one.answer !== null && <pre className="code wrap">{one.answer}</pre>}
            </span>
            {one.error !== null && (
              <Tag tone="warn">
                <span lang="en">{one.error}</span>
              </Tag>
            )}
            <span className="dim num">
              {i18n.t('after {milliseconds} ms', { milliseconds: Math.round(one.tookMs) })}
            </span>
            <span className="dim">
              <Age at={one.atMs} />
            </span>
          </li>
        ))}
      </ul>
    </div>
  )
}

function List(props: { device: Device; items: Call[]; onChange: () => void }) {
  const withdraw = async (call: Call) => {
    try {
      await client.DELETE('/v1/devices/{id}/rpc/{call}', {
        params: { path: { id: props.device.id, call: call.id } },
      })
    } catch (error) {
      toast(ProblemError.of(error).message)
    }
    props.onChange()
  }
  if (props.items.length === 0) return null
  return (
    <ul className="plain-list">
      {props.items.map((call) => (
        <li key={call.id}>
          <span>
            <strong>{call.method}</strong>{' '}
            {call.result != null && <code>{JSON.stringify(call.result)}</code>}
            {call.error != null && <span className="dim">{call.error}</span>}
          </span>
          <Tag tone={call.state === 'successful' || OPEN.has(call.state) ? 'neutral' : 'warn'}>
            {stateLabel(call.state)}
          </Tag>
          <span className="dim">
            <Instant at={call.created_at} />
          </span>
          {OPEN.has(call.state) && (
            <Button size="compact-xs" variant="default" onClick={() => void withdraw(call)}>
              {i18n.t('Withdraw')}
            </Button>
          )}
        </li>
      ))}
    </ul>
  )
}
