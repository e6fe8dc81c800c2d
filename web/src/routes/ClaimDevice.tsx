// Claiming a device that a partner prepared: its name and the secret that comes with it.
import { i18n } from '@lingui/core'
import { PasswordInput, TextInput } from '@mantine/core'
import { useNavigate } from '@tanstack/react-router'
import { useState } from 'react'

import { body, client } from '../api/client'
import { ProblemError } from '../api/problem'
import { queryClient } from '../api/queries'
import { Allowed } from '../app/Allowed'
import { Modal } from '../ui/overlays'
import { SubmitForm } from '../ui/SubmitForm'

export function ClaimDeviceButton() {
  const [claiming, setClaiming] = useState(false)
  return (
    <Allowed to="device.claim">
      <button type="button" className="button" onClick={() => setClaiming(true)}>
        {i18n.t('Claim a device')}
      </button>
      <Modal
        opened={claiming}
        onClose={() => setClaiming(false)}
        title={i18n.t('Claim a device')}
        closeOnClickOutside={false}
      >
        <ClaimForm onDone={() => setClaiming(false)} />
      </Modal>
    </Allowed>
  )
}

/** The platform does not say whether the name or the secret is wrong, nor whether the time is over. */
function noneWaits(error: unknown): never {
  if (ProblemError.of(error).status !== 404) throw error
  throw ProblemError.said(
    i18n.t('No device of this name waits to be claimed with this secret. Its time may be over.'),
  )
}

function ClaimForm(props: { onDone: () => void }) {
  const navigate = useNavigate()
  const [name, setName] = useState('')
  const [secret, setSecret] = useState('')
  const [type, setType] = useState('')
  const claim = async () => {
    const claimed = await body(
      client.POST('/v1/device-claims', {
        body: { name, ...(secret !== '' && { secret }), ...(type !== '' && { type }) },
      }),
    ).catch(noneWaits)
    await queryClient.invalidateQueries({ queryKey: ['devices'] })
    props.onDone()
    await navigate({ to: '/devices/$id', params: { id: claimed.device_id } })
  }
  return (
    <SubmitForm
      action={i18n.t('Claim it')}
      submit={claim}
      incomplete={name.trim() === ''}
      onCancel={props.onDone}
    >
      <p className="hint">
        {i18n.t(
          'The device was prepared by your partner and waits to be claimed: switch it on first. From then on what it sends is yours alone.',
        )}
      </p>
      <TextInput
        label={i18n.t('Name of the device')}
        description={i18n.t('As it stands on its label or in the papers that came with it.')}
        required
        data-autofocus
        autoComplete="off"
        value={name}
        onChange={(e) => setName(e.currentTarget.value)}
      />
      <PasswordInput
        label={i18n.t('Secret')}
        description={i18n.t('Leave it empty if none came with the device.')}
        autoComplete="off"
        value={secret}
        onChange={(e) => setSecret(e.currentTarget.value)}
      />
      <TextInput
        label={i18n.t('Type (optional)')}
        description={i18n.t('Rules can cover all devices of a type.')}
        value={type}
        onChange={(e) => setType(e.currentTarget.value)}
      />
    </SubmitForm>
  )
}
