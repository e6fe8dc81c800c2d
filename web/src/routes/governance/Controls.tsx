// Frameworks, their controls, what is decided on each, and the statement of applicability.
import { i18n } from '@lingui/core'
import { Button, Group, Select, Textarea, TextInput } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useState } from 'react'

import { body, client, ifUnchanged, upload } from '../../api/client'
import { controlsQuery, frameworksQuery, refreshGovernance } from '../../api/governanceQueries'
import { ProblemError } from '../../api/problem'
import type { Control, Framework } from '../../api/types'
import { Allowed } from '../../app/Allowed'
import { ConfirmTyped } from '../../ui/dialogs'
import { Empty, Failure, Loading, Tag } from '../../ui/layout'
import { Modal } from '../../ui/overlays'
import { SubmitForm } from '../../ui/SubmitForm'
import { toast } from '../../ui/toasts'
import { HistoryList } from './HistoryList'

const SHIPPED = [
  { value: 'iso-27001-2022', label: 'ISO/IEC 27001:2022, Annex A' },
  { value: 'soc-2', label: 'SOC 2' },
  { value: 'nist-csf-2', label: 'NIST CSF 2.0' },
] as const
const APPLIES = ['undecided', 'applicable', 'not_applicable'] as const
const IMPLEMENTATION = ['not_started', 'planned', 'in_place'] as const

type Applies = (typeof APPLIES)[number]
type Implementation = (typeof IMPLEMENTATION)[number]

function appliesLabel(applies: Applies): string {
  return {
    undecided: i18n.t('not decided'),
    applicable: i18n.t('applies'),
    not_applicable: i18n.t('does not apply'),
  }[applies]
}

function implementationLabel(implementation: Implementation): string {
  return {
    not_started: i18n.t('not begun'),
    planned: i18n.t('planned'),
    in_place: i18n.t('in place'),
  }[implementation]
}

export function Controls() {
  const query = useQuery(frameworksQuery)
  const [reference, setReference] = useState<(typeof SHIPPED)[number]['value']>('iso-27001-2022')
  const [failure, setFailure] = useState<unknown>(null)
  const items = query.data?.items ?? []
  const act = async (work: () => Promise<unknown>) => {
    setFailure(null)
    try {
      await work()
      await refreshGovernance()
    } catch (error) {
      setFailure(error)
    }
  }
  const take = () => act(() => body(client.POST('/v1/frameworks', { body: { reference } })))
  const bring = (file: File | undefined) => {
    if (file === undefined) return
    const path = '/v1/frameworks/import'
    const type = 'application/json'
    void act(() => upload({ method: 'POST', path, type, content: file }))
  }
  return (
    <section className="block">
      <h2>{i18n.t('Controls')}</h2>
      {query.isPending && <Loading rows={3} />}
      {query.isError && <Failure error={query.error} compact />}
      {query.data && items.length === 0 && (
        <Empty icon="table" title={i18n.t('No framework yet')}>
          {i18n.t('Identifiers with short labels of our own come with the product. Who has a licence for a text imports it as an OSCAL catalogue.')}
        </Empty>
      )}
      <Allowed to="governance.write">
        <Group align="end">
          <Select
            label={i18n.t('Framework')}
            allowDeselect={false}
            value={reference}
            onChange={(value) =>
              setReference(SHIPPED.find((one) => one.value === value)?.value ?? reference)
            }
            data={[...SHIPPED]}
          />
          <Button variant="default" onClick={() => void take()}>
            {i18n.t('Take it')}
          </Button>
          <label className="button">
            {i18n.t('Import an OSCAL catalogue')}
            <input
              type="file"
              accept="application/json,.json"
              className="visually-hidden"
              onChange={(event) => bring(event.currentTarget.files?.[0])}
            />
          </label>
        </Group>
        {failure !== null && <Failure error={failure} compact />}
      </Allowed>
      {items.map((framework) => (
        <OneFramework key={framework.id} framework={framework} />
      ))}
    </section>
  )
}

function OneFramework({ framework }: { framework: Framework }) {
  const [isOpen, setOpen] = useState(false)
  const [leaving, setLeaving] = useState(false)
  const [deciding, setDeciding] = useState<Control | null>(null)
  const query = useQuery({ ...controlsQuery(framework.id), enabled: isOpen })
  const { facts, content } = framework
  const path = `/v1/frameworks/${framework.id}`
  const params = { path: { id: framework.id } }
  const remove = async () => {
    try {
      await client.DELETE('/v1/frameworks/{id}', { params })
      await refreshGovernance()
    } catch (error) {
      toast(ProblemError.of(error).message)
    }
  }
  return (
    <details
      className="block"
      onToggle={(event) => setOpen(event.currentTarget.open)}
    >
      <summary>
        <strong>
          {content.name} {content.edition}
        </strong>{' '}
        <span className="dim">
          {i18n.t('{decided} of {controls} decided, {in_place} of {applicable} in place', {
            decided: facts.decided,
            controls: facts.controls,
            in_place: facts.in_place,
            applicable: facts.applicable,
          })}
        </span>
      </summary>
      <Group>
        <a className="button" href={`${path}/statement`} download>
          {i18n.t('Statement of applicability (CSV)')}
        </a>
        <a className="button" href={`${path}/assessment-results`} download="assessment-results.json">
          {i18n.t('Assessment results (OSCAL)')}
        </a>
        <Button variant="default" onClick={() => window.print()}>
          {i18n.t('Print')}
        </Button>
        <Allowed to="governance.write">
          <Button variant="default" onClick={() => setLeaving(true)}>
            {i18n.t('Take it out')}
          </Button>
        </Allowed>
      </Group>
      {isOpen && query.isPending && <Loading rows={4} />}
      {query.isError && <Failure error={query.error} compact />}
      <ul className="plain-list">
        {(query.data?.items ?? []).map((control) => (
          <li key={control.id}>
            <span>
              <button type="button" className="link-button" onClick={() => setDeciding(control)}>
                {control.facts.identifier}
              </button>{' '}
              {control.facts.label}{' '}
              {control.facts.promises.length > 0 && (
                <span className="dim">
                  {i18n.t('checked by {promises}', {
                    promises: control.facts.promises.join(', '),
                  })}
                </span>
              )}
            </span>
            <Tag tone={control.content.applies === 'undecided' ? 'warn' : 'neutral'}>
              {appliesLabel(control.content.applies)}
            </Tag>
            <span className="dim">{implementationLabel(control.content.implementation)}</span>
          </li>
        ))}
      </ul>
      <Modal
        opened={deciding !== null}
        onClose={() => setDeciding(null)}
        title={deciding?.facts.identifier ?? ''}
      >
        {deciding !== null && (
          <ControlForm control={deciding} onDone={() => setDeciding(null)} />
        )}
      </Modal>
      <ConfirmTyped
        opened={leaving}
        title={i18n.t('Take the framework out')}
        name={content.name}
        action={i18n.t('Take it out')}
        onConfirm={remove}
        onClose={() => setLeaving(false)}
      >
        {i18n.t('What was decided on its controls, and their history, goes with it.')}
      </ConfirmTyped>
    </details>
  )
}

function ControlForm({ control, onDone }: { control: Control; onDone: () => void }) {
  const [applies, setApplies] = useState<Applies>(control.content.applies)
  const [justification, setJustification] = useState(control.content.justification)
  const [implementation, setImplementation] = useState<Implementation>(
    control.content.implementation,
  )
  const [owner, setOwner] = useState(control.content.owner)
  const submit = async () => {
    const params = { path: { id: control.id } }
    const decided = { applies, justification, implementation, owner }
    await client.PUT('/v1/controls/{id}', { params, body: decided, ...ifUnchanged(control) })
    await refreshGovernance()
    onDone()
  }
  return (
    <>
      <p>{control.facts.label}</p>
      {control.facts.text !== '' && <pre className="governance-text">{control.facts.text}</pre>}
      <Allowed to="governance.write">
        <SubmitForm action={i18n.t('Save')} submit={submit}>
          <Select
            label={i18n.t('Does it apply?')}
            allowDeselect={false}
            value={applies}
            onChange={(value) => setApplies(APPLIES.find((one) => one === value) ?? applies)}
            data={APPLIES.map((value) => ({ value, label: appliesLabel(value) }))}
          />
          <Textarea
            label={i18n.t('Why')}
            required={applies === 'not_applicable'}
            maxLength={4000}
            value={justification}
            onChange={(event) => setJustification(event.currentTarget.value)}
          />
          <Select
            label={i18n.t('How far it is')}
            allowDeselect={false}
            value={implementation}
            onChange={(value) =>
              setImplementation(IMPLEMENTATION.find((one) => one === value) ?? implementation)
            }
            data={IMPLEMENTATION.map((value) => ({ value, label: implementationLabel(value) }))}
          />
          <TextInput
            label={i18n.t('Who answers for it')}
            maxLength={200}
            value={owner}
            onChange={(event) => setOwner(event.currentTarget.value)}
          />
        </SubmitForm>
      </Allowed>
      <HistoryList id={control.id} />
    </>
  )
}
