// Messages that could not be delivered: opened, sent again, discarded by those who may.
import { i18n } from '@lingui/core'
import { useLingui } from '@lingui/react'
import { Button, Group } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useState } from 'react'

import { body, client } from '../../api/client'
import { queryClient } from '../../api/queries'
import {
  parkedMessageQuery,
  parkedMessagesQuery,
  routeDestinationsQuery,
  routeRulesQuery,
} from '../../api/routingQueries'
import type { ParkedMessage } from '../../api/types'
import { useAllowed } from '../../app/Allowed'
import { formatBytes } from '../../lib/format'
import { Icon } from '../../ui/icons'
import { Failure, Loading } from '../../ui/layout'
import { Modal } from '../../ui/overlays'
import { SubmitForm } from '../../ui/SubmitForm'
import { Instant } from '../../ui/time'
import { toast } from '../../ui/toasts'
import { useSubmit } from '../../ui/useSubmit'
import { failureLabel } from './RouteRules'

const refresh = () => queryClient.invalidateQueries({ queryKey: ['routing'] })

function said(count: number) {
  toast(i18n.t('{count, plural, one {# message} other {# messages}} on the way again.', { count }))
}

export function Parked() {
  const query = useQuery(parkedMessagesQuery)
  const may = useAllowed()('route.deliver')
  const { busy, error, run } = useSubmit()
  const items = query.data?.items ?? []
  const all = async () => {
    const { replayed } = await body(client.POST('/v1/route-messages/replay', { body: {} }))
    said(replayed)
    await refresh()
  }
  return (
    <section className="block">
      <div className="block-head">
        <h2>{i18n.t('Parked messages')}</h2>
        {may && items.length > 0 && (
          <Button size="xs" variant="default" loading={busy} onClick={() => void run(all)}>
            {i18n.t('Send all again')}
          </Button>
        )}
      </div>
      {query.isPending && <Loading rows={2} />}
      {query.isError && <Failure error={query.error} compact />}
      {error !== null && <Failure error={error} compact />}
      {query.data && items.length === 0 && (
        <p className="hint">{i18n.t('None. What cannot be delivered waits here for 30 days.')}</p>
      )}
      <ul className="plain-list">
        {items.map((one) => (
          <One key={one.id} one={one} may={may} />
        ))}
      </ul>
      {(query.data?.next_cursor ?? null) !== null && (
        <p className="hint">{i18n.t('There are more; the newest are shown.')}</p>
      )}
    </section>
  )
}

function One({ one, may }: { one: ParkedMessage; may: boolean }) {
  const { i18n: lingui } = useLingui()
  const rules = useQuery(routeRulesQuery)
  const destinations = useQuery(routeDestinationsQuery)
  const [open, setOpen] = useState(false)
  const [discarding, setDiscarding] = useState(false)
  const { busy, error, run } = useSubmit()
  const params = { path: { id: one.id } }
  const again = async () => {
    const { replayed } = await body(client.POST('/v1/route-messages/{id}/replay', { params }))
    said(replayed)
    await refresh()
  }
  const discard = async () => {
    await client.DELETE('/v1/route-messages/{id}', { params })
    await refresh()
  }
  const rule = rules.data?.items.find(({ id }) => id === one.rule_id)?.name ?? '…'
  const place = destinations.data?.items.find(({ id }) => id === one.destination_id)?.name ?? '…'
  return (
    <li>
      <Icon name="pause" size={16} />
      <span>
        {rule} → {place}{' '}
        <span className="key-facts">
          <span className="dim">
            {failureLabel(one.reason)}
            {one.status !== null && ` (${one.status})`} ·{' '}
            {formatBytes(one.bytes, lingui.locale)} · <Instant at={one.parked_at} />
          </span>
          {error !== null && <Failure error={error} compact />}
        </span>
      </span>
      {may && (
        <Group gap="xs">
          <Button size="compact-xs" variant="default" onClick={() => setOpen(true)}>
            {i18n.t('Open')}
          </Button>
          <Button
            size="compact-xs"
            variant="default"
            loading={busy}
            onClick={() => void run(again)}
          >
            {i18n.t('Send again')}
          </Button>
          <Button size="compact-xs" variant="default" onClick={() => setDiscarding(true)}>
            {i18n.t('Discard')}
          </Button>
        </Group>
      )}
      <Modal opened={open} onClose={() => setOpen(false)} title={i18n.t('Parked message')}>
        {open && <Opened id={one.id} />}
      </Modal>
      <Modal
        opened={discarding}
        onClose={() => setDiscarding(false)}
        title={i18n.t('Discard the message')}
      >
        <SubmitForm
          action={i18n.t('Discard')}
          submit={discard}
          onDone={() => setDiscarding(false)}
          onCancel={() => setDiscarding(false)}
          destroys
        >
          <p>{i18n.t('Lost: the message. Nobody gets it back.')}</p>
        </SubmitForm>
      </Modal>
    </li>
  )
}

function Opened({ id }: { id: string }) {
  const query = useQuery(parkedMessageQuery(id))
  if (query.isPending) return <Loading rows={4} />
  if (query.isError) return <Failure error={query.error} compact />
  return (
    <pre className="code multiline" tabIndex={0}>
      {JSON.stringify(query.data.message, null, 2)}
    </pre>
  )
}
