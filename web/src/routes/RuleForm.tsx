// The form of one rule, in sentences rather than codes.
import { i18n } from '@lingui/core'
import {
  Autocomplete,
  Checkbox,
  NumberInput,
  Select,
  SegmentedControl,
  TagsInput,
  Textarea,
  TextInput,
} from '@mantine/core'
import { useDebouncedValue } from '@mantine/hooks'
import { useQuery } from '@tanstack/react-query'
import { useMemo, useState } from 'react'

import { foundDevicesQuery } from '../api/deviceQueries'
import { ProblemError } from '../api/problem'
import { useAllowed } from '../app/Allowed'
import { useDeviceOptions, useDevicesById } from '../app/useDevices'
import { useTwins } from '../app/useTwins'
import type { Device, NewRule, Rule } from '../api/types'
import { SEVERITIES } from '../lib/severity'
import { severityLabel } from '../ui/marks'
import { SubmitForm } from '../ui/SubmitForm'

type ScopeKind = 'all' | 'device_type' | 'twin_id' | 'device_id'
type Draft = {
  name: string
  severity: NewRule['severity']
  enabled: boolean
  scopeKind: ScopeKind
  scopeValue: string
  kind: 'threshold' | 'no_data'
  key: string
  op: 'gt' | 'ge' | 'lt' | 'le'
  threshold: number
  hysteresis: number
  seconds: number
  emails: string[]
  helps: string
}

function draftOf(rule: Rule | null): Draft {
  const condition = rule?.condition
  const [scopeKind, scopeValue] = (Object.entries(rule?.scope ?? {}).find(([, v]) => v) ?? [
    'all',
    '',
  ]) as [ScopeKind, string]
  return {
    name: rule?.name ?? '',
    severity: rule?.severity ?? 'medium',
    enabled: rule?.enabled ?? true,
    scopeKind,
    scopeValue,
    kind: condition?.kind ?? 'threshold',
    key: condition?.key ?? '',
    op: condition?.kind === 'threshold' ? condition.op : 'gt',
    threshold: condition?.kind === 'threshold' ? condition.threshold : 0,
    hysteresis: condition?.kind === 'threshold' ? condition.hysteresis : 0,
    seconds:
      condition === undefined
        ? 60
        : condition.kind === 'threshold'
          ? condition.for_seconds
          : condition.after_seconds,
    emails: rule?.notify_emails ?? [],
    helps: rule?.what_helps ?? '',
  }
}

export function ruleOf(draft: Draft): NewRule {
  return {
    name: draft.name.trim(),
    severity: draft.severity,
    enabled: draft.enabled,
    scope: draft.scopeKind === 'all' ? {} : { [draft.scopeKind]: draft.scopeValue },
    condition:
      draft.kind === 'threshold'
        ? {
            kind: 'threshold',
            key: draft.key,
            op: draft.op,
            threshold: draft.threshold,
            hysteresis: draft.hysteresis,
            for_seconds: draft.seconds,
          }
        : {
            kind: 'no_data',
            after_seconds: draft.seconds,
            ...(draft.key !== '' && { key: draft.key }),
          },
    notify_emails: draft.emails,
    what_helps: draft.helps,
  }
}

/** Whether it asks for something else than before; names and who is told do not count. */
function asksAnew(draft: Draft, rule: Rule): boolean {
  const asked = ({ scope, condition }: NewRule) => JSON.stringify([scope, condition])
  return asked(ruleOf(draft)) !== asked(ruleOf(draftOf(rule)))
}

/** Devices whose types and values the fields propose; any other may be typed. */
const SAMPLE = 200

function useSample({ scopeKind, scopeValue }: Draft, chosen: string[]): Device[] {
  const [typed] = useDebouncedValue(scopeKind === 'device_type' ? scopeValue : '', 200)
  const wanted = {
    ...(typed.trim() && { search: typed.trim() }),
    ...(scopeKind === 'twin_id' && scopeValue && { twin_id: scopeValue }),
  }
  const some = useQuery(foundDevicesQuery(wanted, SAMPLE)).data ?? []
  const own = useDevicesById(chosen)
  return chosen.length > 0 && own.size > 0 ? [...own.values()] : some
}

export function RuleForm(props: {
  rule: Rule | null
  onSave: (rule: NewRule) => Promise<void>
  onCancel: () => void
  onReload: () => void
}) {
  const [draft, setDraft] = useState(() => draftOf(props.rule))
  const [isRefused, setIsRefused] = useState(false)
  const [accepts, setAccepts] = useState(false)
  const isBlind = !useAllowed()('telemetry.read_personal') || isRefused
  const twins = useTwins()
  const chosen = useMemo(
    () => (draft.scopeKind === 'device_id' && draft.scopeValue ? [draft.scopeValue] : []),
    [draft.scopeKind, draft.scopeValue],
  )
  const devices = useDeviceOptions(chosen)
  const sample = useSample(draft, chosen)
  const set = (patch: Partial<Draft>) => setDraft({ ...draft, ...patch })
  const number = (value: string | number) =>
    typeof value === 'number' ? value : Number(value) || 0
  const keys = [...new Set(sample.flatMap((d) => d.keys))].sort()
  const types = [...new Set(sample.flatMap((d) => d.type || []))].sort()
  const threshold = draft.kind === 'threshold'
  const complete =
    draft.name.trim() !== '' &&
    (!threshold || draft.key !== '') &&
    (draft.scopeKind === 'all' || draft.scopeValue !== '')
  const { rule } = props
  const loses =
    isBlind && rule?.sees_closed === true && draft.key !== '' && asksAnew(draft, rule)
  const save = async () => {
    try {
      await props.onSave({ ...ruleOf(draft), ...(loses && accepts && { sees_closed: false }) })
    } catch (error) {
      // Whoever may read personal streams elsewhere learns here that they may not where it watches.
      if (ProblemError.of(error).problem.type === '/problems/conflict') setIsRefused(true)
      throw error
    }
  }
  return (
    <SubmitForm
      action={i18n.t('Save')}
      submit={save}
      incomplete={!complete || (loses && !accepts)}
      onCancel={props.onCancel}
      onReload={props.onReload}
    >
      <div className="form-row">
        <TextInput
          label={i18n.t('Name')}
          required
          data-autofocus
          value={draft.name}
          onChange={(e) => set({ name: e.currentTarget.value })}
        />
        <Select
          label={i18n.t('Severity')}
          allowDeselect={false}
          data={SEVERITIES.map((value) => ({ value, label: severityLabel(value) }))}
          value={draft.severity}
          onChange={(value) => value && set({ severity: value })}
        />
      </div>
      <SegmentedControl
        aria-label={i18n.t('Kind of rule')}
        value={draft.kind}
        onChange={(value) => set({ kind: value === 'no_data' ? 'no_data' : 'threshold' })}
        data={[
          { value: 'threshold', label: i18n.t('A limit is crossed') },
          { value: 'no_data', label: i18n.t('A device falls silent') },
        ]}
      />
      <div className="form-row">
        <Autocomplete
          label={threshold ? i18n.t('Value (key)') : i18n.t('Value (key, optional)')}
          required={threshold}
          data={keys}
          value={draft.key}
          onChange={(value) => set({ key: value })}
        />
        {threshold && (
          <>
            <Select
              label={i18n.t('Comparison')}
              allowDeselect={false}
              data={[
                { value: 'gt', label: i18n.t('is above (>)') },
                { value: 'ge', label: i18n.t('is at least (≥)') },
                { value: 'lt', label: i18n.t('is below (<)') },
                { value: 'le', label: i18n.t('is at most (≤)') },
              ]}
              value={draft.op}
              onChange={(value) => value && set({ op: value as Draft['op'] })}
            />
            <NumberInput
              label={i18n.t('Limit')}
              required
              value={draft.threshold}
              onChange={(value) => set({ threshold: number(value) })}
            />
          </>
        )}
      </div>
      <div className="form-row">
        <NumberInput
          label={threshold ? i18n.t('For at least (s)') : i18n.t('Silent for (s)')}
          description={threshold ? i18n.t('Shorter peaks raise nothing.') : undefined}
          min={threshold ? 0 : 1}
          max={604_800}
          value={draft.seconds}
          onChange={(value) => set({ seconds: number(value) })}
        />
        {threshold && (
          <NumberInput
            label={i18n.t('Hysteresis')}
            description={i18n.t('How far back before it returns to normal.')}
            min={0}
            value={draft.hysteresis}
            onChange={(value) => set({ hysteresis: number(value) })}
          />
        )}
      </div>
      <div className="form-row">
        <Select
          label={i18n.t('For')}
          allowDeselect={false}
          data={[
            { value: 'all', label: i18n.t('all devices') },
            { value: 'device_type', label: i18n.t('a type of device') },
            { value: 'twin_id', label: i18n.t('a building') },
            { value: 'device_id', label: i18n.t('one device') },
          ]}
          value={draft.scopeKind}
          onChange={(value) => set({ scopeKind: (value ?? 'all') as ScopeKind, scopeValue: '' })}
        />
        {draft.scopeKind === 'device_type' && (
          <Autocomplete
            label={i18n.t('Type')}
            data={types}
            value={draft.scopeValue}
            onChange={(value) => set({ scopeValue: value })}
          />
        )}
        {draft.scopeKind === 'twin_id' && (
          <Select
            label={i18n.t('Building')}
            data={(twins.data?.items ?? []).map((t) => ({ value: t.id, label: t.name }))}
            value={draft.scopeValue || null}
            onChange={(value) => set({ scopeValue: value ?? '' })}
          />
        )}
        {draft.scopeKind === 'device_id' && (
          <Select
            label={i18n.t('Device')}
            {...devices.field}
            data={devices.options}
            value={draft.scopeValue || null}
            onChange={(value) => set({ scopeValue: value ?? '' })}
          />
        )}
      </div>
      <Textarea
        label={i18n.t('What usually helps')}
        description={i18n.t('Shown with every alert of this rule.')}
        autosize
        minRows={2}
        maxLength={2000}
        value={draft.helps}
        onChange={(e) => set({ helps: e.currentTarget.value })}
      />
      <TagsInput
        label={i18n.t('Mail to')}
        placeholder={i18n.t('Address, then Enter')}
        value={draft.emails}
        onChange={(emails) => set({ emails })}
      />
      {rule === null && isBlind && draft.key !== '' && (
        <p className="hint">
          {i18n.t('It will watch open streams only: you may not read personal ones.')}
        </p>
      )}
      {loses && (
        <Checkbox
          label={i18n.t('Let it watch open streams only from now on')}
          description={i18n.t(
            'Now it watches personal streams too. You may not read those, so they are left out once you change what it asks. Whoever may read them can change it without that.',
          )}
          checked={accepts}
          onChange={(event) => setAccepts(event.currentTarget.checked)}
        />
      )}
    </SubmitForm>
  )
}
