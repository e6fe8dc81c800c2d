// Details that people gave by consent: to which words, under which identity, and taking them back,
// which leaves the signed record of the consent.
// Nothing here names a device, and what a zone let out before is linked to nobody.
import { i18n } from '@lingui/core'
import { Button, Checkbox, Select, Textarea, TextInput } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useState } from 'react'

import { body, client } from '../api/client'
import { optInsQuery, queryClient } from '../api/queries'
import type { OptIn } from '../api/types'
import { ConfirmTyped } from '../ui/dialogs'
import { Failure, Loading } from '../ui/layout'
import { Modal } from '../ui/overlays'
import { SubmitForm } from '../ui/SubmitForm'
import { Instant } from '../ui/time'

const refresh = () => queryClient.invalidateQueries({ queryKey: ['opt-ins'] })

/** What is typed to take details back: the beginning of the identity. */
function short(one: OptIn): string {
  return one.identity.slice(0, 8)
}

export function OptIns() {
  const query = useQuery(optInsQuery)
  const [entering, setEntering] = useState(false)
  const [ending, setEnding] = useState<OptIn | null>(null)
  const end = async () => {
    if (ending === null) return
    await body(client.DELETE('/v1/opt-ins/{id}', { params: { path: { id: ending.id } } }))
    await refresh()
  }
  return (
    <section className="block">
      <div className="block-head">
        <h2>{i18n.t('Details by consent')}</h2>
        <Button size="xs" variant="default" onClick={() => setEntering(true)}>
          {i18n.t('Enter what somebody gave')}
        </Button>
      </div>
      {query.isPending && <Loading rows={2} />}
      {query.isError && <Failure error={query.error} compact />}
      {query.data?.items.length === 0 && (
        <p className="hint">
          {i18n.t(
            'Nobody gave any. Whoever does gets a new random identity: it counts from then on, and nothing of before becomes theirs.',
          )}
        </p>
      )}
      <ul className="plain-list">
        {query.data?.items.map((one) => (
          <li key={one.id}>
            <span>
              <strong>{one.details.name ?? one.details.email ?? short(one)}</strong>{' '}
              <span className="dim">
                {[one.details.email, one.details.phone, one.details.address]
                  .filter(Boolean)
                  .join(' · ')}
              </span>
            </span>
            <span className="num" title={one.identity}>
              {short(one)}
            </span>
            <span className="dim">
              {i18n.t('agreed')} <Instant at={one.agreed_at} age={false} />
            </span>
            {one.withdrawn_at ? (
              <span className="dim">
                {i18n.t('taken back')} <Instant at={one.withdrawn_at} age={false} />
              </span>
            ) : (
              <Button size="compact-xs" variant="default" onClick={() => setEnding(one)}>
                {i18n.t('Take back')}
              </Button>
            )}
            {one.consent_record && (
              <Button
                size="compact-xs"
                variant="default"
                onClick={() => void navigator.clipboard.writeText(one.consent_record ?? '')}
              >
                {i18n.t('Copy the signed record')}
              </Button>
            )}
          </li>
        ))}
      </ul>
      <Modal
        opened={entering}
        onClose={() => setEntering(false)}
        title={i18n.t('Enter what somebody gave')}
      >
        <OptInForm
          onDone={() => {
            setEntering(false)
            void refresh()
          }}
        />
      </Modal>
      <ConfirmTyped
        opened={ending !== null}
        title={i18n.t('Take the consent back')}
        name={ending === null ? '' : short(ending)}
        action={i18n.t('Take back')}
        onConfirm={end}
        onClose={() => setEnding(null)}
      >
        {i18n.t(
          'The details are destroyed at once. There is no way back. The record that the person agreed and took it back stays, without a detail.',
        )}
      </ConfirmTyped>
    </section>
  )
}

function OptInForm(props: { onDone: () => void }) {
  const [details, setDetails] = useState({ name: '', email: '', phone: '', address: '' })
  const [text, setText] = useState('')
  const [how, setHow] = useState<string | null>(null)
  const [agreed, setAgreed] = useState(false)
  const change = (part: Partial<typeof details>) => setDetails({ ...details, ...part })
  const given = (value: string) => (value.trim() === '' ? null : value.trim())
  const submit = () =>
    body(
      client.POST('/v1/opt-ins', {
        body: {
          consent: agreed,
          how: how ?? '',
          text,
          details: {
            name: given(details.name),
            email: given(details.email),
            phone: given(details.phone),
            address: given(details.address),
          },
        },
      }),
    )
  return (
    <SubmitForm
      action={i18n.t('Save')}
      submit={submit}
      onDone={props.onDone}
      incomplete={how === null}
    >
      <TextInput
        label={i18n.t('Name')}
        data-autofocus
        maxLength={200}
        value={details.name}
        onChange={(event) => change({ name: event.currentTarget.value })}
      />
      <TextInput
        label={i18n.t('E-mail')}
        type="email"
        maxLength={254}
        value={details.email}
        onChange={(event) => change({ email: event.currentTarget.value })}
      />
      <TextInput
        label={i18n.t('Telephone number')}
        type="tel"
        maxLength={40}
        value={details.phone}
        onChange={(event) => change({ phone: event.currentTarget.value })}
      />
      <Textarea
        label={i18n.t('Postal address')}
        maxLength={500}
        value={details.address}
        onChange={(event) => change({ address: event.currentTarget.value })}
      />
      <Textarea
        label={i18n.t('The words that were agreed to')}
        description={i18n.t('They stay when the details are gone: leave names and numbers out.')}
        required
        maxLength={4000}
        value={text}
        onChange={(event) => setText(event.currentTarget.value)}
      />
      <Select
        label={i18n.t('How the person said so')}
        value={how}
        onChange={setHow}
        data={[
          { value: 'in_writing', label: i18n.t('In writing') },
          { value: 'by_word', label: i18n.t('By word of mouth') },
          { value: 'electronically', label: i18n.t('Electronically, by themselves') },
        ]}
      />
      <Checkbox
        label={i18n.t('The person agreed to these words themselves, and knows how to take it back.')}
        checked={agreed}
        onChange={(event) => setAgreed(event.currentTarget.checked)}
      />
    </SubmitForm>
  )
}
