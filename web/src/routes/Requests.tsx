// Requests of people who do not sign in: ask for a right, show the code that came by mail, and
// fetch the copy with the code of the answer.
import { i18n } from '@lingui/core'
import { Button, Group, Select, Textarea, TextInput } from '@mantine/core'
import { useState } from 'react'

import { body, client } from '../api/client'
import { ProblemError } from '../api/problem'
import { useAppSearch } from '../app/search'
import { save } from '../lib/save'
import { Failure } from '../ui/layout'
import { SubmitForm } from '../ui/SubmitForm'
import { Door } from './Door'
import { KINDS, kindLabel } from './settings/MyPrivacy'

export function RequestsPage() {
  const [id, setId] = useState('')
  return (
    <Door
      title={i18n.t('Your rights')}
      lead={i18n.t('For people without an account, or without their password.')}
    >
      <AskForm onSent={setId} />
      {id !== '' && (
        <p role="status">
          {i18n.t(
            'We have your request; its number is {id}. If we know the address, a code is on its way to it. Otherwise write to us how we can make sure who you are: without proof the request ends after 14 days.',
            { id },
          )}
        </p>
      )}
      <CodeForm key={id} id={id} />
    </Door>
  )
}

/** As many requests wait of people who are not known as may: the same words to everybody. */
function tooMany(error: unknown) {
  const isFull = ProblemError.of(error).message.includes('rights_strangers_open_max')
  if (!isFull) return null
  return (
    <p className="form-error" role="alert">
      {i18n.t(
        'So many requests wait that we take none of people whom we do not know. If we know the address, the number of your request and a code are on their way to it all the same. Otherwise try again later, or write to us.',
      )}
    </p>
  )
}

function AskForm(props: { onSent: (id: string) => void }) {
  const { organisation } = useAppSearch()
  const [kind, setKind] = useState('access')
  const [email, setEmail] = useState('')
  const [text, setText] = useState('')
  const needsWords = kind === 'rectification' || kind === 'complaint'
  const submit = async () => {
    const made = await body(
      client.POST('/v1/requests/form', {
        body: { kind, email, text, organisation: organisation ?? null, language: i18n.locale },
      }),
    )
    props.onSent(made.id)
  }
  return (
    <SubmitForm action={i18n.t('Send')} submit={submit} failure={tooMany}>
      <Select
        label={i18n.t('What should be done')}
        allowDeselect={false}
        value={kind}
        onChange={(value) => setKind(value ?? kind)}
        data={KINDS.map((value) => ({ value, label: kindLabel(value) }))}
      />
      <TextInput
        label={i18n.t('E-mail')}
        type="email"
        autoComplete="email"
        required
        value={email}
        onChange={(event) => setEmail(event.currentTarget.value)}
      />
      <Textarea
        label={needsWords ? i18n.t('In your words') : i18n.t('In your words (optional)')}
        required={needsWords}
        maxLength={4000}
        value={text}
        onChange={(event) => setText(event.currentTarget.value)}
      />
    </SubmitForm>
  )
}

function CodeForm(props: { id: string }) {
  const [id, setId] = useState(props.id)
  const [code, setCode] = useState('')
  const [busy, setBusy] = useState(false)
  const [said, setSaid] = useState('')
  const [error, setError] = useState<unknown>(null)
  const act = async (work: () => Promise<string>) => {
    setBusy(true)
    setError(null)
    setSaid('')
    try {
      setSaid(await work())
    } catch (failure) {
      setError(failure)
    }
    setBusy(false)
  }
  const confirm = async () => {
    await client.POST('/v1/requests/form/confirm', { body: { id, code } })
    return i18n.t('We know that it is you, and answer in time.')
  }
  const fetchCopy = async () => {
    const answer = await client.POST('/v1/requests/form/copy', {
      body: { id, code },
      parseAs: 'blob',
    })
    save('copy-of-data.zip', answer.data as unknown as Blob)
    return i18n.t('Your copy is saved.')
  }
  const isWrong = error !== null && ProblemError.of(error).status === 401
  const isEmpty = id.trim() === '' || code.trim() === ''
  return (
    <form
      className="stack"
      onSubmit={(event) => {
        event.preventDefault()
        void act(confirm)
      }}
    >
      <h2>{i18n.t('You have a code')}</h2>
      <TextInput
        label={i18n.t('Number of the request')}
        value={id}
        onChange={(event) => setId(event.currentTarget.value)}
      />
      <TextInput
        label={i18n.t('Code from the mail')}
        inputMode="numeric"
        autoComplete="one-time-code"
        value={code}
        onChange={(event) => setCode(event.currentTarget.value)}
      />
      {isWrong && (
        <p className="form-error" role="alert">
          {i18n.t('The code is wrong, or its time is over.')}
        </p>
      )}
      {error !== null && !isWrong && <Failure error={error} compact />}
      {said !== '' && <p role="status">{said}</p>}
      <Group>
        <Button type="submit" loading={busy} disabled={isEmpty}>
          {i18n.t('Show that it is me')}
        </Button>
        <Button
          variant="default"
          loading={busy}
          disabled={isEmpty}
          onClick={() => void act(fetchCopy)}
        >
          {i18n.t('Fetch my copy')}
        </Button>
      </Group>
    </form>
  )
}
