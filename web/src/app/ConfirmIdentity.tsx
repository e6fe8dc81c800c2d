// Asks to prove again who one is when an act needs it, then lets the act go on.
import { i18n } from '@lingui/core'
import { Button, Group, PasswordInput, TextInput } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useEffect, useRef, useState } from 'react'

import { body, client, identity } from '../api/client'
import { providerOfferQuery, sessionQuery } from '../api/queries'
import { ProblemError } from '../api/problem'
import { usePasskey } from '../lib/passkeys'
import { goToProvider } from '../lib/providers'
import { usePasskeyPlace } from '../routes/passkeyPlace'
import { Failure } from '../ui/layout'
import { Modal } from '../ui/overlays'

export function ConfirmIdentity() {
  const [opened, setOpened] = useState(false)
  const answer = useRef<(proven: boolean) => void>(() => {})
  useEffect(() => {
    identity.confirm = () =>
      new Promise((resolve) => {
        answer.current(false)
        answer.current = resolve
        setOpened(true)
      })
  }, [])
  const close = (proven: boolean) => {
    setOpened(false)
    answer.current(proven)
  }
  return (
    <Modal
      opened={opened}
      onClose={() => close(false)}
      title={i18n.t('Confirm that it is you')}
      closeOnClickOutside={false}
      zIndex={400}
    >
      <ConfirmForm onDone={() => close(true)} onCancel={() => close(false)} />
    </Modal>
  )
}

function ConfirmForm(props: { onDone: () => void; onCancel: () => void }) {
  const passkeys = usePasskeyPlace()
  const [password, setPassword] = useState('')
  const [code, setCode] = useState<string | null>(null)
  const [busy, setBusy] = useState(false)
  const [error, setError] = useState<unknown>(null)
  const run = async (work: () => Promise<unknown>) => {
    setBusy(true)
    setError(null)
    try {
      await work()
      props.onDone()
    } catch (failure) {
      if (ProblemError.of(failure).problem.type === '/problems/second-factor') setCode('')
      else setError(failure)
      setBusy(false)
    }
  }
  const withPassword = () =>
    client.POST('/v1/session/confirm', { body: { password, ...(code !== null && { code }) } })
  const withPasskey = async () => {
    const passkey = await usePasskey(await body(client.POST('/v1/session/passkey')))
    await client.POST('/v1/session/confirm', { body: { passkey } })
  }
  const organisation = useQuery(sessionQuery).data?.tenant.id
  const offer = useQuery({
    ...providerOfferQuery(organisation),
    enabled: organisation !== undefined,
  }).data
  const leave = async (to: string) => {
    const { pathname, search } = window.location
    setBusy(true)
    try {
      await goToProvider({ organisation: to, next: `${pathname}${search}`, fresh: true })
    } catch (failure) {
      setError(failure)
      setBusy(false)
    }
  }
  const wrong = error !== null && ProblemError.of(error).status === 403
  const declined = error !== null && ProblemError.of(error).status === -1
  return (
    <form
      className="stack"
      onSubmit={(event) => {
        event.preventDefault()
        event.stopPropagation()
        void run(withPassword)
      }}
    >
      <p>{i18n.t('This act cannot be taken back, or opens a door. It goes on once you confirm.')}</p>
      <PasswordInput
        label={i18n.t('Password')}
        autoComplete="current-password"
        required
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
      {wrong && (
        <p className="form-error" role="alert">
          {i18n.t('That does not fit your account. Try again.')}
        </p>
      )}
      {declined && (
        <p className="form-error" role="alert">
          {i18n.t('No passkey was used.')}
        </p>
      )}
      {error !== null && !wrong && !declined && <Failure error={error} compact />}
      {offer && (
        <p className="dim">
          {i18n.t('Without a password here: sign in once more, then repeat the act.')}{' '}
          <Button
            size="compact-xs"
            variant="default"
            disabled={busy}
            onClick={() => void leave(offer.organisation)}
          >
            {i18n.t('Continue with {name}', { name: offer.name })}
          </Button>
        </p>
      )}
      <Group justify="flex-end">
        <Button variant="default" onClick={props.onCancel}>
          {i18n.t('Cancel')}
        </Button>
        {passkeys.work && (
          <Button variant="default" disabled={busy} onClick={() => void run(withPasskey)}>
            {i18n.t('Use a passkey')}
          </Button>
        )}
        <Button type="submit" loading={busy}>
          {i18n.t('Confirm')}
        </Button>
      </Group>
    </form>
  )
}
