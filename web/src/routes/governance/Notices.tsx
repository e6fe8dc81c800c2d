// Notices of the service, from one's own organisation and those above it.
import { i18n } from '@lingui/core'
import { Button, Select, Textarea, TextInput } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useState } from 'react'

import { body, client } from '../../api/client'
import { noticesQuery, refreshGovernance } from '../../api/governanceQueries'
import { Allowed } from '../../app/Allowed'
import { Icon } from '../../ui/icons'
import { Empty, Failure, Loading, Tag } from '../../ui/layout'
import { Modal } from '../../ui/overlays'
import { SubmitForm } from '../../ui/SubmitForm'
import { Instant } from '../../ui/time'

const KINDS = ['service', 'release', 'onboarding'] as const

type NoticeKind = (typeof KINDS)[number]

function kindLabel(kind: NoticeKind | 'transfer'): string {
  return {
    service: i18n.t('Service'),
    release: i18n.t('Release'),
    onboarding: i18n.t('Beginning'),
    transfer: i18n.t('Transfer of the business'),
  }[kind]
}

export function Notices() {
  const query = useQuery(noticesQuery)
  const [writing, setWriting] = useState(false)
  const items = query.data?.items ?? []
  return (
    <section className="block">
      <div className="block-head">
        <h2>{i18n.t('Notices')}</h2>
        <Allowed to="notice.write">
          <Button
            size="xs"
            variant="default"
            leftSection={<Icon name="plus" size={14} />}
            onClick={() => setWriting(true)}
          >
            {i18n.t('Write a notice')}
          </Button>
        </Allowed>
      </div>
      {query.isPending && <Loading rows={2} />}
      {query.isError && <Failure error={query.error} compact />}
      {query.data && items.length === 0 && (
        <Empty icon="info" title={i18n.t('No notice')}>
          {i18n.t('Maintenance, releases and what helps to begin. Nothing else is sent.')}
        </Empty>
      )}
      <ul className="plain-list">
        {items.map(({ id, content, facts, created_at }) => (
          <li key={id}>
            <details className="grows">
              <summary>{content.title}</summary>
              <p className="governance-text">{content.text}</p>
            </details>
            <Tag>{kindLabel(content.kind)}</Tag>
            <span className="dim">{facts.from_whom}</span>
            <Instant at={created_at} age={false} />
          </li>
        ))}
      </ul>
      <Modal opened={writing} onClose={() => setWriting(false)} title={i18n.t('Write a notice')}>
        <NoticeForm
          onDone={() => {
            setWriting(false)
            void refreshGovernance()
          }}
        />
      </Modal>
    </section>
  )
}

function NoticeForm({ onDone }: { onDone: () => void }) {
  const [kind, setKind] = useState<NoticeKind>('service')
  const [title, setTitle] = useState('')
  const [text, setText] = useState('')
  const submit = async () => {
    await body(client.POST('/v1/notices', { body: { kind, title, text } }))
    onDone()
  }
  return (
    <SubmitForm action={i18n.t('Send')} submit={submit}>
      <Select
        label={i18n.t('Kind')}
        allowDeselect={false}
        value={kind}
        onChange={(value) => setKind(KINDS.find((one) => one === value) ?? kind)}
        data={KINDS.map((value) => ({ value, label: kindLabel(value) }))}
      />
      <TextInput
        label={i18n.t('Title')}
        required
        data-autofocus
        maxLength={200}
        value={title}
        onChange={(event) => setTitle(event.currentTarget.value)}
      />
      <Textarea
        label={i18n.t('Text')}
        required
        autosize
        minRows={4}
        maxLength={4000}
        value={text}
        onChange={(event) => setText(event.currentTarget.value)}
      />
      <p className="hint">
        {i18n.t('It goes to your own people and to every organisation below yours, by mail to those who answer for it.')}
      </p>
    </SubmitForm>
  )
}
