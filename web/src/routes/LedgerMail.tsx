// Mail to auditors: who is mailed checkpoints, what was sent with its receipts, the keys that sign.
import { i18n } from '@lingui/core'
import { useLingui } from '@lingui/react'
import { Button, Select, TextInput } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { useState } from 'react'

import { body, client } from '../api/client'
import { entryNumbers, fetchEvidence } from '../api/evidence'
import { mailingsQuery } from '../api/ledgerMailQueries'
import { ProblemError } from '../api/problem'
import { queryClient, usersQuery } from '../api/queries'
import { routeDestinationsQuery } from '../api/routingQueries'
import type { Mailing } from '../api/types'
import { Allowed, useAllowed } from '../app/Allowed'
import { formatCount } from '../lib/format'
import { Icon } from '../ui/icons'
import { Empty, Failure, Loading, Page, Tag } from '../ui/layout'
import { Modal } from '../ui/overlays'
import { SubmitForm } from '../ui/SubmitForm'
import { Instant } from '../ui/time'
import { toast } from '../ui/toasts'
import { MailKeys, SentMails } from './LedgerMailSent'

type Recipient = { value: string; label: string }

/** Who may be mailed: people with the role auditor, and destinations of mail. */
function useRecipients(): Recipient[] {
  const may = useAllowed()
  const users = useQuery({ ...usersQuery, enabled: may('user.list') })
  const places = useQuery({ ...routeDestinationsQuery, enabled: may('route.read') })
  const auditors = (users.data?.items ?? [])
    .filter((user) => user.roles.includes('auditor'))
    .map((user) => ({
      value: `user:${user.id}`,
      label: user.name ? `${user.name} (${user.email})` : user.email,
    }))
  const destinations = (places.data?.items ?? [])
    .filter((place) => place.kind === 'mail')
    .map((place) => ({ value: `place:${place.id}`, label: place.name }))
  return [...auditors, ...destinations]
}

function recipientOf(mailing: Mailing): string {
  return mailing.user_id === null ? `place:${mailing.destination_id}` : `user:${mailing.user_id}`
}

function rhythm(every: string): string {
  switch (every) {
    case 'day':
      return i18n.t('every day')
    case 'week':
      return i18n.t('every week')
    default:
      return i18n.t('on demand')
  }
}

function waitsFor(reason: string): string {
  switch (reason) {
    case 'no_recipient':
      return i18n.t('nobody has a confirmed address any more')
    case 'no_server':
      return i18n.t('no mail server is configured')
    case 'no_archive':
      return i18n.t('the archive does not answer')
    case 'no_flow':
      return i18n.t('the register of flows lets it go to none of them')
    case 'not_extended':
      return i18n.t('the ledger contradicts an earlier mail')
    default:
      return reason
  }
}

export function LedgerMailPage() {
  return (
    <Page
      title={i18n.t('Mail to auditors')}
      lead={i18n.t(
        'Checkpoints as attachments, each with a proof that it extends the mails before. An auditor who keeps them can show that nothing was changed, without us.',
      )}
      actions={<Link to="/ledger">{i18n.t('Ledger')}</Link>}
    >
      <Mailings />
      <SentMails />
      <Allowed to="system.read">
        <MailKeys />
      </Allowed>
    </Page>
  )
}

function refresh(): Promise<void> {
  return queryClient.invalidateQueries({ queryKey: ['ledger'] })
}

function Mailings() {
  const query = useQuery(mailingsQuery)
  const recipients = useRecipients()
  const [adding, setAdding] = useState(false)
  const [ending, setEnding] = useState<Mailing | null>(null)
  const nameOf = (mailing: Mailing) =>
    recipients.find((one) => one.value === recipientOf(mailing))?.label ??
    mailing.user_id ??
    mailing.destination_id ??
    ''
  const end = async () => {
    if (ending === null) return
    await client.DELETE('/v1/ledger/mailings/{id}', { params: { path: { id: ending.id } } })
    await refresh()
  }
  return (
    <section className="block" aria-label={i18n.t('Mailings')}>
      <div className="block-head">
        <h2>{i18n.t('Mailings')}</h2>
        <Allowed to="ledger.mail">
          <Button
            size="xs"
            variant="default"
            leftSection={<Icon name="plus" size={14} />}
            onClick={() => setAdding(true)}
          >
            {i18n.t('New mailing')}
          </Button>
        </Allowed>
      </div>
      {query.isPending && <Loading rows={2} />}
      {query.isError && <Failure error={query.error} retry={() => void query.refetch()} />}
      {query.data?.items.length === 0 && (
        <Empty icon="ledger" title={i18n.t('Nobody is mailed yet')}>
          {i18n.t(
            'Invite somebody with the role auditor, or register a destination of mail, and have checkpoints mailed there.',
          )}
        </Empty>
      )}
      <ul className="plain-list">
        {query.data?.items.map((mailing) => (
          <MailingRow
            key={mailing.id}
            mailing={mailing}
            name={nameOf(mailing)}
            onEnd={() => setEnding(mailing)}
          />
        ))}
      </ul>
      <Modal opened={adding} onClose={() => setAdding(false)} title={i18n.t('New mailing')}>
        <MailingForm
          recipients={recipients}
          onDone={() => {
            setAdding(false)
            void refresh()
          }}
        />
      </Modal>
      <Modal
        opened={ending !== null}
        onClose={() => setEnding(null)}
        title={i18n.t('End this mailing?')}
      >
        {ending !== null && (
          <SubmitForm
            action={i18n.t('End the mailing')}
            destroys
            submit={end}
            onDone={() => setEnding(null)}
            onCancel={() => setEnding(null)}
          >
            <p>
              {i18n.t(
                '{name} gets no more checkpoints. What was mailed stays valid; a new mailing begins without a proof that it extends these mails.',
                { name: nameOf(ending) },
              )}
            </p>
          </SubmitForm>
        )}
      </Modal>
    </section>
  )
}

function MailingRow(props: { mailing: Mailing; name: string; onEnd: () => void }) {
  const { mailing, name } = props
  const { i18n: lingui } = useLingui()
  const may = useAllowed()
  const [busy, setBusy] = useState<'send' | 'bundle' | null>(null)
  const run = async (what: 'send' | 'bundle', work: () => Promise<unknown>) => {
    setBusy(what)
    try {
      await work()
    } catch (error) {
      toast(ProblemError.of(error).message)
    } finally {
      setBusy(null)
      void refresh()
    }
  }
  const send = async () => {
    const path = { id: mailing.id }
    await client.POST('/v1/ledger/mailings/{id}/send', { params: { path } })
    toast(i18n.t('The newest checkpoint is on its way to {name}.', { name }))
  }
  return (
    <li>
      <span>
        <strong>{name}</strong>{' '}
        <span className="dim">
          {rhythm(mailing.every)}
          {' · '}
          {i18n.t('{count, plural, =0 {no mail yet} one {# mail} other {# mails}}', {
            count: mailing.mails,
          })}
          {mailing.tree_size !== null &&
            ` · ${i18n.t('{count} entries proven', { count: formatCount(mailing.tree_size, lingui.locale) })}`}
          {mailing.entries.length > 0 &&
            ` · ${i18n.t('with the proofs of {entries}', { entries: mailing.entries.join(', ') })}`}
        </span>
      </span>
      {mailing.waits !== null && <Tag tone="warn">{waitsFor(mailing.waits)}</Tag>}
      {mailing.last_at !== null && (
        <span className="dim">
          {i18n.t('last')} <Instant at={mailing.last_at} age={false} />
        </span>
      )}
      {mailing.next_at !== null && (
        <span className="dim">
          {i18n.t('next')} <Instant at={mailing.next_at} age={false} />
        </span>
      )}
      {mailing.entries.length > 0 && may('ledger.evidence') && (
        <Button
          size="compact-xs"
          variant="default"
          loading={busy === 'bundle'}
          onClick={() => void run('bundle', () => fetchEvidence({ entries: mailing.entries }))}
        >
          {i18n.t('Download the evidence')}
        </Button>
      )}
      {may('ledger.mail') && (
        <>
          <Button
            size="compact-xs"
            variant="default"
            loading={busy === 'send'}
            onClick={() => void run('send', send)}
          >
            {mailing.mails === 0 ? i18n.t('Mail now') : i18n.t('Mail again now')}
          </Button>
          <Button size="compact-xs" variant="default" onClick={props.onEnd}>
            {i18n.t('End')}
          </Button>
        </>
      )}
    </li>
  )
}

const RHYTHMS = ['day', 'week', 'never'] as const

function MailingForm(props: { recipients: Recipient[]; onDone: () => void }) {
  const [to, setTo] = useState<string | null>(null)
  const [every, setEvery] = useState<(typeof RHYTHMS)[number]>('week')
  const [entries, setEntries] = useState('')
  const submit = async () => {
    const [kind, id] = to?.split(':') ?? []
    const whom = kind === 'user' ? { user_id: id } : { destination_id: id }
    const input = { ...whom, every, entries: entryNumbers(entries) }
    await body(client.POST('/v1/ledger/mailings', { body: input as never }))
  }
  return (
    <SubmitForm
      action={i18n.t('Have checkpoints mailed')}
      incomplete={to === null}
      submit={submit}
      onDone={props.onDone}
    >
      <Select
        label={i18n.t('To')}
        description={i18n.t('People with the role auditor, and destinations of mail')}
        data={props.recipients}
        value={to}
        onChange={setTo}
        searchable
        data-autofocus
      />
      <Select
        label={i18n.t('How often')}
        allowDeselect={false}
        value={every}
        onChange={(value) => setEvery(RHYTHMS.find((known) => known === value) ?? every)}
        data={RHYTHMS.map((value) => ({ value, label: rhythm(value) }))}
      />
      <TextInput
        label={i18n.t('Entries whose proofs go along, separated by commas')}
        value={entries}
        onChange={(event) => setEntries(event.currentTarget.value)}
      />
    </SubmitForm>
  )
}
