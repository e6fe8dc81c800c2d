// Sign-in with e-mail and password.
import { i18n } from '@lingui/core'
import { Button, PasswordInput, TextInput } from '@mantine/core'
import { useRouter } from '@tanstack/react-router'
import { useState } from 'react'

import { body, client } from '../api/client'
import { ProblemError } from '../api/problem'
import { queryClient, sessionQuery } from '../api/queries'
import { useAppSearch } from '../app/search'
import { Failure } from '../ui/layout'
import { Door } from './Door'

export function SignInPage() {
  const router = useRouter()
  const { next } = useAppSearch()
  const [email, setEmail] = useState('')
  const [password, setPassword] = useState('')
  const [busy, setBusy] = useState(false)
  const [error, setError] = useState<unknown>(null)
  const submit = async () => {
    setBusy(true)
    setError(null)
    try {
      const session = await body(client.POST('/v1/session', { body: { email, password } }))
      queryClient.clear()
      queryClient.setQueryData(sessionQuery.queryKey, session)
      // Only an address of our own may follow.
      const target = next?.startsWith('/') && !next.startsWith('//') ? next : '/'
      router.history.push(target)
    } catch (failure) {
      setError(failure)
      setPassword('')
      setBusy(false)
    }
  }
  const wrong = error !== null && [400, 401, 403].includes(ProblemError.of(error).status)
  return (
    <Door title={i18n.t('Sign in')}>
      <form
        className="stack"
        onSubmit={(event) => {
          event.preventDefault()
          void submit()
        }}
      >
        <TextInput
          label={i18n.t('E-mail')}
          type="email"
          autoComplete="username"
          required
          autoFocus
          value={email}
          onChange={(event) => setEmail(event.currentTarget.value)}
        />
        <PasswordInput
          label={i18n.t('Password')}
          autoComplete="current-password"
          required
          value={password}
          onChange={(event) => setPassword(event.currentTarget.value)}
        />
        {wrong && (
          <p className="form-error" role="alert">
            {i18n.t('E-mail and password do not match. An administrator can send you a new link.')}
          </p>
        )}
        {error !== null && !wrong && <Failure error={error} compact />}
        <Button type="submit" loading={busy}>
          {i18n.t('Sign in')}
        </Button>
      </form>
    </Door>
  )
}
