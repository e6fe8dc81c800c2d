// One's own account: name, address, password, and where one is signed in.
import { i18n } from '@lingui/core'
import { Button, PasswordInput, TextInput } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useState } from 'react'

import { client, identity } from '../../api/client'
import { accountQuery, openSessionsQuery, queryClient, sessionQuery } from '../../api/queries'
import { ProblemError } from '../../api/problem'
import type { Account, OpenSession } from '../../api/types'
import { goToProvider } from '../../lib/providers'
import { Icon } from '../../ui/icons'
import { Failure, Loading, Tag } from '../../ui/layout'
import { Modal } from '../../ui/overlays'
import { Age } from '../../ui/time'
import { SignInAddress } from '../../ui/SignInAddress'
import { SubmitForm } from '../../ui/SubmitForm'
import { useSubmit } from '../../ui/useSubmit'
import { Leave } from './Leave'
import { MyPrivacy } from './MyPrivacy'
import { refreshAccount } from './refresh'
import { SecondFactors } from './SecondFactors'

const PASSWORD_MIN = 12
/** Sessions before the rest is asked for. */
const SESSIONS_SHOWN = 5

export function AccountBlocks() {
  const session = useQuery(sessionQuery)
  const account = useQuery(accountQuery)
  if (account.isPending || session.isPending) return <Loading rows={4} />
  if (account.isError) return <Failure error={account.error} compact />
  return (
    <>
      <div className="columns">
        <Profile
          account={account.data}
          name={session.data?.user.name ?? ''}
          email={session.data?.user.email ?? ''}
        />
        <SecondFactors account={account.data} />
      </div>
      <MyPrivacy />
    </>
  )
}

function Profile(props: { account: Account; name: string; email: string }) {
  const [open, setOpen] = useState<'name' | 'email' | 'password' | null>(null)
  const close = () => setOpen(null)
  return (
    <section className="block">
      <h2>{i18n.t('Your account')}</h2>
      <div className="setting">
        <span>
          {i18n.t('Name (optional)')}
          <span className="dim"> {props.name || i18n.t('none')}</span>
        </span>
        <Button size="compact-xs" variant="default" onClick={() => setOpen('name')}>
          {i18n.t('Change the name')}
        </Button>
      </div>
      <div className="setting">
        <span>
          {i18n.t('E-mail')} <span className="dim">{props.email}</span>{' '}
          {props.account.email_verified_at && <Tag>{i18n.t('verified')}</Tag>}
        </span>
        {props.account.mails && (
          <Button size="compact-xs" variant="default" onClick={() => setOpen('email')}>
            {i18n.t('Change the address')}
          </Button>
        )}
      </div>
      {props.account.mails && !props.account.email_verified_at && (
        <ConfirmAddress email={props.email} />
      )}
      <div className="setting">
        <span>{i18n.t('Password')}</span>
        <Button size="compact-xs" variant="default" onClick={() => setOpen('password')}>
          {i18n.t('Change the password')}
        </Button>
      </div>
      {props.account.organisation && (
        <SignInAddress organisation={props.account.organisation} />
      )}
      {props.account.provider && <Connection provider={props.account.provider} />}
      <Sessions />
      <Leave />
      <Modal opened={open === 'name'} onClose={close} title={i18n.t('Change the name')}>
        <NameForm name={props.name} onDone={close} />
      </Modal>
      <Modal opened={open === 'email'} onClose={close} title={i18n.t('Change the address')}>
        <EmailForm onDone={close} />
      </Modal>
      <Modal opened={open === 'password'} onClose={close} title={i18n.t('Change the password')}>
        <PasswordForm onDone={close} />
      </Modal>
    </section>
  )
}

/** Until somebody has shown that the mailbox is theirs, the address is nobody's yet. */
function ConfirmAddress(props: { email: string }) {
  const [sent, setSent] = useState(false)
  const { busy, error, run } = useSubmit()
  const ask = () =>
    run(async () => {
      await client.POST('/v1/account/email', { body: { email: props.email } })
      setSent(true)
    })
  return (
    <>
      <div className="setting">
        <span role="status">
          {sent
            ? i18n.t('A mail is on its way. Open its link in this browser, within an hour.')
            : i18n.t('Nobody has shown yet that this mailbox is yours.')}
        </span>
        {!sent && (
          <Button size="compact-xs" variant="default" disabled={busy} onClick={() => void ask()}>
            {i18n.t('Confirm')}
          </Button>
        )}
      </div>
      {error !== null && <Failure error={error} compact />}
    </>
  )
}

/** Whether one signs in through the organisation's provider, and the way to connect the account. */
function Connection({ provider }: { provider: NonNullable<Account['provider']> }) {
  const organisation = useQuery(sessionQuery).data?.tenant.id
  const { busy, error, run } = useSubmit()
  // Whose account it is has just been proven: an address alone connects nothing.
  const connect = () =>
    run(async () => {
      if (organisation === undefined || !(await identity.confirm())) return
      await goToProvider({ organisation, next: '/settings' })
    })
  return (
    <>
      <div className="setting">
        <span>
          {i18n.t('Sign-in through {name}', { name: provider.name })}{' '}
          <span className="dim">
            {provider.connected ? i18n.t('connected') : i18n.t('not connected yet')}
          </span>
        </span>
        {!provider.connected && (
          <Button
            size="compact-xs"
            variant="default"
            disabled={busy || organisation === undefined}
            onClick={() => void connect()}
          >
            {i18n.t('Connect the account')}
          </Button>
        )}
      </div>
      {error !== null && <Failure error={error} compact />}
    </>
  )
}

function NameForm(props: { name: string; onDone: () => void }) {
  const [name, setName] = useState(props.name)
  const save = async () => {
    await client.PATCH('/v1/account', { body: { name } })
    await queryClient.invalidateQueries({ queryKey: ['session'] })
    props.onDone()
  }
  return (
    <SubmitForm action={i18n.t('Save')} submit={save}>
      <TextInput
        label={i18n.t('Name (optional)')}
        autoComplete="name"
        data-autofocus
        value={name}
        onChange={(event) => setName(event.currentTarget.value)}
      />
    </SubmitForm>
  )
}

function EmailForm(props: { onDone: () => void }) {
  const [email, setEmail] = useState('')
  const [sent, setSent] = useState(false)
  if (sent) {
    return (
      <div className="stack">
        <p role="status">
          {i18n.t('A link is on its way to the new address. Nothing changes until it is used.')}
        </p>
        <Button onClick={props.onDone}>{i18n.t('Done')}</Button>
      </div>
    )
  }
  const ask = async () => {
    await client.POST('/v1/account/email', { body: { email } })
    setSent(true)
  }
  return (
    <SubmitForm action={i18n.t('Send the link')} submit={ask}>
      <TextInput
        label={i18n.t('New address')}
        type="email"
        required
        data-autofocus
        value={email}
        onChange={(event) => setEmail(event.currentTarget.value)}
      />
    </SubmitForm>
  )
}

function PasswordForm(props: { onDone: () => void }) {
  const [password, setPassword] = useState('')
  const [code, setCode] = useState<string | null>(null)
  const [fresh, setFresh] = useState('')
  const save = async () => {
    try {
      await client.POST('/v1/account/password', {
        body: { new_password: fresh, password, ...(code !== null && { code }) },
      })
    } catch (failure) {
      if (ProblemError.of(failure).problem.type !== '/problems/second-factor') throw failure
      setCode('')
      return
    }
    await refreshAccount()
    props.onDone()
  }
  return (
    <SubmitForm
      action={i18n.t('Set the password')}
      submit={save}
      incomplete={fresh.length < PASSWORD_MIN}
    >
      <PasswordInput
        label={i18n.t('Password of now')}
        required
        autoComplete="current-password"
        data-autofocus
        value={password}
        onChange={(event) => setPassword(event.currentTarget.value)}
      />
      {code !== null && (
        <TextInput
          label={i18n.t('Code of your authenticator, or a recovery code')}
          autoComplete="one-time-code"
          required
          autoFocus
          value={code}
          onChange={(event) => setCode(event.currentTarget.value)}
        />
      )}
      <PasswordInput
        label={i18n.t('New password')}
        description={i18n.t('At least {count} characters. A sentence is fine.', {
          count: PASSWORD_MIN,
        })}
        required
        minLength={PASSWORD_MIN}
        autoComplete="new-password"
        value={fresh}
        onChange={(event) => setFresh(event.currentTarget.value)}
      />
    </SubmitForm>
  )
}

function place(session: OpenSession): string {
  return (
    [session.browser, session.system].filter(Boolean).join(' · ') || i18n.t('An unknown program')
  )
}

function Sessions() {
  const query = useQuery(openSessionsQuery)
  const [isWhole, setWhole] = useState(false)
  // The one in front of the person comes first, then the newest.
  const sessions = [...(query.data?.items ?? [])].sort(
    (a, b) => Number(b.current) - Number(a.current),
  )
  const shown = isWhole ? sessions : sessions.slice(0, SESSIONS_SHOWN)
  const { busy, error, run } = useSubmit()
  const end = (id: string) =>
    run(async () => {
      await client.DELETE('/v1/account/sessions/{id}', { params: { path: { id } } })
      await refreshAccount()
    })
  const endOthers = () =>
    run(async () => {
      await client.DELETE('/v1/account/sessions')
      await refreshAccount()
    })
  return (
    <>
      <div className="block-head">
        <h3>{i18n.t('Where you are signed in')}</h3>
        {sessions.length > 1 && (
          <Button size="compact-xs" variant="default" disabled={busy} onClick={() => void endOthers()}>
            {i18n.t('End all others')}
          </Button>
        )}
      </div>
      {query.isPending && <Loading rows={2} />}
      {query.isError && <Failure error={query.error} compact />}
      <ul className="plain-list" aria-label={i18n.t('Where you are signed in')}>
        {shown.map((session) => (
          <li key={session.id}>
            <Icon name="user" size={16} />
            <span>
              {place(session)}{' '}
              <span className="dim">
                {i18n.t('last used')} <Age at={session.last_seen_at} />
              </span>
            </span>
            {session.current ? (
              <Tag>{i18n.t('this browser')}</Tag>
            ) : (
              <Button
                size="compact-xs"
                variant="default"
                disabled={busy}
                onClick={() => void end(session.id)}
              >
                {i18n.t('End')}
              </Button>
            )}
          </li>
        ))}
      </ul>
      {shown.length < sessions.length && (
        <button type="button" className="link-button" onClick={() => setWhole(true)}>
          {i18n.t('Show all {count}', { count: sessions.length })}
        </button>
      )}
      {error !== null && <Failure error={error} compact />}
    </>
  )
}
