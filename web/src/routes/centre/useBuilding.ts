// Everything the panels of the command centre share about one building: indexes, values, alerts.
import { useQuery } from '@tanstack/react-query'
import { useMemo } from 'react'

import { alertsQuery, devicesQuery, modelQuery, replayQuery } from '../../api/queries'
import type { Alert, Device, Quality, Series, Space, Storey, TwinModel } from '../../api/types'
import { useAppSearch, useRange } from '../../app/search'
import { platformNow } from '../../lib/now'
import { occurrences } from '../../lib/occurrences'
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
  deviceById: Map<string, Device>
  devicesBySpace: Map<string, Device[]>
  spaceById: Map<string, Space>
  storeyById: Map<string, Storey>
  spacesByStorey: Map<string, Space[]>
  /** Newest first; at a replayed moment those that were active then. */
  alerts: Alert[]
  /** Those, and while live those that returned to normal before anyone acknowledged them. */
  open: Alert[]
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

export function useBuilding(twinId: string) {
  const model = useQuery(modelQuery(twinId))
  const devices = useQuery(devicesQuery(twinId))
  const open = useQuery(alertsQuery('open'))
  const every = useQuery(alertsQuery('all'))
  const search = useAppSearch()
  const range = useRange()
  const { store, version } = useLatestStore()
  useLatestFeed(useMemo(() => ({ twin_id: twinId }), [twinId]))

  const list = devices.data
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
      deviceById: new Map(list.map((d) => [d.id, d])),
      devicesBySpace: groupBy(list, (d) => d.space_id),
      spaceById: new Map(model.data.spaces.map((s) => [s.id, s])),
      storeyById: new Map(model.data.storeys.map((s) => [s.id, s])),
      spacesByStorey: groupBy(model.data.spaces, (s) => s.storey_id),
      keys: [...new Set(list.flatMap((d) => d.keys))].sort(),
      unitOf: (key: string) => units.get(key) ?? '',
    }
  }, [twinId, model.data, list])

  const building = useMemo<Building | null>(() => {
    if (known === null) return null
    const pool = atMs === null ? open.data?.items : every.data?.items
    const here = (pool ?? []).filter((alert) => known.deviceById.has(alert.device_id))
    const alerts = here.filter((alert) =>
      atMs === null ? isActive(alert.state) : wasActive(alert, atMs),
    )
    return {
      ...known,
      alerts,
      open: atMs === null ? here : alerts,
      alertsByDevice: groupBy(alerts, (a) => a.device_id),
      values,
      replay:
        atMs === null ? null : { loading: replay.isFetching, widthMs: replay.data?.widthMs ?? 0 },
    }
  }, [known, open.data, every.data, values, atMs, replay.isFetching, replay.data])

  return { building, error: model.error ?? devices.error, allAlerts: every.data?.items }
}
