// Attributes that a device has to have for a rule: scope, name, and what it has to be.
import { i18n } from '@lingui/core'
import { Button, Group, Select, TextInput } from '@mantine/core'

import type { RouteAttribute } from '../../api/types'
import { Icon } from '../../ui/icons'

const ATTRIBUTES_MAX = 10

/** One row of the form: what it has to be is text until the rule is sent. */
export type AttributeRow = { scope: string; name: string; kind: string; text: string }

export function rowOf({ scope, name, equals }: RouteAttribute): AttributeRow {
  const text = typeof equals === 'string' ? equals : JSON.stringify(equals)
  return { scope, name, kind: typeof equals, text }
}

/** What is sent of a row. */
export function attributeOf({ scope, name, kind, text }: AttributeRow) {
  const values: Record<string, unknown> = { number: Number(text), boolean: text === 'true' }
  return { scope: scope as never, name: name.trim(), equals: values[kind] ?? text }
}

export function isWhole({ name, kind, text }: AttributeRow): boolean {
  const isNumber = text.trim() !== '' && Number.isFinite(Number(text))
  return name.trim() !== '' && (kind !== 'number' || isNumber)
}

export function AttributeRows(props: {
  rows: AttributeRow[]
  onChange: (rows: AttributeRow[]) => void
}) {
  const { rows, onChange } = props
  const change = (index: number, part: Partial<AttributeRow>) =>
    onChange(rows.map((row, at) => (at === index ? { ...row, ...part } : row)))
  const title = i18n.t('Only of devices with these attributes')
  const more: AttributeRow = { scope: 'server', name: '', kind: 'string', text: '' }
  return (
    <div className="stack" role="group" aria-label={title}>
      <span className="dim">{title}</span>
      {rows.map((row, index) => (
        <Group key={index} gap="xs" align="end">
          <Select
            label={i18n.t('For whom')}
            w={170}
            allowDeselect={false}
            data={[
              { value: 'server', label: i18n.t('Server only') },
              { value: 'shared', label: i18n.t('Shared with the device') },
              { value: 'client', label: i18n.t('From the device') },
            ]}
            value={row.scope}
            onChange={(value) => change(index, { scope: value ?? 'server' })}
          />
          <TextInput
            label={i18n.t('Name')}
            w={140}
            value={row.name}
            onChange={(event) => change(index, { name: event.currentTarget.value })}
          />
          <Select
            label={i18n.t('Kind')}
            w={130}
            allowDeselect={false}
            data={[
              { value: 'string', label: i18n.t('Text') },
              { value: 'number', label: i18n.t('Number') },
              { value: 'boolean', label: i18n.t('True or false') },
            ]}
            value={row.kind}
            onChange={(value) =>
              change(index, {
                kind: value ?? 'string',
                text: value === 'boolean' ? 'true' : row.kind === 'boolean' ? '' : row.text,
              })
            }
          />
          {row.kind === 'boolean' ? (
            <Select
              label={i18n.t('Value')}
              w={130}
              allowDeselect={false}
              data={['true', 'false']}
              value={row.text}
              onChange={(value) => change(index, { text: value ?? 'true' })}
            />
          ) : (
            <TextInput
              label={i18n.t('Value')}
              w={140}
              maxLength={255}
              {...(row.kind === 'number' && { inputMode: 'decimal' as const })}
              value={row.text}
              onChange={(event) => change(index, { text: event.currentTarget.value })}
            />
          )}
          <Button
            variant="default"
            aria-label={i18n.t('Remove {name}', { name: row.name })}
            onClick={() => onChange(rows.filter((_, at) => at !== index))}
          >
            <Icon name="trash" size={14} />
          </Button>
        </Group>
      ))}
      {rows.length < ATTRIBUTES_MAX && (
        <div>
          <Button size="compact-sm" variant="default" onClick={() => onChange([...rows, more])}>
            {i18n.t('Add an attribute')}
          </Button>
        </div>
      )}
    </div>
  )
}
