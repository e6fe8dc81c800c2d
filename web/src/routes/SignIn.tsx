// Sign-in: e-mail and password with a second factor where the account has one, or a passkey alone.
// The form stands on the page of an invitation too, where it leads on to the organisation.
import { i18n } from '@lingui/core'
import { Button, Divider, PasswordInput, TextInput } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { Link, useRouter } from '@tanstack/react-router'
import { useState } from 'react'

import { body, client } from '../api/client'
import { ProblemError } from '../api/problem'
import { providerOfferQuery, queryClient, sessionQuery } from '../api/queries'
import type { Session } from '../api/types'
import { useAppSearch } from '../app/search'
import { usePasskey } from '../lib/passkeys'
import { goToProvider } from '../lib/providers'
import { Failure } from '../ui/layout'
import { useSubmit } from '../ui/useSubmit'
import { Door } from './Door'
import { usePasskeyPlace } from './passkeyPlace'

export function SignInPage() {
  const router = useRouter()
  const { next, organisation } = useAppSearch()
  const offer = useQuery(providerOfferQuery(organisation)).data ?? null
  // Only an address of our own may follow.
  const target = next?.startsWith('/') && !next.startsWith('//') ? next : '/'
  const enter = (session: Session) => {
    queryClient.clear()
    queryClient.setQueryData(sessionQuery.queryKey, session)
    router.history.push(target)
  }
  return (
    <Door title={i18n.t('Sign in')}>
      <SignInForm organisation={organisation} offer={offer} next={next ?? '/'} enter={enter} />
    </Door>
  )
}

/** The way to the sign-in page of an account that one organisation alone knows. */
function Elsewhere(props: { email: string }) {
  const [sent, setSent] = useState(false)
  const { busy, error, run } = useSubmit()
  const ask = () =>
    run(async () => {
      await client.POST('/v1/password-reset', { body: { email: props.email } })
      setSent(true)
    })
  if (sent) {
    return (
      <p role="status">
        {i18n.t(
          'If there is an account with this address, a mail was sent within the last half hour: where it signs in, and a link that sets a new password.',
        )}
      </p>
    )
  }
  return (
    <div className="stack">
      <p className="hint">
        {i18n.t(
          'An account of one organisation alone signs in at its own page. We can mail you the address.',
        )}{' '}
        <button
          type="button"
          className="text-button"
          disabled={busy || props.email === ''}
          onClick={() => void ask()}
        >
          {i18n.t('Mail me the address')}
        </button>
      </p>
      {error !== null && <Failure error={error} compact />}
    </div>
  )
}

/** Signs in, then lets `enter` take the person on. With `address` only this one may. */
export function SignInForm(props: {
  address?: string
  organisation?: string | undefined
  offer?: { name: string; organisation: string } | null
  next?: string
  enter: (session: Session) => void | Promise<void>
}) {
  const { address, organisation, offer = null, next = '/', enter } = props
  const passkeys = usePasskeyPlace()
  const [email, setEmail] = useState(address ?? '')
  const [password, setPassword] = useState('')
  const [code, setCode] = useState<string | null>(null)
  const [busy, setBusy] = useState(false)
  const [error, setError] = useState<unknown>(null)
  const run = async (work: () => Promise<Session>) => {
    setBusy(true)
    setError(null)
    try {
      await enter(await work())
    } catch (failure) {
      setBusy(false)
      if (ProblemError.of(failure).problem.type === '/problems/second-factor') {
        setCode('')
        return
      }
      setError(failure)
      if (code === null) setPassword('')
      else setCode('')
    }
  }
  const challenge = async () => usePasskey(await body(client.POST('/v1/session/passkey')))
  const withPassword = () =>
    body(
      client.POST('/v1/session', {
        body: {
          email,
          password,
          ...(code !== null && { code }),
          ...(organisation && { organisation }),
        },
      }),
    )
  const withPasskey = async () =>
    body(client.POST('/v1/session', { body: { passkey: await challenge() } }))
  const leave = async (to: string) => {
    setBusy(true)
    setError(null)
    try {
      await goToProvider({ organisation: to, next })
    } catch (failure) {
      setBusy(false)
      setError(failure)
    }
  }
  const status = error === null ? 0 : ProblemError.of(error).status
  const wrong = [400, 401, 403].includes(status)
  const declined = status === -1
  // The plain page knows the platform's accounts only.
  const mayBeElsewhere = status === 401 && code === null && !organisation && address === undefined
  return (
    <form
      className="stack"
      onSubmit={(event) => {
        event.preventDefault()
        void run(withPassword)
      }}
    >
      {code === null ? (
        <>
          <TextInput
            label={i18n.t('E-mail')}
            type="email"
            autoComplete="username webauthn"
            required
            autoFocus={address === undefined}
            readOnly={address !== undefined}
            value={email}
            onChange={(event) => setEmail(event.currentTarget.value)}
          />
          <PasswordInput
            label={i18n.t('Password')}
            autoComplete="current-password"
            required
            autoFocus={address !== undefined}
            value={password}
            onChange={(event) => setPassword(event.currentTarget.value)}
          />
        </>
      ) : (
        <TextInput
          label={i18n.t('Code of your authenticator, or a recovery code')}
          autoComplete="one-time-code"
          inputMode="text"
          required
          autoFocus
          value={code}
          onChange={(event) => setCode(event.currentTarget.value)}
        />
      )}
      {wrong && (
        <p className="form-error" role="alert">
          {code === null
            ? i18n.t('E-mail and password do not match.')
            : i18n.t('This code does not fit. Each code works once: wait for the next one.')}
        </p>
      )}
      {declined && (
        <p className="form-error" role="alert">
          {i18n.t('No passkey was used.')}
        </p>
      )}
      {error !== null && !wrong && !declined && <Failure error={error} compact />}
      <Button type="submit" loading={busy}>
        {i18n.t('Sign in')}
      </Button>
      {(passkeys.work || offer !== null) && <Divider label={i18n.t('or')} />}
      {offer !== null && (
        <Button
          variant="default"
          disabled={busy}
          onClick={() => void leave(offer.organisation)}
        >
          {i18n.t('Continue with {name}', { name: offer.name })}
        </Button>
      )}
      {passkeys.work && (
        <Button variant="default" disabled={busy} onClick={() => void run(withPasskey)}>
          {i18n.t('Sign in with a passkey')}
        </Button>
      )}
      {passkeys.elsewhere !== null && (
        <p className="hint">
          {i18n.t(
            'Passkeys belong to {host} and do not work at this host name. Use your password here, or sign in there.',
            { host: passkeys.elsewhere },
          )}
        </p>
      )}
      <Link to="/reset" search={{ organisation }}>
        {i18n.t('Forgot the password?')}
      </Link>
      {mayBeElsewhere && <Elsewhere email={email} />}
    </form>
  )
}
