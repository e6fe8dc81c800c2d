// The command centre: tree, scene, details and timeline of one building, in step with each other.
import { i18n } from '@lingui/core'
import { Select } from '@mantine/core'
import { useMediaQuery } from '@mantine/hooks'
import { useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'
import { useCallback, useEffect, useMemo, useRef, useState } from 'react'

import { twinsQuery } from '../../api/queries'
import type { Twin } from '../../api/types'
import { useMay } from '../../app/places'
import { useAppSearch, usePatchSearch } from '../../app/search'
import { setPreference, usePreferences } from '../../lib/preferences'
import { parseSelection, printSelection, type Selection } from '../../lib/selection'
import { Icon } from '../../ui/icons'
import { Empty, Failure, Loading } from '../../ui/layout'
import { Details } from './Details'
import { storeyOf } from './sceneData'
import { placeDevice } from './placing'
import { Stage, type Flight } from './Stage'
import { Timeline } from './Timeline'
import { Tree } from './Tree'
import { useBuilding } from './useBuilding'
import { Drawer } from '../../ui/overlays'

export function CentrePage() {
  const may = useMay()
  const twins = useQuery(twinsQuery)
  const { twin: wanted } = useAppSearch()
  useEffect(() => {
    document.title = `${i18n.t('Command centre')} · Veritwin`
  }, [])
  if (twins.isPending) return <Loading rows={10} />
  if (twins.isError) return <Failure error={twins.error} retry={() => void twins.refetch()} />
  const list = twins.data.items
  const twin = list.find((t) => t.id === wanted) ?? list[0]
  if (twin === undefined && !may.whole('twin.import')) {
    return (
      <Empty icon="twins" title={i18n.t('No building is open to you')}>
        {i18n.t('What you may see stands under Devices and Alerts.')}
      </Empty>
    )
  }
  if (twin === undefined) {
    return (
      <Empty
        icon="twins"
        title={i18n.t('No building yet')}
        action={
          <Link to="/twins" className="button">
            {i18n.t('Add a building')}
          </Link>
        }
      >
        {i18n.t(
          'Bring an IFC file: its storeys and rooms become the map on which sensors, values and alerts appear.',
        )}
      </Empty>
    )
  }
  return <Centre key={twin.id} twin={twin} twins={list} />
}

function Centre({ twin, twins }: { twin: Twin; twins: Twin[] }) {
  const { building, error, allAlerts } = useBuilding(twin.id)
  const search = useAppSearch()
  const patch = usePatchSearch()
  const { treeOpen, detailsOpen } = usePreferences()
  const narrow = useMediaQuery('(max-width: 900px)') ?? false
  const [sheet, setSheet] = useState<'tree' | 'details' | null>(null)
  const [fly, setFly] = useState<Flight>({ to: null, token: 0 })
  const [placing, setPlacing] = useState<string | null>(null)
  const selection = useMemo(() => parseSelection(search.select), [search.select])
  /** What was selected here; anything else in the address came by a link. */
  const chosen = useRef<string | undefined>(undefined)
  const select = useCallback(
    (next: Selection | null, options?: { fly?: boolean }) => {
      chosen.current = next === null ? undefined : printSelection(next)
      // What is flown to must not be hidden by another storey being isolated.
      const storey = building && options?.fly ? storeyOf(next, building) : null
      patch({
        select: next === null ? undefined : printSelection(next),
        ...(search.storey !== undefined && storey !== null && { storey }),
      })
      // The address follows a moment later, so that a flight names its own target.
      if (options?.fly) setFly(({ token }) => ({ to: next, token: token + 1 }))
      if (narrow) setSheet(next === null ? null : 'details')
      else if (next !== null) setPreference('detailsOpen', true)
    },
    [patch, narrow, building, search.storey],
  )
  // A link flies to what it names, once the building is there.
  const ready = building !== null
  useEffect(() => {
    if (!ready || search.select === undefined || search.select === chosen.current) return
    chosen.current = search.select
    setFly(({ token }) => ({ to: selection, token: token + 1 }))
    if (narrow) setSheet('details')
  }, [ready, search.select, selection, narrow])
  if (error) return <Failure error={error} />
  if (building === null) return <Loading rows={12} />
  const tree = (
    <Tree
      building={building}
      selection={selection}
      onSelect={select}
      head={
        twins.length > 1 ? (
          <Select
            size="xs"
            aria-label={i18n.t('Building')}
            data={twins.map((t) => ({ value: t.id, label: t.name }))}
            value={twin.id}
            allowDeselect={false}
            onChange={(id) =>
              patch({ twin: id ?? undefined, select: undefined, storey: undefined })
            }
          />
        ) : narrow ? null : (
          <h1 className="panel-title" id="page-title" tabIndex={-1}>
            {twin.name}
          </h1>
        )
      }
    />
  )
  const details = (
    <Details
      building={building}
      allAlerts={allAlerts ?? []}
      selection={selection}
      onSelect={select}
      onPlace={(deviceId) => {
        setSheet(null)
        patch({ view: undefined })
        setPlacing(deviceId)
      }}
    />
  )
  return (
    <div
      className="centre"
      data-tree={(!narrow && treeOpen) || undefined}
      data-details={(!narrow && detailsOpen) || undefined}
    >
      {(narrow || !treeOpen || twins.length > 1) && (
        <h1 className="visually-hidden" id="page-title" tabIndex={-1}>
          {twin.name}
        </h1>
      )}
      {!narrow && treeOpen && (
        <aside className="panel panel-left" aria-label={i18n.t('Site')}>
          {tree}
        </aside>
      )}
      <section className="stage" aria-label={i18n.t('Building')}>
        <Stage
          building={building}
          twin={twin}
          selection={selection}
          onSelect={select}
          flight={fly}
          placing={placing}
          onPlace={(place) => {
            const device = building.deviceById.get(placing ?? '')
            setPlacing(null)
            if (place !== null && device !== undefined) void placeDevice(twin.id, device, place)
          }}
        />
        <div className="stage-sides">
          <button
            type="button"
            className="side-button"
            aria-label={i18n.t('Rooms')}
            aria-pressed={narrow ? sheet === 'tree' : treeOpen}
            onClick={() => (narrow ? setSheet('tree') : setPreference('treeOpen', !treeOpen))}
          >
            <Icon name="tree" size={16} />
            <span>{i18n.t('Rooms')}</span>
          </button>
          <button
            type="button"
            className="side-button"
            aria-label={i18n.t('Details')}
            aria-pressed={narrow ? sheet === 'details' : detailsOpen}
            onClick={() =>
              narrow ? setSheet('details') : setPreference('detailsOpen', !detailsOpen)
            }
          >
            <Icon name="info" size={16} />
            <span>{i18n.t('Details')}</span>
          </button>
        </div>
      </section>
      {!narrow && detailsOpen && (
        <aside className="panel panel-right" aria-label={i18n.t('Details')}>
          {details}
        </aside>
      )}
      <Timeline building={building} allAlerts={allAlerts ?? []} />
      <Drawer
        opened={narrow && sheet !== null}
        onClose={() => setSheet(null)}
        size="70%"
        padding="xs"
        title={sheet === 'tree' ? twin.name : i18n.t('Details')}
      >
        {sheet === 'tree' ? tree : details}
      </Drawer>
    </div>
  )
}
