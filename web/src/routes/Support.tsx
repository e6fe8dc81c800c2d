// Support, from the customer's side: tickets, what each opens to support and until when, and
// every step support took.
import { i18n } from '@lingui/core'
import { Button, Checkbox, Group, Select, Textarea, TextInput } from '@mantine/core'
import { useInfiniteQuery, useQuery } from '@tanstack/react-query'
import { useState } from 'react'

import { body, client } from '../api/client'
import { ProblemError } from '../api/problem'
import { activityQuery, queryClient, supportQuery } from '../api/queries'
import type { Grant, SupportArea, Ticket } from '../api/types'
import { Icon } from '../ui/icons'
import { Empty, Failure, Loading, Page, Tag } from '../ui/layout'
import { Modal } from '../ui/overlays'
import { Age, Instant } from '../ui/time'
import { toast } from '../ui/toasts'
import { SubmitForm } from '../ui/SubmitForm'

export const AREAS: SupportArea[] = ['devices', 'telemetry', 'twin', 'alerts', 'settings']
const HOURS = [1, 4, 8, 24, 72]

export function areaLabel(area: SupportArea): string {
  switch (area) {
    case 'devices':
      return i18n.t('Devices')
    case 'telemetry':
      return i18n.t('Telemetry')
    case 'twin':
      return i18n.t('Twins')
    case 'alerts':
      return i18n.t('Alerts')
    case 'settings':
      return i18n.t('Settings')
  }
}

export function areaList(areas: SupportArea[]): string {
  return areas.map(areaLabel).join(', ')
}

function grantState(state: Grant['state']): string {
  switch (state) {
    case 'asked':
      return i18n.t('asked for')
    case 'live':
      return i18n.t('open now')
    case 'revoked':
      return i18n.t('taken back')
    case 'ended':
      return i18n.t('ended')
  }
}

const refresh = () => queryClient.invalidateQueries({ queryKey: ['support'] })

async function act(work: () => Promise<unknown>) {
  try {
    await work()
    await refresh()
  } catch (error) {
    toast(ProblemError.of(error).message)
  }
}

export function SupportPage() {
  const query = useQuery(supportQuery)
  const [opening, setOpening] = useState(false)
  const [granting, setGranting] = useState<Ticket | null>(null)
  const open = (
    <button type="button" className="button primary" onClick={() => setOpening(true)}>
      <Icon name="plus" size={16} /> {i18n.t('Open a ticket')}
    </button>
  )
  return (
    <Page
      title={i18n.t('Support')}
      lead={i18n.t(
        'Support sees nothing here until you grant it, then only what you chose, for reading, until the time you set. Every step is listed.',
      )}
      actions={open}
    >
      {query.isPending && <Loading />}
      {query.isError && <Failure error={query.error} retry={() => void query.refetch()} />}
      {query.data && query.data.break_glass.length > 0 && (
        <section className="block">
          <h2>{i18n.t('Access without your request')}</h2>
          <p className="hint">
            {i18n.t(
              'Two members of the platform’s staff opened read-only access because they judged it urgent.',
            )}
          </p>
          {query.data.break_glass.map((grant) => (
            <GrantLine key={grant.id} grant={grant} />
          ))}
        </section>
      )}
      {query.data?.tickets.length === 0 && (
        <Empty icon="support" title={i18n.t('No ticket yet')} action={open}>
          {i18n.t('A ticket opens nothing by itself. You grant what support may see for it.')}
        </Empty>
      )}
      {query.data?.tickets.map((ticket) => (
        <section key={ticket.id} className="card stack">
          <div className="card-head">
            <h2>{ticket.subject}</h2>
            {ticket.closed_at !== null && <Tag>{i18n.t('closed')}</Tag>}
          </div>
          <p>{ticket.text}</p>
          <p className="dim">
            {ticket.opened_by} · <Instant at={ticket.opened_at} />
          </p>
          {ticket.grants.map((grant) => (
            <GrantLine key={grant.id} grant={grant} />
          ))}
          {ticket.closed_at === null && (
            <Group>
              <Button size="xs" onClick={() => setGranting(ticket)}>
                {i18n.t('Grant access')}
              </Button>
              <Button
                size="xs"
                variant="default"
                onClick={() =>
                  void act(() =>
                    client.DELETE('/v1/support-tickets/{id}', {
                      params: { path: { id: ticket.id } },
                    }),
                  )
                }
              >
                {i18n.t('Close the ticket')}
              </Button>
            </Group>
          )}
        </section>
      ))}
      <Modal opened={opening} onClose={() => setOpening(false)} title={i18n.t('Open a ticket')}>
        <TicketForm
          onDone={() => {
            setOpening(false)
            void refresh()
          }}
        />
      </Modal>
      <Modal
        opened={granting !== null}
        onClose={() => setGranting(null)}
        title={i18n.t('Grant access')}
      >
        {granting !== null && (
          <GrantForm
            ticket={granting}
            onDone={() => {
              setGranting(null)
              void refresh()
            }}
          />
        )}
      </Modal>
    </Page>
  )
}

function GrantLine(props: { grant: Grant }) {
  const { grant } = props
  const live = grant.state === 'live'
  const [shown, setShown] = useState(live)
  return (
    <div className="grant" data-live={live || undefined}>
      <div className="grant-head">
        <Tag tone={live ? 'warn' : 'neutral'}>{grantState(grant.state)}</Tag>
        <span className="grant-what">
          {areaList(grant.areas)}
          {grant.reason !== '' && <span className="dim"> · {grant.reason}</span>}
        </span>
        <span className="dim">
          {i18n.t('until')} <Instant at={grant.revoked_at ?? grant.expires_at} age={false} />
        </span>
        <Button
          size="compact-xs"
          variant="default"
          aria-expanded={shown}
          onClick={() => setShown(!shown)}
        >
          {shown ? i18n.t('Hide the steps') : i18n.t('Show the steps')}
        </Button>
        {(live || grant.state === 'asked') && (
          <Button
            size="compact-xs"
            color="var(--critical)"
            onClick={() =>
              void act(() =>
                client.DELETE('/v1/support-grants/{id}', { params: { path: { id: grant.id } } }),
              )
            }
          >
            {i18n.t('Revoke now')}
          </Button>
        )}
      </div>
      {shown && <Steps grant={grant} />}
    </div>
  )
}

/** What support did with a grant, newest first, as it happens. */
function Steps(props: { grant: Grant }) {
  const query = useInfiniteQuery(activityQuery({ actor: props.grant.id }))
  const steps = query.data?.pages.flatMap((page) => page.items) ?? []
  if (query.isError) return <Failure error={query.error} compact />
  if (query.isPending) return <Loading rows={2} />
  if (steps.length === 0) return <p className="hint">{i18n.t('Support has not come in.')}</p>
  return (
    <ul className="support-steps" tabIndex={0} aria-label={i18n.t('Steps of support')}>
      {steps.map((step) => (
        <li key={step.id}>
          <Age at={step.at} />
          <code>{step.action}</code>
          <span className="dim">{step.resource}</span>
          {step.outcome !== 'done' && <Tag tone="warn">{i18n.t('refused')}</Tag>}
          <span className="dim">{step.actor}</span>
        </li>
      ))}
    </ul>
  )
}

function TicketForm(props: { onDone: () => void }) {
  const [subject, setSubject] = useState('')
  const [text, setText] = useState('')
  const submit = async () => {
    await body(client.POST('/v1/support-tickets', { body: { subject, text } }))
    props.onDone()
  }
  return (
    <SubmitForm action={i18n.t('Open')} submit={submit}>
      <TextInput
        label={i18n.t('Subject')}
        required
        data-autofocus
        maxLength={200}
        value={subject}
        onChange={(event) => setSubject(event.currentTarget.value)}
      />
      <Textarea
        label={i18n.t('What happened')}
        required
        autosize
        minRows={4}
        maxLength={4000}
        value={text}
        onChange={(event) => setText(event.currentTarget.value)}
      />
    </SubmitForm>
  )
}

export function AreaChoice(props: {
  value: SupportArea[]
  onChange: (areas: SupportArea[]) => void
}) {
  return (
    <Checkbox.Group
      label={i18n.t('What support may see, for reading only')}
      value={props.value}
      onChange={(value) => props.onChange(AREAS.filter((area) => value.includes(area)))}
    >
      <div className="area-choice">
        {AREAS.map((area) => (
          <Checkbox key={area} value={area} label={areaLabel(area)} size="sm" />
        ))}
      </div>
    </Checkbox.Group>
  )
}

function GrantForm(props: { ticket: Ticket; onDone: () => void }) {
  const [areas, setAreas] = useState<SupportArea[]>([])
  const [hours, setHours] = useState(4)
  const submit = async () => {
    await body(
      client.POST('/v1/support-tickets/{id}/grants', {
        params: { path: { id: props.ticket.id } },
        body: { areas, hours },
      }),
    )
    props.onDone()
  }
  return (
    <SubmitForm action={i18n.t('Grant')} submit={submit} incomplete={areas.length === 0}>
      <AreaChoice value={areas} onChange={setAreas} />
      <Select
        label={i18n.t('For how long')}
        allowDeselect={false}
        value={String(hours)}
        onChange={(value) => setHours(Number(value))}
        data={HOURS.map((count) => ({
          value: String(count),
          label: i18n.t('{count, plural, one {# hour} other {# hours}}', { count }),
        }))}
      />
      <p className="hint">
        {i18n.t('Personal series, people and keys are never among it. You can revoke at any time.')}
      </p>
    </SubmitForm>
  )
}
