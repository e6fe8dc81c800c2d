// The brand of the host name: name and logo, who answers, legal texts, and a word to them.
import { i18n } from '@lingui/core'
import { Button, Group, Textarea, TextInput } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useState } from 'react'

import { client } from '../../api/client'
import { Logo } from '../../ui/icons'
import { Failure } from '../../ui/layout'
import { Modal } from '../../ui/overlays'
import { faceAtQuery } from './queries'

export const PRODUCT = 'Veritwin'

export function BrandMark(props: { size: number; organisation?: string | undefined }) {
  const { data } = useQuery(faceAtQuery(props.organisation))
  if (!data?.logo) return <Logo size={props.size} />
  return <img className="brand-logo" src={data.logo} alt="" height={props.size} />
}

/** Under every door: who answers for those who come here, and what they say. */
export function Answering(props: { organisation?: string | undefined }) {
  const { data } = useQuery(faceAtQuery(props.organisation))
  const [shown, setShown] = useState<string | null>(null)
  if (!data) return null
  const texts: [string, string][] = [
    [i18n.t('Privacy'), data.privacy],
    [i18n.t('Terms'), data.terms],
    [i18n.t('Imprint'), data.imprint],
  ]
  const open = texts.find(([name]) => name === shown)
  return (
    <div className="answering">
      <p>
        {data.answered_by.platform
          ? i18n.t('The operator of this platform answers for it.')
          : i18n.t('{name} answers for this service.', { name: data.answered_by.name })}
      </p>
      <p className="row">
        {texts
          .filter(([, text]) => text !== '')
          .map(([name, text]) =>
            text.startsWith('https://') ? (
              <a key={name} href={text} rel="noreferrer">
                {name}
              </a>
            ) : (
              <button key={name} type="button" className="text-button" onClick={() => setShown(name)}>
                {name}
              </button>
            ),
          )}
        <button type="button" className="text-button" onClick={() => setShown('contact')}>
          {i18n.t('Write to us')}
        </button>
      </p>
      <Modal
        opened={open !== undefined}
        onClose={() => setShown(null)}
        title={open?.[0]}
        size="lg"
      >
        <p className="legal-text">{open?.[1]}</p>
      </Modal>
      <Modal
        opened={shown === 'contact'}
        onClose={() => setShown(null)}
        title={i18n.t('Write to us')}
        closeOnClickOutside={false}
      >
        <ContactForm onDone={() => setShown(null)} />
      </Modal>
    </div>
  )
}

function ContactForm(props: { onDone: () => void }) {
  const [email, setEmail] = useState('')
  const [message, setMessage] = useState('')
  const [state, setState] = useState<'idle' | 'busy' | 'sent'>('idle')
  const [error, setError] = useState<unknown>(null)
  if (state === 'sent') {
    return (
      <div className="stack">
        <p role="status">{i18n.t('Your message is with whoever answers here, and nobody else.')}</p>
        <Button onClick={props.onDone}>{i18n.t('Done')}</Button>
      </div>
    )
  }
  const send = async () => {
    setState('busy')
    setError(null)
    try {
      await client.POST('/v1/contact', { body: { email, message } })
      setState('sent')
    } catch (failure) {
      setError(failure)
      setState('idle')
    }
  }
  return (
    <form
      className="stack"
      onSubmit={(event) => {
        event.preventDefault()
        void send()
      }}
    >
      <TextInput
        label={i18n.t('Your e-mail')}
        type="email"
        required
        data-autofocus
        value={email}
        onChange={(event) => setEmail(event.currentTarget.value)}
      />
      <Textarea
        label={i18n.t('Message')}
        required
        rows={6}
        maxLength={4000}
        value={message}
        onChange={(event) => setMessage(event.currentTarget.value)}
      />
      {error !== null && <Failure error={error} compact />}
      <Group justify="flex-end">
        <Button type="submit" loading={state === 'busy'}>
          {i18n.t('Send')}
        </Button>
      </Group>
    </form>
  )
}
