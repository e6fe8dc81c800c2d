// Where an organisation's sign-in provider sends people back to: finishes, or says what is wrong.
import { i18n } from '@lingui/core'
import { Button, Checkbox } from '@mantine/core'
import { Link, useRouter } from '@tanstack/react-router'
import { useEffect, useState } from 'react'

import { ProblemError } from '../api/problem'
import { queryClient, sessionQuery } from '../api/queries'
import { beginAgain, finishSignIn, keptOrganisation, NotBegun } from '../lib/providers'
import { Failure, Loading } from '../ui/layout'
import { Door } from './Door'

export function SignInReturnPage() {
  const router = useRouter()
  const [error, setError] = useState<unknown>(null)
  useEffect(() => {
    let here = true
    finishSignIn().then(
      ({ session, next }) => {
        if (!here) return
        queryClient.clear()
        queryClient.setQueryData(sessionQuery.queryKey, session)
        router.history.replace(next.startsWith('/') && !next.startsWith('//') ? next : '/')
      },
      (failure: unknown) => here && setError(failure),
    )
    return () => {
      here = false
    }
  }, [router])
  if (error === null) {
    return (
      <Door title={i18n.t('Signing in')}>
        <Loading rows={3} />
      </Door>
    )
  }
  const problem = error instanceof NotBegun ? null : ProblemError.of(error).problem
  if (problem?.position === 'attested') return <Attest />
  return (
    <Door title={i18n.t('You are not signed in')}>
      <div className="stack">
        <p role="alert">{explain(problem?.status, problem?.detail ?? '')}</p>
        {problem !== null && problem.status !== 401 && <Failure error={error} compact />}
        <Link to="/sign-in" search={back(problem?.detail)} className="button">
          {i18n.t('Back to sign-in')}
        </Link>
      </div>
    </Door>
  )
}

/** Where an account is connected, one comes back to the provider after the password. */
function back(detail = '') {
  const organisation = keptOrganisation()
  if (organisation === null) return {}
  const here = { organisation }
  if (!detail.includes('not connected')) return here
  return { ...here, next: `/sign-in?organisation=${encodeURIComponent(organisation)}` }
}

/** The server's answers, in the reader's language. */
function explain(status: number | undefined, detail: string): string {
  if (status === undefined || detail.includes('another browser')) {
    return i18n.t('This sign-in has ended or was begun in another browser. Begin it again.')
  }
  if (detail.includes('not connected')) {
    return i18n.t(
      'Your account is not connected with the provider yet. Sign in with its own password or passkey, then continue with the provider once: from then on it is enough.',
    )
  }
  if (detail.includes('invitation')) {
    return i18n.t('There is no account for you here. Ask an administrator for an invitation.')
  }
  if (detail.includes('verified')) {
    return i18n.t('Your organisation’s provider has not verified your address.')
  }
  if (detail.includes('domain')) {
    return i18n.t('Your organisation does not accept addresses of this domain.')
  }
  return i18n.t('Your organisation’s provider did not confirm this sign-in.')
}

function Attest() {
  const [attested, setAttested] = useState(false)
  const [busy, setBusy] = useState(false)
  const [error, setError] = useState<unknown>(null)
  const again = async () => {
    setBusy(true)
    try {
      await beginAgain(true)
    } catch (failure) {
      setError(failure)
      setBusy(false)
    }
  }
  return (
    <Door title={i18n.t('Welcome')} lead={i18n.t('One thing is left before your first sign-in.')}>
      <form
        className="stack"
        onSubmit={(event) => {
          event.preventDefault()
          if (attested) void again()
        }}
      >
        <Checkbox
          label={i18n.t('I am 18 or older and I act for a business.')}
          description={i18n.t('Veritwin is for businesses and adults. We record when you confirmed this.')}
          checked={attested}
          onChange={(event) => setAttested(event.currentTarget.checked)}
        />
        {error !== null && <Failure error={error} compact />}
        <Button type="submit" loading={busy} disabled={!attested}>
          {i18n.t('Continue')}
        </Button>
      </form>
    </Door>
  )
}
