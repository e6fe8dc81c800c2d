// Invitations that could still be taken up: for whom, as what and where, by whom, until when; and
// withdrawing one.
import { i18n } from '@lingui/core'
import { Button } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useState } from 'react'

import { client } from '../../api/client'
import { invitationsQuery } from '../../api/queries'
import type { Invitation } from '../../api/types'
import { useMay } from '../../app/places'
import { roleLabel } from '../../lib/roles'
import { Icon } from '../../ui/icons'
import { Failure, Loading } from '../../ui/layout'
import { Modal } from '../../ui/overlays'
import { SubmitForm } from '../../ui/SubmitForm'
import { Instant } from '../../ui/time'
import { ScopeName, useHolders } from '../access/names'

export function Invitations() {
  const may = useMay()
  const query = useQuery(invitationsQuery)
  const [withdrawing, setWithdrawing] = useState<Invitation | null>(null)
  const open = query.data?.items ?? []
  const withdraw = async (id: string) => {
    await client.DELETE('/v1/invitations/{id}', { params: { path: { id } } })
    await query.refetch()
    setWithdrawing(null)
  }
  return (
    <>
      <h3>{i18n.t('Open invitations')}</h3>
      {query.isPending && <Loading rows={1} />}
      {query.isError && <Failure error={query.error} compact />}
      {query.data && open.length === 0 && (
        <p className="hint">
          {i18n.t(
            'Nobody is invited at the moment. An invitation works once, for three days, and only as long as whoever made it could make it again.',
          )}
        </p>
      )}
      <ul className="plain-list">
        {open.map((one) => (
          <li key={one.id}>
            <Icon name="user" size={16} />
            <InvitationFacts invitation={one} />
            {may.whole('invitation.delete') && (
              <Button size="compact-xs" variant="default" onClick={() => setWithdrawing(one)}>
                {i18n.t('Withdraw')}
              </Button>
            )}
          </li>
        ))}
      </ul>
      <Modal
        opened={withdrawing !== null}
        onClose={() => setWithdrawing(null)}
        title={i18n.t('Withdraw an invitation')}
      >
        {withdrawing && (
          <SubmitForm
            destroys
            action={i18n.t('Withdraw')}
            submit={() => withdraw(withdrawing.id)}
            onCancel={() => setWithdrawing(null)}
          >
            <p>{nameOf(withdrawing)}</p>
            <p className="dim">
              {i18n.t('The link is refused from now on. Nobody who is in already is affected.')}
            </p>
          </SubmitForm>
        )}
      </Modal>
    </>
  )
}

function nameOf({ email }: Invitation): string {
  return email ?? i18n.t('Whoever holds the link')
}

function InvitationFacts({ invitation }: { invitation: Invitation }) {
  const holders = useHolders()
  const { inviter_id, inviter_key_id } = invitation
  const maker = holders.of({ user_id: inviter_id, api_key_id: inviter_key_id })
  return (
    <span className="key-facts">
      <span>{nameOf(invitation)}</span>
      <span className="dim">
        {roleLabel(invitation.role)} · <ScopeName scope={invitation.scope} />
        {(inviter_id ?? inviter_key_id) && <> · {i18n.t('made by {name}', { name: maker })}</>}
      </span>
      <span className="dim">
        {invitation.mailed ? i18n.t('sent by mail') : i18n.t('handed over as a link')} ·{' '}
        {i18n.t('until')} <Instant at={invitation.expires_at} age={false} />
      </span>
      {!invitation.valid && (
        <span role="note">
          {i18n.t(
            'The link is refused: whoever made it is gone, or may no longer give this role there.',
          )}
        </span>
      )}
    </span>
  )
}
