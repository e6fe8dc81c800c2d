// The details panel: what is selected, its values now (or then), trend, alerts and papers.
import { i18n } from '@lingui/core'
import { useLingui } from '@lingui/react'
import { Button } from '@mantine/core'
import { Link } from '@tanstack/react-router'

import type { Alert, Device, Space } from '../../api/types'
import { Allowed, useAllowed } from '../../app/Allowed'
import { SealButton } from '../../app/Papers'
import { formatCount, formatNumber, formatValue } from '../../lib/format'
import { keyLabel } from '../../lib/keys'
import { useAppSearch, usePatchSearch } from '../../app/search'
import type { Selection } from '../../lib/selection'
import { compareAlerts } from '../../lib/severity'
import { alertSentence } from '../../lib/sentence'
import { Icon } from '../../ui/icons'
import { Facts, Tag } from '../../ui/layout'
import { ConditionMark, SeverityMark } from '../../ui/marks'
import { Age, Instant } from '../../ui/time'
import { AlertBody } from '../AlertBody'
import { HistoryControls } from '../HistoryControls'
import { SeriesHistory } from '../SeriesHistory'
import { readingsOf, shownKey, type Reading } from './sceneData'
import type { Building } from './useBuilding'

/** Keys of the overview; the table lists all. */
const READINGS_SHOWN = 8
const ALERTS_SHOWN = 12

type Props = {
  building: Building
  allAlerts: Alert[]
  selection: Selection | null
  onSelect: (selection: Selection | null, options?: { fly?: boolean }) => void
  onPlace: (deviceId: string) => void
}

export function Details(props: Props) {
  const { building, selection, allAlerts } = props
  switch (selection?.kind) {
    case 'space': {
      const space = building.spaceById.get(selection.id)
      return space ? <SpaceDetails {...props} space={space} /> : <Gone />
    }
    case 'device':
    case 'sensor': {
      const device = building.deviceById.get(selection.id)
      const key = selection.kind === 'sensor' ? selection.key : undefined
      return device ? <DeviceDetails {...props} device={device} wanted={key} /> : <Gone />
    }
    case 'alert': {
      const alert = allAlerts.find((a) => a.id === selection.id)
      const device = alert && building.deviceById.get(alert.device_id)
      if (alert === undefined) return <Gone />
      return (
        <div className="details">
          <AlertBody alert={alert} onFly={() => props.onSelect(selection, { fly: true })}>
            {device && alert.key && (
              <SeriesHistory device={device} seriesKey={alert.key} alerts={allAlerts} />
            )}
          </AlertBody>
          {device && (
            <Button
              size="xs"
              variant="default"
              onClick={() => props.onSelect({ kind: 'device', id: device.id })}
            >
              {device.name}
            </Button>
          )}
        </div>
      )
    }
    case 'element': {
      const element = building.model.elements.find((e) => e.id === selection.id)
      return element ? (
        <div className="details">
          <DetailsHead over={element.class} title={element.name || element.class} />
          <Facts
            items={[
              [i18n.t('Storey'), building.storeyById.get(element.storey_id ?? '')?.name ?? '—'],
              [i18n.t('Room'), building.spaceById.get(element.space_id ?? '')?.name ?? '—'],
              ['GlobalId', <code key="id">{element.id}</code>],
            ]}
          />
        </div>
      ) : (
        <Gone />
      )
    }
    default:
      return <Overview {...props} />
  }
}

function Gone() {
  return <p className="dim pad">{i18n.t('What was selected is no longer here.')}</p>
}

function DetailsHead(props: { over: string; title: string; children?: React.ReactNode }) {
  return (
    <header className="details-head">
      <span className="over">{props.over}</span>
      <h2>{props.title}</h2>
      {props.children}
    </header>
  )
}

function Overview({ building, onSelect }: Props) {
  const { i18n: lingui } = useLingui()
  const { model, devices } = building
  const alerts = [...building.open].sort(compareAlerts)
  const readings = readingsOf(building)
  const offline = devices.filter((d) => !d.online).length
  const unplaced = devices.filter((d) => !building.spaceById.has(d.space_id ?? '')).length
  return (
    <div className="details">
      <DetailsHead over={i18n.t('Building')} title={model.name} />
      <h3>
        {building.values.atMs === null ? i18n.t('Needs you') : i18n.t('Active at this moment')}
      </h3>
      {alerts.length === 0 ? (
        <p className="quiet">
          <Icon name="check" size={16} /> {i18n.t('Nothing is abnormal.')}
        </p>
      ) : (
        <AlertList alerts={alerts.slice(0, ALERTS_SHOWN)} onSelect={onSelect} />
      )}
      {building.openCount > ALERTS_SHOWN && (
        <Link to="/alerts" search={{ filter: 'open' } as never} className="hint">
          {i18n.t('{count, plural, one {# more} other {# more}}', {
            count: building.openCount - ALERTS_SHOWN,
          })}
        </Link>
      )}
      {readings.length > 0 && (
        <>
          <h3>{building.values.atMs === null ? i18n.t('Now') : i18n.t('At this moment')}</h3>
          <Readings readings={readings.slice(0, READINGS_SHOWN)} />
        </>
      )}
      <h3>{i18n.t('Inventory')}</h3>
      <Facts
        items={[
          [
            i18n.t('Storeys'),
            <span className="num" key="s">
              {model.storeys.length}
            </span>,
          ],
          [
            i18n.t('Rooms'),
            <span className="num" key="r">
              {model.spaces.length}
            </span>,
          ],
          [
            i18n.t('Devices'),
            <span className="num" key="d">
              {formatCount(building.deviceCount, lingui.locale)}
            </span>,
          ],
          [
            i18n.t('Offline'),
            <span className="num" key="o">
              {offline}
            </span>,
          ],
          [
            i18n.t('Not in a room'),
            <span className="num" key="u">
              {unplaced}
            </span>,
          ],
        ]}
      />
      {devices.length < building.deviceCount && (
        <p className="hint">
          {i18n.t(
            'Only the first {shown, number} devices by name are drawn and counted here; search finds the others.',
            { shown: devices.length },
          )}
        </p>
      )}
      {devices.length === 0 && (
        <p className="hint">
          {i18n.t('No device reports here yet.')}{' '}
          <Allowed to="device.create">
            <Link to="/devices">{i18n.t('Add devices, or upload an inventory.')}</Link>
          </Allowed>
        </p>
      )}
    </div>
  )
}

/** Mean and extent per key; a press colours the rooms by it. */
function Readings({ readings }: { readings: Reading[] }) {
  const { i18n: lingui } = useLingui()
  const { heat } = useAppSearch()
  const patch = usePatchSearch()
  const show = (value: number) => formatNumber(value, lingui.locale)
  return (
    <ul className="readings">
      {readings.map(({ key, unit, mean, min, max, count }) => (
        <li key={key}>
          <button
            type="button"
            aria-pressed={heat === key}
            title={i18n.t('Show as heat map')}
            onClick={() => patch({ heat: heat === key ? undefined : key })}
          >
            <span>{keyLabel(key)}</span>
            <strong className="num">{formatValue(mean, unit, lingui.locale)}</strong>
            <span className="dim num">{count > 1 ? `${show(min)} – ${show(max)}` : ''}</span>
          </button>
        </li>
      ))}
    </ul>
  )
}

function AlertList(props: { alerts: Alert[]; onSelect: Props['onSelect'] }) {
  return (
    <ul className="alert-list">
      {props.alerts.map((alert) => (
        <li key={alert.id}>
          <button
            type="button"
            onClick={() => props.onSelect({ kind: 'alert', id: alert.id }, { fly: true })}
          >
            <SeverityMark severity={alert.severity} size={20} />
            <span className="alert-list-text">
              <strong>{alertSentence(alert)}</strong>
              <span className="dim">
                {alert.device_name} · <Age at={alert.raised_at} />
                {alert.state === 'active_acknowledged' && ` · ${i18n.t('acknowledged')}`}
                {alert.state === 'cleared_unacknowledged' && ` · ${i18n.t('back to normal')}`}
              </span>
            </span>
          </button>
        </li>
      ))}
    </ul>
  )
}

function SpaceDetails(props: Props & { space: Space }) {
  const { building, space, onSelect } = props
  const { i18n: lingui } = useLingui()
  const devices = building.devicesBySpace.get(space.id) ?? []
  const alerts = devices.flatMap((d) => building.alertsByDevice.get(d.id) ?? []).sort(compareAlerts)
  const metres = (value: number | null, unit: string) =>
    value === null ? '—' : `${formatNumber(value, lingui.locale)} ${unit}`
  return (
    <div className="details">
      <DetailsHead over={i18n.t('Room')} title={`${space.name} ${space.long_name ?? ''}`} />
      {alerts.length > 0 && <AlertList alerts={alerts} onSelect={onSelect} />}
      {devices.length === 0 ? (
        <p className="hint">{i18n.t('No device in this room. Open a device and place it here.')}</p>
      ) : (
        devices.map((device) => (
          <section key={device.id} className="device-block">
            <button
              type="button"
              className="link-button device-name"
              onClick={() => onSelect({ kind: 'device', id: device.id })}
            >
              {device.name}
            </button>
            <ValueRows building={building} device={device} onSelect={onSelect} />
          </section>
        ))
      )}
      <Facts
        items={[
          [i18n.t('Storey'), building.storeyById.get(space.storey_id ?? '')?.name ?? '—'],
          [
            i18n.t('Area'),
            <span className="num" key="a">
              {metres(space.area_m2, 'm²')}
            </span>,
          ],
          [
            i18n.t('Height'),
            <span className="num" key="h">
              {metres(space.height_m, 'm')}
            </span>,
          ],
          ['GlobalId', <code key="g">{space.id}</code>],
        ]}
      />
    </div>
  )
}

function ValueRows(props: {
  building: Building
  device: Device
  chosen?: string | undefined
  onSelect: Props['onSelect']
}) {
  const { building, device } = props
  const { i18n: lingui } = useLingui()
  if (device.keys.length === 0) return <p className="hint">{i18n.t('It has not reported yet.')}</p>
  return (
    <ul className="value-rows">
      {device.keys.map((key) => {
        const shown = building.values.get(device.id, key)
        const condition = shown?.condition ?? 'missing'
        return (
          <li key={key} data-condition={condition} data-chosen={key === props.chosen || undefined}>
            <button
              type="button"
              className="value-key"
              aria-pressed={key === props.chosen}
              onClick={() => props.onSelect({ kind: 'sensor', id: device.id, key })}
            >
              {keyLabel(key)}
            </button>
            <span className="value-number num">
              {formatValue(shown?.value as never, device.units[key], lingui.locale)}
            </span>
            <span className="value-age">
              {condition !== 'good' && <ConditionMark condition={condition} label={false} />}
              <Age at={shown?.atMs} />
            </span>
            {shown ? (
              <SealButton
                of={{ deviceId: device.id, deviceName: device.name, key, atMs: shown.atMs }}
              />
            ) : (
              <span />
            )}
          </li>
        )
      })}
    </ul>
  )
}

function DeviceDetails(props: Props & { device: Device; wanted: string | undefined }) {
  const { building, device } = props
  const { i18n: lingui } = useLingui()
  const may = useAllowed({ device_id: device.id })
  const places = useAllowed({ twin_id: building.model.twin_id })
  const key = shownKey(device, props.wanted, building.alertsByDevice.get(device.id))
  const shown = key === undefined ? undefined : building.values.get(device.id, key)
  const live = building.values.atMs === null
  const alerts = [...(building.alertsByDevice.get(device.id) ?? [])].sort(compareAlerts)
  const space = building.spaceById.get(device.space_id ?? '')
  const condition =
    live && !device.online && shown === undefined ? 'offline' : (shown?.condition ?? 'missing')
  return (
    <div className="details">
      <DetailsHead over={device.type ? keyLabel(device.type) : i18n.t('Device')} title={device.name}>
        <div className="row">
          {live && (
            <Tag tone={device.online ? 'neutral' : 'stale'}>
              {device.online ? i18n.t('Online') : i18n.t('Offline')}
            </Tag>
          )}
          {device.counts_as === 'undeclared' && (
            <Tag tone="warn">{i18n.t('Stream not declared')}</Tag>
          )}
        </div>
      </DetailsHead>
      {alerts.length > 0 && <AlertList alerts={alerts} onSelect={props.onSelect} />}
      {key !== undefined && (
        <div className="big-value" data-condition={condition}>
          <span className="over">{keyLabel(key)}</span>
          <span className="big-number num">
            {formatValue(shown?.value as never, device.units[key], lingui.locale)}
          </span>
          {shown && (
            <SealButton
              of={{ deviceId: device.id, deviceName: device.name, key, atMs: shown.atMs }}
            />
          )}
          <span className="big-foot">
            <ConditionMark condition={condition} />
            {shown && <Instant at={shown.atMs} />}
          </span>
        </div>
      )}
      {key !== undefined && (
        <>
          <HistoryControls />
          <SeriesHistory device={device} seriesKey={key} alerts={props.allAlerts} />
        </>
      )}
      {device.keys.length > 1 && (
        <ValueRows building={building} device={device} chosen={key} onSelect={props.onSelect} />
      )}
      <Facts
        items={[
          [i18n.t('Room'), space?.name ?? i18n.t('Not in a room')],
          [i18n.t('Storey'), building.storeyById.get(space?.storey_id ?? '')?.name ?? '—'],
          [i18n.t('Last seen'), <Age key="l" at={device.last_seen_at} />],
        ]}
      />
      <div className="row">
        {places('twin.bind') && may('device.update') && (
          <Button
            size="xs"
            variant="default"
            leftSection={<Icon name="marker" size={14} />}
            onClick={() => props.onPlace(device.id)}
          >
            {i18n.t('Place in the building')}
          </Button>
        )}
        <Link to="/devices/$id" params={{ id: device.id }} className="button small">
          {i18n.t('Device page')}
        </Link>
      </div>
    </div>
  )
}
