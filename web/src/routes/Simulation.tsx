// A simulation of the device, for trying things out before the real one is there: what it measures,
// how often, and for how long; it ends by itself.
import { i18n } from '@lingui/core'
import { Button, NumberInput, Select } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useState } from 'react'

import { body, client } from '../api/client'
import { deviceQuery, simulationQuery } from '../api/deviceQueries'
import { queryClient } from '../api/queries'
import type { Device } from '../api/types'
import { useAllowed } from '../app/Allowed'
import { Failure, InEnglish, Tag } from '../ui/layout'
import { SubmitForm } from '../ui/SubmitForm'
import { Instant } from '../ui/time'
import { useSubmit } from '../ui/useSubmit'

const PROFILES = ['temperature', 'co2', 'power_meter', 'door'] as const
type Profile = (typeof PROFILES)[number]
const SECONDS = { least: 1, usual: 5, most: 60 }
const MINUTES = { least: 1, usual: 5, most: 10 }

function profileLabel(profile: string): string {
  switch (profile) {
    case 'temperature':
      return i18n.t('Temperature and humidity')
    case 'co2':
      return i18n.t('Carbon dioxide')
    case 'power_meter':
      return i18n.t('Power meter')
    case 'door':
      return i18n.t('Door')
    default:
      return profile
  }
}

export function Simulation({ device }: { device: Device }) {
  const query = useQuery(simulationQuery(device.id))
  const may = useAllowed({ device_id: device.id })
  const [profile, setProfile] = useState<Profile>('temperature')
  const [seconds, setSeconds] = useState<number>(SECONDS.usual)
  const [minutes, setMinutes] = useState<number>(MINUTES.usual)
  const at = { params: { path: { id: device.id } } }
  const changed = async () => {
    await query.refetch()
    await queryClient.invalidateQueries({ queryKey: deviceQuery(device.id).queryKey })
  }
  const { busy, error, run } = useSubmit(() => void changed())
  const known = query.data?.simulation ?? null
  return (
    <section className="block" id="simulation">
      <h2>{i18n.t('Simulation')}</h2>
      {query.isError && <Failure error={query.error} compact />}
      {known?.running ? (
        <>
          <p>
            <Tag tone="simulated">{i18n.t('Simulated')}</Tag> {profileLabel(known.profile)} ·{' '}
            <span className="num">
              {i18n.t('{count, plural, one {# message stored} other {# messages stored}}', {
                count: known.stored,
              })}
            </span>{' '}
            · {i18n.t('until')} <Instant at={known.ends_at} age={false} />
          </p>
          {error !== null && <Failure error={error} compact />}
          <Button
            size="xs"
            variant="default"
            loading={busy}
            onClick={() => void run(() => client.DELETE('/v1/devices/{id}/simulation', at))}
          >
            {i18n.t('Stop the simulation')}
          </Button>
        </>
      ) : (
        <>
          <p className="dim">
            {i18n.t(
              'A client with a credential of its own sends made-up readings over TLS, like any device, and goes by itself. Only a device that is silent can be simulated.',
            )}
          </p>
          {known?.failure != null && (
            <>
              <p className="notice">
                {i18n.t('The last one ended before its time:')} <span lang="en">{known.failure}</span>
              </p>
              <InEnglish />
            </>
          )}
          {may('credential.create') && (
            <SubmitForm
              action={i18n.t('Simulate it')}
              submit={() =>
                body(
                  client.POST('/v1/devices/{id}/simulation', {
                    ...at,
                    body: { profile, interval_seconds: seconds, minutes },
                  }),
                )
              }
              onDone={() => void changed()}
            >
              <div className="row simulation-form">
                <Select
                  label={i18n.t('What it measures')}
                  allowDeselect={false}
                  data={PROFILES.map((one) => ({ value: one, label: profileLabel(one) }))}
                  value={profile}
                  onChange={(one) => setProfile((one ?? 'temperature') as Profile)}
                />
                <NumberInput
                  label={i18n.t('Seconds between readings')}
                  min={SECONDS.least}
                  max={SECONDS.most}
                  allowDecimal={false}
                  value={seconds}
                  onChange={(value) => setSeconds(Number(value) || SECONDS.usual)}
                />
                <NumberInput
                  label={i18n.t('Minutes')}
                  min={MINUTES.least}
                  max={MINUTES.most}
                  allowDecimal={false}
                  value={minutes}
                  onChange={(value) => setMinutes(Number(value) || MINUTES.usual)}
                />
              </div>
            </SubmitForm>
          )}
        </>
      )}
    </section>
  )
}
