// Policies: written, reviewed, approved by somebody else, published, read and attested.
import { i18n } from '@lingui/core'
import { Button, Group, Textarea, TextInput } from '@mantine/core'
import { useInfiniteQuery } from '@tanstack/react-query'
import { useState } from 'react'

import { body, client, ifUnchanged } from '../../api/client'
import { policiesQuery, refreshGovernance } from '../../api/governanceQueries'
import { ProblemError } from '../../api/problem'
import type { Policy } from '../../api/types'
import { Allowed, useAllowed } from '../../app/Allowed'
import { useAppSearch, usePatchSearch } from '../../app/search'
import { Icon } from '../../ui/icons'
import { Empty, Facts, Failure, Loading, Tag } from '../../ui/layout'
import { MoreRows, useRows } from '../../ui/MoreRows'
import { Drawer, Modal } from '../../ui/overlays'
import { SubmitForm } from '../../ui/SubmitForm'
import { Instant } from '../../ui/time'
import { toast } from '../../ui/toasts'
import { HistoryList } from './HistoryList'

function stateLabel(state: string): string {
  const words: Record<string, string> = {
    draft: i18n.t('draft'),
    in_review: i18n.t('in review'),
    approved: i18n.t('approved'),
    published: i18n.t('published'),
    retired: i18n.t('retired'),
  }
  return words[state] ?? state
}

export function Policies() {
  const query = useInfiniteQuery(policiesQuery)
  const search = useAppSearch()
  const patch = usePatchSearch()
  const [writing, setWriting] = useState<Policy | 'new' | null>(null)
  const items = useRows(query, search.select)
  const open = items.find((one) => one.id === search.select)
  return (
    <section className="block">
      <div className="block-head">
        <h2>{i18n.t('Policies')}</h2>
        <Allowed to="governance.write">
          <Button
            size="xs"
            variant="default"
            leftSection={<Icon name="plus" size={14} />}
            onClick={() => setWriting('new')}
          >
            {i18n.t('Write a policy')}
          </Button>
        </Allowed>
      </div>
      {query.isPending && <Loading rows={3} />}
      {query.isError && <Failure error={query.error} compact />}
      {query.data && items.length === 0 && (
        <Empty icon="ledger" title={i18n.t('No policy yet')}>
          {i18n.t('A policy is written, reviewed, approved by somebody else and published. Then everybody reads and attests it.')}
        </Empty>
      )}
      <ul className="plain-list">
        {items.map((policy) => (
          <li key={policy.id}>
            <span>
              <button
                type="button"
                className="link-button"
                onClick={() => patch({ select: policy.id })}
              >
                {policy.content.title}
              </button>{' '}
              <span className="dim">{policy.content.owner}</span>
            </span>
            <Tag tone={policy.state === 'published' ? 'neutral' : 'warn'}>
              {stateLabel(policy.state)}
            </Tag>
            <span className="dim">
              {i18n.t('edition {number}', { number: policy.facts.edition })}
            </span>
          </li>
        ))}
      </ul>
      <MoreRows query={query} />
      <Drawer
        opened={open !== undefined}
        onClose={() => patch({ select: undefined })}
        position="right"
        title={i18n.t('Policy')}
      >
        {open && <OnePolicy policy={open} onWrite={() => setWriting(open)} />}
      </Drawer>
      <Modal
        opened={writing !== null}
        onClose={() => setWriting(null)}
        title={i18n.t('Write a policy')}
      >
        {writing !== null && (
          <PolicyForm
            policy={writing === 'new' ? null : writing}
            onDone={() => {
              setWriting(null)
              void refreshGovernance()
            }}
          />
        )}
      </Modal>
    </section>
  )
}

function OnePolicy({ policy, onWrite }: { policy: Policy; onWrite: () => void }) {
  const may = useAllowed()
  const params = { path: { id: policy.id } }
  const act = async (work: () => Promise<unknown>) => {
    try {
      await work()
      await refreshGovernance()
    } catch (error) {
      toast(ProblemError.of(error).message)
    }
  }
  const step = (name: 'review' | 'return' | 'publish' | 'retire') => () =>
    void act(() => client.POST('/v1/policies/{id}/steps', { params, body: { step: name } }))
  const { state, facts, content } = policy
  return (
    <div className="stack">
      <h3>{content.title}</h3>
      <Facts
        items={[
          [i18n.t('State'), stateLabel(state)],
          [i18n.t('Edition in force'), String(facts.edition)],
          [i18n.t('Approved by'), facts.approved_by ?? i18n.t('nobody yet')],
          [
            i18n.t('Published'),
            facts.published_at === null ? (
              i18n.t('not yet')
            ) : (
              <Instant key="published" at={facts.published_at} />
            ),
          ],
          [i18n.t('Attested by'), String(facts.attested)],
        ]}
      />
      <pre className="governance-text">{content.text}</pre>
      {facts.in_force !== null && (
        <details>
          <summary>{i18n.t('The edition in force')}</summary>
          <pre className="governance-text">{facts.in_force.text}</pre>
        </details>
      )}
      <Group>
        {facts.edition > 0 && state !== 'retired' && !facts.attested_by_me && (
          <Allowed to="governance.attest">
            <Button
              onClick={() => void act(() => client.POST('/v1/policies/{id}/attest', { params }))}
            >
              {i18n.t('I have read the edition in force')}
            </Button>
          </Allowed>
        )}
        {may('governance.write') && (state === 'draft' || state === 'published') && (
          <Button variant="default" onClick={onWrite}>
            {state === 'draft' ? i18n.t('Change') : i18n.t('Write the next edition')}
          </Button>
        )}
        {may('governance.write') && state === 'draft' && (
          <Button onClick={step('review')}>{i18n.t('Send to review')}</Button>
        )}
        {state === 'in_review' && (
          <Allowed to="governance.approve">
            <Button
              onClick={() => void act(() => client.POST('/v1/policies/{id}/approve', { params }))}
            >
              {i18n.t('Approve')}
            </Button>
          </Allowed>
        )}
        {may('governance.write') && (state === 'in_review' || state === 'approved') && (
          <Button variant="default" onClick={step('return')}>
            {i18n.t('Return')}
          </Button>
        )}
        {may('governance.write') && state === 'approved' && (
          <Button onClick={step('publish')}>{i18n.t('Publish')}</Button>
        )}
        {may('governance.write') && state === 'published' && (
          <Button variant="default" onClick={step('retire')}>
            {i18n.t('Retire')}
          </Button>
        )}
      </Group>
      <HistoryList id={policy.id} />
    </div>
  )
}

function PolicyForm({ policy, onDone }: { policy: Policy | null; onDone: () => void }) {
  const [title, setTitle] = useState(policy?.content.title ?? '')
  const [text, setText] = useState(policy?.content.text ?? '')
  const [owner, setOwner] = useState(policy?.content.owner ?? '')
  const [review, setReview] = useState(policy?.content.review_at?.slice(0, 10) ?? '')
  const submit = async () => {
    const content = {
      title,
      text,
      owner,
      review_at: review === '' ? null : `${review}T00:00:00Z`,
      controls: policy?.content.controls ?? [],
    }
    if (policy === null) await body(client.POST('/v1/policies', { body: content }))
    else {
      const params = { path: { id: policy.id } }
      await client.PUT('/v1/policies/{id}', { params, body: content, ...ifUnchanged(policy) })
    }
    onDone()
  }
  return (
    <SubmitForm action={i18n.t('Save')} submit={submit}>
      <TextInput
        label={i18n.t('Title')}
        required
        data-autofocus
        maxLength={200}
        value={title}
        onChange={(event) => setTitle(event.currentTarget.value)}
      />
      <TextInput
        label={i18n.t('Who answers for it')}
        maxLength={200}
        value={owner}
        onChange={(event) => setOwner(event.currentTarget.value)}
      />
      <Textarea
        label={i18n.t('Text')}
        required
        autosize
        minRows={8}
        maxRows={20}
        maxLength={30000}
        value={text}
        onChange={(event) => setText(event.currentTarget.value)}
      />
      <TextInput
        label={i18n.t('Look at it again')}
        type="date"
        value={review}
        onChange={(event) => setReview(event.currentTarget.value)}
      />
    </SubmitForm>
  )
}
