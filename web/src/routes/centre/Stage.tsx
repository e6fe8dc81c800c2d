// The scene with its tools: view, storeys, section, heat map, markers; or the equivalent table.
import { i18n } from '@lingui/core'
import { useLingui } from '@lingui/react'
import { Button, Select, Slider, Tooltip } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useMemo, useState } from 'react'

import { geometryQuery } from '../../api/queries'
import type { Twin } from '../../api/types'
import { useAppSearch, usePatchSearch } from '../../app/search'
import type { Pick, Target } from '../../engine/types'
import { formatNumber } from '../../lib/format'
import { keyLabel } from '../../lib/keys'
import { HEAT_GRADIENT } from '../../lib/heat'
import type { Selection } from '../../lib/selection'
import { worst } from '../../lib/severity'
import { floorPlan } from '../../lib/words'
import { Icon, type IconName } from '../../ui/icons'
import { conditionLabel, SeverityMark } from '../../ui/marks'
import { Age } from '../../ui/time'
import { SceneView, type Place } from '../../scene/SceneView'
import { SceneTable } from './SceneTable'
import { heatOf, markersOf, targetOf, type HeatMap } from './sceneData'
import type { Building } from './useBuilding'

/** A new token starts one flight; no target is the whole building. */
export type Flight = { to: Selection | null; token: number }
export type StageProps = {
  building: Building
  twin: Twin
  selection: Selection | null
  onSelect: (selection: Selection | null, options?: { fly?: boolean }) => void
  flight: Flight
  placing: string | null
  onPlace: (place: Place | null) => void
}

export function Stage(props: StageProps) {
  const { building, selection } = props
  const { i18n: lingui } = useLingui()
  const search = useAppSearch()
  const patch = usePatchSearch()
  const geometry = useQuery({
    ...geometryQuery(props.twin.id),
    enabled: props.twin.geometry === 'glb' && search.view !== 'table',
  })
  const [explode, setExplode] = useState(0)
  const [home, setHome] = useState(0)
  const view = search.view ?? '3d'
  const markersOn = search.markers ?? true
  const heatKey =
    search.heat !== undefined && building.keys.includes(search.heat) ? search.heat : undefined
  const heat = useMemo(
    () => (heatKey === undefined ? null : heatOf(building, heatKey)),
    [building, heatKey],
  )
  const selectedId = selection?.id
  const markers = useMemo(
    () => (markersOn ? markersOf(building, { locale: lingui.locale, heatKey, selectedId }) : []),
    [building, markersOn, heatKey, selectedId, lingui.locale],
  )
  const target = useMemo(() => targetOf(selection, building), [selection, building])
  const { min, max } = building.model.bounds
  const cut = search.cut ?? 1
  const section = useMemo(
    () => (cut >= 1 ? null : { axis: 'z' as const, at: min[2] + (max[2] - min[2]) * cut }),
    [cut, min, max],
  )
  const [flown, setFlown] = useState(props.flight.token)
  const [flight, setFlight] = useState<{ target: Target | null; token: number }>({
    target: null,
    token: 0,
  })
  if (props.flight.token !== flown) {
    setFlown(props.flight.token)
    const to = targetOf(props.flight.to, building)
    if (to !== null) setFlight({ target: to, token: flight.token + 1 })
  }
  if (home > 0) {
    setHome(0)
    setFlight({ target: null, token: flight.token + 1 })
  }

  const onPick = (pick: Pick) => {
    if (pick === null) props.onSelect(null)
    else props.onSelect({ kind: pick.kind === 'marker' ? 'device' : pick.kind, id: pick.id })
  }
  const tooltip = (pick: Pick) => {
    if (pick === null) return null
    const marker = markers.find((m) => m.id === pick.id)
    if (marker) return { title: marker.label, value: marker.value }
    const space = building.spaceById.get(pick.id)
    return space ? { title: space.name, value: space.long_name ?? '' } : null
  }
  if (view === 'table') {
    return (
      <>
        <ViewSwitch />
        <SceneTable building={building} selection={selection} onSelect={props.onSelect} />
      </>
    )
  }
  return (
    <>
      <SceneView
        label={i18n.t('{building} in 3D. The table view holds the same content.', {
          building: building.model.name,
        })}
        model={building.model}
        geometry={geometry.data ?? null}
        markers={markers}
        heat={heat?.heat ?? null}
        storey={shownStorey(building, search)}
        section={section}
        explode={explode}
        view={view}
        selected={target}
        fly={flight}
        placing={props.placing !== null}
        onPick={onPick}
        onPlace={props.onPlace}
        tooltip={tooltip}
      />
      <ViewSwitch />
      <div className="scene-tools" role="toolbar" aria-label={i18n.t('View')}>
        <Tool
          icon="marker"
          label={i18n.t('Markers')}
          pressed={markersOn}
          onClick={() => patch({ markers: markersOn ? false : undefined })}
        />
        {view === '3d' && (
          <Tool
            icon="cut"
            label={i18n.t('Storeys apart')}
            pressed={explode > 0}
            onClick={() => setExplode(explode > 0 ? 0 : 1)}
          />
        )}
        <Tool icon="fit" label={i18n.t('Whole building')} onClick={() => setHome(1)} />
        <Select
          className="heat-select"
          size="xs"
          aria-label={i18n.t('Heat map of rooms')}
          placeholder={i18n.t('Heat map: off')}
          leftSection={<Icon name="heat" size={14} />}
          clearable
          searchable
          data={building.keys.map((key) => ({ value: key, label: keyLabel(key) }))}
          value={heatKey ?? null}
          onChange={(key) => patch({ heat: key ?? undefined })}
          disabled={building.keys.length === 0}
        />
      </div>
      {view === '3d' && (
        <div className="cut-slider">
          <Slider
            orientation="vertical"
            size="xs"
            min={0.02}
            max={1}
            step={0.02}
            value={cut}
            label={null}
            thumbLabel={i18n.t('Section height')}
            onChange={(value) => patch({ cut: value >= 1 ? undefined : value })}
          />
          <Icon name="cut" size={14} />
        </div>
      )}
      <StoreyLadder building={building} />
      {heatKey !== undefined && <Legend building={building} heatKey={heatKey} heat={heat} />}
      {props.placing !== null && (
        <div className="placing" role="status">
          <span>
            {i18n.t('Click where {device} stands.', {
              device: building.deviceById.get(props.placing)?.name ?? '',
            })}
          </span>
          <Button size="compact-xs" variant="default" onClick={() => props.onPlace(null)}>
            {i18n.t('Cancel')}
          </Button>
        </div>
      )}
    </>
  )
}

/** The storey on show: a plan always shows one, the lowest with rooms when none was chosen. */
function shownStorey(building: Building, search: { storey?: string; view?: string }) {
  if (search.storey !== undefined || search.view !== 'plan') return search.storey ?? null
  const rising = [...building.model.storeys].sort((a, b) => a.elevation_m - b.elevation_m)
  const hasRooms = ({ id }: { id: string }) => (building.spacesByStorey.get(id) ?? []).length > 0
  return (rising.find(hasRooms) ?? rising[0])?.id ?? null
}

function Tool(props: { icon: IconName; label: string; pressed?: boolean; onClick: () => void }) {
  return (
    <Tooltip label={props.label}>
      <button
        type="button"
        className="tool"
        aria-label={props.label}
        aria-pressed={props.pressed}
        onClick={props.onClick}
      >
        <Icon name={props.icon} />
      </button>
    </Tooltip>
  )
}

function ViewSwitch() {
  const { view = '3d' } = useAppSearch()
  const patch = usePatchSearch()
  const views = [
    { value: '3d', label: '3D', icon: 'cube' },
    { value: 'plan', label: floorPlan(), icon: 'plan' },
    { value: 'table', label: i18n.t('Table'), icon: 'table' },
  ] as const
  return (
    <div className="view-switch" role="group" aria-label={i18n.t('View')}>
      {views.map(({ value, label, icon }) => (
        <button
          key={value}
          type="button"
          aria-pressed={view === value}
          onClick={() => patch({ view: value === '3d' ? undefined : value })}
        >
          <Icon name={icon} size={15} />
          {label}
        </button>
      ))}
    </div>
  )
}

/** The building in section: one rung per storey, in their order and relative heights. */
function StoreyLadder({ building }: { building: Building }) {
  const search = useAppSearch()
  const patch = usePatchSearch()
  const shown = shownStorey(building, search)
  const storeys = [...building.model.storeys].sort((a, b) => b.elevation_m - a.elevation_m)
  if (storeys.length < 2) return null
  return (
    <div className="ladder" role="radiogroup" aria-label={i18n.t('Storey')}>
      {storeys.map((storey) => {
        const rooms = building.spacesByStorey.get(storey.id) ?? []
        const alerts = rooms
          .flatMap((room) => building.devicesBySpace.get(room.id) ?? [])
          .flatMap((device) => building.alertsByDevice.get(device.id) ?? [])
        const severity = worst(alerts.map((alert) => alert.severity))
        return (
          <button
            key={storey.id}
            type="button"
            role="radio"
            aria-checked={shown === storey.id}
            className="rung"
            title={`${storey.name}, ${formatNumber(storey.elevation_m, i18n.locale)} m`}
            onClick={() => patch({ storey: search.storey === storey.id ? undefined : storey.id })}
          >
            <span className="rung-name">{storey.name}</span>
            {severity && <SeverityMark severity={severity} size={12} />}
          </button>
        )
      })}
    </div>
  )
}

function Legend(props: { building: Building; heatKey: string; heat: HeatMap | null }) {
  const { i18n: lingui } = useLingui()
  const { heat, heatKey } = props
  const unit = props.building.unitOf(heatKey)
  const atMs = props.building.values.atMs
  return (
    <div className="legend">
      <div className="legend-head">
        <strong>{keyLabel(heatKey)}</strong> <span className="dim">{unit || i18n.t('no unit stated')}</span>
      </div>
      {heat === null ? (
        <p className="dim">{i18n.t('No usable value in any room.')}</p>
      ) : (
        <>
          <div className="legend-ramp" style={{ background: HEAT_GRADIENT }} />
          <div className="legend-ticks num">
            <span>{formatNumber(heat.domain.min, lingui.locale)}</span>
            <span>{formatNumber((heat.domain.min + heat.domain.max) / 2, lingui.locale)}</span>
            <span>{formatNumber(heat.domain.max, lingui.locale)}</span>
          </div>
          <div className="legend-foot dim">
            {i18n.t('{count} rooms', { count: heat.rooms })} · <Age at={heat.newestMs} />
            {atMs !== null && ` · ${i18n.t('Replay')}`}
          </div>
        </>
      )}
      <div className="legend-foot dim">
        <span className="legend-none" aria-hidden="true" /> {conditionLabel('missing')}
      </div>
    </div>
  )
}
