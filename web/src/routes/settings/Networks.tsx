// Settings: the networks that people and devices of the organisation may come from.
import { i18n } from '@lingui/core'
import { Button, Group, SimpleGrid, Stack, Textarea } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useState } from 'react'

import { client } from '../../api/client'
import { networksQuery, queryClient } from '../../api/queries'
import type { Networks as Lists } from '../../api/types'
import { useAllowed } from '../../app/Allowed'
import { Failure, Loading } from '../../ui/layout'
import { useSubmit } from '../../ui/useSubmit'

export function Networks() {
  const query = useQuery(networksQuery)
  return (
    <section className="block">
      <h2>{i18n.t('Networks people and devices may come from')}</h2>
      {query.isPending && <Loading rows={3} />}
      {query.isError && <Failure error={query.error} compact />}
      {query.data && (
        <Form
          key={query.data.etag ?? ''}
          networks={query.data.networks}
          etag={query.data.etag}
        />
      )}
    </section>
  )
}

function rows(text: string): string[] {
  return text
    .split('\n')
    .map((row) => row.trim())
    .filter((row) => row !== '')
}

function Form({ networks, etag }: { networks: Lists; etag: string | null }) {
  const [people, setPeople] = useState(networks.people.join('\n'))
  const [devices, setDevices] = useState(networks.devices.join('\n'))
  const { busy, error, run } = useSubmit()
  const own = networks.your_address
  const readOnly = !useAllowed()('tenant.update')
  const save = () =>
    run(async () => {
      await client.PUT('/v1/networks', {
        body: { people: rows(people), devices: rows(devices) },
        ...(etag !== null && { headers: { 'if-match': etag } }),
      })
      await queryClient.invalidateQueries(networksQuery)
    })
  const isSame =
    rows(people).join() === networks.people.join() &&
    rows(devices).join() === networks.devices.join()
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault()
        void save()
      }}
    >
      <Stack gap="sm">
        <p className="dim">
          {i18n.t(
            'One network a line, such as 203.0.113.0/24 or 2001:db8::/32. An empty list lets everybody in.',
          )}{' '}
          {own && i18n.t('You come from {own}.', { own })}
        </p>
        <SimpleGrid cols={{ base: 1, sm: 2 }}>
          <Textarea
            label={i18n.t('People')}
            description={i18n.t('For signing in, and while signed in. Has to hold your own address.')}
            autosize
            minRows={2}
            maxRows={8}
            spellCheck={false}
            readOnly={readOnly}
            value={people}
            onChange={(event) => setPeople(event.currentTarget.value)}
          />
          <Textarea
            label={i18n.t('Devices')}
            description={i18n.t('Devices that are connected from elsewhere are disconnected.')}
            autosize
            minRows={2}
            maxRows={8}
            spellCheck={false}
            readOnly={readOnly}
            value={devices}
            onChange={(event) => setDevices(event.currentTarget.value)}
          />
        </SimpleGrid>
        {error !== null && (
          <Failure
            error={error}
            compact
            reload={() => void queryClient.invalidateQueries(networksQuery)}
          />
        )}
        {!readOnly && (
          <Group justify="flex-end">
            <Button type="submit" loading={busy} disabled={isSame}>
              {i18n.t('Save networks')}
            </Button>
          </Group>
        )}
      </Stack>
    </form>
  )
}
