// Whether a device is a host application of Sparkplug B: it commands the edge nodes of the whole
// organisation, so what that gives is said before it is given.
import { i18n } from '@lingui/core'
import { Button } from '@mantine/core'
import { useState } from 'react'

import { client } from '../api/client'
import { queryClient } from '../api/queries'
import type { Device } from '../api/types'
import { useAllowed } from '../app/Allowed'
import { ConfirmTyped } from '../ui/dialogs'
import { toast } from '../ui/toasts'

export function SparkplugHost({ device }: { device: Device }) {
  const may = useAllowed({ device_id: device.id })
  const mayCommandAll = useAllowed()('device.command')
  const [asking, setAsking] = useState(false)
  const change = async (isHost: boolean) => {
    await client.PATCH('/v1/devices/{id}', {
      params: { path: { id: device.id } },
      body: { is_sparkplug_host: isHost },
    })
    // What is asked next is the other way round.
    setAsking(false)
    await queryClient.invalidateQueries({ queryKey: ['devices'] })
    toast(
      isHost ? i18n.t('It is a Sparkplug host now.') : i18n.t('It is no Sparkplug host any more.'),
    )
  }
  const mayChange = may('device.update')
  if (device.is_sparkplug_host) {
    return (
      <section className="block">
        <h2>{i18n.t('Sparkplug host')}</h2>
        <p>{i18n.t('It commands the edge nodes of the whole organisation over MQTT.')}</p>
        {mayChange && (
          <Button size="xs" variant="default" onClick={() => setAsking(true)}>
            {i18n.t('Stop being a Sparkplug host')}
          </Button>
        )}
        {/* Whoever may not command all devices cannot take it back. */}
        <ConfirmTyped
          opened={asking}
          onClose={() => setAsking(false)}
          title={i18n.t('Stop being a Sparkplug host')}
          name={device.name}
          action={i18n.t('Stop being a Sparkplug host')}
          onConfirm={() => change(false)}
        >
          <p>{i18n.t('It commands the edge nodes of the whole organisation over MQTT.')}</p>
        </ConfirmTyped>
      </section>
    )
  }
  if (!mayChange || !mayCommandAll) return null
  return (
    <section className="block">
      <h2>{i18n.t('Sparkplug host')}</h2>
      {/* Most devices are none. */}
      <details>
        <summary>{i18n.t('It is no Sparkplug host')}</summary>
        <p className="hint">
          {i18n.t(
            'A host application, such as a SCADA system, sends commands to the edge nodes of Sparkplug B and says whether it is there.',
          )}
        </p>
        <Button size="xs" variant="default" onClick={() => setAsking(true)}>
          {i18n.t('Make it a Sparkplug host')}
        </Button>
      </details>
      <ConfirmTyped
        opened={asking}
        onClose={() => setAsking(false)}
        title={i18n.t('Make it a Sparkplug host')}
        name={device.name}
        action={i18n.t('Make it a host')}
        onConfirm={() => change(true)}
      >
        <p>
          {i18n.t(
            'Whoever has its credentials commands every edge node of the organisation, and no record says what was sent. Its connections end now, so that it comes in anew.',
          )}
        </p>
      </ConfirmTyped>
    </section>
  )
}
