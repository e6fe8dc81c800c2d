// Messages of a device that were refused where its protocol cannot say so (MQTT 3.1.1, QoS 0), and
// the last one that it was told of: why, where, and which limit; nothing of what it wrote.
import { i18n } from '@lingui/core'
import { useLingui } from '@lingui/react'
import { useQuery } from '@tanstack/react-query'

import { refusalsQuery } from '../api/deviceQueries'
import type { Device, Refusal } from '../api/types'
import { formatBytes } from '../lib/format'
import { Failure, InEnglish, Loading } from '../ui/layout'
import { Instant } from '../ui/time'
import { reasonLabel } from './trafficWords'

export function Refusals({ device }: { device: Device }) {
  const query = useQuery(refusalsQuery(device.id))
  const items = query.data?.items ?? []
  const last = device.last_refusal
  return (
    <section className="block" id="refusals">
      <h2>{i18n.t('Refused messages')}</h2>
      {query.data && last !== null && !items.some((one) => one.at === last.at) && (
        <div>
          <h3>{i18n.t('Last error')}</h3>
          <List items={[last]} />
        </div>
      )}
      <p className="dim">
        {i18n.t(
          'Over MQTT 3.1.1, and at QoS 0, a device is not told that a message was refused: the last 20 since the platform started stand here.',
        )}
      </p>
      {query.isPending && <Loading rows={2} />}
      {query.isError && <Failure error={query.error} compact />}
      {query.data && items.length === 0 && (
        <p className="hint">{i18n.t('None: everything it sent was taken, or it was told.')}</p>
      )}
      {items.length > 0 && <List items={items} />}
    </section>
  )
}

function List({ items }: { items: Refusal[] }) {
  const { i18n: lingui } = useLingui()
  return (
    <>
      <ul className="refusals">
        {items.map((refusal, index) => (
          <li key={index}>
            <p>
              <strong>{reasonLabel(refusal.reason)}</strong>
              {refusal.position !== null && (
                <span>{i18n.t('byte {position}', { position: refusal.position })}</span>
              )}
              {refusal.limit !== null && <code>{refusal.limit}</code>}
              {refusal.payload_bytes > 0 && (
                <span className="dim num">
                  {formatBytes(refusal.payload_bytes, lingui.locale)}
                </span>
              )}
              <span className="dim">
                <Instant at={refusal.at} />
              </span>
            </p>
            <p className="dim" lang="en">
              {refusal.detail}
            </p>
          </li>
        ))}
      </ul>
      <InEnglish />
    </>
  )
}
