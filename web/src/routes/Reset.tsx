// Mailed links: a new password, and a changed address. The token comes in the fragment and leaves
// the address bar before anything else happens.
import { i18n } from '@lingui/core'
import { Button, PasswordInput, TextInput } from '@mantine/core'
import { Link } from '@tanstack/react-router'
import { useEffect, useState, type ReactNode } from 'react'

import { client } from '../api/client'
import { ProblemError } from '../api/problem'
import { queryClient } from '../api/queries'
import { useAppSearch } from '../app/search'
import { Failure } from '../ui/layout'
import { Door } from './Door'

const PASSWORD_MIN = 12

function useToken(): string {
  const [token] = useState(() => decodeURIComponent(location.hash.slice(1)))
  useEffect(() => {
    if (location.hash === '') return
    history.replaceState(history.state, '', `${location.pathname}${location.search}`)
  }, [])
  return token
}

/** What went wrong with a mailed link: most often it is dead, and a new one is asked for. */
function LinkFailure(props: { error: unknown }) {
  if (ProblemError.of(props.error).status !== 404) return <Failure error={props.error} compact />
  return (
    <p className="form-error" role="alert">
      {i18n.t('This link was used or has ended: ask for a new one.')}
    </p>
  )
}

function Done(props: { title: string; children: ReactNode }) {
  const { organisation } = useAppSearch()
  return (
    <Door title={props.title}>
      <p role="status">{props.children}</p>
      <Link to="/sign-in" search={{ organisation }} className="button">
        {i18n.t('Sign in')}
      </Link>
    </Door>
  )
}

export function ResetPage() {
  const token = useToken()
  return token === '' ? <Ask /> : <NewPassword token={token} />
}

function Ask() {
  const { organisation } = useAppSearch()
  const [email, setEmail] = useState('')
  const [state, setState] = useState<'open' | 'busy' | 'sent'>('open')
  const [error, setError] = useState<unknown>(null)
  const ask = async () => {
    setState('busy')
    setError(null)
    try {
      await client.POST('/v1/password-reset', {
        body: { email, ...(organisation && { organisation }) },
      })
      setState('sent')
    } catch (failure) {
      setError(failure)
      setState('open')
    }
  }
  if (state === 'sent') {
    return (
      <Done title={i18n.t('Look into your mailbox')}>
        {i18n.t(
          'If there is an account with this address, a mail was sent within the last half hour. Its links work for at least half an hour yet, or until one is used. If no mail names your organisation, ask at the sign-in page of your organisation.',
        )}
      </Done>
    )
  }
  return (
    <Door
      title={i18n.t('New password')}
      lead={i18n.t(
        'We mail you where each account of your address signs in, with a link that sets a new password.',
      )}
    >
      <form
        className="stack"
        onSubmit={(event) => {
          event.preventDefault()
          void ask()
        }}
      >
        <TextInput
          label={i18n.t('E-mail')}
          type="email"
          required
          autoFocus
          autoComplete="username"
          value={email}
          onChange={(event) => setEmail(event.currentTarget.value)}
        />
        {error !== null && <Failure error={error} compact />}
        <Button type="submit" loading={state === 'busy'}>
          {i18n.t('Send the mail')}
        </Button>
        <Link to="/sign-in" search={{ organisation }}>{i18n.t('Back to sign-in')}</Link>
      </form>
    </Door>
  )
}

function NewPassword(props: { token: string }) {
  const [password, setPassword] = useState('')
  const [state, setState] = useState<'open' | 'busy' | 'set'>('open')
  const [error, setError] = useState<unknown>(null)
  const short = password.length < PASSWORD_MIN
  const set = async () => {
    setState('busy')
    setError(null)
    try {
      await client.PUT('/v1/password-reset', { body: { token: props.token, password } })
      queryClient.clear()
      setState('set')
    } catch (failure) {
      setError(failure)
      setState('open')
    }
  }
  if (state === 'set') {
    return (
      <Done title={i18n.t('The new password is set')}>
        {i18n.t('Every browser that was signed in has to sign in again.')}
      </Done>
    )
  }
  return (
    <Door title={i18n.t('New password')}>
      <form
        className="stack"
        onSubmit={(event) => {
          event.preventDefault()
          if (!short) void set()
        }}
      >
        <PasswordInput
          label={i18n.t('New password')}
          description={i18n.t('At least {count} characters. A sentence is fine.', {
            count: PASSWORD_MIN,
          })}
          required
          autoFocus
          minLength={PASSWORD_MIN}
          autoComplete="new-password"
          value={password}
          onChange={(event) => setPassword(event.currentTarget.value)}
        />
        {error !== null && <LinkFailure error={error} />}
        <Button type="submit" loading={state === 'busy'} disabled={short}>
          {i18n.t('Set the password')}
        </Button>
      </form>
    </Door>
  )
}

export function ConfirmEmailPage() {
  const token = useToken()
  const [state, setState] = useState<'open' | 'busy' | 'done'>('open')
  const [error, setError] = useState<unknown>(null)
  const confirm = async () => {
    setState('busy')
    try {
      await client.POST('/v1/email-confirmation', { body: { token } })
      queryClient.clear()
      setState('done')
    } catch (failure) {
      setError(failure)
      setState('open')
    }
  }
  if (state === 'done') {
    return (
      <Done title={i18n.t('The address is confirmed')}>
        {i18n.t('Sign in with it from now on.')}
      </Done>
    )
  }
  const signedOut = error !== null && ProblemError.of(error).status === 401
  // A mail scanner opens links: only a person presses the button.
  return (
    <Door title={i18n.t('Confirm your address')}>
      {signedOut && (
        <p className="form-error" role="alert">
          {i18n.t(
            'Sign in with the account whose address this is, in this browser. Then open the link of the mail again.',
          )}
        </p>
      )}
      {error !== null && !signedOut && <LinkFailure error={error} />}
      {signedOut && (
        <Link to="/sign-in" className="button">
          {i18n.t('Sign in')}
        </Link>
      )}
      <Button loading={state === 'busy'} disabled={token === ''} onClick={() => void confirm()}>
        {i18n.t('This is my address')}
      </Button>
    </Door>
  )
}
