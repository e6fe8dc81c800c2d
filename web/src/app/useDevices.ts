// Devices by name and by id: the server looks, since nobody has all of them.
import { useDebouncedValue } from '@mantine/hooks'
import { useQuery } from '@tanstack/react-query'
import { useMemo, useState } from 'react'

import { devicesByIdQuery, foundDevicesQuery } from '../api/deviceQueries'
import type { Device } from '../api/types'

/** Devices that a field offers at a time. */
const OFFERED = 50
const TYPING_MS = 200

/** The devices with these ids, as far as they are read. */
export function useDevicesById(ids: string[]): Map<string, Device> {
  const { data } = useQuery(devicesByIdQuery(ids))
  return useMemo(() => new Map((data ?? []).map((device) => [device.id, device])), [data])
}

/** The first devices that fit what is being typed. */
export function useFoundDevices(text: string, limit: number, enabled = true) {
  const [search] = useDebouncedValue(text.trim(), TYPING_MS)
  return useQuery({ ...foundDevicesQuery({ ...(search && { search }) }, limit), enabled })
}

type Option = { value: string; label: string }

/** What a field to choose devices offers: those found by what is typed, and those chosen. The label
 * of anything else that stands in the field is no search either. */
export function useDeviceOptions(chosen: string[], { enabled = true, standing = '' } = {}) {
  const [text, setText] = useState('')
  const named = useDevicesById(enabled ? chosen : [])
  // The field writes what was chosen into its own search.
  const stands = text === standing || chosen.some((id) => named.get(id)?.name === text)
  const search = stands ? '' : text
  const found = useFoundDevices(search, OFFERED, enabled)
  const options = useMemo<Option[]>(() => {
    const offered = new Map((found.data ?? []).map((device) => [device.id, device.name]))
    for (const id of chosen) offered.set(id, named.get(id)?.name ?? offered.get(id) ?? '…')
    return [...offered].map(([value, label]) => ({ value, label }))
  }, [found.data, chosen, named])
  return { options, search, field: { searchable: true, onSearchChange: setText, filter: all } }
}

/** The server has looked already. */
function all<Item>({ options }: { options: Item[] }): Item[] {
  return options
}
