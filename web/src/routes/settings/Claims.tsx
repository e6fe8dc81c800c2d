// A partner's view of claiming: which devices wait to be claimed, and which went to whom.
import { i18n } from '@lingui/core'
import { Switch } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'

import { client } from '../../api/client'
import { deviceClaimsQuery } from '../../api/queries'
import { useMay } from '../../app/places'
import { Failure, Loading, Tag } from '../../ui/layout'
import { Instant } from '../../ui/time'
import { useSubmit } from '../../ui/useSubmit'
import { tenantsQuery } from '../partners/queries'

export function Claims() {
  const query = useQuery(deviceClaimsQuery)
  const may = useMay()
  const write = may.whole('provisioning.write')
  const tenants = useQuery({ ...tenantsQuery, enabled: may.answers })
  const { busy, error, run } = useSubmit(() => void query.refetch())
  const allow = (by_name_alone: boolean) =>
    client.PUT('/v1/device-claims/settings', { body: { by_name_alone } })
  // Who has nobody below has nothing to do with it.
  const isAbove = tenants.data !== undefined && tenants.data[0]?.kind !== 'customer'
  const listed = (query.data?.waiting.length ?? 0) + (query.data?.claimed.length ?? 0)
  if (!isAbove && listed === 0) return null
  return (
    <section className="block">
      <h2>{i18n.t('Devices to be claimed')}</h2>
      <p className="hint">
        {i18n.t(
          'A device that is prepared here asks to be claimed, and an organisation below takes it over by its name and secret.',
        )}
      </p>
      {query.isPending && <Loading rows={2} />}
      {query.isError && <Failure error={query.error} retry={() => void query.refetch()} />}
      {query.data && (
        <>
          {listed === 0 && <p className="dim">{i18n.t('None waits, and none was claimed.')}</p>}
          <ul className="plain-list">
            {query.data.waiting.map((one) => (
              <li key={one.device_id}>
                <DeviceLink id={one.device_id} name={one.name} />{' '}
                <span className="dim">
                  {i18n.t('waits until')} <Instant at={one.expires_at} age={false} />{' '}
                  {one.by_name_alone && <Tag tone="stale">{i18n.t('Without a secret')}</Tag>}
                </span>
              </li>
            ))}
            {query.data.claimed.map((one) => (
              <li key={one.device_id}>
                <DeviceLink id={one.device_id} name={one.name} />{' '}
                <span className="dim">
                  {one.organisation === null
                    ? i18n.t('claimed')
                    : i18n.t('claimed by {organisation}', { organisation: one.organisation })}{' '}
                  <Instant at={one.claimed_at} />
                </span>
              </li>
            ))}
          </ul>
          <Switch
            label={i18n.t('Devices may be claimed by their names alone')}
            description={i18n.t('Whoever knows the name takes it over while it waits.')}
            checked={query.data.by_name_alone}
            disabled={!write || busy}
            onChange={(e) => {
              const alone = e.currentTarget.checked
              void run(() => allow(alone))
            }}
          />
        </>
      )}
      {error !== null && <Failure error={error} compact />}
    </section>
  )
}

function DeviceLink(props: { id: string; name: string }) {
  return (
    <Link to="/devices/$id" params={{ id: props.id }}>
      {props.name}
    </Link>
  )
}
