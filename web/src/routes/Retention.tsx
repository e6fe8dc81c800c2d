// How long readings are kept: by the plan, by the organisation itself, and what is at its end.
import { i18n } from '@lingui/core'
import { useLingui } from '@lingui/react'
import { ActionIcon, Button, Group, NumberInput, Select, TextInput } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useState } from 'react'

import { body, client } from '../api/client'
import { deviceProfilesQuery } from '../api/profileQueries'
import { queryClient, retentionEndsQuery, retentionQuery } from '../api/queries'
import type { Retention, RetentionEnd, RetentionRule } from '../api/types'
import { Allowed } from '../app/Allowed'
import { formatCount } from '../lib/format'
import { Icon } from '../ui/icons'
import { Facts, Failure, Loading } from '../ui/layout'
import { Modal } from '../ui/overlays'
import { SubmitForm } from '../ui/SubmitForm'
import { Instant } from '../ui/time'

const DAYS_MAX = 36_500
const RULES_MAX = 50

function daysText(days: number | null): string {
  return days === null
    ? i18n.t('without an end')
    : i18n.t('{days, plural, one {# day} other {# days}}', { days })
}

export function RetentionBlock() {
  const query = useQuery(retentionQuery)
  const [changing, setChanging] = useState(false)
  if (query.isPending) return <Loading rows={2} />
  if (query.isError) return <Failure error={query.error} compact />
  const kept = query.data
  return (
    <section className="block">
      <div className="block-head">
        <h2>{i18n.t('How long readings are kept')}</h2>
        <Allowed to="retention.write">
          <Button size="xs" variant="default" onClick={() => setChanging(true)}>
            {i18n.t('Change')}
          </Button>
        </Allowed>
      </div>
      <Facts
        items={[
          [i18n.t('Your plan'), daysText(kept.plan_days)],
          [i18n.t('Your organisation'), kept.readings_days === null ? i18n.t('as the plan') : daysText(kept.readings_days)],
          [
            i18n.t('Hourly figures of readings that ended'),
            kept.figures_days === null ? i18n.t('none') : daysText(kept.figures_days),
          ],
          [
            i18n.t('For less time'),
            i18n.t('{count, plural, =0 {no rule} one {# rule} other {# rules}}', { count: kept.rules.length }),
          ],
        ]}
      />
      {kept.not_before && (
        <p className="hint">
          {i18n.t('Changed: nothing is destroyed by it before')}{' '}
          <Instant at={kept.not_before} age={false} />
        </p>
      )}
      <Ends />
      <Modal
        opened={changing}
        onClose={() => setChanging(false)}
        title={i18n.t('How long readings are kept')}
      >
        <RetentionForm kept={kept} onDone={() => setChanging(false)} />
      </Modal>
    </section>
  )
}

function endLabel(end: RetentionEnd): string {
  switch (end.by) {
    case 'plan':
      return i18n.t('By the plan')
    case 'readings':
      return i18n.t('By your organisation')
    default:
      return i18n.t('By rule {number}', { number: (end.rule ?? 0) + 1 })
  }
}

/** What is at its end now: looked at, nothing more. */
function Ends() {
  const { i18n: lingui } = useLingui()
  const [shown, setShown] = useState(false)
  const query = useQuery({ ...retentionEndsQuery, enabled: shown })
  if (!shown) {
    return (
      <Button size="xs" variant="default" onClick={() => setShown(true)}>
        {i18n.t('Show what is at its end')}
      </Button>
    )
  }
  if (query.isPending) return <Loading rows={1} />
  if (query.isError) return <Failure error={query.error} compact />
  if (query.data.items.length === 0) return <p className="hint">{i18n.t('Nothing ends.')}</p>
  return (
    <ul className="plain-list">
      {query.data.items.map((end) => (
        <li key={`${end.by} ${end.rule}`}>
          <span>{endLabel(end)}</span>
          <span className="dim">
            {i18n.t('at most {readings} readings, before', {
              readings: formatCount(end.readings, lingui.locale),
            })}{' '}
            <Instant at={end.before} age={false} />
          </span>
        </li>
      ))}
    </ul>
  )
}

const numberOrNull = (value: string | number): number | null =>
  typeof value === 'number' ? value : null

function RetentionForm(props: { kept: Retention; onDone: () => void }) {
  const [readings, setReadings] = useState(props.kept.readings_days)
  const [figures, setFigures] = useState(props.kept.figures_days)
  const [rules, setRules] = useState<RetentionRule[]>(props.kept.rules)
  const profiles = useQuery(deviceProfilesQuery)
  const change = (index: number, next: Partial<RetentionRule>) =>
    setRules(rules.map((rule, at) => (at === index ? { ...rule, ...next } : rule)))
  const submit = async () => {
    await body(
      client.PUT('/v1/retention', {
        body: { readings_days: readings, figures_days: figures, rules },
        headers: { 'if-match': `"${props.kept.version}"` },
      }),
    )
    await queryClient.invalidateQueries({ queryKey: ['retention'] })
    props.onDone()
  }
  return (
    <SubmitForm action={i18n.t('Save')} submit={submit} onCancel={props.onDone}>
      <NumberInput
        label={i18n.t('All readings, in days')}
        description={i18n.t('Empty: as long as the plan keeps them.')}
        min={1}
        max={DAYS_MAX}
        value={readings ?? ''}
        onChange={(value) => setReadings(numberOrNull(value))}
      />
      <NumberInput
        label={i18n.t('Hourly figures of readings that ended, in days')}
        description={i18n.t('Empty: none are kept. They go by whole months.')}
        min={1}
        max={DAYS_MAX}
        value={figures ?? ''}
        onChange={(value) => setFigures(numberOrNull(value))}
      />
      {rules.map((rule, index) => (
        <Group key={index} align="end" wrap="wrap">
          <Select
            label={i18n.t('Profile')}
            clearable
            value={rule.profile_id}
            onChange={(value) => change(index, { profile_id: value })}
            data={(profiles.data?.items ?? []).map((one) => ({ value: one.id, label: one.settings.name }))}
          />
          <TextInput
            label={i18n.t('Keys')}
            placeholder="raw_*"
            value={rule.key ?? ''}
            onChange={(event) => change(index, { key: event.currentTarget.value || null })}
          />
          <NumberInput
            label={i18n.t('Days')}
            required
            min={1}
            max={DAYS_MAX}
            value={rule.days}
            onChange={(value) => change(index, { days: numberOrNull(value) ?? 1 })}
          />
          <ActionIcon
            variant="subtle"
            aria-label={i18n.t('Remove rule {number}', { number: index + 1 })}
            onClick={() => setRules(rules.filter((_, at) => at !== index))}
          >
            <Icon name="trash" size={16} />
          </ActionIcon>
        </Group>
      ))}
      <Button
        variant="default"
        leftSection={<Icon name="plus" size={14} />}
        disabled={rules.length >= RULES_MAX}
        onClick={() => setRules([...rules, { profile_id: null, key: null, days: 30 }])}
      >
        {i18n.t('Keep some for less time')}
      </Button>
      <p className="hint">
        {i18n.t('A week passes before anything is destroyed by a change, so that it can be taken back.')}
      </p>
    </SubmitForm>
  )
}
