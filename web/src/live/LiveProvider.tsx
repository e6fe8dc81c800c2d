// The live connection of a signed-in person, and the hooks that read it.
import { useQueryClient } from '@tanstack/react-query'
import {
  createContext,
  useCallback,
  useContext,
  useEffect,
  useMemo,
  useRef,
  useState,
  useSyncExternalStore,
  type ReactNode,
} from 'react'

import type { Alert } from '../api/types'
import { follow } from './follow'
import { LatestStore, type LiveValue } from './latest'
import { LiveConnection, liveUrl, type LiveStatus } from './socket'
import { NOTHING_YET, taken, type Traffic } from './traffic'

type Live = { connection: LiveConnection; latest: LatestStore }

const LiveContext = createContext<Live | null>(null)

export function LiveProvider(props: { children: ReactNode; onAlert: (alert: Alert) => void }) {
  const queries = useQueryClient()
  const live = useMemo<Live>(
    () => ({ connection: new LiveConnection(liveUrl(location)), latest: new LatestStore() }),
    [],
  )
  const onAlert = useRef(props.onAlert)
  useEffect(() => {
    onAlert.current = props.onAlert
  })
  useEffect(() => {
    const stop = follow(live.connection, queries, (alert) => onAlert.current(alert))
    live.connection.open()
    return () => {
      stop()
      live.connection.close()
    }
  }, [live, queries])
  return <LiveContext value={live}>{props.children}</LiveContext>
}

function useLive(): Live {
  const live = useContext(LiveContext)
  if (live === null) throw new Error('no LiveProvider above')
  return live
}

export function useLiveStatus(): LiveStatus {
  const { connection } = useLive()
  return useSyncExternalStore(
    useCallback((wake) => connection.watchStatus(wake), [connection]),
    () => connection.status,
  )
}

/** Keeps the latest values of a twin, or of some devices, flowing while mounted. */
export function useLatestFeed(filter: { twin_id?: string; device_ids?: string[] } | null): void {
  const { connection, latest } = useLive()
  const key = filter === null ? null : JSON.stringify(filter)
  useEffect(() => {
    if (key === null) return
    return connection.subscribe('latest', JSON.parse(key) as object as never, (message) => {
      if (message.type === 'latest') latest.apply(message.items)
    })
  }, [connection, latest, key])
}

/** What a device does, from now on, while mounted. */
export function useTraffic(deviceId: string) {
  const { connection } = useLive()
  const [traffic, setTraffic] = useState<Traffic>(NOTHING_YET)
  const [failure, setFailure] = useState<string | null>(null)
  const [isBroken, setBroken] = useState(false)
  const [isPaused, setPaused] = useState(false)
  const paused = useRef(false)
  useEffect(
    () =>
      connection.subscribe('traffic', { device_ids: [deviceId] }, (message) => {
        if (message.type === 'failed') setFailure(message.detail)
        if (message.type !== 'traffic') return
        setFailure(null)
        const { items, left_out: leftOut } = message
        setTraffic((now) => taken(now, items, leftOut, paused.current))
      }),
    [connection, deviceId],
  )
  useEffect(
    () =>
      connection.watchReturns(() => {
        setBroken(true)
        // It is asked for again, and refused again if it has to be.
        setFailure(null)
      }),
    [connection],
  )
  const pause = (on: boolean) => {
    paused.current = on
    setPaused(on)
    if (!on) setTraffic((now) => ({ ...now, waiting: 0 }))
  }
  const clear = () => {
    setBroken(false)
    setTraffic(({ next }) => ({ ...NOTHING_YET, next }))
  }
  return { traffic, failure, isBroken, isPaused, pause, clear }
}

export function useLatestValue(deviceId: string, key: string): LiveValue | undefined {
  const { latest } = useLive()
  return useSyncExternalStore(
    useCallback((wake) => latest.watch(deviceId, key, wake), [latest, deviceId, key]),
    () => latest.get(deviceId, key),
  )
}

/** The whole store, for scenes: wakes at most twice a second. */
export function useLatestStore(): { store: LatestStore; version: number } {
  const { latest } = useLive()
  const [version, setVersion] = useState(latest.version)
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | null = null
    const stop = latest.watchAll(() => {
      timer ??= setTimeout(() => {
        timer = null
        setVersion(latest.version)
      }, 500)
    })
    return () => {
      stop()
      if (timer !== null) clearTimeout(timer)
    }
  }, [latest])
  return { store: latest, version }
}
