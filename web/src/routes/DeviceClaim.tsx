// Where a device is that was claimed: at a customer's, or here and to be given back.
import { i18n } from '@lingui/core'
import { Button } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useState } from 'react'

import { client } from '../api/client'
import { deviceClaimQuery } from '../api/deviceQueries'
import { queryClient } from '../api/queries'
import type { Device, DeviceClaim } from '../api/types'
import { Allowed } from '../app/Allowed'
import { ConfirmTyped } from '../ui/dialogs'
import { Failure } from '../ui/layout'
import { Instant } from '../ui/time'
import { toast } from '../ui/toasts'

export function DeviceClaimPart({ device }: { device: Device }) {
  const query = useQuery(deviceClaimQuery(device.id))
  if (query.isError) return <Failure error={query.error} compact />
  const claim = query.data
  if (!claim || (claim.state === 'none' && claim.waits_until === null)) return null
  return (
    <section className="block">
      <h2>{i18n.t('Claiming')}</h2>
      <p>
        <Said claim={claim} /> {claim.moved_at !== null && <Instant at={claim.moved_at} />}
      </p>
      {claim.waits_until !== null && (
        <p>
          {i18n.t('It waits to be claimed until')} <Instant at={claim.waits_until} age={false} />
        </p>
      )}
      {claim.state === 'here' && (
        <Allowed to="device.return" on={{ device_id: device.id }}>
          <GiveBack device={device} />
        </Allowed>
      )}
      {claim.state === 'away' && (
        <Allowed to="device.return" on={{ device_id: device.id }}>
          <TakeBack device={device} />
        </Allowed>
      )}
    </section>
  )
}

function Said({ claim }: { claim: DeviceClaim }) {
  switch (claim.state) {
    case 'away':
      return claim.organisation === null
        ? i18n.t('It was claimed. What it sent before stays here.')
        : i18n.t('It was claimed by {organisation}. What it sent before stays here.', {
            organisation: claim.organisation,
          })
    case 'here':
      return i18n.t('Your organisation claimed it from the partner that prepared it.')
    case 'given_back':
      return i18n.t('It went back to the partner that prepared it.')
    case 'back':
      return i18n.t('It was claimed and came back.')
    default:
      return null
  }
}

function GiveBack({ device }: { device: Device }) {
  const [giving, setGiving] = useState(false)
  return (
    <>
      <Button size="xs" variant="default" onClick={() => setGiving(true)}>
        {i18n.t('Give it back')}
      </Button>
      <ConfirmTyped
        opened={giving}
        onClose={() => setGiving(false)}
        title={i18n.t('Give the device back')}
        name={device.name}
        action={i18n.t('Give back')}
        onConfirm={async () => {
          await client.DELETE('/v1/devices/{id}/claim', { params: { path: { id: device.id } } })
          await queryClient.invalidateQueries({ queryKey: ['devices'] })
          toast(i18n.t('It was given back.'))
        }}
      >
        <p>
          {i18n.t(
            'It reports to the partner that prepared it from then on, and no longer to you. What it sent here stays yours.',
          )}
        </p>
      </ConfirmTyped>
    </>
  )
}

function TakeBack({ device }: { device: Device }) {
  const [taking, setTaking] = useState(false)
  return (
    <>
      <Button size="xs" variant="default" onClick={() => setTaking(true)}>
        {i18n.t('Take it back')}
      </Button>
      <ConfirmTyped
        opened={taking}
        onClose={() => setTaking(false)}
        title={i18n.t('Take the device back')}
        name={device.name}
        action={i18n.t('Take back')}
        onConfirm={async () => {
          await client.POST('/v1/devices/{id}/claim/take-back', {
            params: { path: { id: device.id } },
          })
          await queryClient.invalidateQueries({ queryKey: ['devices'] })
          toast(i18n.t('It is yours again. Give it a credential to let it in.'))
        }}
      >
        <p>
          {i18n.t(
            'It stops reporting to the organisation that claimed it, which sees that you took it. What it sent there stays there. It comes in here when you give it a new credential.',
          )}
        </p>
      </ConfirmTyped>
    </>
  )
}
