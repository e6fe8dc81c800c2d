// The end of the organisation: asked for by one, agreed to by another, taken back by anybody who
// answers for it, as long as nothing is destroyed.
import { i18n } from '@lingui/core'
import { Button, Textarea } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useState, type ReactNode } from 'react'

import { client } from '../api/client'
import { queryClient, sessionQuery, tenantEndQuery } from '../api/queries'
import type { TenantEnd } from '../api/types'
import { Allowed } from '../app/Allowed'
import { ConfirmTyped } from '../ui/dialogs'
import { Facts, Failure, Loading } from '../ui/layout'
import { Instant } from '../ui/time'

function stateLabel(end: TenantEnd): string {
  switch (end.state) {
    case 'asked':
      return end.is_sole
        ? i18n.t('asked for; it is decided by itself unless it is taken back')
        : i18n.t('asked for; somebody else has to agree')
    case 'decided':
      return i18n.t('decided; everything is still there')
    case 'destroying':
      return i18n.t('everything is being destroyed')
    default:
      return i18n.t('everything is destroyed')
  }
}

function waitLabel(waits: string): string {
  return waits === 'hold'
    ? i18n.t('a hold keeps records: it ends once the hold has ended')
    : i18n.t('there are customers below it: they end, or move, first')
}

export function TenantEndBlock() {
  const query = useQuery(tenantEndQuery)
  if (query.isPending) return <Loading rows={2} />
  if (query.isError) return <Failure error={query.error} compact />
  return (
    <section className="block">
      <h2>{i18n.t('The end of the organisation')}</h2>
      {query.data.end === null ? <Ask /> : <Ending end={query.data.end} />}
    </section>
  )
}

const refresh = () => queryClient.invalidateQueries({ queryKey: ['tenant-end'] })

function Ask() {
  const name = useQuery(sessionQuery).data?.tenant.name
  const [open, setOpen] = useState(false)
  const [reason, setReason] = useState('')
  const ask = async () => {
    await client.POST('/v1/tenant-end', { body: { reason } })
    await refresh()
  }
  return (
    <>
      <p className="hint">
        {i18n.t(
          'Nobody asked for it. Two people decide it; then everything is there for 30 days, can be exported, and the end can be taken back. After that everything is destroyed, with a certificate.',
        )}
      </p>
      <Allowed to="tenant.delete">
        <Button size="xs" variant="default" onClick={() => setOpen(true)}>
          {i18n.t('Ask for the end of the organisation')}
        </Button>
        {name !== undefined && (
          <ConfirmTyped
            opened={open}
            title={i18n.t('Ask for the end of the organisation')}
            name={name}
            action={i18n.t('Ask')}
            onConfirm={ask}
            onClose={() => setOpen(false)}
          >
            <p>
              {i18n.t(
                'Readings, buildings, rules, accounts that belong nowhere else, and the ledger’s payloads are lost. Everybody in the organisation is told now.',
              )}
            </p>
            <Textarea
              label={i18n.t('Why, in words; it stands in the certificate')}
              required
              maxLength={1000}
              value={reason}
              onChange={(event) => setReason(event.currentTarget.value)}
            />
          </ConfirmTyped>
        )}
      </Allowed>
    </>
  )
}

function Ending({ end }: { end: TenantEnd }) {
  const name = useQuery(sessionQuery).data?.tenant.name
  const [agreeing, setAgreeing] = useState(false)
  const [error, setError] = useState<unknown>(null)
  const agree = async () => {
    await client.POST('/v1/tenant-end/approve', {})
    await refresh()
  }
  const takeBack = async () => {
    try {
      setError(null)
      await client.DELETE('/v1/tenant-end', {})
      await refresh()
    } catch (failure) {
      setError(failure)
    }
  }
  const isOpen = end.state === 'asked' || end.state === 'decided'
  const items: [string, ReactNode][] = [
    [i18n.t('State'), stateLabel(end)],
    [i18n.t('Asked for by'), end.requested_by],
    [i18n.t('Asked for'), <Instant key="asked" at={end.requested_at} />],
    [i18n.t('Why'), end.reason],
  ]
  if (end.approved_by !== null) items.push([i18n.t('Agreed to by'), end.approved_by])
  if (end.decided_by !== null) {
    const what = end.is_sole ? i18n.t('Decided by itself') : i18n.t('Lapses')
    items.push([what, <Instant key="decided" at={end.decided_by} age={false} />])
  }
  if (end.ends_at !== null) {
    const at = <Instant key="ends" at={end.ends_at} age={false} />
    items.push([i18n.t('Everything is destroyed'), at])
  }
  return (
    <>
      <Facts items={items} />
      {end.waits_for !== null && <p className="hint">{waitLabel(end.waits_for)}</p>}
      {error !== null && <Failure error={error} compact />}
      {isOpen && (
        <Allowed to="tenant.delete">
          <div className="row">
            {end.state === 'asked' && !end.is_own && (
              <Button size="xs" color="var(--critical)" onClick={() => setAgreeing(true)}>
                {i18n.t('Agree')}
              </Button>
            )}
            <Button size="xs" variant="default" onClick={() => void takeBack()}>
              {i18n.t('Take it back')}
            </Button>
          </div>
          {name !== undefined && (
            <ConfirmTyped
              opened={agreeing}
              title={i18n.t('Agree to the end of the organisation')}
              name={name}
              action={i18n.t('Agree')}
              onConfirm={agree}
              onClose={() => setAgreeing(false)}
            >
              {i18n.t(
                'In 30 days everything of the organisation is destroyed. Until then it can be exported, and the end can be taken back.',
              )}
            </ConfirmTyped>
          )}
        </Allowed>
      )}
    </>
  )
}
