// The brand of the tenant, with a preview in both schemes while it is typed.
import { i18n } from '@lingui/core'
import { Button, FileButton, Textarea, TextInput } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useState, type CSSProperties } from 'react'

import { client, upload } from '../../api/client'
import { Logo } from '../../ui/icons'
import { Failure, Loading, Page } from '../../ui/layout'
import { SubmitForm } from '../../ui/SubmitForm'
import { useSubmit } from '../../ui/useSubmit'
import { Certificates } from './Certificates'
import { brandQuery, type BrandFields } from './queries'

const BUILT_IN = { light: '#1c5a55', dark: '#82c3ba' }

export function BrandPage() {
  const query = useQuery(brandQuery)
  return (
    <Page
      title={i18n.t('Brand')}
      lead={i18n.t('What people see at your host names before they sign in.')}
    >
      {query.isPending && <Loading rows={6} />}
      {query.isError && <Failure error={query.error} retry={() => void query.refetch()} />}
      {query.data && (
        <>
          <p className="dim">
            {query.data.hosts.length === 0
              ? i18n.t('No host name yet: whoever is above you gives them.')
              : query.data.hosts.join(', ')}
          </p>
          <Form
            brand={query.data.brand as BrandFields}
            hasLogo={query.data.has_logo}
            onSaved={() => void query.refetch()}
          />
          {query.data.hosts.length > 0 && <Certificates />}
        </>
      )}
    </Page>
  )
}

function Form(props: { brand: BrandFields; hasLogo: boolean; onSaved: () => void }) {
  const [brand, setBrand] = useState(props.brand)
  const picture = useSubmit(props.onSaved)
  const text = (key: keyof BrandFields, label: string, more: object = {}) => (
    <TextInput
      label={label}
      value={brand[key]}
      onChange={(event) => setBrand({ ...brand, [key]: event.currentTarget.value })}
      {...more}
    />
  )
  const long = (key: keyof BrandFields, label: string) => (
    <Textarea
      label={label}
      description={i18n.t('An https address, or a text.')}
      autosize
      minRows={2}
      maxRows={8}
      value={brand[key]}
      onChange={(event) => setBrand({ ...brand, [key]: event.currentTarget.value })}
    />
  )
  const put = (content: Blob) =>
    upload({ method: 'PUT', path: '/v1/brand/logo', type: 'image/png', content })
  return (
    <div className="columns">
      <section className="block">
        <SubmitForm
          action={i18n.t('Save')}
          submit={() => client.PUT('/v1/brand', { body: brand })}
          onDone={props.onSaved}
        >
          {text('product', i18n.t('Product name'), { placeholder: 'Veritwin', maxLength: 60 })}
          {text('light', i18n.t('Colour, light'), { placeholder: BUILT_IN.light })}
          {text('dark', i18n.t('Colour, dark'), { placeholder: BUILT_IN.dark })}
          {text('contact_name', i18n.t('Who answers'), {
            description: i18n.t('With a name here a partner answers for its customers.'),
          })}
          {text('contact_email', i18n.t('E-mail of whoever answers'), { type: 'email' })}
          {text('contact_address', i18n.t('Postal address'))}
          {long('privacy', i18n.t('Privacy'))}
          {long('terms', i18n.t('Terms'))}
          {long('imprint', i18n.t('Imprint'))}
        </SubmitForm>
      </section>
      <section className="block stack">
        <h2>{i18n.t('Preview')}</h2>
        <Preview scheme="light" brand={brand} />
        <Preview scheme="dark" brand={brand} />
        <h2>{i18n.t('Logo')}</h2>
        <p className="dim">
          {i18n.t('PNG, at most 256 KiB and 1024 pixels a side. Only the picture is kept.')}
        </p>
        <div className="row">
          <FileButton
            accept="image/png"
            onChange={(file) => file && void picture.run(() => put(file))}
          >
            {(button) => (
              <Button variant="default" loading={picture.busy} {...button}>
                {props.hasLogo ? i18n.t('Replace the logo') : i18n.t('Choose a logo')}
              </Button>
            )}
          </FileButton>
          {props.hasLogo && (
            <Button
              variant="default"
              onClick={() => void picture.run(() => client.DELETE('/v1/brand/logo'))}
            >
              {i18n.t('Remove the logo')}
            </Button>
          )}
        </div>
        {picture.error !== null && <Failure error={picture.error} compact />}
      </section>
    </div>
  )
}

function Preview(props: { scheme: 'light' | 'dark'; brand: BrandFields }) {
  const typed = props.brand[props.scheme].trim()
  const colour = /^#[0-9a-f]{6}$/i.test(typed) ? typed : BUILT_IN[props.scheme]
  const name = props.brand.product || 'Veritwin'
  return (
    <div
      className="brand-preview"
      data-scheme={props.scheme}
      style={{ '--preview': colour } as CSSProperties}
    >
      <span className="brand-preview-head">
        <Logo size={28} /> {name}
      </span>
      <span className="brand-preview-link">{i18n.t('Write to us')}</span>
      <span className="brand-preview-button">{i18n.t('Sign in')}</span>
    </div>
  )
}
