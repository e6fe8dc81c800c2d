// Second factors: the authenticator app, passkeys and recovery codes.
import { i18n } from '@lingui/core'
import { Button, Group, TextInput } from '@mantine/core'
import { useState } from 'react'
import { encode } from 'uqr'

import { body, client } from '../../api/client'
import { ProblemError } from '../../api/problem'
import type { Account } from '../../api/types'
import { makePasskey } from '../../lib/passkeys'
import { Icon } from '../../ui/icons'
import { CopyField, Failure } from '../../ui/layout'
import { Modal } from '../../ui/overlays'
import { Age } from '../../ui/time'
import { SubmitForm } from '../../ui/SubmitForm'
import { useSubmit } from '../../ui/useSubmit'
import { refreshAccount, strengthened } from './refresh'
import { usePasskeyPlace } from '../passkeyPlace'

export function SecondFactors({ account }: { account: Account }) {
  const passkeys = usePasskeyPlace()
  const [open, setOpen] = useState<'authenticator' | 'passkey' | 'codes' | null>(null)
  const { busy, error, run } = useSubmit()
  const close = () => setOpen(null)
  const removeAuthenticator = () =>
    run(async () => {
      await client.DELETE('/v1/account/authenticator')
      await refreshAccount()
    })
  const removePasskey = (id: string) =>
    run(async () => {
      await client.DELETE('/v1/account/passkeys/{id}', { params: { path: { id } } })
      await refreshAccount()
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
          disabled={!passkeys.work}
          onClick={() => setOpen('passkey')}
        >
          {i18n.t('Add a passkey')}
        </Button>
      </div>
      {passkeys.elsewhere !== null && (
        <p className="hint">
          {i18n.t(
            'Passkeys belong to {host} and are added there: at this host name they do not work.',
            { host: passkeys.elsewhere },
          )}
        </p>
      )}
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
    <SubmitForm action={i18n.t('Finish')} submit={finish}>
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
    </SubmitForm>
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
    await refreshAccount()
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
