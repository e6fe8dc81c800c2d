// Everything the panels of the command centre share about one building: indexes, values, alerts.
import { useQuery } from '@tanstack/react-query'
import { useMemo } from 'react'

import { alertQuery, alertsQuery } from '../../api/alertQueries'
import { devicesByIdQuery, devicesOfQuery } from '../../api/deviceQueries'
import { modelQuery, replayQuery } from '../../api/queries'
import type { Alert, Device, Quality, Series, Space, Storey, TwinModel } from '../../api/types'
import { useAppSearch, useRange } from '../../app/search'
import { platformNow } from '../../lib/now'
import { occurrences } from '../../lib/occurrences'
import { parseSelection } from '../../lib/selection'
import { isActive } from '../../lib/severity'
import { isStale } from '../../lib/time'
import { seriesId, type LiveValue } from '../../live/latest'
import { useLatestFeed, useLatestStore } from '../../live/LiveProvider'
import type { Condition } from '../../ui/marks'

export type Shown = LiveValue & { condition: Condition }
export type Values = {
  /** Null while live, else the moment replayed. */
  atMs: number | null
  get: (deviceId: string, key: string) => Shown | undefined
}
export type Building = {
  twinId: string
  model: TwinModel
  devices: Device[]
  /** How many the building has: more than are drawn, when those are too many. */
  deviceCount: number
  deviceById: Map<string, Device>
  devicesBySpace: Map<string, Device[]>
  spaceById: Map<string, Space>
  storeyById: Map<string, Storey>
  spacesByStorey: Map<string, Space[]>
  /** Newest first; at a replayed moment those that were active then. */
  alerts: Alert[]
  /** Those, and while live those that returned to normal before anyone acknowledged them. */
  open: Alert[]
  /** How many those are in all, with those that are too many to be drawn. */
  openCount: number
  alertsByDevice: Map<string, Alert[]>
  keys: string[]
  unitOf: (key: string) => string
  values: Values
  replay: { loading: boolean; widthMs: number } | null
}

export function groupBy<T>(
  items: T[],
  key: (item: T) => string | null | undefined,
): Map<string, T[]> {
  const groups = new Map<string, T[]>()
  for (const item of items) {
    const name = key(item)
    if (name === null || name === undefined) continue
    const group = groups.get(name)
    if (group === undefined) groups.set(name, [item])
    else group.push(item)
  }
  return groups
}

/** Index of the last instant that is not after `atMs`, or -1. */
export function lastBefore(atMs: number, instants: number[]): number {
  let low = 0
  let high = instants.length
  while (low < high) {
    const middle = (low + high) >> 1
    if ((instants[middle] ?? 0) <= atMs) low = middle + 1
    else high = middle
  }
  return low - 1
}

export function wasActive(alert: Alert, atMs: number): boolean {
  return occurrences(alert).some(({ fromMs, toMs }) => fromMs <= atMs && atMs < (toMs ?? Infinity))
}

function replayed(
  series: Map<string, Series>,
  atMs: number,
  isSwitch: (deviceId: string, key: string) => boolean,
): Values['get'] {
  return (deviceId, key) => {
    const found = series.get(seriesId(deviceId, key))
    const index = lastBefore(atMs, found?.at_ms ?? [])
    const at = found?.at_ms?.[index]
    if (found === undefined || at === undefined) return undefined
    const last = found.last?.[index] ?? found.avg?.[index] ?? found.value?.[index] ?? null
    // Buckets hold numbers; a switch is shown as it is shown live.
    const value = typeof last === 'number' && isSwitch(deviceId, key) ? last >= 0.5 : last
    // A bucket speaks for all of its width.
    const end = at + (found.bucket_ms ?? 0)
    const quality: Quality = found.quality?.[index] ?? 'good'
    return { atMs: at, value, quality, condition: isStale(end, atMs) ? 'stale' : quality }
  }
}

/** How many alerts of `total` are of this building: those that were read and are not, are not. */
export function openCount(total: number, read: number, here: number): number {
  return Math.max(total - (read - here), here)
}

const NONE: Alert[] = []

/** The alert that a link names, when it is not among those that were read. */
function useLinkedAlert(select: string | undefined, read: Alert[] | undefined): Alert[] {
  const selection = parseSelection(select)
  const id = selection?.kind === 'alert' ? selection.id : ''
  const isMissing = id !== '' && read !== undefined && !read.some((alert) => alert.id === id)
  const { data } = useQuery({ ...alertQuery(id), enabled: isMissing, retry: false })
  return useMemo(
    () => (isMissing && data !== undefined && data.state !== 'cleared' ? [data] : NONE),
    [isMissing, data],
  )
}

const NO_DEVICE: Device[] = []

/** The device that a link names, when it is of this building and not among those that are drawn. */
function useLinkedDevice(
  select: string | undefined,
  twinId: string,
  drawn: Device[] | undefined,
): Device[] {
  const selection = parseSelection(select)
  const id = selection?.kind === 'device' || selection?.kind === 'sensor' ? selection.id : ''
  const isMissing = id !== '' && drawn !== undefined && !drawn.some((device) => device.id === id)
  const { data } = useQuery(devicesByIdQuery(isMissing ? [id] : []))
  return useMemo(() => {
    const found = data?.filter((device) => device.id === id && device.twin_id === twinId)
    return isMissing && found !== undefined && found.length > 0 ? found : NO_DEVICE
  }, [data, id, twinId, isMissing])
}

export function useBuilding(twinId: string) {
  const model = useQuery(modelQuery(twinId))
  const devices = useQuery(devicesOfQuery(twinId))
  const open = useQuery(alertsQuery({ filter: 'open', twin_id: twinId, order: 'urgency' }))
  const every = useQuery(alertsQuery({ filter: 'all', twin_id: twinId }))
  const search = useAppSearch()
  const linked = useLinkedAlert(search.select, open.data?.items)
  const range = useRange()
  const { store, version } = useLatestStore()
  useLatestFeed(useMemo(() => ({ twin_id: twinId }), [twinId]))

  const linkedDevice = useLinkedDevice(search.select, twinId, devices.data?.items)
  const list = useMemo(
    () => devices.data && [...devices.data.items, ...linkedDevice],
    [devices.data, linkedDevice],
  )
  const deviceCount = devices.data?.total ?? 0
  const series = useMemo(
    () => (list ?? []).flatMap((d) => d.keys.map((key) => ({ device_id: d.id, key }))),
    [list],
  )
  const atMs = search.at === undefined ? null : Date.parse(search.at)
  // A replayed moment outside the range moves the fetched window with it.
  const window =
    atMs !== null && (atMs < range.fromMs || atMs > range.toMs)
      ? { fromMs: atMs - (range.toMs - range.fromMs), toMs: atMs, rolling: false }
      : range
  const replay = useQuery(replayQuery(twinId, series, window, atMs !== null))
  const replayIndex = useMemo(
    () => new Map((replay.data?.series ?? []).map((s) => [seriesId(s.device_id, s.key), s])),
    [replay.data],
  )

  // A replayed moment stands still while readings go on arriving.
  const liveVersion = atMs === null ? version : 0
  const values = useMemo<Values>(() => {
    if (atMs !== null) {
      const isSwitch = (deviceId: string, key: string) =>
        typeof store.get(deviceId, key)?.value === 'boolean'
      return { atMs, get: replayed(replayIndex, atMs, isSwitch) }
    }
    const now = platformNow()
    return {
      atMs: null,
      get: (deviceId, key) => {
        const held = store.get(deviceId, key)
        if (held === undefined) return undefined
        return { ...held, condition: isStale(held.atMs, now) ? 'stale' : held.quality }
      },
    }
    // `liveVersion` stands for the store's content.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [atMs, replayIndex, store, liveVersion])

  const known = useMemo(() => {
    if (model.data === undefined || list === undefined) return null
    const units = new Map(list.flatMap((d) => Object.entries(d.units)))
    return {
      twinId,
      model: model.data,
      devices: list,
      deviceCount,
      deviceById: new Map(list.map((d) => [d.id, d])),
      devicesBySpace: groupBy(list, (d) => d.space_id),
      spaceById: new Map(model.data.spaces.map((s) => [s.id, s])),
      storeyById: new Map(model.data.storeys.map((s) => [s.id, s])),
      spacesByStorey: groupBy(model.data.spaces, (s) => s.storey_id),
      keys: [...new Set(list.flatMap((d) => d.keys))].sort(),
      unitOf: (key: string) => units.get(key) ?? '',
    }
  }, [twinId, model.data, list, deviceCount])

  const building = useMemo<Building | null>(() => {
    if (known === null) return null
    const pool =
      atMs === null ? [...(open.data?.items ?? []), ...linked] : (every.data?.items ?? [])
    // An alert may be about a device that is not among those drawn.
    const isWhole = known.devices.length >= known.deviceCount
    const isHere = (alert: Alert) => !isWhole || known.deviceById.has(alert.device_id)
    const here = pool.filter(isHere)
    const read = open.data?.items ?? []
    const readHere = read.filter(isHere).length
    const alerts = here.filter((alert) =>
      atMs === null ? isActive(alert.state) : wasActive(alert, atMs),
    )
    return {
      ...known,
      alerts,
      open: atMs === null ? here : alerts,
      openCount:
        atMs === null
          ? Math.max(openCount(open.data?.total ?? 0, read.length, readHere), here.length)
          : alerts.length,
      alertsByDevice: groupBy(alerts, (a) => a.device_id),
      values,
      replay:
        atMs === null ? null : { loading: replay.isFetching, widthMs: replay.data?.widthMs ?? 0 },
    }
  }, [known, open.data, every.data, linked, values, atMs, replay.isFetching, replay.data])

  return { building, error: model.error ?? devices.error, allAlerts: every.data?.items }
}
