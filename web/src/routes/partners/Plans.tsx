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
import { Empty, Failure, Loading, Page } from '../../ui/layout'
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
  retention_days: null,
}

function limitLabels(): [keyof Limits, string][] {
  return [
    ['devices', i18n.t('Devices')],
    ['users', i18n.t('People')],
    ['api_keys', i18n.t('API keys')],
    ['tenants', i18n.t('Tenants below')],
    ['messages_per_second', i18n.t('Messages a second')],
    ['requests_per_second', i18n.t('Requests a second')],
    ['storage_bytes', i18n.t('Storage in bytes')],
    ['retention_days', i18n.t('Days readings are kept')],
  ]
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
        <div className="table-scroll">
          <table className="table">
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
        </div>
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
          min={key === 'retention_days' ? 1 : 0}
          allowDecimal={false}
          allowNegative={false}
          value={limits[key] ?? ''}
          onChange={(value) =>
            setLimits({ ...limits, [key]: typeof value === 'number' ? value : null })
          }
        />
      ))}
      {limits.retention_days !== null && (
        <Expiring plan={props.plan} days={limits.retention_days} />
      )}
    </SubmitForm>
  )
}

function isShorter(days: number, before: number | null): boolean {
  return before === null || days < before
}

/** What the days that stand in the form would destroy. */
function Expiring({ plan, days }: { plan: Plan | null; days: number }) {
  const { i18n: lingui } = useLingui()
  const [asked] = useDebouncedValue(days, 400)
  const query = useQuery({ ...expiringQuery(plan?.id ?? '', asked), enabled: plan !== null })
  const found = query.data
  return (
    <div className="stack" aria-live="polite">
      <p>
        {i18n.t(
          'Older readings are destroyed for good, by whole days. The latest value of a series stays; records and the ledger are not touched.',
        )}
      </p>
      {found !== undefined && asked === days && found.tenants > 0 && (
        <p>
          <strong>
            {i18n.t('With {days} days, {readings} readings ({size}) of {tenants} tenants are past their time.', {
              days,
              readings: formatCount(found.readings, lingui.locale),
              size: formatBytes(found.bytes, lingui.locale),
              tenants: formatCount(found.tenants, lingui.locale),
            })}
          </strong>
        </p>
      )}
      {found !== undefined && asked === days && found.tenants === 0 && (
        <p>{i18n.t('Nothing ends now.')}</p>
      )}
      {plan !== null && isShorter(days, plan.limits.retention_days) && (
        <p>
          {i18n.t(
            'After the time is shortened, everything is kept as before for seven days more, so that it can be taken back. The tenants’ administrators are mailed.',
          )}
        </p>
      )}
    </div>
  )
}
