// What a device is to gateways: it speaks for others, or a gateway speaks for it.
import { i18n } from '@lingui/core'
import { Button, Select } from '@mantine/core'
import { Link } from '@tanstack/react-router'
import { useState } from 'react'

import { client } from '../api/client'
import { queryClient } from '../api/queries'
import type { Device, DevicePatch } from '../api/types'
import { useAllowed } from '../app/Allowed'
import { useDeviceOptions, useDevicesById } from '../app/useDevices'
import { Failure } from '../ui/layout'
import { toast } from '../ui/toasts'

export function Gateway({ device }: { device: Device }) {
  const may = useAllowed({ device_id: device.id })
  const mayMake = useAllowed()('device.create')
  const [error, setError] = useState<unknown>(null)
  const change = async (patch: DevicePatch, said: string) => {
    setError(null)
    try {
      await client.PATCH('/v1/devices/{id}', {
        params: { path: { id: device.id } },
        body: patch,
      })
      await queryClient.invalidateQueries({ queryKey: ['devices'] })
      toast(said)
    } catch (failure) {
      setError(failure)
    }
  }
  const mayChange = may('device.update')
  const isNeither = !device.is_gateway && device.gateway_id === null
  if (!mayChange && isNeither) return null
  const content = (
    <>
      {error !== null && <Failure error={error} compact />}
      {device.is_gateway ? (
        <Speaks mayChange={mayChange} onEnd={(patch, said) => void change(patch, said)} />
      ) : (
        <Behind
          device={device}
          mayChange={mayChange}
          onChange={(id, said) => void change({ gateway_id: id }, said)}
        />
      )}
      {mayChange && mayMake && isNeither && (
        <>
          <p className="hint">
            {i18n.t(
              'A gateway speaks for other devices over its own connection, and makes those that it names and that are not there yet.',
            )}
          </p>
          <Button
            size="xs"
            variant="default"
            onClick={() => void change({ is_gateway: true }, i18n.t('It is a gateway now.'))}
          >
            {i18n.t('Make it a gateway')}
          </Button>
        </>
      )}
    </>
  )
  return (
    <section className="block">
      <h2>{i18n.t('Gateway')}</h2>
      {isNeither ? (
        // Most devices have nothing to do with one.
        <details>
          <summary>{i18n.t('It is no gateway and behind none')}</summary>
          {content}
        </details>
      ) : (
        content
      )}
    </section>
  )
}

function Speaks(props: {
  mayChange: boolean
  onEnd: (patch: DevicePatch, said: string) => void
}) {
  return (
    <>
      <p>{i18n.t('It speaks for the devices behind it, and for no other.')}</p>
      {props.mayChange && (
        <Button
          size="xs"
          variant="default"
          onClick={() => props.onEnd({ is_gateway: false }, i18n.t('It is no gateway any more.'))}
        >
          {i18n.t('Stop being a gateway')}
        </Button>
      )}
    </>
  )
}

function Behind(props: {
  device: Device
  mayChange: boolean
  onChange: (gateway: string, said: string) => void
}) {
  const gateway = props.device.gateway_id
  const named = useDevicesById(gateway === null ? [] : [gateway])
  const { options, field } = useDeviceOptions([])
  const [chosen, setChosen] = useState<string | null>(null)
  if (gateway !== null) {
    return (
      <>
        <p>
          {i18n.t('This gateway speaks for it:')}{' '}
          <Link to="/devices/$id" params={{ id: gateway }}>
            {named.get(gateway)?.name ?? gateway}
          </Link>
        </p>
        {props.mayChange && (
          <Button
            size="xs"
            variant="default"
            onClick={() => props.onChange('', i18n.t('It speaks for itself now.'))}
          >
            {i18n.t('Take it from the gateway')}
          </Button>
        )}
      </>
    )
  }
  if (!props.mayChange) return null
  return (
    <div className="row">
      <Select
        size="xs"
        label={i18n.t('Put it behind a gateway')}
        data={options.filter((option) => option.value !== props.device.id)}
        value={chosen}
        onChange={setChosen}
        {...field}
      />
      <Button
        size="xs"
        variant="default"
        disabled={chosen === null}
        onClick={() => props.onChange(chosen ?? '', i18n.t('The gateway speaks for it now.'))}
      >
        {i18n.t('Put it there')}
      </Button>
    </div>
  )
}
