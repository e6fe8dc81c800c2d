// What the columns of a file mean: whose values they are, when they were measured, under which key.
import { i18n } from '@lingui/core'
import { Group, MultiSelect, Select, TextInput } from '@mantine/core'

import type { ImportPlan } from '../../api/types'
import { useDeviceOptions } from '../../app/useDevices'
import { FORMS, isTable, type Form } from './pieces'

type Change = (plan: ImportPlan) => void
type Part = { plan: ImportPlan; columns: string[]; onChange: Change }

const KINDS = ['auto', 'double', 'integer', 'boolean', 'text', 'json']

/** A plan without what is not said. */
function said(plan: ImportPlan): ImportPlan {
  const entries = Object.entries(plan).filter(([, value]) => value !== null && value !== '')
  return Object.fromEntries(entries) as ImportPlan
}

function formLabel(form: Form): string {
  switch (form) {
    case 'csv':
      return i18n.t('CSV')
    case 'ndjson':
      return i18n.t('NDJSON')
    case 'line_protocol':
      return i18n.t('Line protocol')
    case 'parquet':
      return i18n.t('Parquet')
  }
}

function timeLabel(form: string): string {
  switch (form) {
    case 's':
      return i18n.t('Seconds since 1970')
    case 'ms':
      return i18n.t('Milliseconds since 1970')
    case 'us':
      return i18n.t('Microseconds since 1970')
    case 'ns':
      return i18n.t('Nanoseconds since 1970')
    case 'local':
      return i18n.t('Local time, without an offset')
    default:
      return i18n.t('With its offset, like 2026-01-31T08:30:00+01:00')
  }
}

export function Mapping({ plan, columns, onChange }: Part) {
  const form = plan.format as Form
  return (
    <>
      <Select
        label={i18n.t('Format')}
        data={FORMS.map((value) => ({ value, label: formLabel(value) }))}
        value={form}
        onChange={(value) => value !== null && onChange({ ...plan, format: value })}
        allowDeselect={false}
      />
      {isTable(form) && <Table plan={plan} columns={columns} onChange={onChange} />}
      {form === 'line_protocol' && (
        <Select
          label={i18n.t('Unit of the times')}
          data={['ns', 'us', 'ms', 's'].map((value) => ({ value, label: timeLabel(value) }))}
          value={plan.precision ?? 'ns'}
          onChange={(value) => onChange(said({ ...plan, precision: value }))}
          allowDeselect={false}
        />
      )}
    </>
  )
}

function Table({ plan, columns, onChange }: Part) {
  const set = (change: Partial<ImportPlan>) => onChange(said({ ...plan, ...change }))
  const chosen = plan.device == null ? [] : [plan.device]
  const { options, field } = useDeviceOptions(chosen)
  const isLocal = plan.time_format === 'local'
  return (
    <>
      <Group grow align="start">
        <Select
          label={i18n.t('Column that names the device')}
          data={columns}
          value={plan.device_column ?? null}
          onChange={(value) => set({ device_column: value, device: null })}
          clearable
          searchable
        />
        <Select
          label={i18n.t('Or the device of all rows')}
          data={options}
          value={plan.device ?? null}
          onChange={(value) => set({ device: value, device_column: null })}
          clearable
          {...field}
        />
      </Group>
      <Group grow align="start">
        <Select
          label={i18n.t('Column of the times')}
          data={columns}
          value={plan.time_column ?? null}
          onChange={(value) => set({ time_column: value })}
          searchable
        />
        <Select
          label={i18n.t('How they are written')}
          data={['rfc3339', 's', 'ms', 'us', 'ns', 'local'].map((value) => ({
            value,
            label: timeLabel(value),
          }))}
          value={plan.time_format ?? 'rfc3339'}
          onChange={(value) =>
            set({
              time_format: value,
              time_zone: value === 'local' ? zone() : null,
              time_pattern: null,
            })
          }
          allowDeselect={false}
        />
      </Group>
      {isLocal && (
        <Group grow align="start">
          <Select
            label={i18n.t('Time zone')}
            data={Intl.supportedValuesOf('timeZone')}
            value={plan.time_zone ?? null}
            onChange={(value) => set({ time_zone: value })}
            searchable
          />
          <TextInput
            label={i18n.t('Pattern')}
            description={i18n.t('Empty for the usual forms, else like %d.%m.%Y %H:%M')}
            value={plan.time_pattern ?? ''}
            onChange={(event) => set({ time_pattern: event.currentTarget.value })}
          />
        </Group>
      )}
      <Values plan={plan} columns={columns} onChange={onChange} />
      <Select
        label={i18n.t('Column of good, uncertain or bad')}
        data={columns}
        value={plan.quality_column ?? null}
        onChange={(value) => set({ quality_column: value })}
        clearable
      />
    </>
  )
}

function zone(): string {
  return Intl.DateTimeFormat().resolvedOptions().timeZone
}

function Values({ plan, columns, onChange }: Part) {
  const values = plan.values ?? []
  const isPairs = plan.key_column != null
  const change = (column: string, with_: { key?: string; kind?: string }) =>
    onChange({
      ...plan,
      values: values.map((one) => (one.column === column ? { ...one, ...with_ } : one)),
    })
  return (
    <>
      <Select
        label={i18n.t('Column of the keys, where each row is one value')}
        data={columns}
        value={plan.key_column ?? null}
        onChange={(value) => {
          const { key_column: _key, value_columns: _values, kind_column: _kind, ...rest } = plan
          onChange(value === null ? rest : { ...rest, key_column: value, values: [] })
        }}
        clearable
      />
      {isPairs ? (
        <MultiSelect
          label={i18n.t('Column of that value')}
          data={columns}
          value={plan.value_columns ?? []}
          onChange={(chosen) => onChange({ ...plan, value_columns: chosen })}
        />
      ) : (
        <MultiSelect
          label={i18n.t('Columns of values')}
          description={i18n.t('None: every column that is nothing else')}
          data={columns}
          value={values.map((one) => one.column ?? '')}
          onChange={(chosen) =>
            onChange({
              ...plan,
              values: chosen.map(
                (column) => values.find((one) => one.column === column) ?? { column },
              ),
            })
          }
        />
      )}
      {!isPairs &&
        values.map((one) => (
          <Group key={one.column} grow align="start">
            <TextInput
              label={i18n.t('Key of {column}', { column: one.column ?? '' })}
              value={one.key ?? one.column ?? ''}
              onChange={(event) => change(one.column ?? '', { key: event.currentTarget.value })}
            />
            <Select
              label={i18n.t('Kind of {column}', { column: one.column ?? '' })}
              data={KINDS}
              value={one.kind ?? 'auto'}
              onChange={(value) => value !== null && change(one.column ?? '', { kind: value })}
              allowDeselect={false}
            />
          </Group>
        ))}
    </>
  )
}
