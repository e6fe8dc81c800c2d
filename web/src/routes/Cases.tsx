// Requests of data subjects, as officers see them: whom they are about, what is due, and the steps.
import { i18n } from '@lingui/core'
import { Button, Select, Textarea } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useState } from 'react'

import { body, client, ifUnchanged } from '../api/client'
import { casesQuery, jurisdictionsQuery, queryClient } from '../api/queries'
import { ProblemError } from '../api/problem'
import type { SubjectRequest } from '../api/types'
import { useAllowed } from '../app/Allowed'
import { Failure, Loading, Tag } from '../ui/layout'
import { Modal } from '../ui/overlays'
import { SubmitForm } from '../ui/SubmitForm'
import { Instant } from '../ui/time'
import { toast } from '../ui/toasts'
import { kindLabel, KINDS, stateLabel } from './settings/MyPrivacy'

/** Answered by one press once it is known who asks. */
const AT_ONCE = ['access', 'portability', 'restriction', 'objection']

/** What is open first, the earliest deadline before the others. */
function byDue(a: SubjectRequest, b: SubjectRequest): number {
  if ((a.closed_at === null) !== (b.closed_at === null)) return a.closed_at === null ? -1 : 1
  return a.answer_by < b.answer_by ? -1 : 1
}

export function Cases() {
  const may = useAllowed()
  const query = useQuery(casesQuery)
  const [closing, setClosing] = useState<SubjectRequest | null>(null)
  const refresh = () => queryClient.invalidateQueries({ queryKey: ['cases'] })
  const act = async (work: () => Promise<unknown>) => {
    try {
      await work()
      await refresh()
    } catch (error) {
      toast(ProblemError.of(error).message)
    }
  }
  const path = (id: string) => ({ params: { path: { id } } })
  return (
    <section className="block">
      <h2>{i18n.t('Requests of data subjects')}</h2>
      {query.isPending && <Loading rows={2} />}
      {query.isError && <Failure error={query.error} compact />}
      {query.data?.items.length === 0 && (
        <p className="hint">{i18n.t('Nobody asked for anything yet.')}</p>
      )}
      <ul className="plain-list">
        {[...(query.data?.items ?? [])].sort(byDue).map((one) => (
          <li key={one.id}>
            <span>
              <strong>{kindLabel(one.kind)}</strong>{' '}
              <span className="dim">
                {one.subject} · {one.text}
              </span>
            </span>
            <Tag tone={one.closed_at === null ? 'warn' : 'neutral'}>
              {one.is_paused ? i18n.t('waits until it is known who asks') : stateLabel(one.state)}
            </Tag>
            {one.closed_at === null && (
              <span className="dim">
                {i18n.t('answered by')} <Instant at={one.answer_by} age={false} />
              </span>
            )}
            {one.closed_at === null && one.source === 'mail' && may('request.write') && (
              <Select
                size="xs"
                aria-label={i18n.t('Which right the mail is about')}
                allowDeselect={false}
                value={one.kind}
                data={KINDS.map((value) => ({ value, label: kindLabel(value) }))}
                onChange={(kind) =>
                  void act(() =>
                    client.POST('/v1/requests/{id}/steps', {
                      ...path(one.id),
                      ...ifUnchanged(one),
                      body: { step: 'right', kind: kind ?? one.kind },
                    }),
                  )
                }
              />
            )}
            {one.closed_at === null && one.acknowledged_at === null && may('request.write') && (
              <Button
                size="compact-xs"
                variant="default"
                onClick={() =>
                  void act(() =>
                    client.POST('/v1/requests/{id}/steps', {
                      ...path(one.id),
                      ...ifUnchanged(one),
                      body: { step: 'acknowledge' },
                    }),
                  )
                }
              >
                {i18n.t('Acknowledge')}
              </Button>
            )}
            {one.closed_at === null && one.verified === null && may('request.write') && (
              <Button
                size="compact-xs"
                variant="default"
                onClick={() =>
                  void act(() =>
                    client.POST('/v1/requests/{id}/steps', {
                      ...path(one.id),
                      ...ifUnchanged(one),
                      body: { step: 'verify', how: 'document' },
                    }),
                  )
                }
              >
                {i18n.t('I have seen who it is')}
              </Button>
            )}
            {one.closed_at === null &&
              one.verified !== null &&
              AT_ONCE.includes(one.kind) &&
              may('request.fulfil') && (
                <Button
                  size="compact-xs"
                  onClick={() =>
                    void act(() => client.POST('/v1/requests/{id}/fulfil', path(one.id)))
                  }
                >
                  {i18n.t('Do it and answer')}
                </Button>
              )}
            {one.closed_at === null && may('request.write') && (
              <Button size="compact-xs" variant="default" onClick={() => setClosing(one)}>
                {i18n.t('Answer or refuse')}
              </Button>
            )}
          </li>
        ))}
      </ul>
      <Modal
        opened={closing !== null}
        onClose={() => setClosing(null)}
        title={i18n.t('Answer or refuse')}
      >
        {closing !== null && (
          <AnswerForm
            request={closing}
            onDone={() => {
              setClosing(null)
              void refresh()
            }}
          />
        )}
      </Modal>
    </section>
  )
}

function reasons() {
  return [
    { value: 'answer', label: i18n.t('Answer') },
    { value: 'unfounded', label: i18n.t('Refuse: unfounded') },
    { value: 'excessive', label: i18n.t('Refuse: excessive') },
    { value: 'not_held', label: i18n.t('Refuse: nothing is held') },
    { value: 'legal_duty', label: i18n.t('Refuse: a legal duty') },
    { value: 'others_rights', label: i18n.t('Refuse: rights of others') },
  ]
}

function AnswerForm(props: { request: SubjectRequest; onDone: () => void }) {
  const [reason, setReason] = useState('answer')
  const [text, setText] = useState('')
  const [jurisdiction, setJurisdiction] = useState<string | null>(null)
  const may = useAllowed()
  const laws = useQuery({ ...jurisdictionsQuery, enabled: may('register.read') })
  const submit = () =>
    body(
      client.POST('/v1/requests/{id}/steps', {
        params: { path: { id: props.request.id } },
        ...ifUnchanged(props.request),
        body:
          reason === 'answer'
            ? { step: 'answer', text }
            : { step: 'refuse', reason, text, jurisdiction },
      }),
    )
  return (
    <SubmitForm action={i18n.t('Send')} submit={submit} onDone={props.onDone}>
      <Select
        label={i18n.t('What should be done')}
        allowDeselect={false}
        value={reason}
        onChange={(value) => setReason(value ?? reason)}
        data={reasons()}
      />
      {reason !== 'answer' && (
        <Select
          label={i18n.t('Whose authority the letter names')}
          clearable
          value={jurisdiction}
          onChange={setJurisdiction}
          data={(laws.data?.items ?? []).map((one) => ({
            value: one.code,
            label: `${one.code} · ${one.authority ?? one.law}`,
          }))}
        />
      )}
      <Textarea
        label={i18n.t('In your words')}
        required={reason === 'answer'}
        maxLength={4000}
        value={text}
        onChange={(event) => setText(event.currentTarget.value)}
      />
    </SubmitForm>
  )
}
