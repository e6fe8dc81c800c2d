// Commands to a device: send one, wait for its answer or keep it until the device comes, and see
// what became of those that are kept.
import { i18n } from '@lingui/core'
import { Button, Checkbox, TextInput, Textarea } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useState } from 'react'

import { body, client } from '../api/client'
import { callsQuery } from '../api/deviceQueries'
import { ProblemError } from '../api/problem'
import type { Call, Device } from '../api/types'
import { Failure, Loading, Tag } from '../ui/layout'
import { SubmitForm } from '../ui/SubmitForm'
import { Instant } from '../ui/time'
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

export function Calls({ device }: { device: Device }) {
  const query = useQuery(callsQuery(device.id))
  const [method, setMethod] = useState('')
  const [params, setParams] = useState('{}')
  const [kept, setKept] = useState(false)
  const [oneWay, setOneWay] = useState(false)
  const [answer, setAnswer] = useState<string | null>(null)
  const send = async () => {
    setAnswer(null)
    const sent = await body(
      client.POST('/v1/devices/{id}/rpc', {
        params: { path: { id: device.id } },
        body: {
          method: method.trim(),
          params: JSON.parse(params) as never,
          persistent: kept,
          one_way: oneWay,
        },
      }),
    )
    if (!kept) {
      setAnswer(oneWay ? i18n.t('It was sent.') : JSON.stringify(sent.result, null, 2))
    }
    await query.refetch()
  }
  return (
    <section className="block">
      <h2>{i18n.t('Commands')}</h2>
      <SubmitForm
        action={i18n.t('Send the command')}
        submit={send}
        incomplete={method.trim() === '' || !isJson(params)}
      >
        <TextInput
          label={i18n.t('Method')}
          value={method}
          maxLength={128}
          onChange={(event) => setMethod(event.currentTarget.value)}
        />
        <Textarea
          label={i18n.t('Parameters, as JSON')}
          value={params}
          autosize
          minRows={2}
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
      </SubmitForm>
      {answer !== null && (
        <pre role="status" className="code">
          {answer}
        </pre>
      )}
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
    </section>
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
