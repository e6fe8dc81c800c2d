// Grants: a person or program holds a role over a part of the organisation, until it is taken away.
import { i18n } from '@lingui/core'
import { Button, Select } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useState } from 'react'

import { body, client } from '../../api/client'
import { sessionQuery } from '../../api/queries'
import type { AccessGrant, AccessScopeInput, Roles } from '../../api/types'
import { platformNow } from '../../lib/now'
import { DEFAULT_ROLE } from '../../lib/roles'
import { Icon } from '../../ui/icons'
import { Failure, Loading, TableScroll } from '../../ui/layout'
import { Modal } from '../../ui/overlays'
import { Instant } from '../../ui/time'
import { SubmitForm } from '../../ui/SubmitForm'
import { roleName, ScopeName, useHolders } from './names'
import { accessChanged, grantsQuery, useMay } from './queries'
import { LONG_LIST, RoleField, roleOf, ScopeField } from './RightFields'

const DAY_MS = 86_400_000

export function Grants({ roles }: { roles: Roles }) {
  const may = useMay()
  const query = useQuery(grantsQuery)
  const [giving, setGiving] = useState(false)
  const grants = query.data?.items ?? []
  const give = may('grant.write') && (
    <Button
      size="xs"
      variant="default"
      leftSection={<Icon name="plus" size={14} />}
      onClick={() => setGiving(true)}
    >
      {i18n.t('Give a role')}
    </Button>
  )
  return (
    <section className="block plain">
      <div className="block-head">
        <h2>{i18n.t('Who holds what, where')}</h2>
        {give}
      </div>
      <p className="dim">
        {i18n.t(
          'Beside the roles that people hold over the whole organisation, a grant gives a role over a part of it. A role that denies something wins over every other.',
        )}
      </p>
      {query.isPending && <Loading rows={3} />}
      {query.isError && <Failure error={query.error} compact />}
      {query.data && grants.length === 0 && (
        <p className="hint">
          {i18n.t('No grant yet: everybody holds their roles over the whole organisation.')}
        </p>
      )}
      {grants.length > 0 && <GrantTable roles={roles} grants={grants} />}
      <Modal
        opened={giving}
        onClose={() => setGiving(false)}
        title={i18n.t('Give a role')}
        closeOnClickOutside={false}
      >
        <GrantForm onDone={() => setGiving(false)} />
      </Modal>
    </section>
  )
}

function GrantTable({ roles, grants }: { roles: Roles; grants: AccessGrant[] }) {
  const may = useMay()
  const session = useQuery(sessionQuery)
  const holders = useHolders()
  const [taking, setTaking] = useState<AccessGrant | null>(null)
  const own = session.data?.user.id
  return (
    <TableScroll label={i18n.t('Who holds what, where')}>
      <table className="table" role="table" data-cards>
        <thead>
          <tr>
            <th>{i18n.t('Who')}</th>
            <th>{i18n.t('Role')}</th>
            <th>{i18n.t('Where')}</th>
            <th>{i18n.t('Until')}</th>
            <th>
              <span className="visually-hidden">{i18n.t('Actions')}</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {grants.map((grant) => (
            <tr key={grant.id} role="row">
              <td role="cell">{holders.of(grant)}</td>
              <td role="cell" data-label={i18n.t('Role')}>
                {roleName(roles, grant.role, grant.custom_role_id)}
              </td>
              <td role="cell" data-label={i18n.t('Where')}>
                <ScopeName scope={grant.scope} />
              </td>
              <td role="cell" data-label={i18n.t('Until')}>
                {grant.expires_at ? (
                  <Instant at={grant.expires_at} age={false} />
                ) : (
                  i18n.t('taken away')
                )}
              </td>
              <td role="cell" data-align="end">
                {may('grant.write') && grant.user_id !== own && (
                  <Button size="compact-xs" variant="default" onClick={() => setTaking(grant)}>
                    {i18n.t('Take away')}
                  </Button>
                )}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      <Modal
        opened={taking !== null}
        onClose={() => setTaking(null)}
        title={i18n.t('Take a role away')}
      >
        {taking && <Take grant={taking} roles={roles} onDone={() => setTaking(null)} />}
      </Modal>
    </TableScroll>
  )
}

function Take(props: { grant: AccessGrant; roles: Roles; onDone: () => void }) {
  const { grant } = props
  const holders = useHolders()
  const take = async () => {
    await client.DELETE('/v1/grants/{id}', { params: { path: { id: grant.id } } })
    await accessChanged()
    props.onDone()
  }
  return (
    <SubmitForm
      destroys
      action={i18n.t('Take away')}
      submit={take}
      onCancel={props.onDone}
    >
      <p>
        {holders.of(grant)} · {roleName(props.roles, grant.role, grant.custom_role_id)} ·{' '}
        <ScopeName scope={grant.scope} />
      </p>
      <p className="dim">{i18n.t('What it permitted is refused from the next request on.')}</p>
    </SubmitForm>
  )
}

function GrantForm(props: { onDone: () => void }) {
  const session = useQuery(sessionQuery)
  const holders = useHolders()
  const [who, setWho] = useState<string | null>(null)
  const [role, setRole] = useState<string>(DEFAULT_ROLE)
  const [scope, setScope] = useState<AccessScopeInput>({})
  const [days, setDays] = useState('')
  const others = holders.people.filter((person) => person.user_id !== session.data?.user.id)
  const give = async () => {
    const holder = [...others, ...holders.keys].find((one) => one.value === who)
    if (!holder) return
    const { user_id, api_key_id } = holder
    await body(
      client.POST('/v1/grants', {
        body: {
          ...(user_id !== undefined && { user_id }),
          ...(api_key_id !== undefined && { api_key_id }),
          ...roleOf(role),
          scope,
          ...(days !== '' && {
            expires_at: new Date(platformNow() + Number(days) * DAY_MS).toISOString(),
          }),
        },
      }),
    )
    await accessChanged()
    props.onDone()
  }
  return (
    <SubmitForm action={i18n.t('Give')} submit={give} incomplete={who === null}>
      <Select
        label={i18n.t('Who')}
        {...LONG_LIST}
        description={i18n.t('Nobody changes their own rights: you are not in the list.')}
        searchable
        required
        data-autofocus
        value={who}
        onChange={setWho}
        data={[
          { group: i18n.t('People'), items: others },
          { group: i18n.t('API keys'), items: holders.keys },
        ].filter((group) => group.items.length > 0)}
      />
      <RoleField own value={role} onChange={setRole} />
      <ScopeField value={scope} onChange={setScope} />
      <Select
        label={i18n.t('Ends')}
        allowDeselect={false}
        value={days}
        onChange={(value) => setDays(value ?? '')}
        data={[
          { value: '', label: i18n.t('when it is taken away') },
          ...['1', '7', '30', '90'].map((value) => ({
            value,
            label: i18n.t('in {count, plural, one {# day} other {# days}}', {
              count: Number(value),
            }),
          })),
        ]}
      />
    </SubmitForm>
  )
}

