// Certificates of the tenant's host names: which have one of their own, handing one in, and having
// one fetched by ACME.
import { i18n } from '@lingui/core'
import { Button, Group, Textarea } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useState } from 'react'

import { client } from '../../api/client'
import type { components } from '../../api/schema'
import { Allowed } from '../../app/Allowed'
import { ConfirmTyped } from '../../ui/dialogs'
import { Failure } from '../../ui/layout'
import { Modal } from '../../ui/overlays'
import { SubmitForm } from '../../ui/SubmitForm'
import { Instant } from '../../ui/time'
import { useSubmit } from '../../ui/useSubmit'
import { certificatesQuery } from './queries'

export function Certificates() {
  const query = useQuery(certificatesQuery)
  const [giving, setGiving] = useState<string | null>(null)
  const [taking, setTaking] = useState<string | null>(null)
  const { busy, error, run } = useSubmit(() => void query.refetch())
  const path = (host: string | null) => ({ params: { path: { host: host ?? '' } } })
  const fetchOne = (host: string) => client.POST('/v1/certificates/{host}/acme', path(host))
  if (query.isError) return <Failure error={query.error} compact />
  return (
    <section className="block">
      <h2>{i18n.t('Certificates')}</h2>
      <ul className="plain-list certificates">
        {query.data?.items.map(({ host, not_after, acme }) => (
          <li key={host}>
            <span>
              {host}{' '}
              <span className="dim">
                {not_after === null ? (
                  i18n.t('answers with the platform’s certificate')
                ) : (
                  <>
                    {i18n.t('valid until')} <Instant at={not_after} age={false} />
                  </>
                )}
              </span>
              <AcmeLine acme={acme} />
            </span>
<Allowed to="certificate.write">
              <Group gap="xs">
                {(acme.state === 'off' || acme.state === 'refused') && (
                  <Button
                    size="compact-xs"
                    variant="default"
                    disabled={busy}
                    onClick={() => void run(() => fetchOne(host))}
                  >
                    {acme.state === 'off' ? i18n.t('Fetch by ACME') : i18n.t('Try again now')}
                  </Button>
                )}
                <Button size="compact-xs" variant="default" onClick={() => setGiving(host)}>
                  {i18n.t('Hand in a certificate')}
                </Button>
                {(not_after !== null || acme.state === 'ordering' || acme.state === 'refused') && (
                  <Button size="compact-xs" variant="default" onClick={() => setTaking(host)}>
                    {i18n.t('Remove')}
                  </Button>
                )}
              </Group>
            </Allowed>
          </li>
        ))}
      </ul>
      {error !== null && <Failure error={error} compact />}
      <Modal
        opened={giving !== null}
        onClose={() => setGiving(null)}
        title={i18n.t('Certificate of {host}', { host: giving ?? '' })}
        closeOnClickOutside={false}
      >
        <Form
          host={giving ?? ''}
          onDone={() => {
            setGiving(null)
            void query.refetch()
          }}
        />
      </Modal>
      <ConfirmTyped
        opened={taking !== null}
        onClose={() => setTaking(null)}
        title={i18n.t('Remove the certificate')}
        name={taking ?? ''}
        action={i18n.t('Remove')}
        onConfirm={async () => {
          await client.DELETE('/v1/certificates/{host}', path(taking))
          await query.refetch()
        }}
      >
        {i18n.t('Browsers that do not trust the platform’s authority will warn.')}
      </ConfirmTyped>
    </section>
  )
}

type AcmeBody = components['schemas']['AcmeBody']

const refusals: Record<string, () => string> = {
  unreachable: () => i18n.t('The authority was not reached.'),
  connection: () => i18n.t('The authority does not reach this host name on port 443.'),
  dns: () => i18n.t('The host name leads nowhere: check its DNS records.'),
  caa: () => i18n.t('The host name’s CAA records allow other authorities only.'),
  wrong_answer: () => i18n.t('The authority did not find this platform’s answer under the host name.'),
  rate_limited: () => i18n.t('The authority accepts no more orders for a while.'),
  no_challenge: () => i18n.t('The authority does not offer TLS-ALPN-01.'),
  unusable: () => i18n.t('What the authority sent cannot be used.'),
  too_slow: () => i18n.t('The authority took too long.'),
}

function AcmeLine({ acme }: { acme: AcmeBody }) {
  if (acme.state === 'ordering') {
    return <div className="dim">{i18n.t('being fetched by ACME')}</div>
  }
  if (acme.state === 'kept') {
    return (
      <div className="dim">
        {i18n.t('fetched by ACME, renewed on')} <At at={acme.next_try} />
      </div>
    )
  }
  if (acme.state !== 'refused') return null
  const said = refusals[acme.refusal?.kind ?? ''] ?? (() => i18n.t('The authority refused.'))
  return (
    <div>
      {said()} <span className="dim">{acme.refusal?.detail}</span>
      <div className="dim">
        {i18n.t('next try')} <At at={acme.next_try} />
      </div>
    </div>
  )
}

function At({ at }: { at: string | null | undefined }) {
  return at ? <Instant at={at} age={false} /> : null
}

function Form(props: { host: string; onDone: () => void }) {
  const [chain, setChain] = useState('')
  const [key, setKey] = useState('')
  const put = () =>
    client.PUT('/v1/certificates/{host}', {
      params: { path: { host: props.host } },
      body: { chain, private_key: key },
    })
  const pem = (label: string, value: string, set: (text: string) => void, placeholder: string) => (
    <Textarea
      label={label}
      required
      autosize
      minRows={4}
      maxRows={8}
      spellCheck={false}
      autoComplete="off"
      placeholder={`-----BEGIN ${placeholder}-----`}
      value={value}
      onChange={(event) => set(event.currentTarget.value)}
    />
  )
  return (
    <SubmitForm action={i18n.t('Hand in')} submit={put} onDone={props.onDone}>
      {pem(i18n.t('Chain, the host’s own certificate first'), chain, setChain, 'CERTIFICATE')}
      {pem(i18n.t('Private key'), key, setKey, 'PRIVATE KEY')}
      <p className="dim">{i18n.t('The key is stored sealed and never shown again.')}</p>
    </SubmitForm>
  )
}
