// The site tree: storeys, rooms, devices; searchable, with alert counts, fully by keyboard.
import { i18n } from '@lingui/core'
import { TextInput } from '@mantine/core'
import { useVirtualizer } from '@tanstack/react-virtual'
import { useEffect, useMemo, useRef, useState, type KeyboardEvent, type ReactNode } from 'react'

import type { Alert, Device } from '../../api/types'
import type { Selection } from '../../lib/selection'
import { worst } from '../../lib/severity'
import { Icon } from '../../ui/icons'
import { SeverityMark } from '../../ui/marks'
import type { Building } from './useBuilding'

type Node = {
  id: string
  level: 1 | 2 | 3
  label: string
  sub?: string | undefined
  selection: Selection | null
  alerts: Alert[]
  children: Node[]
}

const UNPLACED = 'unplaced'
const ROW_PX = 30

function deviceNode(device: Device, building: Building): Node {
  return {
    id: `device:${device.id}`,
    level: 3,
    label: device.name,
    sub: building.values.atMs === null && !device.online ? i18n.t('Offline') : undefined,
    selection: { kind: 'device', id: device.id },
    alerts: building.alertsByDevice.get(device.id) ?? [],
    children: [],
  }
}

function buildTree(building: Building): Node[] {
  const { model } = building
  const spaceNode = (id: string): Node => {
    const space = building.spaceById.get(id)
    const children = (building.devicesBySpace.get(id) ?? []).map((d) => deviceNode(d, building))
    return {
      id: `space:${id}`,
      level: 2,
      label: space?.name ?? id,
      sub: space?.long_name ?? undefined,
      selection: { kind: 'space', id },
      alerts: children.flatMap((child) => child.alerts),
      children,
    }
  }
  const storeys = [...model.storeys].sort((a, b) => b.elevation_m - a.elevation_m)
  const nodes = storeys.map((storey): Node => {
    const children = (building.spacesByStorey.get(storey.id) ?? [])
      .map((space) => spaceNode(space.id))
      .sort((a, b) => a.label.localeCompare(b.label, i18n.locale, { numeric: true }))
    return {
      id: `storey:${storey.id}`,
      level: 1,
      label: storey.name,
      selection: null,
      alerts: children.flatMap((child) => child.alerts),
      children,
    }
  })
  const unplaced = building.devices
    .filter((d) => !building.spaceById.has(d.space_id ?? ''))
    .map((d) => ({ ...deviceNode(d, building), level: 2 as const }))
  if (unplaced.length > 0) {
    nodes.push({
      id: UNPLACED,
      level: 1,
      label: i18n.t('Not in a room'),
      selection: null,
      alerts: unplaced.flatMap((node) => node.alerts),
      children: unplaced,
    })
  }
  return nodes
}

function filtered(nodes: Node[], words: string[]): Node[] {
  if (words.length === 0) return nodes
  return nodes.flatMap((node) => {
    const text = `${node.label} ${node.sub ?? ''}`.toLowerCase()
    if (words.every((word) => text.includes(word))) return node
    const children = filtered(node.children, words)
    return children.length === 0 ? [] : { ...node, children }
  })
}

function flatten(nodes: Node[], isOpen: (node: Node) => boolean): Node[] {
  return nodes.flatMap((node) => [node, ...(isOpen(node) ? flatten(node.children, isOpen) : [])])
}

function ancestorsOf(selection: Selection | null, building: Building): string[] {
  const alert = building.alerts.find((a) => a.id === selection?.id)
  const device = selection && building.deviceById.get(alert?.device_id ?? selection.id)
  const spaceId = selection?.kind === 'space' ? selection.id : device?.space_id
  const storeyId = building.spaceById.get(spaceId ?? '')?.storey_id
  return [`storey:${storeyId}`, ...(device ? [`space:${spaceId}`] : [])]
}

export function Tree(props: {
  building: Building
  selection: Selection | null
  onSelect: (selection: Selection | null, options?: { fly?: boolean }) => void
  head: ReactNode
}) {
  const { building, selection } = props
  const [query, setQuery] = useState('')
  const [toggled, setToggled] = useState<Map<string, boolean>>(new Map())
  const scroll = useRef<HTMLDivElement>(null)
  const tree = useMemo(() => buildTree(building), [building])
  const words = query.toLowerCase().split(/\s+/).filter(Boolean)
  const shown = filtered(tree, words)
  const opened = ancestorsOf(selection, building)
  const isOpen = (node: Node) =>
    words.length > 0 || (toggled.get(node.id) ?? (node.level === 1 || opened.includes(node.id)))
  const rows = flatten(shown, isOpen)
  const alertDevice = building.alerts.find((a) => a.id === selection?.id)?.device_id
  const selectedId =
    selection === null
      ? null
      : selection.kind === 'space'
        ? `space:${selection.id}`
        : `device:${alertDevice ?? selection.id}`
  const [focusedId, setFocusedId] = useState<string | null>(null)
  const focused = Math.max(
    0,
    rows.findIndex((row) => row.id === (focusedId ?? selectedId)),
  )
  const virtualizer = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroll.current,
    estimateSize: () => ROW_PX,
    overscan: 12,
  })
  const selectedIndex = rows.findIndex((row) => row.id === selectedId)
  useEffect(() => {
    if (selectedIndex >= 0) virtualizer.scrollToIndex(selectedIndex, { align: 'auto' })
    // Only a new selection scrolls, not every reading.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [selectedId])
  const toggle = (node: Node, open: boolean) => setToggled(new Map(toggled).set(node.id, open))
  const focus = (index: number) => {
    const row = rows[Math.min(rows.length - 1, Math.max(0, index))]
    if (row === undefined) return
    setFocusedId(row.id)
    virtualizer.scrollToIndex(rows.indexOf(row))
    requestAnimationFrame(() => document.getElementById(`tree-${row.id}`)?.focus())
  }
  const activate = (node: Node) => {
    setFocusedId(node.id)
    if (node.selection === null) toggle(node, !isOpen(node))
    else props.onSelect(node.selection, { fly: true })
  }
  const onKeyDown = (event: KeyboardEvent) => {
    const node = rows[focused]
    if (node === undefined) return
    const parentIndex = rows.slice(0, focused).findLastIndex((row) => row.level < node.level)
    const expandable = node.children.length > 0
    switch (event.key) {
      case 'ArrowDown':
        focus(focused + 1)
        break
      case 'ArrowUp':
        focus(focused - 1)
        break
      case 'Home':
        focus(0)
        break
      case 'End':
        focus(rows.length - 1)
        break
      case 'ArrowRight':
        if (expandable && !isOpen(node)) toggle(node, true)
        else if (expandable) focus(focused + 1)
        break
      case 'ArrowLeft':
        if (expandable && isOpen(node)) toggle(node, false)
        else if (parentIndex >= 0) focus(parentIndex)
        break
      case 'Enter':
      case ' ':
        activate(node)
        break
      default:
        return
    }
    event.preventDefault()
  }
  return (
    <div className="tree-panel">
      <div className="panel-head">
        {props.head}
        <TextInput
          size="xs"
          aria-label={i18n.t('Search rooms and devices')}
          placeholder={i18n.t('Search rooms and devices')}
          leftSection={<Icon name="search" size={14} />}
          value={query}
          onChange={(event) => setQuery(event.currentTarget.value)}
        />
      </div>
      <div className="tree-scroll" ref={scroll}>
        <div
          role="tree"
          aria-label={i18n.t('Storeys, rooms and devices')}
          onKeyDown={onKeyDown}
          style={{ height: virtualizer.getTotalSize() }}
        >
          {virtualizer.getVirtualItems().map((item) => {
            const node = rows[item.index]
            if (node === undefined) return null
            const severity = worst(node.alerts.map((alert) => alert.severity))
            const expandable = node.children.length > 0
            return (
              <div
                key={node.id}
                id={`tree-${node.id}`}
                role="treeitem"
                aria-level={node.level}
                aria-expanded={expandable ? isOpen(node) : undefined}
                aria-selected={node.id === selectedId}
                tabIndex={item.index === focused ? 0 : -1}
                className="tree-row"
                data-level={node.level}
                style={{ transform: `translateY(${item.start}px)` }}
                onClick={() => activate(node)}
              >
                <span
                  className="tree-twist"
                  data-open={isOpen(node) || undefined}
                  onClick={(event) => {
                    if (!expandable) return
                    event.stopPropagation()
                    toggle(node, !isOpen(node))
                  }}
                >
                  {expandable && <Icon name="chevron" size={12} />}
                </span>
                <span className="tree-label">
                  {node.label}
                  {node.sub && <span className="dim"> {node.sub}</span>}
                </span>
                {severity === null ? (
                  node.level < 3 &&
                  expandable && <span className="tree-count num">{node.children.length}</span>
                ) : (
                  <span className="tree-alerts num">
                    <SeverityMark severity={severity} size={14} />
                    {node.alerts.length > 1 && node.alerts.length}
                  </span>
                )}
              </div>
            )
          })}
        </div>
        {rows.length === 0 && <p className="dim pad">{i18n.t('Nothing found')}</p>}
      </div>
    </div>
  )
}
