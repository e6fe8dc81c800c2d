// My privacy: one's rights over one's own data, what was asked, and a copy of everything kept.
import { i18n } from '@lingui/core'
import { Button, Select, Textarea } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useState } from 'react'

import { body, client } from '../../api/client'
import { ownRequestsQuery, queryClient } from '../../api/queries'
import { ProblemError } from '../../api/problem'
import { save } from '../../lib/save'
import { Failure, Loading, Tag } from '../../ui/layout'
import { Modal } from '../../ui/overlays'
import { SubmitForm } from '../../ui/SubmitForm'
import { Instant } from '../../ui/time'
import { toast } from '../../ui/toasts'

export const KINDS = [
  'access',
  'rectification',
  'erasure',
  'restriction',
  'portability',
  'objection',
  'complaint',
]

export function kindLabel(kind: string): string {
  switch (kind) {
    case 'access':
      return i18n.t('A copy of my data')
    case 'rectification':
      return i18n.t('Correct my data')
    case 'erasure':
      return i18n.t('Erase my data')
    case 'restriction':
      return i18n.t('Keep my data and do nothing else with it')
    case 'portability':
      return i18n.t('Take my data elsewhere')
    case 'objection':
      return i18n.t('Object to a use of my data')
    case 'complaint':
      return i18n.t('Complain')
    default:
      return kind
  }
}

export function stateLabel(state: string): string {
  switch (state) {
    case 'answered':
      return i18n.t('answered')
    case 'refused':
      return i18n.t('refused')
    case 'withdrawn':
      return i18n.t('taken back')
    case 'carrying_out':
      return i18n.t('being erased')
    default:
      return i18n.t('open')
  }
}

export function MyPrivacy() {
  const query = useQuery(ownRequestsQuery)
  const [asking, setAsking] = useState(false)
  const [fetching, setFetching] = useState(false)
  const refresh = () => queryClient.invalidateQueries({ queryKey: ['own-requests'] })
  const download = async () => {
    setFetching(true)
    try {
      const answer = await client.POST('/v1/requests/own/export', { parseAs: 'blob' })
      save('my-data.zip', answer.data as unknown as Blob)
    } catch (error) {
      toast(ProblemError.of(error).message)
    }
    setFetching(false)
  }
  const withdraw = async (id: string) => {
    try {
      await client.DELETE('/v1/requests/own/{id}', { params: { path: { id } } })
      await refresh()
    } catch (error) {
      toast(ProblemError.of(error).message)
    }
  }
  return (
    <section className="block">
      <div className="block-head">
        <h2>{i18n.t('My privacy')}</h2>
        <Button size="xs" variant="default" loading={fetching} onClick={() => void download()}>
          {i18n.t('Download my data')}
        </Button>
        <Button size="xs" onClick={() => setAsking(true)}>
          {i18n.t('Use a right')}
        </Button>
      </div>
      {query.isPending && <Loading rows={2} />}
      {query.isError && <Failure error={query.error} compact />}
      {query.data?.items.length === 0 && (
        <p className="hint">
          {i18n.t('You asked for nothing yet. Every request is answered within 30 days.')}
        </p>
      )}
      <ul className="plain-list">
        {query.data?.items.map((one) => (
          <li key={one.id}>
            <span>
              <strong>{kindLabel(one.kind)}</strong>{' '}
              <span className="dim">
                {one.answer ??
                  ([one.refusal, one.authority].filter(Boolean).join(' · ') || one.text)}
              </span>
            </span>
            <Tag tone={one.closed_at === null ? 'warn' : 'neutral'}>{stateLabel(one.state)}</Tag>
            {one.closed_at === null && (
              <span className="dim">
                {i18n.t('answered by')} <Instant at={one.answer_by} age={false} />
              </span>
            )}
            {((one.closed_at === null && one.state !== 'carrying_out') ||
              (one.state === 'answered' && ['restriction', 'objection'].includes(one.kind))) && (
              <Button size="compact-xs" variant="default" onClick={() => void withdraw(one.id)}>
                {i18n.t('Take back')}
              </Button>
            )}
          </li>
        ))}
      </ul>
      <Modal opened={asking} onClose={() => setAsking(false)} title={i18n.t('Use a right')}>
        <RightForm
          onDone={() => {
            setAsking(false)
            void refresh()
          }}
        />
      </Modal>
    </section>
  )
}

/** What rests on a legitimate interest, and can be objected to. */
function purposes() {
  return [
    { value: 'twin_building', label: i18n.t('Building twins and showing them') },
    { value: 'service_communication', label: i18n.t('Mails about the service') },
  ]
}

function RightForm(props: { onDone: () => void }) {
  const [kind, setKind] = useState('access')
  const [purpose, setPurpose] = useState('service_communication')
  const [text, setText] = useState('')
  const needsWords = kind === 'rectification' || kind === 'complaint'
  const submit = () =>
    body(
      client.POST('/v1/requests/own', {
        body: {
          kind,
          text,
          purpose: kind === 'objection' ? purpose : null,
          language: i18n.locale,
        },
      }),
    )
  return (
    <SubmitForm action={i18n.t('Send')} submit={submit} onDone={props.onDone}>
      <Select
        label={i18n.t('What should be done')}
        allowDeselect={false}
        value={kind}
        onChange={(value) => setKind(value ?? kind)}
        data={KINDS.map((value) => ({ value, label: kindLabel(value) }))}
      />
      {kind === 'objection' && (
        <Select
          label={i18n.t('Which use')}
          allowDeselect={false}
          value={purpose}
          onChange={(value) => setPurpose(value ?? purpose)}
          data={purposes()}
        />
      )}
      {kind === 'erasure' && (
        <p className="hint">
          {i18n.t(
            'Your account here goes with it, and the readings about you. Take your data with you before: afterwards nobody has it.',
          )}
        </p>
      )}
      <Textarea
        label={needsWords ? i18n.t('In your words') : i18n.t('In your words (optional)')}
        required={needsWords}
        maxLength={4000}
        value={text}
        onChange={(event) => setText(event.currentTarget.value)}
      />
    </SubmitForm>
  )
}
