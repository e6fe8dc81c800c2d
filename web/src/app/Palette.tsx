// Ctrl-K: pages, rooms, devices and alerts in one list, by keyboard alone.
import { i18n } from '@lingui/core'
import { Modal } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useNavigate } from '@tanstack/react-router'
import { useMemo, useState } from 'react'

import { alertsQuery } from '../api/alertQueries'
import { modelQuery } from '../api/queries'
import { useFoundDevices } from './useDevices'
import { useTwins } from './useTwins'
import { Icon, type IconName } from '../ui/icons'
import { useAppSearch } from './search'
import { accessPlace, useMay } from './places'

type Entry = {
  id: string
  label: string
  hint: string
  icon: IconName
  to: string
  search?: object
}

const SHOWN_MAX = 40
/** The most urgent alerts; the others are on their page. */
const ALERTS_MAX = 100

export function Palette(props: { opened: boolean; onClose: () => void }) {
  return (
    <Modal.Root opened={props.opened} onClose={props.onClose} yOffset="12vh" padding={0} size="lg">
      <Modal.Overlay />
      <Modal.Content aria-label={i18n.t('Search everything')}>
        <PaletteBody onClose={props.onClose} />
      </Modal.Content>
    </Modal.Root>
  )
}

function useEntries(typed: string): { entries: Entry[]; busy: boolean } {
  const { twin } = useAppSearch()
  const { places, reviewsAccess } = useMay()
  const twins = useTwins()
  const twinId = twin ?? twins.data?.items[0]?.id
  const model = useQuery({ ...modelQuery(twinId ?? ''), enabled: twinId !== undefined })
  const devices = useFoundDevices(typed, SHOWN_MAX)
  const alerts = useQuery(alertsQuery({ filter: 'open', order: 'urgency' }, ALERTS_MAX))
  const entries = useMemo(
    () => [
      ...[
        ...places,
        ...(reviewsAccess ? [accessPlace()] : []),
      ].map((p): Entry => ({
        id: p.to,
        label: p.label,
        hint: i18n.t('Page'),
        icon: p.icon,
        to: p.to,
      })),
      ...(alerts.data?.items ?? []).map((a): Entry => ({
        id: a.id,
        label: a.message,
        hint: i18n.t('Alert'),
        icon: 'alerts',
        to: '/',
        search: { select: `alert:${a.id}`, ...(a.twin_id && { twin: a.twin_id }) },
      })),
      ...(model.data?.spaces ?? []).map((s): Entry => ({
        id: s.id,
        label: s.long_name ? `${s.name} ${s.long_name}` : s.name,
        hint: i18n.t('Room'),
        icon: 'plan',
        to: '/',
        search: { select: `space:${s.id}` },
      })),
      ...(devices.data ?? []).map((d): Entry => ({
        id: d.id,
        label: d.name,
        hint: d.type ?? i18n.t('Device'),
        icon: 'devices',
        ...(d.twin_id === null
          ? { to: `/devices/${d.id}` }
          : { to: '/', search: { select: `device:${d.id}`, twin: d.twin_id } }),
      })),
    ],
    [places, reviewsAccess, model.data, devices.data, alerts.data],
  )
  return { entries, busy: devices.isFetching }
}

function PaletteBody(props: { onClose: () => void }) {
  const navigate = useNavigate()
  const [query, setQuery] = useState('')
  const { entries, busy } = useEntries(query)
  const [active, setActive] = useState(0)
  const words = query.toLowerCase().split(/\s+/).filter(Boolean)
  const found = entries
    .filter((entry) => words.every((w) => `${entry.label} ${entry.hint}`.toLowerCase().includes(w)))
    .slice(0, SHOWN_MAX)
  const current = Math.min(active, found.length - 1)
  const go = (entry: Entry | undefined) => {
    if (entry === undefined) return
    props.onClose()
    void navigate({ to: entry.to, search: entry.search ?? {} } as never)
  }
  return (
    <div className="palette">
      <div className="palette-input">
        <Icon name="search" />
        <input
          data-autofocus
          role="combobox"
          aria-expanded="true"
          aria-controls="palette-list"
          aria-activedescendant={found[current] && `palette-${current}`}
          aria-label={i18n.t('Search everything')}
          placeholder={i18n.t('Page, room, device or alert')}
          value={query}
          onChange={(event) => {
            setQuery(event.currentTarget.value)
            setActive(0)
          }}
          onKeyDown={(event) => {
            if (event.key === 'ArrowDown') setActive(Math.min(current + 1, found.length - 1))
            else if (event.key === 'ArrowUp') setActive(Math.max(current - 1, 0))
            else if (event.key === 'Enter' && !event.nativeEvent.isComposing) go(found[current])
            else return
            event.preventDefault()
          }}
        />
      </div>
      <ul id="palette-list" role="listbox" aria-label={i18n.t('Results')}>
        {found.map((entry, i) => (
          <li
            key={`${entry.icon}-${entry.id}`}
            id={`palette-${i}`}
            role="option"
            aria-selected={i === current}
            ref={(element) => {
              if (i === current) element?.scrollIntoView({ block: 'nearest' })
            }}
            onClick={() => go(entry)}
          >
            <Icon name={entry.icon} size={16} />
            <span className="palette-label">{entry.label}</span>
            <span className="dim">{entry.hint}</span>
          </li>
        ))}
        {found.length === 0 && (
          <li className="dim palette-none">
            {busy ? i18n.t('Searching…') : i18n.t('Nothing found')}
          </li>
        )}
      </ul>
    </div>
  )
}
