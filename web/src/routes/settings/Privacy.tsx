// One's own privacy: the optional consents one by one, the receipt of the notice, signed records,
// and a change of the policy that is on its way.
import { i18n } from '@lingui/core'
import { Button, TextInput } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { useState } from 'react'

import { client } from '../../api/client'
import { consentRecordsQuery, privacyQuery, type Consent } from '../../api/privacyQueries'
import { queryClient } from '../../api/queries'
import { save } from '../../lib/save'
import { Failure, Loading, Tag } from '../../ui/layout'
import { Modal } from '../../ui/overlays'
import { Age, Instant } from '../../ui/time'
import { toast } from '../../ui/toasts'
import { consentLabel, fieldHint, fieldLabel, recipientLabel } from '../privacyWords'

const refresh = () => queryClient.invalidateQueries({ queryKey: ['account'] })

export function PrivacyBlock() {
  const privacy = useQuery(privacyQuery(i18n.locale))
  if (privacy.isPending) return <Loading rows={4} />
  if (privacy.isError) return <Failure error={privacy.error} compact />
  const { consents, notice, announcement } = privacy.data
  const saveRecords = async () => {
    const records = await queryClient.fetchQuery(consentRecordsQuery)
    const parsed = records.items.map((one) => JSON.parse(one.record) as unknown)
    const text = JSON.stringify(parsed, null, 2)
    save('consents.json', new Blob([text], { type: 'application/json' }))
  }
  return (
    <section className="block" id="privacy">
      <h2>{i18n.t('Consents and policy')}</h2>
      {announcement && !announcement.seen && (
        <div className="setting" role="status">
          <span>
            {i18n.t('A new version of the policy takes effect on')}{' '}
            <Instant at={announcement.effective_at} />: {announcement.summary}
          </span>
          <Button
            size="compact-xs"
            variant="default"
            onClick={async () => {
              await client.POST('/v1/legal/seen', { body: { version: announcement.version } })
              await refresh()
            }}
          >
            {i18n.t('I have seen it')}
          </Button>
        </div>
      )}
      {consents.map((consent) => (
        <ConsentSetting key={consent.purpose.id} consent={consent} />
      ))}
      <div className="setting">
        <span>
          {i18n.t('Records of your consents')}
          <span className="dim"> {i18n.t('signed; anybody can check them')}</span>
        </span>
        <Button size="compact-xs" variant="default" onClick={() => void saveRecords()}>
          {i18n.t('Download')}
        </Button>
      </div>
      <div className="setting">
        <span>
          <Link to="/legal/$document" params={{ document: 'privacy' }}>
            {i18n.t('Privacy policy')}
          </Link>
          {notice && (
            <span className="dim">
              {' '}
              {i18n.t('You were told of version {version}', { version: notice.version })}{' '}
              <Age at={notice.at} />
            </span>
          )}
        </span>
      </div>
    </section>
  )
}

function ConsentSetting(props: { consent: Consent }) {
  const { consent } = props
  const [open, setOpen] = useState(false)
  const isGiven = consent.state === 'given'
  const withdraw = async () => {
    await client.POST('/v1/account/consents/withdraw', {
      body: { purpose: consent.purpose.id },
    })
    await refresh()
    toast(i18n.t('Withdrawn: {title}', { title: consent.purpose.title }))
  }
  return (
    <div className="setting">
      <span>
        {consent.purpose.title} <Tag>{i18n.t('optional')}</Tag>{' '}
        <span className="dim">
          {consentLabel(consent.state)}
          {consent.at && (
            <>
              {' '}
              <Age at={consent.at} />
            </>
          )}
          {consent.value && `, ${consent.value}`}
        </span>
      </span>
      {isGiven ? (
        <Button size="compact-xs" variant="default" onClick={() => void withdraw()}>
          {i18n.t('Withdraw')}
        </Button>
      ) : (
        <Button size="compact-xs" variant="default" onClick={() => setOpen(true)}>
          {i18n.t('Agree')}
        </Button>
      )}
      <Modal opened={open} onClose={() => setOpen(false)} title={consent.purpose.title}>
        <GiveForm consent={consent} onDone={() => setOpen(false)} />
      </Modal>
    </div>
  )
}

function GiveForm(props: { consent: Consent; onDone: () => void }) {
  const { purpose } = props.consent
  const [value, setValue] = useState(props.consent.value ?? '')
  const [busy, setBusy] = useState(false)
  const [error, setError] = useState<unknown>(null)
  const give = async () => {
    setBusy(true)
    setError(null)
    try {
      await client.POST('/v1/account/consents', {
        body: { purpose: purpose.id, version: purpose.version, value },
      })
      await refresh()
      props.onDone()
    } catch (failure) {
      setError(failure)
      setBusy(false)
    }
  }
  return (
    <form
      className="stack"
      onSubmit={(event) => {
        event.preventDefault()
        void give()
      }}
    >
      <p>{purpose.text}</p>
      <p className="dim">
        {i18n.t('Who receives it: {names}', {
          names: purpose.recipients.map(recipientLabel).join(', '),
        })}
      </p>
      <TextInput
        label={fieldLabel(purpose.field)}
        description={fieldHint(purpose.field)}
        type={purpose.field === 'phone' ? 'tel' : 'text'}
        autoComplete={purpose.field === 'phone' ? 'tel' : 'street-address'}
        required
        value={value}
        onChange={(event) => setValue(event.currentTarget.value)}
      />
      {error !== null && <Failure error={error} compact />}
      <Button type="submit" loading={busy} disabled={value.trim() === ''}>
        {i18n.t('I agree')}
      </Button>
    </form>
  )
}
