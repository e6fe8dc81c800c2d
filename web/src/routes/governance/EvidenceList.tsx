// What is known of evidence. What the platform's own checks find arrives by itself.
import { i18n } from '@lingui/core'
import { Button, Select, TextInput } from '@mantine/core'
import { useInfiniteQuery } from '@tanstack/react-query'
import { useState } from 'react'

import { body, client } from '../../api/client'
import { evidenceQuery, refreshGovernance } from '../../api/governanceQueries'
import type { Evidence } from '../../api/types'
import { Allowed } from '../../app/Allowed'
import { platformNow } from '../../lib/now'
import { Icon } from '../../ui/icons'
import { Failure, Loading, Tag } from '../../ui/layout'
import { MoreRows, useRows } from '../../ui/MoreRows'
import { Modal } from '../../ui/overlays'
import { SubmitForm } from '../../ui/SubmitForm'
import { Age } from '../../ui/time'

const RESULTS = ['passed', 'failed', 'partial', 'not_applicable'] as const

type Result = (typeof RESULTS)[number]

function resultLabel(result: Result): string {
  return {
    passed: i18n.t('passed'),
    failed: i18n.t('failed'),
    partial: i18n.t('in part'),
    not_applicable: i18n.t('does not apply'),
  }[result]
}

function stateLabel(state: string): string {
  const words: Record<string, string> = {
    current: i18n.t('counts'),
    expired: i18n.t('expired'),
    superseded: i18n.t('replaced'),
  }
  return words[state] ?? state
}

export function EvidenceList() {
  const query = useInfiniteQuery(evidenceQuery)
  const [adding, setAdding] = useState(false)
  const items = useRows(query)
  return (
    <section className="block">
      <div className="block-head">
        <h2>{i18n.t('Evidence')}</h2>
        <Allowed to="governance.write">
          <Button
            size="xs"
            variant="default"
            leftSection={<Icon name="plus" size={14} />}
            onClick={() => setAdding(true)}
          >
            {i18n.t('Bring evidence')}
          </Button>
        </Allowed>
      </div>
      <p className="hint">
        {i18n.t('The evidence itself stays where it is: its digest and what is known of it stand here. What the platform checks arrives by itself.')}
      </p>
      {query.isPending && <Loading rows={4} />}
      {query.isError && <Failure error={query.error} compact />}
      <ul className="plain-list">
        {items.map((one) => (
          <OneEvidence key={one.id} evidence={one} />
        ))}
      </ul>
      <MoreRows query={query} />
      <Modal opened={adding} onClose={() => setAdding(false)} title={i18n.t('Bring evidence')}>
        <EvidenceForm
          known={items.filter((one) => one.facts.promise === null && one.state !== 'superseded')}
          onDone={() => {
            setAdding(false)
            void refreshGovernance()
          }}
        />
      </Modal>
    </section>
  )
}

function OneEvidence({ evidence }: { evidence: Evidence }) {
  const { content, facts, state } = evidence
  return (
    <li>
      <details className="grows">
        <summary>
          {facts.promise !== null && <strong>{facts.promise} </strong>}
          {content.title}
        </summary>
        <p className="dim">{content.source}</p>
        <p className="dim">
          {content.collector} {content.collector_version}
        </p>
        <p className="dim">
          SHA-256 <code className="governance-digest">{content.sha256}</code>
        </p>
        {facts.ledger_index !== null && (
          <p className="dim">
            {i18n.t('leaf {index} of the ledger', { index: facts.ledger_index })}
          </p>
        )}
      </details>
      <span>{resultLabel(content.result)}</span>
      <Tag tone={state === 'current' ? 'neutral' : 'warn'}>{stateLabel(state)}</Tag>
      {content.collected_at !== null && <Age at={content.collected_at} />}
    </li>
  )
}

function EvidenceForm({ known, onDone }: { known: Evidence[]; onDone: () => void }) {
  const [title, setTitle] = useState('')
  const [source, setSource] = useState('')
  const [sha256, setSha256] = useState('')
  const [result, setResult] = useState<Result>('passed')
  const [expires, setExpires] = useState('')
  const [previous, setPrevious] = useState<string | null>(null)
  const submit = async () => {
    const record = {
      title,
      source,
      sha256,
      result,
      previous,
      collected_at: new Date(platformNow()).toISOString(),
      expires_at: expires === '' ? null : `${expires}T00:00:00Z`,
      controls: known.find((one) => one.id === previous)?.content.controls ?? [],
    }
    await body(client.POST('/v1/evidence', { body: record }))
    onDone()
  }
  return (
    <SubmitForm action={i18n.t('Save')} submit={submit}>
      <TextInput
        label={i18n.t('What it shows')}
        required
        data-autofocus
        maxLength={200}
        value={title}
        onChange={(event) => setTitle(event.currentTarget.value)}
      />
      <TextInput
        label={i18n.t('Where it comes from')}
        required
        maxLength={200}
        value={source}
        onChange={(event) => setSource(event.currentTarget.value)}
      />
      <TextInput
        label="SHA-256"
        required
        maxLength={64}
        value={sha256}
        onChange={(event) => setSha256(event.currentTarget.value)}
      />
      <Select
        label={i18n.t('Result')}
        allowDeselect={false}
        value={result}
        onChange={(value) => setResult(RESULTS.find((one) => one === value) ?? result)}
        data={RESULTS.map((value) => ({ value, label: resultLabel(value) }))}
      />
      <TextInput
        label={i18n.t('Counts until')}
        type="date"
        value={expires}
        onChange={(event) => setExpires(event.currentTarget.value)}
      />
      <Select
        label={i18n.t('Replaces')}
        clearable
        value={previous}
        onChange={setPrevious}
        data={known.map((one) => ({ value: one.id, label: one.content.title }))}
      />
    </SubmitForm>
  )
}
