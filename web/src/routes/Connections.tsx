// The last connections of a device: from when to when, over what, and why each ended.
import { i18n } from '@lingui/core'
import { useQuery } from '@tanstack/react-query'

import { connectionsQuery, credentialsQuery } from '../api/deviceQueries'
import type { Connection, Device } from '../api/types'
import { useAllowed } from '../app/Allowed'
import { shorten } from '../lib/format'
import { Failure, InEnglish, Loading, Tag } from '../ui/layout'
import { Instant } from '../ui/time'
import { codeText, endedByLabel, wayLabel } from './trafficWords'

export function Connections({ device }: { device: Device }) {
  const query = useQuery(connectionsQuery(device.id))
  const may = useAllowed({ device_id: device.id })
  const credentials = useQuery({
    ...credentialsQuery(device.id),
    enabled: may('credential.list'),
  })
  const names = new Map((credentials.data?.items ?? []).map((one) => [one.id, one.name]))
  const items = query.data?.items ?? []
  return (
    <section className="block" id="connections">
      <h2>{i18n.t('Connections')}</h2>
      {query.isPending && <Loading rows={2} />}
      {query.isError && <Failure error={query.error} compact />}
      {query.data && items.length === 0 && (
        <p className="hint">
          {i18n.t(
            'No connection over MQTT or WebSocket within the last 90 days. Requests over HTTP keep none.',
          )}
        </p>
      )}
      {items.length > 0 && (
        <>
          <ul className="plain-list scrolls" tabIndex={0} aria-label={i18n.t('Connections')}>
            {items.map((one, index) => (
              <Row
                key={index}
                connection={one as Connection}
                name={names.get(one.credential_id) ?? ''}
              />
            ))}
          </ul>
          <InEnglish />
        </>
      )}
    </section>
  )
}

function Row({ connection, name }: { connection: Connection; name: string }) {
  const id = shorten(connection.credential_id, 6)
  const seconds = connection.keep_alive_seconds
  const facts = [
    connection.is_relayed ? wayLabel('gateway') : wayLabel(connection.protocol),
    connection.address,
    name === '' ? i18n.t('credential {id}', { id }) : name,
    seconds !== null && seconds > 0 && i18n.t('keep-alive {seconds} s', { seconds }),
  ].filter((fact): fact is string => typeof fact === 'string')
  return (
    <li>
      <span>
        <Instant at={connection.connected_at} />
        <br />
        <span className="dim">{facts.join(' · ')}</span>
        {connection.reason !== null && (
          <>
            <br />
            <span className="dim" lang="en">
              {connection.reason}
              {connection.reason_code !== null && ` (${codeText(connection.reason_code)})`}
            </span>
          </>
        )}
      </span>
      {connection.ended_at === null ? (
        <Tag>{i18n.t('Connected now')}</Tag>
      ) : (
        <>
          <Tag tone={connection.ended_by === 'device' ? 'neutral' : 'warn'}>
            {endedByLabel(connection.ended_by)}
          </Tag>
          <span className="dim">
            <Instant at={connection.ended_at} />
          </span>
        </>
      )}
    </li>
  )
}
