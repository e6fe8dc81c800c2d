// One device: how it stands, its values with history, what it does as it happens, its connections,
// attributes, commands, streams, credentials, what it is to gateways and edge nodes, removal.
import { i18n } from '@lingui/core'
import { useLingui } from '@lingui/react'
import { Button } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { Link, useNavigate, useParams } from '@tanstack/react-router'
import { useMemo, useState } from 'react'

import { client } from '../api/client'
import { alertsQuery } from '../api/alertQueries'
import { connectionsQuery, deviceQuery, simulationQuery } from '../api/deviceQueries'
import { queryClient } from '../api/queries'
import type { Device } from '../api/types'
import { Allowed, useAllowed } from '../app/Allowed'
import { SealButton } from '../app/Papers'
import { useNow } from '../lib/now'
import { formatValue } from '../lib/format'
import { humanised, keyLabel } from '../lib/keys'
import { formatDuration, isStale } from '../lib/time'
import { useLatestFeed, useLatestValue } from '../live/LiveProvider'
import { ConfirmTyped } from '../ui/dialogs'
import { Icon } from '../ui/icons'
import { Empty, Failure, Loading, Page, Tag } from '../ui/layout'
import { ConditionMark } from '../ui/marks'
import { Age } from '../ui/time'
import { Attributes } from './Attributes'
import { Calls } from './Calls'
import { Connections } from './Connections'
import { declarationLabel } from './declaration'
import { DeviceClaimPart } from './DeviceClaim'
import { Credentials } from './DeviceCredentials'
import { DeviceStreams } from './DeviceStreams'
import { Edge } from './Edge'
import { Gateway } from './Gateway'
import { HistoryControls } from './HistoryControls'
import { Refusals } from './Refusals'
import { SeriesHistory } from './SeriesHistory'
import { Simulation } from './Simulation'
import { Sparkplug } from './Sparkplug'
import { SparkplugHost } from './SparkplugHost'
import { declareDevice } from './streams/act'
import { Traffic } from './Traffic'
import { reasonLabel, wayLabel } from './trafficWords'

export function DevicePage() {
  const { id } = useParams({ strict: false }) as { id: string }
  const query = useQuery(deviceQuery(id))
  useLatestFeed(useMemo(() => ({ device_ids: [id] }), [id]))
  if (query.isPending) {
    return (
      <Page title={i18n.t('Device')}>
        <Loading />
      </Page>
    )
  }
  if (query.isError) {
    return (
      <Page title={i18n.t('Device')}>
        <Failure error={query.error} retry={() => void query.refetch()} />
      </Page>
    )
  }
  return <Loaded device={query.data.device} />
}

function Loaded({ device }: { device: Device }) {
  const alerts = useQuery(alertsQuery({ filter: 'all', device_id: device.id }))
  const navigate = useNavigate()
  const thing = { device_id: device.id }
  const [removing, setRemoving] = useState(false)
  return (
    <Page
      title={device.name}
      lead={<Standing device={device} />}
      actions={
        device.twin_id && (
          <Link
            to="/"
            search={{ select: `device:${device.id}`, twin: device.twin_id } as never}
            className="button"
          >
            <Icon name="fly" size={15} /> {i18n.t('Show in the building')}
          </Link>
        )
      }
    >
      <Sections device={device} />
      <WrongClock device={device} />
      <Allowed to="stream.declare">
        <Declare device={device} />
      </Allowed>
      <Hidden count={device.streams_hidden} />
      {device.keys.length === 0 && device.streams_hidden > 0 ? null : device.keys.length === 0 ? (
        <Empty icon="activity" title={i18n.t('It has not reported yet')}>
          {i18n.t('Let it publish with its token; the first value appears here by itself.')}
        </Empty>
      ) : (
        <>
          <HistoryControls />
          <div className="series-grid" id="values">
            {device.keys.map((key) => (
              <SeriesCard
                key={key}
                device={device}
                seriesKey={key}
                alerts={alerts.data?.items ?? []}
              />
            ))}
          </div>
        </>
      )}
      <Allowed to="telemetry.read" on={thing}>
        <Traffic key={device.id} device={device} />
      </Allowed>
      <div className="columns">
        <Attributes device={device} />
        <Allowed to="device.command" on={thing}>
          <Calls key={device.id} device={device} />
        </Allowed>
      </div>
      <Allowed to="device.update" on={thing}>
        <Simulation key={device.id} device={device} />
      </Allowed>
      <div className="columns">
        <Connections device={device} />
        <Allowed to="stream.read">
          <DeviceStreams device={device} />
        </Allowed>
      </div>
      <div className="columns">
        <Allowed to="credential.list" on={thing}>
          <Credentials device={device} />
        </Allowed>
        <Gateway device={device} />
        <SparkplugHost device={device} />
      </div>
      <DeviceClaimPart device={device} />
      <Edge device={device} />
      <Sparkplug device={device} />
      <Refusals device={device} />
      <Allowed to="device.delete" on={thing}>
        <section className="block danger">
          <h2>{i18n.t('Remove')}</h2>
          <p>
            {i18n.t(
              'Its credentials stop working at once. History and ledger stay until their retention ends.',
            )}
          </p>
          <Button
            size="xs"
            variant="default"
            leftSection={<Icon name="trash" size={14} />}
            onClick={() => setRemoving(true)}
          >
            {i18n.t('Remove the device')}
          </Button>
        </section>
      </Allowed>
      <ConfirmTyped
        opened={removing}
        onClose={() => setRemoving(false)}
        title={i18n.t('Remove the device')}
        name={device.name}
        action={i18n.t('Remove')}
        onConfirm={async () => {
          await client.DELETE('/v1/devices/{id}', { params: { path: { id: device.id } } })
          // Away first: what the page shows of it is not there to be read again.
          await navigate({ to: '/devices' })
          queryClient.removeQueries({ queryKey: ['devices', 'one', device.id] })
          await queryClient.invalidateQueries({ queryKey: ['devices'] })
        }}
      >
        {i18n.t(
          'Lost: its credentials, its place in the building, its rules’ alerts from now on. Not lost: what it reported.',
        )}
      </ConfirmTyped>
    </Page>
  )
}

/** How it stands: connected since when and how, last seen, its last error. */
function Standing({ device }: { device: Device }) {
  const connections = useQuery(connectionsQuery(device.id))
  const simulation = useQuery(simulationQuery(device.id))
  const open = connections.data?.items.find((one) => one.ended_at == null)
  const last = device.last_refusal
  return (
    <span className="standing">
      <span>{device.type ? humanised(device.type) : i18n.t('Device')}</span>
      {device.online ? (
        <span>{i18n.t('Online')}</span>
      ) : (
        <Tag tone="stale">{i18n.t('Offline')}</Tag>
      )}
      {simulation.data?.simulation?.running && (
        <Tag tone="simulated">{i18n.t('Simulated')}</Tag>
      )}
      {open && (
        <span>
          {wayLabel(open.is_relayed ? 'gateway' : open.protocol)} · {i18n.t('connected')}{' '}
          <Age at={open.connected_at} />
        </span>
      )}
      <span>
        {i18n.t('last seen')} <Age at={device.last_seen_at} />
      </span>
      {last !== null && (
        <Tag tone="warn">
          {i18n.t('Last error')}: {reasonLabel(last.reason)} <Age at={last.at} />
        </Tag>
      )}
    </span>
  )
}

/** The way to the parts of a long page. */
function Sections({ device }: { device: Device }) {
  const may = useAllowed({ device_id: device.id })
  const sections: [id: string, label: string, isThere: boolean][] = [
    ['values', i18n.t('Values'), device.keys.length > 0],
    ['traffic', i18n.t('Live traffic'), may('telemetry.read')],
    ['attributes', i18n.t('Attributes'), true],
    ['commands', i18n.t('Commands'), may('device.command')],
    ['simulation', i18n.t('Simulation'), may('device.update')],
    ['connections', i18n.t('Connections'), true],
    ['streams', i18n.t('Streams'), may('stream.read')],
    ['credentials', i18n.t('Credentials'), may('credential.list')],
    ['refusals', i18n.t('Refused messages'), true],
  ]
  const go = (id: string) => {
    const section = document.getElementById(id)
    section?.scrollIntoView({ block: 'start' })
    section?.setAttribute('tabindex', '-1')
    section?.focus({ preventScroll: true })
  }
  return (
    <nav className="section-nav" aria-label={i18n.t('Parts of this page')}>
      {sections
        .filter(([, , isThere]) => isThere)
        .map(([id, label]) => (
          <a
            key={id}
            href={`#${id}`}
            onClick={(event) => {
              event.preventDefault()
              go(id)
            }}
          >
            {label}
          </a>
        ))}
    </nav>
  )
}

function SeriesCard(props: {
  device: Device
  seriesKey: string
  alerts: Parameters<typeof SeriesHistory>[0]['alerts']
}) {
  const { device, seriesKey } = props
  const { i18n: lingui } = useLingui()
  const value = useLatestValue(device.id, seriesKey)
  const now = useNow(10_000)
  const condition =
    value === undefined ? 'missing' : isStale(value.atMs, now) ? 'stale' : value.quality
  return (
    <section className="card" data-condition={condition}>
      <header className="card-head">
        <h2>{keyLabel(seriesKey)}</h2>
        <span className="card-value num">
          {formatValue(value?.value as never, device.units[seriesKey], lingui.locale)}
        </span>
        {value && (
          <SealButton
            of={{ deviceId: device.id, deviceName: device.name, key: seriesKey, atMs: value.atMs }}
          />
        )}
      </header>
      <p className="card-foot dim">
        <ConditionMark condition={condition} /> <Age at={value?.atMs} />
      </p>
      <SeriesHistory device={device} seriesKey={seriesKey} alerts={props.alerts} height={150} />
    </section>
  )
}

/** By how much its clock is off, as its live readings tell. */
function WrongClock({ device }: { device: Device }) {
  const { i18n: lingui } = useLingui()
  const slow = device.clock_slow_seconds
  if (slow == null) return null
  const time = formatDuration(Math.abs(slow) * 1_000, lingui.locale)
  return (
    <section className="notice">
      <h2>
        {slow > 0
          ? i18n.t('Its clock is {time} slow', { time })
          : i18n.t('Its clock is {time} fast', { time })}
      </h2>
      <p>
        {i18n.t(
          'Its live readings carry times that are off by that. They are kept as they came; alerts go by when they arrive. Set its clock, or let it send without times.',
        )}
      </p>
    </section>
  )
}

/** Declares the device as a whole; streams one by one on the page Streams. */
function Declare({ device }: { device: Device }) {
  if (device.counts_as !== 'undeclared') return null
  const open = () => void declareDevice(device.id, 'non_personal')
  const close = () => void declareDevice(device.id, 'personal')
  return (
    <section className="notice">
      <h2>{i18n.t('Is what it reports personal data?')}</h2>
      <p>
        {i18n.t(
          'You judge. Until then everything is stored sealed as personal data; your answer releases the whole stream.',
        )}{' '}
        <Link to="/streams">{i18n.t('Declare its streams one by one')}</Link>
      </p>
      <div className="row">
        <Button size="xs" variant="default" onClick={open}>
          {declarationLabel('non_personal')}
        </Button>
        <Button size="xs" variant="default" onClick={close}>
          {declarationLabel('personal')}
        </Button>
      </div>
    </section>
  )
}

/** Says how much is not shown, and who can change that. */
function Hidden({ count }: { count: number }) {
  if (count === 0) return null
  return (
    <section className="notice">
      <p role="status">
        {i18n.t(
          '{count, plural, one {# stream of this device is not shown to you: it is personal, or nobody declared it yet.} other {# streams of this device are not shown to you: they are personal, or nobody declared them yet.}}',
          { count },
        )}{' '}
        {i18n.t('A privacy officer, an administrator or an owner can release what waits.')}
      </p>
    </section>
  )
}
