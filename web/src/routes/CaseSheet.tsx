// One request of a data subject: what was done, and every step that an officer can take.
import { i18n } from '@lingui/core'
import { Button, Group, Select, Textarea, TextInput } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useState } from 'react'

import { body, client, ifUnchanged } from '../api/client'
import { caseQuery, jurisdictionsQuery, queryClient } from '../api/queries'
import { ProblemError } from '../api/problem'
import type { RequestHistory, SubjectRequest } from '../api/types'
import { useAllowed } from '../app/Allowed'
import { useNow } from '../lib/now'
import { save } from '../lib/save'
import { ConfirmTyped } from '../ui/dialogs'
import { Failure, Loading, Tag } from '../ui/layout'
import { SubmitForm } from '../ui/SubmitForm'
import { Instant } from '../ui/time'
import { toast } from '../ui/toasts'
import { eventLabel, stepLabel } from './caseWords'
import { kindLabel, KINDS, stateLabel } from './settings/MyPrivacy'

/** Answered by carrying it out. */
const CARRIED_OUT = ['access', 'portability', 'restriction', 'objection', 'erasure']
const COPIES = ['access', 'portability']
const LIMITS = ['restriction', 'objection']

/** A step that needs words of the officer. */
type Asked =
  | 'ask_identity'
  | 'verify'
  | 'person'
  | 'right'
  | 'extend'
  | 'note'
  | 'answer'
  | 'refuse'
  | 'reopen'

/** What a request is, as far as its steps go by it. */
function stand(one: SubjectRequest) {
  const isOpen = one.closed_at === null && one.state !== 'carrying_out'
  return {
    isOpen,
    isKnown: one.verified !== null && !one.is_paused,
    isLimit: one.state === 'answered' && LIMITS.includes(one.kind),
    isRefused: one.state === 'refused',
  }
}

export function CaseSheet(props: { id: string }) {
  const query = useQuery(caseQuery(props.id))
  if (query.isPending) return <Loading rows={4} />
  if (query.isError) return <Failure error={query.error} compact />
  return <Sheet history={query.data} />
}

/** How far it is, and whether its time is over. */
export function CaseState(props: { request: SubjectRequest; nowMs: number }) {
  const { request: one, nowMs } = props
  if (one.closed_at !== null) return <Tag>{stateLabel(one.state)}</Tag>
  const isOverdue = Date.parse(one.answer_by) < nowMs && !one.is_paused
  return (
    <>
      <Tag tone="warn">
        {one.is_paused ? i18n.t('waits until it is known who asks') : stateLabel(one.state)}
      </Tag>
      {isOverdue && <Tag tone="stale">{i18n.t('overdue')}</Tag>}
      <span className="dim">
        {i18n.t('answered by')} <Instant at={one.answer_by} age={false} />
      </span>
    </>
  )
}

function Sheet(props: { history: RequestHistory }) {
  const { request: one, events, steps } = props.history
  const now = useNow()
  return (
    <div className="stack">
      <h3>{kindLabel(one.kind)}</h3>
      <dl className="facts">
        <Fact name={i18n.t('Whom it is about')} text={one.subject} />
        <Fact name={i18n.t('Name in personal streams')} text={props.history.person} />
        <Fact name={i18n.t('In their words')} text={one.text} />
        <div>
          <dt>{i18n.t('Received')}</dt>
          <dd>
            <Instant at={one.received_at} />
          </dd>
        </div>
        <Fact name={i18n.t('Known by')} text={one.verified} />
        <Fact
          name={i18n.t('Newest alarm')}
          text={one.alarm === null ? null : eventLabel(one.alarm)}
        />
        <Fact name={i18n.t('Refused because')} text={one.refusal} />
        <Fact name={i18n.t('Answer')} text={one.answer} />
      </dl>
      <Group>
        <CaseState request={one} nowMs={now} />
      </Group>
      <Steps history={props.history} />
      <h4>{i18n.t('What was done')}</h4>
      <ul className="plain-list">
        {steps.map((step) => (
          <li key={`step ${step.name}`}>
            <span>
              {stepLabel(step.name)}{' '}
              <span className="dim num">
                {step.met.map((met) => `${met.what} ${met.count}`).join(' · ')}
              </span>
            </span>
            <Instant at={step.at} age={false} />
          </li>
        ))}
        {events.map((event, at) => (
          <li key={at}>
            <span>
              {eventLabel(event.kind)}{' '}
              <span className="dim">
                {[event.by, event.text].filter((part) => part !== null).join(' · ')}
              </span>
            </span>
            <Instant at={event.at} age={false} />
          </li>
        ))}
      </ul>
    </div>
  )
}

function Fact(props: { name: string; text: string | null }) {
  if (props.text === null || props.text === '') return null
  return (
    <div>
      <dt>{props.name}</dt>
      <dd>{props.text}</dd>
    </div>
  )
}

function refresh() {
  return queryClient.invalidateQueries({ queryKey: ['cases'] })
}

function Steps(props: { history: RequestHistory }) {
  const { request: one } = props.history
  const may = useAllowed()
  const [asked, setAsked] = useState<Asked | null>(null)
  const [erasing, setErasing] = useState(false)
  const { isOpen, isKnown, isLimit, isRefused } = stand(one)
  const path = { params: { path: { id: one.id } } }
  const act = async (work: () => Promise<unknown>) => {
    try {
      await work()
    } catch (error) {
      toast(ProblemError.of(error).message)
    }
    await refresh()
  }
  const step = (name: string) =>
    act(() =>
      client.POST('/v1/requests/{id}/steps', {
        ...path,
        ...ifUnchanged(one),
        body: { step: name },
      }),
    )
  const fulfil = () => client.POST('/v1/requests/{id}/fulfil', path)
  const copy = () =>
    act(async () => {
      const answer = await client.POST('/v1/requests/{id}/copy', { ...path, parseAs: 'blob' })
      save('copy-of-data.zip', answer.data as unknown as Blob)
    })
  const certificate = () =>
    act(async () => {
      const answer = await client.GET('/v1/requests/{id}/certificate', { ...path, parseAs: 'blob' })
      save('erasure-certificate.json', answer.data as unknown as Blob)
    })
  const press = (label: string, run: () => void) => (
    <Button key={label} size="compact-sm" variant="default" onClick={run}>
      {label}
    </Button>
  )
  const mayWrite = may('request.write')
  const mayFulfil = may('request.fulfil')
  const isComplaint = one.kind === 'complaint'
  return (
    <>
      <Group gap="xs">
        {isOpen && mayWrite && (
          <>
            {one.acknowledged_at === null &&
              press(i18n.t('Acknowledge'), () => void step('acknowledge'))}
            {one.source === 'mail' &&
              press(i18n.t('Which right the mail is about'), () => setAsked('right'))}
            {one.verified === null && !isComplaint && (
              <>
                {press(i18n.t('Ask who it is'), () => setAsked('ask_identity'))}
                {press(i18n.t('I know who it is'), () => setAsked('verify'))}
              </>
            )}
            {press(i18n.t('Name in personal streams'), () => setAsked('person'))}
            {!one.is_paused && press(i18n.t('Take more time'), () => setAsked('extend'))}
            {!CARRIED_OUT.includes(one.kind) &&
              press(i18n.t('Answer'), () => setAsked('answer'))}
            {press(i18n.t('Refuse'), () => setAsked('refuse'))}
          </>
        )}
        {mayWrite && press(i18n.t('Note'), () => setAsked('note'))}
        {isOpen &&
          isKnown &&
          mayFulfil &&
          CARRIED_OUT.includes(one.kind) &&
          (one.kind === 'erasure'
            ? press(i18n.t('Erase everything'), () => setErasing(true))
            : press(i18n.t('Do it and answer'), () => void act(fulfil)))}
        {isKnown &&
          mayFulfil &&
          COPIES.includes(one.kind) &&
          (isOpen || one.state === 'answered') &&
          press(i18n.t('Save the copy'), () => void copy())}
        {isLimit && mayWrite && press(i18n.t('End it'), () => void step('lift'))}
        {isRefused && mayWrite && press(i18n.t('Open again'), () => setAsked('reopen'))}
        {props.history.has_certificate &&
          press(i18n.t('Save the certificate'), () => void certificate())}
      </Group>
      {asked !== null && (
        <StepForm
          key={asked}
          asked={asked}
          history={props.history}
          onDone={() => {
            setAsked(null)
            void refresh()
          }}
          onCancel={() => setAsked(null)}
        />
      )}
      <ConfirmTyped
        opened={erasing}
        onClose={() => setErasing(false)}
        title={i18n.t('Erase everything')}
        name={one.subject}
        action={i18n.t('Erase everything')}
        onConfirm={async () => {
          await fulfil()
          await refresh()
        }}
      >
        <p>
          {i18n.t(
            'The account, the mails and messages, and the readings about this person go for ever, from restored backups, too. What has to stay names nobody any more. Nobody can stop it once it has begun.',
          )}
        </p>
      </ConfirmTyped>
    </>
  )
}

function reasons() {
  return [
    { value: 'not_verified', label: i18n.t('It is not known who asks') },
    { value: 'unfounded', label: i18n.t('It is unfounded') },
    { value: 'excessive', label: i18n.t('It is excessive') },
    { value: 'not_held', label: i18n.t('Nothing is held') },
    { value: 'legal_duty', label: i18n.t('A legal duty') },
    { value: 'others_rights', label: i18n.t('Rights of others') },
  ]
}

function firstChoice(asked: Asked, request: SubjectRequest): string {
  if (asked === 'verify') return 'document'
  return asked === 'right' ? request.kind : 'unfounded'
}

function textLabel(asked: Asked): string {
  if (asked === 'ask_identity') return i18n.t('How and when you asked')
  return asked === 'person' ? i18n.t('Name in personal streams') : i18n.t('In your words')
}

function StepForm(props: {
  asked: Asked
  history: RequestHistory
  onDone: () => void
  onCancel: () => void
}) {
  const { asked, history } = props
  const may = useAllowed()
  const [text, setText] = useState(asked === 'person' ? (history.person ?? '') : '')
  const [day, setDay] = useState('')
  const [choice, setChoice] = useState(firstChoice(asked, history.request))
  const [law, setLaw] = useState<string | null>(null)
  const wantsLaw = asked === 'refuse' && may('register.read')
  const laws = useQuery({ ...jurisdictionsQuery, enabled: wantsLaw })
  const fields = () => {
    switch (asked) {
      case 'verify':
        return { how: choice }
      case 'person':
        return { person: text.trim() === '' ? null : text }
      case 'right':
        return { kind: choice }
      case 'extend':
        return { until: new Date(`${day}T00:00:00Z`).toISOString(), reason: text }
      case 'refuse':
        return { reason: choice, text, jurisdiction: law }
      default:
        return { text }
    }
  }
  const submit = () =>
    body(
      client.POST('/v1/requests/{id}/steps', {
        params: { path: { id: history.request.id } },
        ...ifUnchanged(history.request),
        body: { step: asked, ...fields() },
      }),
    )
  const hasText = !['verify', 'right'].includes(asked)
  const needsText = !['ask_identity', 'verify', 'right', 'person', 'refuse'].includes(asked)
  const isIncomplete = (needsText && text.trim() === '') || (asked === 'extend' && day === '')
  return (
    <SubmitForm
      action={i18n.t('Send')}
      submit={submit}
      onDone={props.onDone}
      onCancel={props.onCancel}
      onReload={() => void refresh()}
      incomplete={isIncomplete}
    >
      {asked === 'verify' && (
        <Select
          label={i18n.t('How it is known')}
          allowDeselect={false}
          value={choice}
          onChange={(value) => setChoice(value ?? choice)}
          data={[
            { value: 'document', label: i18n.t('By a document that I have seen') },
            { value: 'known', label: i18n.t('The person is known to us') },
          ]}
        />
      )}
      {asked === 'right' && (
        <Select
          label={i18n.t('Which right the mail is about')}
          allowDeselect={false}
          value={choice}
          onChange={(value) => setChoice(value ?? choice)}
          data={KINDS.map((value) => ({ value, label: kindLabel(value) }))}
        />
      )}
      {asked === 'refuse' && (
        <Select
          label={i18n.t('Refused because')}
          allowDeselect={false}
          value={choice}
          onChange={(value) => setChoice(value ?? choice)}
          data={reasons()}
        />
      )}
      {wantsLaw && (
        <Select
          label={i18n.t('Whose authority the letter names')}
          clearable
          value={law}
          onChange={setLaw}
          data={(laws.data?.items ?? []).map((one) => ({
            value: one.code,
            label: `${one.code} · ${one.authority ?? one.law}`,
          }))}
        />
      )}
      {asked === 'extend' && (
        <TextInput
          label={i18n.t('Until')}
          type="date"
          required
          value={day}
          onChange={(event) => setDay(event.currentTarget.value)}
        />
      )}
      {hasText && (
        <Textarea
          label={textLabel(asked)}
          {...(asked === 'ask_identity' && {
            description: i18n.t(
              'Left empty, a code or a letter is mailed. Where none can be, ask in another way and say so here: the clock stands from now on.',
            ),
          })}
          required={needsText}
          maxLength={4000}
          value={text}
          onChange={(event) => setText(event.currentTarget.value)}
        />
      )}
    </SubmitForm>
  )
}
