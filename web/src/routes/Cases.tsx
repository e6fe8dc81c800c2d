// Requests of data subjects, as officers see them: what is due first, what is overdue, and one that
// came by letter written down.
import { i18n } from '@lingui/core'
import { Button, Group, Select, Textarea, TextInput } from '@mantine/core'
import { useInfiniteQuery } from '@tanstack/react-query'
import { useState } from 'react'

import { body, client } from '../api/client'
import { casesQuery, queryClient } from '../api/queries'
import type { SubjectRequest } from '../api/types'
import { useAllowed } from '../app/Allowed'
import { LOCALES } from '../i18n'
import { useNow } from '../lib/now'
import { Failure, Loading } from '../ui/layout'
import { Drawer, Modal } from '../ui/overlays'
import { SubmitForm } from '../ui/SubmitForm'
import { CaseSheet, CaseState } from './CaseSheet'
import { KINDS, kindLabel } from './settings/MyPrivacy'

/** What is open first, the earliest deadline before the others. */
function byDue(a: SubjectRequest, b: SubjectRequest): number {
  if ((a.closed_at === null) !== (b.closed_at === null)) return a.closed_at === null ? -1 : 1
  return a.answer_by < b.answer_by ? -1 : 1
}

export function Cases() {
  const may = useAllowed()
  const now = useNow()
  const [shows, setShows] = useState('open')
  const [kind, setKind] = useState<string | null>(null)
  const [opened, setOpened] = useState<string | null>(null)
  const [writing, setWriting] = useState(false)
  const query = useInfiniteQuery(casesQuery(shows === 'open'))
  const all = query.data?.pages.flatMap((page) => page.items) ?? []
  const shown = all.filter((one) => kind === null || one.kind === kind).sort(byDue)
  return (
    <section className="block">
      <div className="block-head">
        <h2>{i18n.t('Requests of data subjects')}</h2>
        {may('request.write') && (
          <Button size="xs" variant="default" onClick={() => setWriting(true)}>
            {i18n.t('Write a request down')}
          </Button>
        )}
      </div>
      <Group>
        <Select
          label={i18n.t('Which requests')}
          allowDeselect={false}
          value={shows}
          onChange={(value) => setShows(value ?? shows)}
          data={[
            { value: 'open', label: i18n.t('Open requests') },
            { value: 'all', label: i18n.t('All requests') },
          ]}
        />
        <Select
          label={i18n.t('For what')}
          clearable
          placeholder={i18n.t('Any right')}
          value={kind}
          onChange={setKind}
          data={KINDS.map((value) => ({ value, label: kindLabel(value) }))}
        />
      </Group>
      {query.isPending && <Loading rows={2} />}
      {query.isError && <Failure error={query.error} compact />}
      {query.data !== undefined && shown.length === 0 && (
        <p className="hint">
          {shows === 'open' ? i18n.t('Nothing is open.') : i18n.t('Nobody asked for anything yet.')}
        </p>
      )}
      <ul className="plain-list">
        {shown.map((one) => (
          <li key={one.id}>
            <span>
              <strong>{kindLabel(one.kind)}</strong>{' '}
              <span className="dim">
                {one.subject} · {one.text}
              </span>
            </span>
            <CaseState request={one} nowMs={now} />
            <Button size="compact-xs" variant="default" onClick={() => setOpened(one.id)}>
              {i18n.t('Open')}
            </Button>
          </li>
        ))}
      </ul>
      {query.hasNextPage && (
        <Button
          size="xs"
          variant="default"
          loading={query.isFetchingNextPage}
          onClick={() => void query.fetchNextPage()}
        >
          {i18n.t('Earlier')}
        </Button>
      )}
      <Drawer
        position="right"
        opened={opened !== null}
        onClose={() => setOpened(null)}
        title={i18n.t('Request of a data subject')}
      >
        {opened !== null && <CaseSheet key={opened} id={opened} />}
      </Drawer>
      <Modal
        opened={writing}
        onClose={() => setWriting(false)}
        title={i18n.t('Write a request down')}
      >
        <DeskForm
          onDone={(id) => {
            setWriting(false)
            setOpened(id)
            void queryClient.invalidateQueries({ queryKey: ['cases'] })
          }}
        />
      </Modal>
    </section>
  )
}

function DeskForm(props: { onDone: (id: string) => void }) {
  const [kind, setKind] = useState('access')
  const [email, setEmail] = useState('')
  const [person, setPerson] = useState('')
  const [text, setText] = useState('')
  const [came, setCame] = useState('')
  const [language, setLanguage] = useState<string | null>(null)
  const [purpose, setPurpose] = useState('service_communication')
  const submit = async () => {
    const made = await body(
      client.POST('/v1/requests', {
        body: {
          language,
          kind,
          text,
          email: email.trim() === '' ? null : email,
          person: person.trim() === '' ? null : person,
          purpose: kind === 'objection' ? purpose : null,
          received_at: came === '' ? null : new Date(`${came}T00:00:00Z`).toISOString(),
        },
      }),
    )
    props.onDone(made.id)
  }
  return (
    <SubmitForm
      action={i18n.t('Write down')}
      submit={submit}
      incomplete={email.trim() === '' && person.trim() === ''}
    >
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
          data={[
            { value: 'twin_building', label: i18n.t('Building twins and showing them') },
            { value: 'service_communication', label: i18n.t('Mails about the service') },
          ]}
        />
      )}
      <TextInput
        label={i18n.t('E-mail')}
        type="email"
        value={email}
        onChange={(event) => setEmail(event.currentTarget.value)}
      />
      <TextInput
        label={i18n.t('Name in personal streams')}
        value={person}
        onChange={(event) => setPerson(event.currentTarget.value)}
      />
      <Select
        label={i18n.t('Language of the letters')}
        clearable
        placeholder={i18n.t('As the account says')}
        value={language}
        onChange={setLanguage}
        data={Object.entries(LOCALES).map(([value, label]) => ({ value, label }))}
      />
      <TextInput
        label={i18n.t('When it came, if not today')}
        type="date"
        value={came}
        onChange={(event) => setCame(event.currentTarget.value)}
      />
      <Textarea
        label={i18n.t('In their words')}
        maxLength={4000}
        value={text}
        onChange={(event) => setText(event.currentTarget.value)}
      />
    </SubmitForm>
  )
}
