// A one-time link: first administrator, locked-out administrator, or invited colleague. The token
// comes in the fragment and leaves the address bar before anything else happens.
import { i18n } from '@lingui/core'
import { Button, Checkbox, PasswordInput, TextInput } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { Link, useNavigate } from '@tanstack/react-router'
import { useEffect, useState } from 'react'

import { body, client } from '../api/client'
import { ProblemError } from '../api/problem'
import { accountQuery, queryClient, sessionQuery } from '../api/queries'
import type { Welcome } from '../api/types'
import { Failure, Loading } from '../ui/layout'
import { SignInAddress } from '../ui/SignInAddress'
import { Door } from './Door'
import { giveTicked, OptionalConsents, type Ticked } from './OptionalConsents'
import { faceQuery } from './partners/queries'
import { SignInForm } from './SignIn'

const PASSWORD_MIN = 12

export function WelcomePage() {
  const [token] = useState(() => decodeURIComponent(location.hash.slice(1)))
  useEffect(() => {
    if (location.hash !== '') history.replaceState(history.state, '', location.pathname)
  }, [])
  const inspect = useQuery({
    queryKey: ['welcome'],
    queryFn: () => body(client.POST('/v1/welcome/inspect', { body: { token } })),
    enabled: token !== '',
    gcTime: 0,
    retry: false,
    staleTime: Infinity,
  })
  if (token === '' || inspect.isError) return <Dead error={inspect.error} />
  if (inspect.data === undefined) {
    return (
      <Door title={i18n.t('Welcome')}>
        <Loading rows={3} />
      </Door>
    )
  }
  return <Invited token={token} welcome={inspect.data} />
}

/** The command helps whoever has the server, and only as long as nobody else can help. */
function Dead(props: { error: unknown }) {
  const face = useQuery(faceQuery).data
  const isGone = props.error === null || ProblemError.of(props.error).status === 404
  return (
    <Door title={i18n.t('This link does not work')}>
      {!isGone && <Failure error={props.error} compact />}
      {isGone && face?.set_up === false && (
        <>
          <p>
            {i18n.t('This installation has no administrator yet. A new link comes from the server:')}
          </p>
          <pre className="code">veritwin admin link</pre>
        </>
      )}
      {isGone && face?.set_up !== false && (
        <p>
          {i18n.t(
            'This link was used, has ended, or was withdrawn: ask whoever invited you for a new one.',
          )}
        </p>
      )}
      <Link to="/sign-in" className="button">
        {i18n.t('Sign in')}
      </Link>
    </Door>
  )
}

/** Who has an account signs in and joins; who has none, or leaves it where it is, makes one. */
function Invited(props: { token: string; welcome: Welcome }) {
  const { welcome } = props
  const [known, setKnown] = useState(welcome.has_account)
  const name = welcome.organisation?.name
  if (name === undefined || !welcome.email) return <WelcomeForm {...props} />
  if (!known) {
    return (
      <WelcomeForm
        {...props}
        besideAnother={welcome.may_begin_anew}
        haveAccount={() => setKnown(true)}
      />
    )
  }
  return <Join {...props} name={name} beginAnew={() => setKnown(false)} />
}

function Join(props: { token: string; welcome: Welcome; name: string; beginAnew: () => void }) {
  const { token, welcome, name, beginAnew } = props
  const navigate = useNavigate()
  const join = async () => {
    const session = await body(client.POST('/v1/session/join', { body: { token } }))
    queryClient.setQueryData(sessionQuery.queryKey, session)
    await navigate({ to: '/' })
  }
  return (
    <Door
      title={i18n.t('Sign in to join {name}', { name })}
      lead={i18n.t('You have an account already. Sign in with it: nothing of it changes.')}
    >
      <SignInForm
        address={welcome.email ?? ''}
        organisation={welcome.organisation?.id}
        enter={join}
      />
      {welcome.may_begin_anew && (
        <button type="button" className="link-button" onClick={beginAnew}>
          {i18n.t('I cannot sign in: make a new account')}
        </button>
      )}
    </Door>
  )
}

function WelcomeForm(props: {
  token: string
  welcome: Welcome
  /** The address has an account, which stays as it is. */
  besideAnother?: boolean
  haveAccount?: () => void
}) {
  const { kind } = props.welcome
  const navigate = useNavigate()
  const [organisation, setOrganisation] = useState('')
  const [email, setEmail] = useState(props.welcome.email ?? '')
  const [name, setName] = useState('')
  const [password, setPassword] = useState('')
  const [attested, setAttested] = useState(false)
  const [ticked, setTicked] = useState<Ticked>({})
  const [busy, setBusy] = useState(false)
  const [error, setError] = useState<unknown>(null)
  const [own, setOwn] = useState<string | null>(null)
  const first = kind === 'first_administrator'
  const short = password.length < PASSWORD_MIN
  const submit = async () => {
    setBusy(true)
    setError(null)
    try {
      const session = await body(
        client.POST('/v1/welcome', {
          body: {
            token: props.token,
            password,
            attested,
            ...(first && { organisation }),
            ...(email !== '' && { email }),
            ...(name !== '' && { name }),
          },
        }),
      )
      queryClient.setQueryData(sessionQuery.queryKey, session)
      await giveTicked(ticked)
      // Without the account's own word the way in is the usual one; the settings tell it later.
      const account = await queryClient.fetchQuery(accountQuery).catch(() => null)
      if (account?.organisation) setOwn(account.organisation)
      else await navigate({ to: '/' })
    } catch (failure) {
      setError(failure)
      setBusy(false)
    }
  }
  if (own !== null) {
    return (
      <Door title={i18n.t('Where you sign in')}>
        <div className="stack">
          <SignInAddress organisation={own} />
          <Button onClick={() => void navigate({ to: '/' })}>{i18n.t('Continue')}</Button>
        </div>
      </Door>
    )
  }
  return (
    <Door
      title={first ? i18n.t('Set up Veritwin') : i18n.t('Welcome')}
      lead={
        first
          ? i18n.t('You become the first administrator. Nobody else can use this link afterwards.')
          : i18n.t('Choose a password to finish.')
      }
    >
      <form
        className="stack"
        onSubmit={(event) => {
          event.preventDefault()
          if (!short && attested) void submit()
        }}
      >
        {props.besideAnother && (
          <p>
            {i18n.t(
              'The account you already have stays where it is and keeps everything. The new account starts empty. From now on the old one signs in at its organisation’s own page: we mail you the address.',
            )}
          </p>
        )}
        {first && (
          <TextInput
            label={i18n.t('Organisation')}
            required
            autoFocus
            autoComplete="organization"
            value={organisation}
            onChange={(event) => setOrganisation(event.currentTarget.value)}
          />
        )}
        <TextInput
          label={i18n.t('E-mail')}
          type="email"
          required
          autoComplete="username"
          readOnly={!first && Boolean(props.welcome.email)}
          value={email}
          onChange={(event) => setEmail(event.currentTarget.value)}
        />
        <TextInput
          label={i18n.t('Name (optional)')}
          autoComplete="name"
          value={name}
          onChange={(event) => setName(event.currentTarget.value)}
        />
        <PasswordInput
          label={i18n.t('Password')}
          description={i18n.t('At least {count} characters. A sentence is fine.', {
            count: PASSWORD_MIN,
          })}
          required
          minLength={PASSWORD_MIN}
          autoComplete="new-password"
          value={password}
          onChange={(event) => setPassword(event.currentTarget.value)}
        />
        <Checkbox
          label={i18n.t('I am 18 or older and I act for a business.')}
          description={i18n.t('Veritwin is for businesses and adults. We record when you confirmed this.')}
          required
          checked={attested}
          onChange={(event) => setAttested(event.currentTarget.checked)}
        />
        <OptionalConsents ticked={ticked} onChange={setTicked} />
        {error !== null && <Failure error={error} compact />}
        <Button type="submit" loading={busy} disabled={short || !attested}>
          {first ? i18n.t('Create the organisation') : i18n.t('Continue')}
        </Button>
        {props.haveAccount && (
          <Button variant="subtle" onClick={props.haveAccount}>
            {i18n.t('I have an account already')}
          </Button>
        )}
      </form>
    </Door>
  )
}
