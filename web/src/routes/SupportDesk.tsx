// The support desk of the platform's own staff: what customers granted, and access that nobody of
// the customer asked for, which takes two.
import { i18n } from '@lingui/core'
import { Button, Textarea, TextInput } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useState } from 'react'

import { body, client } from '../api/client'
import { ProblemError } from '../api/problem'
import { deskQuery, queryClient } from '../api/queries'
import type { DeskGrant, SupportArea } from '../api/types'
import { Allowed } from '../app/Allowed'
import { Icon } from '../ui/icons'
import { Empty, Failure, Loading, Page, Tag } from '../ui/layout'
import { Modal } from '../ui/overlays'
import { Instant } from '../ui/time'
import { toast } from '../ui/toasts'
import { SubmitForm } from '../ui/SubmitForm'
import { AreaChoice, areaList } from './Support'

const refresh = () => queryClient.invalidateQueries({ queryKey: ['support-desk'] })

/** Another tenant from here on: nothing of the old one may stay in memory. */
export function startAgain(path: string) {
  queryClient.clear()
  location.assign(path)
}

async function act(work: () => Promise<unknown>) {
  try {
    await work()
    await refresh()
  } catch (error) {
    toast(ProblemError.of(error).message)
  }
}

async function enter(tenant_id: string) {
  try {
    await body(client.POST('/v1/support-desk/session', { body: { tenant_id } }))
    startAgain('/')
  } catch (error) {
    toast(ProblemError.of(error).message)
    await refresh()
  }
}

export function SupportDeskPage() {
  const query = useQuery(deskQuery)
  const [asking, setAsking] = useState(false)
  return (
    <Page
      title={i18n.t('Support desk')}
      lead={i18n.t('What customers have opened to support. Every step you take there is theirs to read.')}
      actions={
        <Allowed to="support.break_glass">
          <Button variant="default" onClick={() => setAsking(true)}>
            {i18n.t('Break glass')}
          </Button>
        </Allowed>
      }
    >
      {query.isPending && <Loading />}
      {query.isError && <Failure error={query.error} retry={() => void query.refetch()} />}
      {query.data?.items.length === 0 && (
        <Empty icon="support" title={i18n.t('Nothing is open to you')}>
          {i18n.t('A ticket appears here while its customer grants access.')}
        </Empty>
      )}
      {query.data?.items.map((item) => (
        <DeskItem key={item.grant.id} item={item} />
      ))}
      <Modal opened={asking} onClose={() => setAsking(false)} title={i18n.t('Break glass')}>
        <BreakGlassForm
          onDone={() => {
            setAsking(false)
            void refresh()
          }}
        />
      </Modal>
    </Page>
  )
}

function DeskItem(props: { item: DeskGrant }) {
  const { grant, tenant_id, tenant_name, subject, text, is_own } = props.item
  return (
    <section className="card stack">
      <div className="card-head">
        <h2>{subject ?? grant.reason}</h2>
        {subject === null && <Tag tone="warn">{i18n.t('without a request')}</Tag>}
      </div>
      <p className="dim">
        {tenant_name} · {areaList(grant.areas)} · {i18n.t('until')}{' '}
        <Instant at={grant.expires_at} />
      </p>
      {text !== null && <p>{text}</p>}
      {grant.state === 'live' && (
        <Button size="xs" onClick={() => void enter(tenant_id)} className="self-start">
          {i18n.t('Enter, for reading')}
        </Button>
      )}
      {grant.state === 'asked' && is_own && (
        <p className="hint">{i18n.t('Waits for a second member of the staff.')}</p>
      )}
      {grant.state === 'asked' && !is_own && (
        <Button
          size="xs"
          className="self-start"
          leftSection={<Icon name="check" size={14} />}
          onClick={() =>
            void act(() =>
              client.POST('/v1/support-desk/break-glass/{id}/approve', {
                params: { path: { id: grant.id } },
              }),
            )
          }
        >
          {i18n.t('Approve, and tell the customer')}
        </Button>
      )}
    </section>
  )
}

function BreakGlassForm(props: { onDone: () => void }) {
  const [tenant, setTenant] = useState('')
  const [areas, setAreas] = useState<SupportArea[]>([])
  const [reason, setReason] = useState('')
  const submit = async () => {
    const ask = { tenant_id: tenant.trim(), areas, reason }
    await body(client.POST('/v1/support-desk/break-glass', { body: ask }))
    props.onDone()
  }
  return (
    <SubmitForm action={i18n.t('Ask')} submit={submit} incomplete={areas.length === 0}>
      <p className="hint">
        {i18n.t(
          'For emergencies only. A second member of the staff approves, whom neither you nor the same person brought in just now; both of you prove a second factor. Access ends after 4 hours, and the customer’s administrators are told at once, with your reason.',
        )}
      </p>
      <TextInput
        label={i18n.t('Tenant id')}
        required
        data-autofocus
        value={tenant}
        onChange={(event) => setTenant(event.currentTarget.value)}
      />
      <AreaChoice value={areas} onChange={setAreas} />
      <Textarea
        label={i18n.t('Why it cannot wait')}
        required
        maxLength={1000}
        value={reason}
        onChange={(event) => setReason(event.currentTarget.value)}
      />
    </SubmitForm>
  )
}
