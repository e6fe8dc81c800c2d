// Plans: named limits. The platform's administration makes them, others see what they may give.
import { i18n } from '@lingui/core'
import { useLingui } from '@lingui/react'
import { Button, NumberInput, TextInput } from '@mantine/core'
import { useDebouncedValue } from '@mantine/hooks'
import { useQuery, useQueryClient } from '@tanstack/react-query'
import { useState } from 'react'

import { body, client, ifUnchanged } from '../../api/client'
import { useAllowed } from '../../app/Allowed'
import { formatBytes, formatCount } from '../../lib/format'
import { ConfirmTyped } from '../../ui/dialogs'
import { Icon } from '../../ui/icons'
import { Empty, Failure, Loading, Page, TableScroll } from '../../ui/layout'
import { Modal } from '../../ui/overlays'
import { SubmitForm } from '../../ui/SubmitForm'
import { expiringQuery, plansQuery, tenantsQuery, type Limits, type Plan } from './queries'

const EMPTY: Limits = {
  devices: null,
  users: null,
  api_keys: null,
  tenants: null,
  messages_per_second: null,
  requests_per_second: null,
  storage_bytes: null,
  points_per_day: null,
  series: null,
  retention_days: null,
  audit_days: null,
  key_level: null,
  route_destinations: null,
  route_rules: null,
  route_deliveries_per_minute: null,
}

/** Limits that are numbers. */
type Counted = Exclude<keyof Limits, 'key_level'>

/** What a plan keeps for a time, in days. */
type Days = Pick<Limits, 'retention_days' | 'audit_days'>

function limitLabels(): [Counted, string][] {
  return [
    ['devices', i18n.t('Devices')],
    ['users', i18n.t('People')],
    ['api_keys', i18n.t('API keys')],
    ['tenants', i18n.t('Tenants below')],
    ['messages_per_second', i18n.t('Messages a second')],
    ['requests_per_second', i18n.t('Requests a second')],
    ['storage_bytes', i18n.t('Storage in bytes')],
    ['points_per_day', i18n.t('Readings a day')],
    ['series', i18n.t('Series')],
    ['retention_days', i18n.t('Days readings are kept')],
    ['audit_days', i18n.t('Days the ledger’s records can be opened')],
    ['route_destinations', i18n.t('Routing destinations')],
    ['route_rules', i18n.t('Routing rules')],
    ['route_deliveries_per_minute', i18n.t('Deliveries a minute')],
  ]
}

function isTime(key: Counted): key is keyof Days {
  return key === 'retention_days' || key === 'audit_days'
}

export function PlansPage() {
  const { i18n: lingui } = useLingui()
  const query = useQuery(plansQuery)
  const tenants = useQuery(tenantsQuery)
  const [editing, setEditing] = useState<Plan | 'new' | null>(null)
  const [removing, setRemoving] = useState<Plan | null>(null)
  const writes = useAllowed()('plan.write')
  const makes = writes && tenants.data?.[0]?.kind === 'platform'
  const plans = query.data?.items ?? []
  const reload = async () => {
    const { data } = await query.refetch()
    setEditing(data?.items.find((plan) => editing !== 'new' && plan.id === editing?.id) ?? null)
  }
  return (
    <Page
      title={i18n.t('Plans')}
      lead={i18n.t('Limits with a name. A partner gives plans that are within its own.')}
      actions={
        makes && (
          <Button leftSection={<Icon name="plus" size={16} />} onClick={() => setEditing('new')}>
            {i18n.t('New plan')}
          </Button>
        )
      }
    >
      {query.isPending && <Loading rows={3} />}
      {query.isError && <Failure error={query.error} retry={() => void query.refetch()} />}
      {query.data && plans.length === 0 && (
        <Empty icon="table" title={i18n.t('No plan yet')}>
          {i18n.t('Without a plan a tenant has the platform’s own limits only.')}
        </Empty>
      )}
      {plans.length > 0 && (
        <TableScroll label={i18n.t('Plans')}>
          <table className="table" data-wide>
            <thead>
              <tr>
                <th>{i18n.t('Name')}</th>
                {limitLabels().map(([key, label]) => (
                  <th key={key}>{label}</th>
                ))}
                <th>
                  <span className="visually-hidden">{i18n.t('Actions')}</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {plans.map((plan) => (
                <tr key={plan.id}>
                  <td>{plan.name}</td>
                  {limitLabels().map(([key]) => (
                    <td key={key} className="num">
                      {plan.limits[key] === null
                        ? i18n.t('no limit')
                        : (key === 'storage_bytes' ? formatBytes : formatCount)(
                            plan.limits[key],
                            lingui.locale,
                          )}
                    </td>
                  ))}
                  <td>
                    {makes && (
                      <span className="row">
                        <Button
                          size="compact-xs"
                          variant="default"
                          aria-label={i18n.t('Change {name}', { name: plan.name })}
                          onClick={() => setEditing(plan)}
                        >
                          {i18n.t('Change')}
                        </Button>
                        <Button
                          size="compact-xs"
                          variant="default"
                          aria-label={i18n.t('Delete {name}', { name: plan.name })}
                          onClick={() => setRemoving(plan)}
                        >
                          {i18n.t('Delete')}
                        </Button>
                      </span>
                    )}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </TableScroll>
      )}
      <Modal
        opened={editing !== null}
        onClose={() => setEditing(null)}
        title={editing === 'new' ? i18n.t('New plan') : i18n.t('Change the plan')}
        closeOnClickOutside={false}
      >
        {editing && (
          <PlanForm
            key={editing === 'new' ? 0 : editing.version}
            plan={editing === 'new' ? null : editing}
            onDone={() => setEditing(null)}
            onReload={() => void reload()}
          />
        )}
      </Modal>
      <ConfirmTyped
        opened={removing !== null}
        onClose={() => setRemoving(null)}
        title={i18n.t('Delete the plan')}
        name={removing?.name ?? ''}
        action={i18n.t('Delete')}
        onConfirm={async () => {
          const params = { path: { id: removing?.id ?? '' } }
          await client.DELETE('/v1/plans/{id}', { params })
          await query.refetch()
        }}
      >
        {i18n.t('A plan that tenants have cannot be deleted.')}
      </ConfirmTyped>
    </Page>
  )
}

function PlanForm(props: { plan: Plan | null; onDone: () => void; onReload: () => void }) {
  const queries = useQueryClient()
  const [name, setName] = useState(props.plan?.name ?? '')
  const [limits, setLimits] = useState<Limits>(props.plan?.limits ?? EMPTY)
  const done = () => {
    void queries.invalidateQueries(plansQuery)
    void queries.invalidateQueries(tenantsQuery)
    props.onDone()
  }
  const input = { name, limits }
  const save = () =>
    props.plan === null
      ? body(client.POST('/v1/plans', { body: input }))
      : body(
          client.PUT('/v1/plans/{id}', {
            params: { path: { id: props.plan.id } },
            body: input,
            ...ifUnchanged(props.plan),
          }),
        )
  return (
    <SubmitForm
      action={i18n.t('Save')}
      submit={save}
      onDone={done}
      onReload={props.onReload}
    >
      <TextInput
        label={i18n.t('Name')}
        required
        data-autofocus
        value={name}
        onChange={(event) => setName(event.currentTarget.value)}
      />
      {limitLabels().map(([key, label]) => (
        <NumberInput
          key={key}
          label={label}
          placeholder={i18n.t('no limit')}
          min={isTime(key) ? 1 : 0}
          allowDecimal={false}
          allowNegative={false}
          value={limits[key] ?? ''}
          onChange={(value) =>
            setLimits({ ...limits, [key]: typeof value === 'number' ? value : null })
          }
        />
      ))}
      {(limits.retention_days !== null || limits.audit_days !== null) && (
        <Expiring plan={props.plan} days={limits} />
      )}
      <p className="dim">
        {i18n.t(
          'Each tenant’s data is encrypted under keys of its own, and those are locked with the platform’s key. This installation cannot use keys that customers bring or hold themselves.',
        )}
      </p>
    </SubmitForm>
  )
}

function isShorter(days: number | null, before: number | null): boolean {
  return days !== null && (before === null || days < before)
}

/** What the days that stand in the form would destroy. */
function Expiring({ plan, days }: { plan: Plan | null; days: Days }) {
  const { i18n: lingui } = useLingui()
  const [readings] = useDebouncedValue(days.retention_days, 400)
  const [ledger] = useDebouncedValue(days.audit_days, 400)
  const asked = { retention_days: readings, audit_days: ledger }
  const query = useQuery({ ...expiringQuery(plan?.id ?? '', asked), enabled: plan !== null })
  const isCurrent = readings === days.retention_days && ledger === days.audit_days
  const found = isCurrent ? query.data : undefined
  const before = plan?.limits
  return (
    <div className="stack" aria-live="polite">
      {days.retention_days !== null && (
        <p>
          {i18n.t(
            'Older readings are destroyed for good, by whole days. The latest value of a series stays; what people did and the ledger have times of their own.',
          )}
        </p>
      )}
      {days.retention_days !== null && found !== undefined && found.tenants > 0 && (
        <p>
          <strong>
            {i18n.t('With {days} days, {readings} readings ({size}) of {tenants} tenants are past their time.', {
              days: days.retention_days,
              readings: formatCount(found.readings, lingui.locale),
              size: formatBytes(found.bytes, lingui.locale),
              tenants: formatCount(found.tenants, lingui.locale),
            })}
          </strong>
        </p>
      )}
      {days.audit_days !== null && (
        <p>
          {i18n.t(
            'What the ledger sealed on older days cannot be opened any more: its records are destroyed for good, by whole days. Its entries stay, and their proofs hold.',
          )}
        </p>
      )}
      {days.audit_days !== null && found !== undefined && found.ledger_tenants > 0 && (
        <p>
          <strong>
            {i18n.t('With {days} days, the ledger’s records of {count} days are past their time, of {tenants} tenants.', {
              days: days.audit_days,
              count: formatCount(found.ledger_days, lingui.locale),
              tenants: formatCount(found.ledger_tenants, lingui.locale),
            })}
          </strong>
        </p>
      )}
      {found !== undefined && found.tenants === 0 && found.ledger_tenants === 0 && (
        <p>{i18n.t('Nothing ends now.')}</p>
      )}
      {before !== undefined &&
        (isShorter(days.retention_days, before.retention_days) ||
          isShorter(days.audit_days, before.audit_days)) && (
          <p>
            {i18n.t(
              'After the time is shortened, everything is kept as before for seven days more, so that it can be taken back. The tenants’ administrators are mailed.',
            )}
          </p>
        )}
    </div>
  )
}
