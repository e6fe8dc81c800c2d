// The register of certificates. A supplier's is shown as the supplier's, never as one's own.
import { i18n } from '@lingui/core'
import { Button, Select, Textarea, TextInput } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useState } from 'react'

import { body, client } from '../../api/client'
import { certificateRegisterQuery, refreshGovernance } from '../../api/governanceQueries'
import type { RegisteredCertificate } from '../../api/types'
import { Allowed } from '../../app/Allowed'
import { Icon } from '../../ui/icons'
import { Empty, Failure, Loading, Tag } from '../../ui/layout'
import { Modal } from '../../ui/overlays'
import { SubmitForm } from '../../ui/SubmitForm'
import { Instant } from '../../ui/time'

const STANDARDS = [
  'iso_27001',
  'iso_27017',
  'iso_27018',
  'soc_2_type_2',
  'fips_140',
  'other',
] as const

type Standard = (typeof STANDARDS)[number]

function standardLabel(standard: Standard): string {
  return {
    iso_27001: 'ISO/IEC 27001',
    iso_27017: 'ISO/IEC 27017',
    iso_27018: 'ISO/IEC 27018',
    soc_2_type_2: 'SOC 2 type II',
    fips_140: 'FIPS 140',
    other: i18n.t('Another'),
  }[standard]
}

export function Certificates() {
  const query = useQuery(certificateRegisterQuery)
  const [adding, setAdding] = useState(false)
  const items = query.data?.items ?? []
  const own = items.filter((one) => one.facts.is_own)
  const others = items.filter((one) => !one.facts.is_own)
  return (
    <section className="block">
      <div className="block-head">
        <h2>{i18n.t('Certificates')}</h2>
        <Allowed to="governance.write">
          <Button
            size="xs"
            variant="default"
            leftSection={<Icon name="plus" size={14} />}
            onClick={() => setAdding(true)}
          >
            {i18n.t('Enter a certificate')}
          </Button>
        </Allowed>
      </div>
      {query.isPending && <Loading rows={2} />}
      {query.isError && <Failure error={query.error} compact />}
      {query.data && items.length === 0 && (
        <Empty icon="key" title={i18n.t('No certificate')}>
          {i18n.t('A certificate counts as own only where its holder is the organisation itself.')}
        </Empty>
      )}
      {own.length > 0 && <CertificateList title={i18n.t('Own certificates')} items={own} />}
      {others.length > 0 && (
        <CertificateList title={i18n.t('Certificates of suppliers')} items={others} />
      )}
      <Modal opened={adding} onClose={() => setAdding(false)} title={i18n.t('Enter a certificate')}>
        <CertificateForm
          onDone={() => {
            setAdding(false)
            void refreshGovernance()
          }}
        />
      </Modal>
    </section>
  )
}

function CertificateList(props: { title: string; items: RegisteredCertificate[] }) {
  return (
    <>
      <h3>{props.title}</h3>
      <ul className="plain-list">
        {props.items.map(({ id, state, content, facts }) => (
          <li key={id}>
            <span>
              <strong>{standardLabel(content.standard)}</strong>{' '}
              {i18n.t('held by {holder}', { holder: content.holder })}{' '}
              <span className="dim">
                {content.scope} · {content.issuer} ·{' '}
                {i18n.t('in the register of {name}', { name: facts.register_of })}
              </span>
            </span>
            {state === 'expired' && <Tag tone="warn">{i18n.t('expired')}</Tag>}
            {content.expires_at !== null && <Instant at={content.expires_at} age={false} />}
          </li>
        ))}
      </ul>
    </>
  )
}

function CertificateForm({ onDone }: { onDone: () => void }) {
  const [standard, setStandard] = useState<Standard>('iso_27001')
  const [relation, setRelation] = useState<'own' | 'supplier'>('supplier')
  const [texts, setTexts] = useState({ holder: '', issuer: '', number: '', sha256: '' })
  const [scope, setScope] = useState('')
  const [until, setUntil] = useState('')
  const labels = {
    holder: i18n.t('Holder, as it is printed'),
    issuer: i18n.t('Issued by'),
    number: i18n.t('Number'),
    sha256: i18n.t('SHA-256 of the document'),
  }
  const submit = async () => {
    const entry = { ...texts, standard, relation, scope, expires_at: `${until}T00:00:00Z` }
    await body(client.POST('/v1/certificate-register', { body: entry }))
    onDone()
  }
  return (
    <SubmitForm action={i18n.t('Save')} submit={submit}>
      <Select
        label={i18n.t('Standard')}
        allowDeselect={false}
        value={standard}
        onChange={(value) => setStandard(STANDARDS.find((one) => one === value) ?? standard)}
        data={STANDARDS.map((value) => ({ value, label: standardLabel(value) }))}
      />
      <Select
        label={i18n.t('Whose it is')}
        allowDeselect={false}
        value={relation}
        onChange={(value) => setRelation(value === 'own' ? 'own' : 'supplier')}
        data={[
          { value: 'own', label: i18n.t('Our own') },
          { value: 'supplier', label: i18n.t('A supplier’s') },
        ]}
      />
      {(Object.keys(labels) as (keyof typeof labels)[]).map((field) => (
        <TextInput
          key={field}
          label={labels[field]}
          required={field !== 'number'}
          maxLength={200}
          value={texts[field]}
          onChange={(event) => setTexts({ ...texts, [field]: event.currentTarget.value })}
        />
      ))}
      <Textarea
        label={i18n.t('What it covers')}
        required
        maxLength={4000}
        value={scope}
        onChange={(event) => setScope(event.currentTarget.value)}
      />
      <TextInput
        label={i18n.t('Valid until')}
        type="date"
        required
        value={until}
        onChange={(event) => setUntil(event.currentTarget.value)}
      />
    </SubmitForm>
  )
}
