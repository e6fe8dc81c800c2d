// The registers: residency, flows, sub-processors, instructions, disclosures, transfers of the
// business; and what is made from them and from the schema.
import { i18n } from '@lingui/core'
import { Button, Select, TextInput } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useState } from 'react'

import { body, client } from '../api/client'
import { ProblemError } from '../api/problem'
import {
  agreementsQuery,
  figuresQuery,
  jurisdictionsQuery,
  processingQuery,
  queryClient,
  registerQuery,
} from '../api/queries'
import type { RegisterEntry } from '../api/types'
import { Allowed, useAllowed } from '../app/Allowed'
import { ConfirmTyped } from '../ui/dialogs'
import { Icon } from '../ui/icons'
import { CopyField, Failure, InEnglish, Loading, Page, Tag } from '../ui/layout'
import { Modal } from '../ui/overlays'
import { SubmitForm } from '../ui/SubmitForm'
import { Instant } from '../ui/time'
import { toast } from '../ui/toasts'
import { TrustBlock } from './TrustBlock'

/** The fields of each register, in the order of the form. */
const FIELDS = {
  residency: ['jurisdiction', 'statement'],
  flow: ['way', 'jurisdiction', 'host', 'recipient', 'mechanism', 'assessment'],
  subprocessor: ['name', 'service', 'jurisdiction', 'host', 'agreement', 'data'],
  instruction: ['given_by', 'text'],
  disclosure: ['authority', 'law', 'scope', 'jurisdiction'],
  business_transfer: ['acquirer', 'effective_at', 'notice'],
} as const

type Register = keyof typeof FIELDS

const CHOICES: Record<string, string[]> = {
  way: ['routing', 'export', 'support', 'subprocessor'],
  mechanism: [
    'domestic',
    'adequacy',
    'idta',
    'uk_addendum',
    'scc_controller_processor',
    'scc_processor_processor',
  ],
  service: ['cloud', 'payment', 'email', 'support', 'other'],
  agreement: ['signed', 'pending'],
}

function registers(): { value: Register; label: string }[] {
  return [
    { value: 'residency', label: i18n.t('Where the data stays') },
    { value: 'flow', label: i18n.t('Flows to other jurisdictions') },
    { value: 'subprocessor', label: i18n.t('Sub-processors') },
    { value: 'instruction', label: i18n.t('Instructions') },
    { value: 'disclosure', label: i18n.t('Disclosures by law') },
    { value: 'business_transfer', label: i18n.t('Transfers of the business') },
  ]
}

/** What people read for a word of a register. */
function choiceLabel(word: string): string {
  const labels: Record<string, string> = {
    routing: i18n.t('Routing'),
    export: i18n.t('Export'),
    support: i18n.t('Support'),
    subprocessor: i18n.t('Sub-processor'),
    domestic: i18n.t('Within the country'),
    adequacy: i18n.t('Adequacy decision'),
    idta: i18n.t('IDTA (UK)'),
    uk_addendum: i18n.t('UK Addendum'),
    scc_controller_processor: i18n.t('SCCs, controller to processor'),
    scc_processor_processor: i18n.t('SCCs, processor to processor'),
    cloud: i18n.t('Cloud'),
    payment: i18n.t('Payment'),
    email: i18n.t('E-mail'),
    other: i18n.t('Other'),
    signed: i18n.t('Signed'),
    pending: i18n.t('Pending'),
  }
  return labels[word] ?? word
}

/** What is entered in a field, for people. */
function fieldText([name, text]: [string, string]): string {
  return name in CHOICES ? choiceLabel(text) : text
}

function stateLabel({ state, ending_by }: RegisterEntry): string {
  if (state === 'in_force' && ending_by) {
    return i18n.t('in force; its end waits for a second person')
  }
  switch (state) {
    case 'asked':
      return i18n.t('waits for a second person')
    case 'in_force':
      return i18n.t('in force')
    default:
      return i18n.t('ended')
  }
}

export function RegistersPage() {
  const query = useQuery(registerQuery)
  const [entering, setEntering] = useState<Register | null>(null)
  const refresh = () => queryClient.invalidateQueries({ queryKey: ['register'] })
  return (
    <Page
      title={i18n.t('Registers')}
      lead={i18n.t('Nothing leaves a pinned jurisdiction without an entry in force.')}
    >
      {query.isPending && <Loading rows={6} />}
      {query.isError && <Failure error={query.error} retry={() => void query.refetch()} />}
      {query.data &&
        registers().map(({ value, label }) => (
          <section className="block" key={value}>
            <div className="block-head">
              <h2>{label}</h2>
              <Allowed to="register.write">
                <Button
                  size="xs"
                  variant="default"
                  leftSection={<Icon name="plus" size={14} />}
                  onClick={() => setEntering(value)}
                  aria-label={i18n.t('Enter into {register}', { register: label })}
                >
                  {i18n.t('Enter')}
                </Button>
              </Allowed>
            </div>
            <Entries
              entries={query.data.items.filter((entry) => entry.kind === value)}
              refresh={refresh}
            />
          </section>
        ))}
      <TrustBlock />
      <Agreements />
      <Processing />
      <Jurisdictions />
      <Figures />
      <Modal opened={entering !== null} onClose={() => setEntering(null)} title={i18n.t('Enter')}>
        {entering && (
          <EntryForm
            register={entering}
            onDone={() => {
              setEntering(null)
              void refresh()
            }}
          />
        )}
      </Modal>
    </Page>
  )
}

function Entries(props: { entries: RegisterEntry[]; refresh: () => Promise<void> }) {
  const may = useAllowed()
  const [ending, setEnding] = useState<RegisterEntry | null>(null)
  const end = async (entry: RegisterEntry) => {
    const path = { params: { path: { id: entry.id } } }
    await body(client.DELETE('/v1/register-entries/{id}', path))
    await props.refresh()
  }
  const act = async (work: () => Promise<unknown>) => {
    try {
      await work()
      await props.refresh()
    } catch (error) {
      toast(ProblemError.of(error).message)
    }
  }
  if (props.entries.length === 0) return <p className="hint">{i18n.t('Nothing is entered.')}</p>
  return (
    <>
      <ul className="plain-list">
        {props.entries.map((entry) => {
          const path = { params: { path: { id: entry.id } } }
          const isOpen = entry.state !== 'ended' && !entry.ending_by
          const isEnding = entry.state === 'in_force' && Boolean(entry.ending_by)
          const waits = entry.state === 'asked' || isEnding
          const isActed = entry.kind === 'disclosure' || entry.kind === 'business_transfer'
          return (
            <li key={entry.id}>
              <span>{Object.entries(entry.fields).map(fieldText).join(' · ')}</span>
              <Tag tone={waits ? 'warn' : 'neutral'}>{stateLabel(entry)}</Tag>
              {entry.review_at && (
                <span className="dim">
                  {i18n.t('until')} <Instant at={entry.review_at} age={false} />
                </span>
              )}
              {waits && may('register.approve') && (
                <Button
                  size="compact-xs"
                  onClick={() =>
                    void act(() => body(client.POST('/v1/register-entries/{id}/approve', path)))
                  }
                >
                  {i18n.t('Approve')}
                </Button>
              )}
              {entry.state === 'in_force' && isActed && may('register.write') && (
                <Button
                  size="compact-xs"
                  variant="default"
                  onClick={() =>
                    void act(() => body(client.POST('/v1/register-entries/{id}/carry-out', path)))
                  }
                >
                  {i18n.t('Carried out')}
                </Button>
              )}
              {isOpen && may('register.write') && (
                <Button size="compact-xs" variant="default" onClick={() => setEnding(entry)}>
                  {i18n.t('End')}
                </Button>
              )}
            </li>
          )
        })}
      </ul>
      <ConfirmTyped
        opened={ending !== null}
        title={i18n.t('End this entry')}
        name={i18n.t('end')}
        action={i18n.t('End')}
        onConfirm={async () => {
          if (ending) await end(ending)
        }}
        onClose={() => setEnding(null)}
      >
        {ending?.kind === 'residency'
          ? i18n.t(
              'Without it data may go anywhere. It ends once a second person has approved that.',
            )
          : i18n.t('It counts no more, and cannot be set in force again. It stays readable.')}
      </ConfirmTyped>
    </>
  )
}

function fieldLabel(name: string): string {
  const labels: Record<string, string> = {
    jurisdiction: i18n.t('Country (two letters)'),
    statement: i18n.t('Statement'),
    way: i18n.t('Way'),
    host: i18n.t('Host'),
    recipient: i18n.t('Recipient'),
    mechanism: i18n.t('Mechanism'),
    assessment: i18n.t('Assessment'),
    name: i18n.t('Name'),
    service: i18n.t('Service'),
    agreement: i18n.t('Agreement'),
    data: i18n.t('Data'),
    given_by: i18n.t('Given by'),
    text: i18n.t('Text'),
    authority: i18n.t('Authority'),
    law: i18n.t('Law'),
    scope: i18n.t('Scope'),
    acquirer: i18n.t('Acquirer'),
    effective_at: i18n.t('Takes effect at'),
    notice: i18n.t('Notice'),
  }
  return labels[name] ?? name
}

function EntryForm(props: { register: Register; onDone: () => void }) {
  const [fields, setFields] = useState<Record<string, string>>({})
  const [review, setReview] = useState('')
  const set = (name: string, value: string) => setFields({ ...fields, [name]: value })
  const submit = async () => {
    const said = Object.fromEntries(Object.entries(fields).filter(([, text]) => text !== ''))
    await body(
      client.POST('/v1/register-entries', {
        body: {
          kind: props.register,
          fields: said,
          review_at: review === '' ? null : `${review}T00:00:00Z`,
        },
      }),
    )
    props.onDone()
  }
  return (
    <SubmitForm action={i18n.t('Enter')} submit={submit}>
      {FIELDS[props.register].map((name) => {
        const choices = CHOICES[name]
        return choices ? (
          <Select
            key={name}
            label={fieldLabel(name)}
            data={choices.map((word) => ({ value: word, label: choiceLabel(word) }))}
            value={fields[name] ?? null}
            onChange={(value) => set(name, value ?? '')}
          />
        ) : (
          <TextInput
            key={name}
            label={fieldLabel(name)}
            value={fields[name] ?? ''}
            onChange={(event) => set(name, event.currentTarget.value)}
          />
        )
      })}
      {props.register === 'flow' && (
        <TextInput
          type="date"
          label={i18n.t('Reviewed until')}
          value={review}
          onChange={(event) => setReview(event.currentTarget.value)}
        />
      )}
    </SubmitForm>
  )
}

function Agreements() {
  const query = useQuery(agreementsQuery)
  const make = async () => {
    try {
      await body(client.POST('/v1/agreements'))
      await queryClient.invalidateQueries({ queryKey: ['agreements'] })
    } catch (error) {
      toast(ProblemError.of(error).message)
    }
  }
  return (
    <section className="block">
      <div className="block-head">
        <h2>{i18n.t('Data processing agreements')}</h2>
        <Allowed to="register.write">
          <Button size="xs" variant="default" onClick={() => void make()}>
            {i18n.t('Make an agreement')}
          </Button>
        </Allowed>
      </div>
      {query.data?.items.map((one) => (
        <CopyField key={one.id} label={one.sha256.slice(0, 16)} text={one.text} multiline />
      ))}
    </section>
  )
}

function Processing() {
  const query = useQuery(processingQuery)
  return (
    <section className="block">
      <h2>{i18n.t('Records of processing')}</h2>
      <InEnglish />
      <ul className="plain-list">
        {query.data?.items.map((row) => (
          <li key={`${row.category} ${row.purpose}`}>
            <strong>{row.category}</strong>
            <span className="dim">
              {row.purpose} · {row.role} · {row.basis} · {row.kept}
            </span>
          </li>
        ))}
      </ul>
    </section>
  )
}

function Jurisdictions() {
  const query = useQuery(jurisdictionsQuery)
  return (
    <section className="block">
      <h2>{i18n.t('Privacy laws')}</h2>
      <ul className="plain-list">
        {query.data?.items.map((one) => (
          <li key={one.code}>
            <span>
              <strong>{one.code}</strong> {one.law} · {one.authority ?? '—'}
            </span>
            {one.gaps.length > 0 && (
              <Tag tone="warn">{i18n.t('gaps: {gaps}', { gaps: one.gaps.join(', ') })}</Tag>
            )}
          </li>
        ))}
      </ul>
    </section>
  )
}

function Figures() {
  const may = useAllowed()
  const query = useQuery({ ...figuresQuery, enabled: may('analytics.read') })
  if (!query.data) return null
  return (
    <section className="block">
      <h2>{i18n.t('How the service is used')}</h2>
      <p className="hint">
        {i18n.t('Of groups of ten or more, rounded. {count} actions are not told.', {
          count: query.data.suppressed,
        })}
      </p>
      <ul className="plain-list">
        {query.data.figures.map((one) => (
          <li key={one.action}>
            <span>{one.action}</span>
            <span className="dim">
              {one.acts} · {one.actors}
            </span>
          </li>
        ))}
      </ul>
    </section>
  )
}
