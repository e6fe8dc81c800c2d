// Rules that declare whole groups of streams: those that are there and those that come.
import { i18n } from '@lingui/core'
import { Button, Select, TextInput } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useState } from 'react'

import { body, client } from '../../api/client'
import { streamRulesQuery } from '../../api/streamQueries'
import type { NewStreamRule, StreamRule } from '../../api/types'
import { Icon } from '../../ui/icons'
import { Failure, failureSentence, Loading } from '../../ui/layout'
import { Modal } from '../../ui/overlays'
import { SubmitForm } from '../../ui/SubmitForm'
import { toast } from '../../ui/toasts'
import { declarationLabel } from '../declaration'
import { streamsChanged } from './act'
import { subjectText } from './words'

export function ruleText(rule: { device_type: string | null; key: string | null }): string {
  const { device_type: type, key } = rule
  if (type !== null && key !== null) {
    return i18n.t('streams {key} of devices of type {type}', { key, type })
  }
  if (type !== null) return i18n.t('every stream of devices of type {type}', { type })
  return i18n.t('streams {key} of every device', { key: key ?? '*' })
}

export function StreamRules({ declares }: { declares: boolean }) {
  const query = useQuery(streamRulesQuery)
  const [adding, setAdding] = useState(false)
  const rules = (query.data?.items ?? []) as StreamRule[]
  const remove = async (rule: StreamRule) => {
    try {
      await client.DELETE('/v1/stream-rules/{id}', { params: { path: { id: rule.id } } })
    } catch (error) {
      toast(failureSentence(error))
    }
    await streamsChanged()
  }
  return (
    <section className="block">
      <div className="block-head">
        <h2>{i18n.t('Rules for groups')}</h2>
        {declares && (
          <Button
            size="xs"
            variant="default"
            leftSection={<Icon name="plus" size={14} />}
            onClick={() => setAdding(true)}
          >
            {i18n.t('Add a rule')}
          </Button>
        )}
      </div>
      {query.isPending && <Loading rows={2} />}
      {query.isError && <Failure error={query.error} compact />}
      {query.isSuccess && rules.length === 0 && (
        <p className="hint">
          {i18n.t(
            'No rule yet. A rule declares every stream of a type of device, or with a name, also those that come. What is said of one device or stream comes before it.',
          )}
        </p>
      )}
      <ul className="plain-list">
        {rules.map((rule) => (
          <li key={rule.id}>
            <span>
              <strong>{declarationLabel(rule.declaration)}</strong> {ruleText(rule)}
              <span className="dim">
                {rule.subject && ` · ${subjectText(rule.subject)}`} · {rule.declared_by}
              </span>
            </span>
            <span className="dim num">
              {i18n.t('{count, plural, one {# stream} other {# streams}}', {
                count: rule.streams,
              })}
            </span>
            {declares && (
              <Button size="compact-xs" variant="default" onClick={() => void remove(rule)}>
                {i18n.t('Take away')}
              </Button>
            )}
          </li>
        ))}
      </ul>
      <Modal opened={adding} onClose={() => setAdding(false)} title={i18n.t('Add a rule')}>
        <RuleForm onDone={() => setAdding(false)} />
      </Modal>
    </section>
  )
}

function RuleForm({ onDone }: { onDone: () => void }) {
  const [type, setType] = useState('')
  const [key, setKey] = useState('')
  const [declares, setDeclares] = useState('non_personal')
  const [field, setField] = useState('')
  const submit = async () => {
    const subject: NewStreamRule['subject'] = field.trim()
      ? { kind: 'field', field: field.trim() }
      : { kind: 'device' }
    const rule: NewStreamRule = {
      ...(type.trim() && { device_type: type.trim() }),
      ...(key.trim() && { key: key.trim() }),
      declaration: declares === 'personal' ? 'personal' : 'non_personal',
      ...(declares === 'personal' && { subject }),
    }
    await body(client.POST('/v1/stream-rules', { body: rule }))
    await streamsChanged()
  }
  return (
    <SubmitForm
      action={i18n.t('Declare')}
      submit={submit}
      onDone={onDone}
      incomplete={type.trim() === '' && key.trim() === ''}
      onCancel={onDone}
    >
      <TextInput
        label={i18n.t('Devices of type')}
        placeholder={i18n.t('any')}
        maxLength={100}
        value={type}
        onChange={(event) => setType(event.currentTarget.value)}
      />
      <TextInput
        label={i18n.t('Streams named')}
        description={i18n.t('* stands for anything, as in temp*')}
        placeholder={i18n.t('any')}
        maxLength={256}
        value={key}
        onChange={(event) => setKey(event.currentTarget.value)}
      />
      <Select
        label={i18n.t('Are')}
        allowDeselect={false}
        value={declares}
        onChange={(value) => setDeclares(value ?? declares)}
        data={(['non_personal', 'personal'] as const).map((value) => ({
          value,
          label: declarationLabel(value),
        }))}
      />
      {declares === 'personal' && (
        <TextInput
          label={i18n.t('Named by the stream')}
          description={i18n.t('Empty: of the person whose device it is')}
          maxLength={256}
          value={field}
          onChange={(event) => setField(event.currentTarget.value)}
        />
      )}
      <p className="hint">
        {i18n.t(
          'What is presumed to be access control stays closed unless the rule names its type or its very name.',
        )}
      </p>
    </SubmitForm>
  )
}
