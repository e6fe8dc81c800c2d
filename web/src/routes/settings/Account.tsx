// One's own account: name, address, password, second factors, and where one is signed in.
import { i18n } from '@lingui/core'
import { Button, Group, PasswordInput, TextInput } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useState } from 'react'
import { encode } from 'uqr'

import { body, client } from '../../api/client'
import { accountQuery, openSessionsQuery, queryClient, sessionQuery } from '../../api/queries'
import { ProblemError } from '../../api/problem'
import type { Account, OpenSession } from '../../api/types'
import { makePasskey, passkeysWork } from '../../lib/passkeys'
import { Icon } from '../../ui/icons'
import { CopyField, Failure, Loading, Tag } from '../../ui/layout'
import { Modal } from '../../ui/overlays'
import { Age } from '../../ui/time'
import { useSubmit } from './useSubmit'

const PASSWORD_MIN = 12

function refresh() {
  return queryClient.invalidateQueries({ queryKey: ['account'] })
}

/** The second factor may have been what everything else waited for. */
async function strengthened() {
  await Promise.all([refresh(), queryClient.invalidateQueries({ queryKey: ['session'] })])
}

export function AccountBlocks() {
  const session = useQuery(sessionQuery)
  const account = useQuery(accountQuery)
  if (account.isPending || session.isPending) return <Loading rows={4} />
  if (account.isError) return <Failure error={account.error} compact />
  return (
    <div className="columns">
      <Profile
        account={account.data}
        name={session.data?.user.name ?? ''}
        email={session.data?.user.email ?? ''}
      />
      <SecondFactors account={account.data} />
    </div>
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
      <div className="setting">
        <span>{i18n.t('Password')}</span>
        <Button size="compact-xs" variant="default" onClick={() => setOpen('password')}>
          {i18n.t('Change the password')}
        </Button>
      </div>
      <Sessions />
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

function NameForm(props: { name: string; onDone: () => void }) {
  const [name, setName] = useState(props.name)
  const { busy, error, run } = useSubmit()
  const save = async () => {
    await client.PATCH('/v1/account', { body: { name } })
    await queryClient.invalidateQueries({ queryKey: ['session'] })
    props.onDone()
  }
  return (
    <form
      className="stack"
      onSubmit={(event) => {
        event.preventDefault()
        void run(save)
      }}
    >
      <TextInput
        label={i18n.t('Name (optional)')}
        autoComplete="name"
        data-autofocus
        value={name}
        onChange={(event) => setName(event.currentTarget.value)}
      />
      {error !== null && <Failure error={error} compact />}
      <Group justify="flex-end">
        <Button type="submit" loading={busy}>
          {i18n.t('Save')}
        </Button>
      </Group>
    </form>
  )
}

function EmailForm(props: { onDone: () => void }) {
  const [email, setEmail] = useState('')
  const [sent, setSent] = useState(false)
  const { busy, error, run } = useSubmit()
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
    <form
      className="stack"
      onSubmit={(event) => {
        event.preventDefault()
        void run(ask)
      }}
    >
      <TextInput
        label={i18n.t('New address')}
        type="email"
        required
        data-autofocus
        value={email}
        onChange={(event) => setEmail(event.currentTarget.value)}
      />
      {error !== null && <Failure error={error} compact />}
      <Group justify="flex-end">
        <Button type="submit" loading={busy}>
          {i18n.t('Send the link')}
        </Button>
      </Group>
    </form>
  )
}

function PasswordForm(props: { onDone: () => void }) {
  const [password, setPassword] = useState('')
  const [code, setCode] = useState<string | null>(null)
  const [fresh, setFresh] = useState('')
  const { busy, error, run } = useSubmit()
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
    await refresh()
    props.onDone()
  }
  return (
    <form
      className="stack"
      onSubmit={(event) => {
        event.preventDefault()
        void run(save)
      }}
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
      {error !== null && <Failure error={error} compact />}
      <Group justify="flex-end">
        <Button type="submit" loading={busy} disabled={fresh.length < PASSWORD_MIN}>
          {i18n.t('Set the password')}
        </Button>
      </Group>
    </form>
  )
}

function place(session: OpenSession): string {
  return (
    [session.browser, session.system].filter(Boolean).join(' · ') || i18n.t('An unknown program')
  )
}

function Sessions() {
  const query = useQuery(openSessionsQuery)
  const { busy, error, run } = useSubmit()
  const end = (id: string) =>
    run(async () => {
      await client.DELETE('/v1/account/sessions/{id}', { params: { path: { id } } })
      await refresh()
    })
  const endOthers = () =>
    run(async () => {
      await client.DELETE('/v1/account/sessions')
      await refresh()
    })
  return (
    <>
      <div className="block-head">
        <h3>{i18n.t('Where you are signed in')}</h3>
        {(query.data?.items.length ?? 0) > 1 && (
          <Button size="compact-xs" variant="default" disabled={busy} onClick={() => void endOthers()}>
            {i18n.t('End all others')}
          </Button>
        )}
      </div>
      {query.isPending && <Loading rows={2} />}
      {query.isError && <Failure error={query.error} compact />}
      <ul className="plain-list" aria-label={i18n.t('Where you are signed in')}>
        {query.data?.items.map((session) => (
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
      {error !== null && <Failure error={error} compact />}
    </>
  )
}

export function SecondFactors({ account }: { account: Account }) {
  const [open, setOpen] = useState<'authenticator' | 'passkey' | 'codes' | null>(null)
  const { busy, error, run } = useSubmit()
  const close = () => setOpen(null)
  const removeAuthenticator = () =>
    run(async () => {
      await client.DELETE('/v1/account/authenticator')
      await refresh()
    })
  const removePasskey = (id: string) =>
    run(async () => {
      await client.DELETE('/v1/account/passkeys/{id}', { params: { path: { id } } })
      await refresh()
    })
  const protectedNow = account.authenticator_since !== null || account.passkeys.length > 0
  return (
    <section className="block">
      <h2>{i18n.t('Second factor')}</h2>
      <p className="dim">
        {i18n.t('A stolen password alone then opens nothing. A passkey signs you in by itself.')}
      </p>
      <div className="setting">
        <span>
          {i18n.t('Authenticator app')}{' '}
          {account.authenticator_since && (
            <span className="dim">
              {i18n.t('since')} <Age at={account.authenticator_since} />
            </span>
          )}
        </span>
        {account.authenticator_since === null ? (
          <Button size="compact-xs" variant="default" onClick={() => setOpen('authenticator')}>
            {i18n.t('Set up the app')}
          </Button>
        ) : (
          <Button
            size="compact-xs"
            variant="default"
            disabled={busy}
            onClick={() => void removeAuthenticator()}
          >
            {i18n.t('Remove the app')}
          </Button>
        )}
      </div>
      <div className="setting">
        <span>{i18n.t('Passkeys')}</span>
        <Button
          size="compact-xs"
          variant="default"
          disabled={!passkeysWork}
          onClick={() => setOpen('passkey')}
        >
          {i18n.t('Add a passkey')}
        </Button>
      </div>
      <ul className="plain-list" aria-label={i18n.t('Passkeys')}>
        {account.passkeys.map((passkey) => (
          <li key={passkey.id}>
            <Icon name="key" size={16} />
            <span>
              {passkey.name}{' '}
              <span className="dim">
                {passkey.last_used_at ? (
                  <>
                    {i18n.t('last used')} <Age at={passkey.last_used_at} />
                  </>
                ) : (
                  i18n.t('not used yet')
                )}
              </span>
            </span>
            <Button
              size="compact-xs"
              variant="default"
              disabled={busy}
              onClick={() => void removePasskey(passkey.id)}
            >
              {i18n.t('Remove')}
            </Button>
          </li>
        ))}
      </ul>
      {protectedNow && (
        <div className="setting">
          <span>
            {i18n.t('Recovery codes')}{' '}
            <span className="dim">{i18n.t('{count} left', { count: account.recovery_codes })}</span>
          </span>
          <Button size="compact-xs" variant="default" onClick={() => setOpen('codes')}>
            {i18n.t('Make new codes')}
          </Button>
        </div>
      )}
      {error !== null && <Failure error={error} compact />}
      <Modal
        opened={open === 'authenticator'}
        onClose={close}
        title={i18n.t('Set up an authenticator app')}
        closeOnClickOutside={false}
      >
        <AuthenticatorForm onDone={close} />
      </Modal>
      <Modal opened={open === 'passkey'} onClose={close} title={i18n.t('Add a passkey')}>
        <PasskeyForm onDone={close} />
      </Modal>
      <Modal
        opened={open === 'codes'}
        onClose={close}
        title={i18n.t('Recovery codes')}
        closeOnClickOutside={false}
      >
        <RecoveryCodes onDone={close} />
      </Modal>
    </section>
  )
}

/** A QR code drawn here: the secret in it goes nowhere else. */
function Qr(props: { text: string; label: string }) {
  const { size, data } = encode(props.text, { border: 4 })
  const path = data
    .flatMap((row, y) => row.map((dark, x) => (dark ? `M${x} ${y}h1v1h-1z` : '')))
    .join('')
  return (
    <svg className="qr" viewBox={`0 0 ${size} ${size}`} role="img" aria-label={props.label}>
      <path className="qr-ground" d={`M0 0h${size}v${size}h-${size}z`} />
      <path className="qr-dark" d={path} shapeRendering="crispEdges" />
    </svg>
  )
}

function AuthenticatorForm(props: { onDone: () => void }) {
  const [made, setMade] = useState<{ secret: string; uri: string } | null>(null)
  const [code, setCode] = useState('')
  const { busy, error, run } = useSubmit()
  const begin = async () => setMade(await body(client.POST('/v1/account/authenticator')))
  const finish = async () => {
    await client.PUT('/v1/account/authenticator', { body: { code } })
    await strengthened()
    props.onDone()
  }
  if (made === null) {
    return (
      <div className="stack">
        <p>{i18n.t('You need an app that makes six-digit codes, on a phone or in a password manager.')}</p>
        {error !== null && <Failure error={error} compact />}
        <Button loading={busy} onClick={() => void run(begin)}>
          {i18n.t('Show the code to scan')}
        </Button>
      </div>
    )
  }
  return (
    <form
      className="stack"
      onSubmit={(event) => {
        event.preventDefault()
        void run(finish)
      }}
    >
      <Qr text={made.uri} label={i18n.t('QR code for the authenticator app')} />
      <CopyField label={i18n.t('Or type in this secret')} text={made.secret} />
      <TextInput
        label={i18n.t('The code that the app shows now')}
        inputMode="numeric"
        autoComplete="one-time-code"
        required
        data-autofocus
        value={code}
        onChange={(event) => setCode(event.currentTarget.value)}
      />
      {error !== null && <Failure error={error} compact />}
      <Group justify="flex-end">
        <Button type="submit" loading={busy}>
          {i18n.t('Finish')}
        </Button>
      </Group>
    </form>
  )
}

function PasskeyForm(props: { onDone: () => void }) {
  const [name, setName] = useState('')
  const { busy, error, run } = useSubmit()
  const make = async () => {
    const asked = await body(client.POST('/v1/account/passkeys/new'))
    await client.POST('/v1/account/passkeys', { body: await makePasskey(asked, name) })
    await strengthened()
    props.onDone()
  }
  const declined = error !== null && ProblemError.of(error).status === -1
  return (
    <form
      className="stack"
      onSubmit={(event) => {
        event.preventDefault()
        void run(make)
      }}
    >
      <TextInput
        label={i18n.t('What to call it')}
        placeholder={i18n.t('Work laptop')}
        required
        data-autofocus
        value={name}
        onChange={(event) => setName(event.currentTarget.value)}
      />
      {declined && (
        <p className="form-error" role="alert">
          {i18n.t('No passkey was made.')}
        </p>
      )}
      {error !== null && !declined && <Failure error={error} compact />}
      <Group justify="flex-end">
        <Button type="submit" loading={busy} disabled={name.trim() === ''}>
          {i18n.t('Make the passkey')}
        </Button>
      </Group>
    </form>
  )
}

function RecoveryCodes(props: { onDone: () => void }) {
  const [codes, setCodes] = useState<string[] | null>(null)
  const { busy, error, run } = useSubmit()
  const make = async () => {
    setCodes((await body(client.POST('/v1/account/recovery-codes'))).codes)
    await refresh()
  }
  if (codes === null) {
    return (
      <div className="stack">
        <p>
          {i18n.t(
            'Ten codes, each of which works once when the app or the passkey is lost. Codes of before stop working.',
          )}
        </p>
        {error !== null && <Failure error={error} compact />}
        <Button loading={busy} onClick={() => void run(make)}>
          {i18n.t('Show ten codes')}
        </Button>
      </div>
    )
  }
  return (
    <div className="stack">
      <p className="once">{i18n.t('They are shown once. Print them or keep them in a safe.')}</p>
      <CopyField multiline label={i18n.t('Recovery codes')} text={codes.join('\n')} />
      <Button onClick={props.onDone}>{i18n.t('I have kept the codes')}</Button>
    </div>
  )
}
