// Colleagues: who is there, inviting one or many, their roles, removing, and what everybody needs
// to sign in.
import { i18n } from '@lingui/core'
import { Button, FileInput, Group, Switch, TextInput } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { useState, type ReactNode } from 'react'

import { body, client, upload } from '../../api/client'
import { ProblemError } from '../../api/problem'
import { accountQuery, invitationsQuery, queryClient, usersQuery } from '../../api/queries'
import type { AccessScopeInput, Invited, Role, User } from '../../api/types'
import { useMay } from '../../app/places'
import { DEFAULT_ROLE, roleLabel } from '../../lib/roles'
import { ConfirmTyped } from '../../ui/dialogs'
import { Icon } from '../../ui/icons'
import { CopyField, Failure, Loading } from '../../ui/layout'
import { Modal } from '../../ui/overlays'
import { useSubmit } from '../../ui/useSubmit'
import { SubmitForm } from '../../ui/SubmitForm'
import { grantsQuery } from '../access/queries'
import { RoleField, ScopeField } from '../access/RightFields'
import { ChangeRoles } from './ChangeRoles'
import { Invitations } from './Invitations'

export function People({ me }: { me: string | undefined }) {
  const may = useMay()
  const query = useQuery(usersQuery)
  const grants = useQuery({ ...grantsQuery, enabled: may.whole('grant.read') })
  const grantsOf = ({ id }: User) =>
    (grants.data?.items ?? []).filter(({ user_id }) => user_id === id).length
  const [inviting, setInviting] = useState<'one' | 'many' | null>(null)
  const [changing, setChanging] = useState<User | null>(null)
  const [removing, setRemoving] = useState<User | null>(null)
  return (
    <section className="block">
      <div className="block-head">
        <h2>{i18n.t('People')}</h2>
        {may.whole('user.invite') && (
          <Group gap="xs">
            <Button size="xs" variant="default" onClick={() => setInviting('many')}>
              {i18n.t('Invite from a file')}
            </Button>
            <Button
              size="xs"
              variant="default"
              leftSection={<Icon name="plus" size={14} />}
              onClick={() => setInviting('one')}
            >
              {i18n.t('Invite')}
            </Button>
          </Group>
        )}
      </div>
      {query.isPending && <Loading rows={3} />}
      {query.isError && <Failure error={query.error} compact />}
      <ul className="plain-list">
        {query.data?.items.map((user) => (
          <li key={user.id}>
            <Icon name="user" size={16} />
            <span>
              {user.name || user.email}
              <span className="dim"> {user.name && user.email}</span>
            </span>
            <span className="dim">
              {user.roles.map(roleLabel).join(', ')}
              <Grants count={grantsOf(user)} />
            </span>
            {user.id !== me && may.whole('user.update') && (
              <Button size="compact-xs" variant="default" onClick={() => setChanging(user)}>
                {i18n.t('Change roles')}
              </Button>
            )}
            {user.id !== me && may.whole('user.delete') && (
              <Button size="compact-xs" variant="default" onClick={() => setRemoving(user)}>
                {i18n.t('Remove')}
              </Button>
            )}
          </li>
        ))}
      </ul>
      {may.whole('invitation.list') && <Invitations />}
      <Modal
        opened={inviting === 'one'}
        onClose={() => setInviting(null)}
        title={i18n.t('Invite a colleague')}
        closeOnClickOutside={false}
      >
        <InviteForm
          onDone={() => {
            setInviting(null)
            void query.refetch()
          }}
        />
      </Modal>
      <Modal
        opened={inviting === 'many'}
        onClose={() => setInviting(null)}
        title={i18n.t('Invite from a file')}
        closeOnClickOutside={false}
      >
        <InviteFile onDone={() => setInviting(null)} />
      </Modal>
      <Modal
        opened={changing !== null}
        onClose={() => setChanging(null)}
        title={i18n.t('Change roles')}
        closeOnClickOutside={false}
      >
        {changing && (
          <ChangeRoles
            user={changing}
            onDone={() => {
              setChanging(null)
              void query.refetch()
            }}
          />
        )}
      </Modal>
      {may.whole('tenant.update') && <SecondFactorForAll />}
      <ConfirmTyped
        opened={removing !== null}
        onClose={() => setRemoving(null)}
        title={i18n.t('Remove a person')}
        name={removing?.email ?? ''}
        action={i18n.t('Remove')}
        onConfirm={async () => {
          await client.DELETE('/v1/users/{id}', { params: { path: { id: removing?.id ?? '' } } })
          await query.refetch()
        }}
      >
        {i18n.t(
          'The account and its sessions end at once. What the person did stays in the activity record.',
        )}
      </ConfirmTyped>
    </section>
  )
}

function invitationsChanged(): Promise<void> {
  return queryClient.invalidateQueries({ queryKey: invitationsQuery.queryKey })
}

/** What somebody holds over parts of the organisation, beside their roles. */
function Grants({ count }: { count: number }) {
  if (count === 0) return null
  return (
    <>
      {' · '}
      <Link to="/access">
        {i18n.t('{count, plural, one {# grant} other {# grants}}', { count })}
      </Link>
    </>
  )
}

function InviteForm(props: { onDone: () => void }) {
  const may = useMay()
  const [email, setEmail] = useState('')
  const [role, setRole] = useState<string>(DEFAULT_ROLE)
  const [scope, setScope] = useState<AccessScopeInput>({})
  const [invited, setInvited] = useState<Invited | null>(null)
  if (invited !== null) {
    return (
      <div className="stack">
        <Invitation invited={invited} />
        <Button onClick={props.onDone}>{i18n.t('Done')}</Button>
      </div>
    )
  }
  const invite = async () => {
    const input = { email, role: role as Role, scope }
    setInvited(await body(client.POST('/v1/users', { body: input })))
    await invitationsChanged()
  }
  return (
    <SubmitForm action={i18n.t('Invite')} submit={invite}>
      <TextInput
        label={i18n.t('E-mail')}
        type="email"
        required
        data-autofocus
        value={email}
        onChange={(e) => setEmail(e.currentTarget.value)}
      />
      <RoleField value={role} onChange={setRole} />
      {may.somewhere('group.read') && <ScopeField value={scope} onChange={setScope} />}
    </SubmitForm>
  )
}

function Invitation({ invited }: { invited: Invited }) {
  if (invited.link === null) {
    return <p role="status">{i18n.t('A mail is on its way to {email}.', { email: invited.email })}</p>
  }
  return (
    <>
      <p className="once">
        {i18n.t('This link works once. Hand it over yourself; it is not shown again.')}
      </p>
      <CopyField label={i18n.t('Invitation link')} text={invited.link} />
    </>
  )
}

function InviteFile(props: { onDone: () => void }) {
  const [file, setFile] = useState<File | null>(null)
  const [invited, setInvited] = useState<Invited[] | null>(null)
  if (invited !== null) {
    const links = invited.filter((one) => one.link !== null)
    return (
      <div className="stack">
        <p role="status">{i18n.t('{count} people are invited.', { count: invited.length })}</p>
        {links.length > 0 && (
          <CopyField
            multiline
            label={i18n.t('Links to hand over, each works once')}
            text={links.map((one) => `${one.email} ${one.link}`).join('\n')}
          />
        )}
        <Button onClick={props.onDone}>{i18n.t('Done')}</Button>
      </div>
    )
  }
  const send = async () => {
    if (file === null) return
    const answer = await upload<{ items: Invited[] }>({
      method: 'POST',
      path: '/v1/users/import',
      type: 'text/csv',
      content: file,
    })
    setInvited(answer.items)
    await invitationsChanged()
  }
  return (
    <SubmitForm
      action={i18n.t('Invite all of them')}
      submit={send}
      incomplete={file === null}
      failure={wrongRows}
    >
      <p>{i18n.t('A CSV file with the columns email, role and, optionally, name and scope.')}</p>
      <p className="dim">
        {i18n.t('A scope is left empty for the whole organisation, or names a part of it:')}{' '}
        <code>workspace:…</code> <code>group:…</code> <code>twin:…</code>{' '}
        <code>twin:…/{i18n.t('storey')}</code>
      </p>
      <FileInput
        label={i18n.t('File')}
        accept=".csv,text/csv"
        required
        value={file}
        onChange={setFile}
      />
    </SubmitForm>
  )
}

/** The mistakes of a file, each with its line. */
function wrongRows(error: unknown): ReactNode {
  const rows = ProblemError.of(error).problem.errors ?? []
  if (rows.length === 0) return null
  return (
    <ul className="form-error" role="alert">
      {rows.map((row) => (
        <li key={row.position}>
          {row.position}: <span lang="en">{row.detail}</span>
        </li>
      ))}
    </ul>
  )
}

function SecondFactorForAll() {
  const account = useQuery(accountQuery)
  const { busy, error, run } = useSubmit()
  const set = (required: boolean) =>
    run(async () => {
      await client.PUT('/v1/tenants/sign-in', { body: { second_factor_required: required } })
      await queryClient.invalidateQueries({ queryKey: ['account'] })
    })
  return (
    <>
      <Switch
        label={i18n.t('Everybody needs a second factor')}
        disabled={busy || !account.data}
        checked={account.data?.second_factor_required ?? false}
        onChange={(event) => void set(event.currentTarget.checked)}
      />
      {error !== null && <Failure error={error} compact />}
    </>
  )
}
