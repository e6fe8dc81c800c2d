// The tenants below a partner: make, invite, give plans and host names, suspend. And its inbox.
import { i18n } from '@lingui/core'
import { useLingui } from '@lingui/react'
import { Button, Menu, Select, Textarea, TextInput } from '@mantine/core'
import { useQuery, useQueryClient } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { useState } from 'react'

import { body, client } from '../../api/client'
import { Allowed, useAllowed } from '../../app/Allowed'
import { formatBytes, formatCount } from '../../lib/format'
import { served, tariff } from '../../lib/words'
import { ConfirmTyped } from '../../ui/dialogs'
import { Icon } from '../../ui/icons'
import { CopyField, Empty, Failure, Loading, Page, TableScroll, Tag } from '../../ui/layout'
import { Modal } from '../../ui/overlays'
import { SubmitForm } from '../../ui/SubmitForm'
import { Age, Instant } from '../../ui/time'
import { useSubmit } from '../../ui/useSubmit'
import {
  messagesQuery,
  plansQuery,
  tenantExpiringQuery,
  tenantsQuery,
  type Expiring,
  type Plan,
  type Tenant,
} from './queries'

type Doing = { what: What; tenant: Tenant }
type What = 'invite' | 'plan' | 'hosts' | 'domains' | 'suspend' | 'delete'

function kindLabel(kind: Tenant['kind']): string {
  return kind === 'partner' ? i18n.t('Partner') : i18n.t('Customer')
}

function State({ state }: { state: Tenant['state'] }) {
  if (state === 'active') return <Tag>{served()}</Tag>
  if (state === 'suspended') return <Tag tone="warn">{i18n.t('Suspended')}</Tag>
  return <Tag tone="warn">{i18n.t('Deletion asked for')}</Tag>
}

export function CustomersPage() {
  const query = useQuery(tenantsQuery)
  const [making, setMaking] = useState(false)
  const [own, ...below] = query.data ?? []
  const answers = own !== undefined && own.kind !== 'customer'
  return (
    <Page
      title={i18n.t('Customers')}
      lead={i18n.t('Names, plans and figures. What a customer keeps is the customer’s alone.')}
      actions={
        answers && (
          <>
            <Link to="/brand" className="button">
              {i18n.t('Brand')}
            </Link>
            <Link to="/plans" className="button">
              {i18n.t('Plans')}
            </Link>
            <Allowed to="tenant.create_below">
              <Button leftSection={<Icon name="plus" size={16} />} onClick={() => setMaking(true)}>
                {i18n.t('New customer')}
              </Button>
            </Allowed>
          </>
        )
      }
    >
      {query.isPending && <Loading rows={4} />}
      {query.isError && <Failure error={query.error} retry={() => void query.refetch()} />}
      {query.data && !answers && (
        <Empty icon="user" title={i18n.t('Only a partner has customers')} />
      )}
      {answers && below.length === 0 && (
        <Empty icon="user" title={i18n.t('No customer yet')}>
          {i18n.t('Make one, then invite its first administrator by a link that works once.')}
        </Empty>
      )}
      {below.length > 0 && <Table tenants={below} />}
      {answers && <Inbox />}
      <Modal
        opened={making}
        onClose={() => setMaking(false)}
        title={i18n.t('New customer')}
        closeOnClickOutside={false}
      >
        <NewTenant onDone={() => setMaking(false)} />
      </Modal>
    </Page>
  )
}

function Table({ tenants }: { tenants: Tenant[] }) {
  const { i18n: lingui } = useLingui()
  const [doing, setDoing] = useState<Doing | null>(null)
  const count = (value: number) => formatCount(value, lingui.locale)
  return (
    <TableScroll label={i18n.t('Customers')}>
      <table className="table">
        <thead>
          <tr>
            <th>{i18n.t('Name')}</th>
            <th>{i18n.t('Kind')}</th>
            <th>{i18n.t('State')}</th>
            <th>{tariff()}</th>
            <th>{i18n.t('Devices')}</th>
            <th>{i18n.t('People')}</th>
            <th>{i18n.t('Below it')}</th>
            <th>{i18n.t('Storage')}</th>
            <th>{i18n.t('Host names')}</th>
            <th>
              <span className="visually-hidden">{i18n.t('Actions')}</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {tenants.map((tenant) => (
            <tr key={tenant.id}>
              <td>{tenant.name}</td>
              <td>{kindLabel(tenant.kind)}</td>
              <td>
                <State state={tenant.state} />
              </td>
              <td>{tenant.plan?.name ?? i18n.t('none')}</td>
              <td className="num">{count(tenant.usage.devices)}</td>
              <td className="num">{count(tenant.usage.users)}</td>
              <td className="num">{count(tenant.usage.tenants)}</td>
              <td className="num">{formatBytes(tenant.usage.storage_bytes, lingui.locale)}</td>
              <td>{tenant.hosts.join(', ')}</td>
              <td>
                <Actions tenant={tenant} onChoose={setDoing} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      {doing && <Act doing={doing} onDone={() => setDoing(null)} />}
    </TableScroll>
  )
}

function Actions(props: { tenant: Tenant; onChoose: (doing: Doing) => void }) {
  const { tenant } = props
  const may = useAllowed()
  const queries = useQueryClient()
  const { run } = useSubmit(() => void queries.invalidateQueries(tenantsQuery))
  const item = (what: Doing['what'], label: string) => (
    <Menu.Item onClick={() => props.onChoose({ what, tenant })}>{label}</Menu.Item>
  )
  if (!may('tenant.update_below')) return null
  return (
    <Menu position="bottom-end">
      <Menu.Target>
        <button
          type="button"
          className="icon-button"
          aria-label={i18n.t('Actions for {name}', { name: tenant.name })}
        >
          <Icon name="more" size={18} />
        </button>
      </Menu.Target>
      <Menu.Dropdown>
        {may('tenant.invite_below') && item('invite', i18n.t('Invite an administrator'))}
        {item('plan', i18n.t('Choose a plan'))}
        {tenant.kind === 'partner' && item('domains', i18n.t('Domains'))}
        {item('hosts', i18n.t('Host names'))}
        <Menu.Divider />
        {tenant.state === 'active' ? (
          item('suspend', i18n.t('Suspend'))
        ) : (
          <Menu.Item onClick={() => void run(() => change(tenant, { state: 'active' }))}>
            {i18n.t('Resume')}
          </Menu.Item>
        )}
        {tenant.state !== 'deletion_requested' && item('delete', i18n.t('Ask for deletion'))}
      </Menu.Dropdown>
    </Menu>
  )
}

function change(tenant: Tenant, patch: { state?: Tenant['state']; plan_id?: string | null }) {
  const params = { path: { id: tenant.id } }
  return body(client.PATCH('/v1/tenants/{id}', { params, body: patch as never }))
}

function Act({ doing, onDone }: { doing: Doing; onDone: () => void }) {
  const queries = useQueryClient()
  const done = () => {
    void queries.invalidateQueries(tenantsQuery)
    onDone()
  }
  const { tenant, what } = doing
  if (what === 'suspend' || what === 'delete') {
    const suspend = what === 'suspend'
    return (
      <ConfirmTyped
        opened
        onClose={onDone}
        title={suspend ? i18n.t('Suspend a customer') : i18n.t('Ask for deletion')}
        name={tenant.name}
        action={suspend ? i18n.t('Suspend') : i18n.t('Ask for deletion')}
        onConfirm={async () => {
          await change(tenant, { state: suspend ? 'suspended' : 'deletion_requested' })
          await queries.invalidateQueries(tenantsQuery)
        }}
      >
        {i18n.t(
          'Nobody of it, nor of anything below it, can sign in; its devices are refused. Nothing is deleted, and it can be resumed.',
        )}
      </ConfirmTyped>
    )
  }
  const titles = {
    invite: i18n.t('Invite an administrator'),
    plan: i18n.t('Choose a plan'),
    hosts: i18n.t('Host names'),
    domains: i18n.t('Domains'),
  }
  return (
    <Modal opened onClose={onDone} title={`${titles[what]} · ${tenant.name}`}>
      {what === 'invite' && <Invite tenant={tenant} onDone={done} />}
      {what === 'plan' && <ChoosePlan tenant={tenant} onDone={done} />}
      {what === 'hosts' && <Hosts tenant={tenant} onDone={done} />}
      {what === 'domains' && <Domains tenant={tenant} onDone={done} />}
    </Modal>
  )
}

function NewTenant(props: { onDone: () => void }) {
  const queries = useQueryClient()
  const [name, setName] = useState('')
  const [kind, setKind] = useState<string | null>('customer')
  const done = () => {
    void queries.invalidateQueries(tenantsQuery)
    props.onDone()
  }
  const make = () => body(client.POST('/v1/tenants', { body: { name, kind } }))
  return (
    <SubmitForm action={i18n.t('Make it')} submit={make} onDone={done}>
      <TextInput
        label={i18n.t('Name')}
        required
        data-autofocus
        value={name}
        onChange={(event) => setName(event.currentTarget.value)}
      />
      <Select
        label={i18n.t('Kind')}
        allowDeselect={false}
        value={kind}
        onChange={setKind}
        data={[
          { value: 'customer', label: i18n.t('Customer') },
          { value: 'partner', label: i18n.t('Partner, with customers of its own') },
        ]}
      />
    </SubmitForm>
  )
}

function Invite({ tenant, onDone }: { tenant: Tenant; onDone: () => void }) {
  const [email, setEmail] = useState('')
  const [link, setLink] = useState<string | null>(null)
  if (link !== null) {
    return (
      <div className="stack">
        <p className="once">
          {i18n.t('This link works once. Hand it over yourself; it is not shown again.')}
        </p>
        <CopyField label={i18n.t('Invitation link')} text={link} />
        <Button onClick={onDone}>{i18n.t('Done')}</Button>
      </div>
    )
  }
  const invite = async () => {
    const params = { path: { id: tenant.id } }
    const call = client.POST('/v1/tenants/{id}/invitations', { params, body: { email } })
    setLink((await body(call)).link)
  }
  return (
    <SubmitForm action={i18n.t('Make the link')} submit={invite}>
      <TextInput
        label={i18n.t('E-mail')}
        type="email"
        required
        data-autofocus
        value={email}
        onChange={(event) => setEmail(event.currentTarget.value)}
      />
    </SubmitForm>
  )
}

function ChoosePlan({ tenant, onDone }: { tenant: Tenant; onDone: () => void }) {
  const plans = useQuery(plansQuery)
  const [plan, setPlan] = useState(tenant.plan?.id ?? '')
  const isOther = plan !== (tenant.plan?.id ?? '')
  const due = useQuery({ ...tenantExpiringQuery(tenant.id, plan), enabled: isOther })
  const named = (one: Plan) =>
    one.limits.retention_days === null
      ? one.name
      : i18n.t('{name} · readings for {days, plural, one {# day} other {# days}}', {
          name: one.name,
          days: one.limits.retention_days,
        })
  return (
    <SubmitForm
      action={i18n.t('Give this plan')}
      incomplete={isOther && !due.isSuccess}
      destroys={isOther && due.data !== undefined && notBefore(due.data) !== null}
      submit={() => change(tenant, { plan_id: plan === '' ? null : plan })}
      onDone={onDone}
    >
      <Select
        label={tariff()}
        allowDeselect={false}
        value={plan}
        onChange={(value) => setPlan(value ?? '')}
        data={[
          { value: '', label: i18n.t('none') },
          ...(plans.data?.items ?? []).map((one) => ({ value: one.id, label: named(one) })),
        ]}
      />
      {isOther && due.isError && <Failure error={due.error} retry={() => void due.refetch()} />}
      {isOther && due.data && <Due due={due.data} />}
    </SubmitForm>
  )
}

/** The first moment at which something is destroyed that is kept now. */
function notBefore(due: Expiring): string | null {
  const moments = [due.not_before, due.audit_not_before].filter((one) => one !== null)
  return moments.toSorted()[0] ?? null
}

/** What the chosen plan would destroy, and from when on. */
function Due({ due }: { due: Expiring }) {
  const { i18n: lingui } = useLingui()
  const from = notBefore(due)
  if (from === null) {
    return <p aria-live="polite">{i18n.t('Nothing ends earlier with this plan.')}</p>
  }
  return (
    <div className="stack" aria-live="polite">
      {due.retention_days !== null && due.not_before !== null && (
        <p>
          <strong>
            {i18n.t('Readings are kept {days, plural, one {# day} other {# days}}. Now {readings} readings are older.', {
              days: due.retention_days,
              readings: formatCount(due.readings, lingui.locale),
            })}
          </strong>
        </p>
      )}
      {due.audit_days !== null && due.audit_not_before !== null && (
        <p>
          <strong>
            {i18n.t('The ledger’s records can be opened for {days, plural, one {# day} other {# days}}. Now those of {count} days are older.', {
              days: due.audit_days,
              count: formatCount(due.ledger_days, lingui.locale),
            })}
          </strong>
        </p>
      )}
      <p>
        {i18n.t(
          'They are destroyed for good, by whole days, but not before the time below. Until then the plan before can be given back. The tenant’s administrators are mailed.',
        )}
      </p>
      <p>
        <Instant at={from} />
      </p>
    </div>
  )
}

function Hosts({ tenant, onDone }: { tenant: Tenant; onDone: () => void }) {
  const [text, setText] = useState(tenant.hosts.join('\n'))
  const own = useQuery(tenantsQuery).data?.[0]
  const save = () => {
    const params = { path: { id: tenant.id } }
    return body(
      client.PUT('/v1/tenants/{id}/hosts', { params, body: { hosts: namesIn(text) } }),
    )
  }
  return (
    <SubmitForm action={i18n.t('Save')} submit={save} onDone={onDone}>
      {own?.kind === 'partner' && <OwnDomains domains={own.domains} />}
      <Textarea
        label={i18n.t('Host names')}
        description={i18n.t('One a line, such as twin.example.com. They show this brand.')}
        rows={4}
        value={text}
        onChange={(event) => setText(event.currentTarget.value)}
      />
    </SubmitForm>
  )
}

/** What a partner may give host names below. */
function OwnDomains({ domains }: { domains: string[] }) {
  if (domains.length === 0) {
    return (
      <p>
        {i18n.t(
          'No domain of yours is confirmed yet, so that you cannot give host names. Whoever is above you confirms them.',
        )}
      </p>
    )
  }
  return (
    <p>
      {i18n.t('Your confirmed domains, and what lies below them: {domains}', {
        domains: domains.join(', '),
      })}
    </p>
  )
}

function Domains({ tenant, onDone }: { tenant: Tenant; onDone: () => void }) {
  const [text, setText] = useState(tenant.domains.join('\n'))
  const save = () => {
    const params = { path: { id: tenant.id } }
    return body(
      client.PUT('/v1/tenants/{id}/domains', { params, body: { domains: namesIn(text) } }),
    )
  }
  return (
    <SubmitForm action={i18n.t('Confirm these')} submit={save} onDone={onDone}>
      <p>
        {i18n.t(
          'The partner gives its customers host names below these and no others. Confirm what you know to be the partner’s own.',
        )}
      </p>
      <Textarea
        label={i18n.t('Domains')}
        description={i18n.t(
          'One a line, such as partner.example. Taking one away takes the host names below it, and their certificates.',
        )}
        rows={4}
        value={text}
        onChange={(event) => setText(event.currentTarget.value)}
      />
    </SubmitForm>
  )
}

function namesIn(text: string): string[] {
  return text.split(/\s+/).filter(Boolean)
}

function Inbox() {
  const query = useQuery(messagesQuery)
  const { busy, error, run } = useSubmit(() => void query.refetch())
  const done = (id: string) => client.POST('/v1/contact/done', { body: { id } })
  return (
    <section className="block">
      <h2>{i18n.t('Messages to you')}</h2>
      {query.isPending && <Loading rows={2} />}
      {query.isError && <Failure error={query.error} compact />}
      {error !== null && <Failure error={error} compact />}
      {query.data?.items.length === 0 && (
        <p className="hint">{i18n.t('Nobody has written. You answer for the tenants above.')}</p>
      )}
      <ul className="plain-list">
        {query.data?.items.map((message) => (
          <li key={message.id}>
            <span>
              <span className="legal-text">{message.message}</span>
              <br />
              <span className="dim">
                {message.email} {message.from && `· ${message.from} `}·{' '}
                <Age at={message.created_at} />
              </span>
            </span>
            <Button
              size="compact-xs"
              variant="default"
              loading={busy}
              onClick={() => void run(() => done(message.id))}
            >
              {i18n.t('Dealt with')}
            </Button>
          </li>
        ))}
      </ul>
    </section>
  )
}
