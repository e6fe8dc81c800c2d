// Certificates of the tenant's host names: which have one of their own, and handing one in.
import { i18n } from '@lingui/core'
import { Button, Group, Textarea } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useState } from 'react'

import { client } from '../../api/client'
import { Allowed } from '../../app/Allowed'
import { ConfirmTyped } from '../../ui/dialogs'
import { Failure } from '../../ui/layout'
import { Modal } from '../../ui/overlays'
import { SubmitForm } from '../../ui/SubmitForm'
import { Instant } from '../../ui/time'
import { certificatesQuery } from './queries'

export function Certificates() {
  const query = useQuery(certificatesQuery)
  const [giving, setGiving] = useState<string | null>(null)
  const [taking, setTaking] = useState<string | null>(null)
  const path = (host: string | null) => ({ params: { path: { host: host ?? '' } } })
  if (query.isError) return <Failure error={query.error} compact />
  return (
    <section className="block">
      <h2>{i18n.t('Certificates')}</h2>
      <ul className="plain-list">
        {query.data?.items.map(({ host, not_after }) => (
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
            </span>
            <Allowed to="certificate.write">
              <Group gap="xs" wrap="nowrap">
                <Button size="compact-xs" variant="default" onClick={() => setGiving(host)}>
                  {i18n.t('Hand in a certificate')}
                </Button>
                {not_after !== null && (
                  <Button size="compact-xs" variant="default" onClick={() => setTaking(host)}>
                    {i18n.t('Remove')}
                  </Button>
                )}
              </Group>
            </Allowed>
          </li>
        ))}
      </ul>
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
