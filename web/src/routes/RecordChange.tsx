// What a record says of a change: whether something was made or given, changed, or taken away, and
// each part that differs, before and after.
import { i18n } from '@lingui/core'
import type { ReactNode } from 'react'

import type { AccessScope, Value } from '../api/types'
import { roleLabel, ROLES } from '../lib/roles'
import { partsOf, type Part } from '../lib/change'
import { tariff } from '../lib/words'
import { Tag } from '../ui/layout'
import { Instant } from '../ui/time'
import { ScopeName, useHolders } from './access/names'

/** Parts that are moments. */
const TIMES = ['before', 'expires_at', 'not_after', 'back_at', 'until']

function labels(): Record<string, string> {
  return {
    alone: i18n.t('Nobody else could agree'),
    allows: i18n.t('Permits'),
    audit_days: i18n.t('Days the ledger’s records can be opened'),
    before: i18n.t('Older than'),
    archive_subscribed: i18n.t('Ledger archive'),
    denies: i18n.t('Denies'),
    devices: i18n.t('Devices'),
    devices_put_in: i18n.t('Devices put in'),
    devices_taken_out: i18n.t('Devices taken out'),
    domains: i18n.t('Domains'),
    expires_at: i18n.t('Until'),
    folder: i18n.t('Folder'),
    holder: i18n.t('Who'),
    host: i18n.t('Host name'),
    hosts: i18n.t('Host names'),
    key_level: i18n.t('Whose keys'),
    keys: i18n.t('API keys'),
    ledger_days: i18n.t('Days of the ledger'),
    ledger_days_under_a_hold: i18n.t('Days of the ledger under a hold'),
    metric: i18n.t('Metric'),
    name: i18n.t('Name'),
    not_after: i18n.t('Valid until'),
    password_changed: i18n.t('Password changed'),
    plan: tariff(),
    product: i18n.t('Product name'),
    route_deliveries_per_minute: i18n.t('Deliveries a minute'),
    route_destinations: i18n.t('Routing destinations'),
    route_rules: i18n.t('Routing rules'),
    readings: i18n.t('Readings'),
    retention_days: i18n.t('Days readings are kept'),
    role: i18n.t('Role'),
    roles: i18n.t('Roles'),
    scope: i18n.t('Where'),
    server: i18n.t('Mail server'),
    second_factor_required: i18n.t('Everybody needs a second factor'),
    state: i18n.t('State'),
    tenants: i18n.t('Organisations'),
    twins: i18n.t('Twins'),
    twins_put_in: i18n.t('Twins put in'),
    twins_taken_out: i18n.t('Twins taken out'),
    user: i18n.t('User'),
    users: i18n.t('People'),
    value: i18n.t('Value'),
    workspace: i18n.t('Workspace'),
  }
}

export function RecordChange({ before, after }: { before: Value; after: Value }) {
  if (before === null && after === null) return null
  const known = labels()
  const kind =
    before === null
      ? i18n.t('Made or given')
      : after === null
        ? i18n.t('Taken away')
        : i18n.t('Changed')
  return (
    <section className="stack" aria-label={i18n.t('What changed')}>
      <div>
        <Tag tone={after === null ? 'warn' : 'neutral'}>{kind}</Tag>
      </div>
      <dl className="facts">
        {partsOf(before, after).map((part) => (
          <div key={part.name}>
            <dt>{known[part.name] ?? part.name}</dt>
            <dd>
              <Sides part={part} both={before !== null && after !== null} />
            </dd>
          </div>
        ))}
      </dl>
    </section>
  )
}

function Sides({ part, both }: { part: Part; both: boolean }) {
  if (!both) return <Shown name={part.name} value={part.before ?? part.after} />
  if (part.isSame) return <Shown name={part.name} value={part.after} />
  return (
    <>
      <del>
        <span className="visually-hidden">{i18n.t('Before')} </span>
        <Shown name={part.name} value={part.before} />
      </del>{' '}
      →{' '}
      <ins>
        <span className="visually-hidden">{i18n.t('After')} </span>
        <Shown name={part.name} value={part.after} />
      </ins>
    </>
  )
}

function Shown({ name, value }: { name: string; value: Value }): ReactNode {
  const holders = useHolders()
  if (value === null || (Array.isArray(value) && value.length === 0)) {
    return name === 'scope' ? i18n.t('The whole organisation') : '—'
  }
  if (value === true) return i18n.t('yes')
  if (value === false) return i18n.t('no')
  if (Array.isArray(value)) {
    return value.map((one) => textOf(name, one as Value)).join(', ')
  }
  if (name === 'holder' && typeof value === 'string') {
    const [kind, id = ''] = value.split(':')
    const is = { user_id: kind === 'user' ? id : null, api_key_id: kind === 'key' ? id : null }
    return <span title={value}>{holders.of(is)}</span>
  }
  if (name === 'scope' && typeof value === 'string') {
    return (
      <span title={value}>
        <ScopeName scope={scopeOf(value)} />
      </span>
    )
  }
  if (TIMES.includes(name) && typeof value === 'string') return <Instant at={value} age={false} />
  return textOf(name, value)
}

/** A part of the organisation as records spell it: `group:ID`, `twin:ID/NODE`. */
function scopeOf(text: string): AccessScope {
  const [kind, rest = ''] = text.split(':')
  const [id = '', node = null] = kind === 'twin' ? rest.split('/') : [rest]
  return {
    workspace_id: kind === 'workspace' ? id : null,
    group_id: kind === 'group' ? id : null,
    twin_id: kind === 'twin' ? id : null,
    node_id: node,
  }
}

/** One value in a line: a role by its name, a thing with a name by it. */
function textOf(name: string, value: Value): string {
  if (typeof value === 'object' && value !== null) {
    const named = value as { name?: unknown; begins?: unknown }
    if (typeof named.name === 'string') return named.name
    if (typeof named.begins === 'string') return `${named.begins}…`
    return JSON.stringify(value)
  }
  const role = ROLES.find((known) => known === value)
  return role && name.startsWith('role') ? roleLabel(role) : String(value)
}
