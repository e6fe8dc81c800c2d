// The scene as a table: every room and device with values, conditions and alerts.
import { i18n } from '@lingui/core'
import { useLingui } from '@lingui/react'
import { useMemo } from 'react'

import type { Device } from '../../api/types'
import { useAppSearch } from '../../app/search'
import { formatValue } from '../../lib/format'
import { keyLabel } from '../../lib/keys'
import type { Selection } from '../../lib/selection'
import { SEVERITIES, worst } from '../../lib/severity'
import { DataTable, type Column } from '../../ui/DataTable'
import { ConditionMark, SeverityMark } from '../../ui/marks'
import { Age } from '../../ui/time'
import type { Building } from './useBuilding'

type Row = { device: Device; key: string; storey: string; room: string; elevation: number }

export function SceneTable(props: {
  building: Building
  selection: Selection | null
  onSelect: (selection: Selection) => void
}) {
  const { building, selection, onSelect } = props
  const { i18n: lingui } = useLingui()
  const { storey } = useAppSearch()
  const rows = useMemo(
    () =>
      building.devices.flatMap((device): Row[] => {
        const space = building.spaceById.get(device.space_id ?? '')
        if (storey !== undefined && space?.storey_id !== storey) return []
        const level = building.storeyById.get(space?.storey_id ?? '')
        const room = space
          ? `${space.name} ${space.long_name ?? ''}`.trim()
          : i18n.t('Not in a room')
        const base = {
          device,
          storey: level?.name ?? '—',
          room,
          elevation: level?.elevation_m ?? -1e9,
        }
        return (device.keys.length === 0 ? [''] : device.keys).map((key) => ({ ...base, key }))
      }),
    [building, storey],
  )
  const columns = useMemo<Column<Row>[]>(
    () => [
      {
        id: 'alert',
        header: i18n.t('Alert'),
        bare: true,
        width: '32px',
        sort: (row) => {
          const severity = worst(
            (building.alertsByDevice.get(row.device.id) ?? []).map((a) => a.severity),
          )
          return severity === null ? SEVERITIES.length : SEVERITIES.indexOf(severity)
        },
        cell: (row) => {
          const severity = worst(
            (building.alertsByDevice.get(row.device.id) ?? []).map((a) => a.severity),
          )
          return severity && <SeverityMark severity={severity} />
        },
      },
      {
        id: 'storey',
        header: i18n.t('Storey'),
        sort: (row) => row.elevation,
        cell: (row) => row.storey,
        give: 'first',
      },
      {
        id: 'room',
        header: i18n.t('Room'),
        give: 'second',
        sort: (row) => row.room,
        cell: (row) => (
          <span className="room-cell" title={row.room}>
            {row.room}
          </span>
        ),
      },
      {
        id: 'device',
        header: i18n.t('Device'),
        sort: (row) => row.device.name,
        cell: (row) => (
          <button
            type="button"
            className="link-button cell-main"
            onClick={() =>
              onSelect(
                row.key === ''
                  ? { kind: 'device', id: row.device.id }
                  : { kind: 'sensor', id: row.device.id, key: row.key },
              )
            }
          >
            <span>{row.device.name}</span>
            <span className="dim">
              <span className="narrow-only">
                {row.key === '' ? row.room : `${keyLabel(row.key)} · ${row.room}`}
              </span>
            </span>
          </button>
        ),
      },
      {
        id: 'key',
        header: i18n.t('Key'),
        give: 'second',
        sort: (row) => row.key,
        cell: (row) => (
          <span className="nowrap" title={row.key}>
            {keyLabel(row.key)}
          </span>
        ),
      },
      {
        id: 'value',
        header: i18n.t('Value'),
        align: 'end',
        sort: (row) => {
          const value = building.values.get(row.device.id, row.key)?.value
          return typeof value === 'number' ? value : String(value ?? '')
        },
        cell: (row) => {
          const shown = building.values.get(row.device.id, row.key)
          return (
            <span className="cell-main">
              <span className="num">
                {formatValue(shown?.value as never, row.device.units[row.key], lingui.locale)}
              </span>
              <span className="dim">
                <span className="narrow-only">
                  <ConditionMark condition={shown?.condition ?? 'missing'} />{' '}
                  <Age at={shown?.atMs} />
                </span>
              </span>
            </span>
          )
        },
      },
      {
        id: 'condition',
        header: i18n.t('Quality'),
        give: 'second',
        sort: (row) => building.values.get(row.device.id, row.key)?.condition ?? 'missing',
        cell: (row) => (
          <ConditionMark
            condition={building.values.get(row.device.id, row.key)?.condition ?? 'missing'}
          />
        ),
      },
      {
        id: 'age',
        header: i18n.t('Age'),
        align: 'end',
        give: 'second',
        sort: (row) => -(building.values.get(row.device.id, row.key)?.atMs ?? 0),
        cell: (row) => <Age at={building.values.get(row.device.id, row.key)?.atMs} />,
      },
    ],
    [building, lingui.locale, onSelect],
  )
  return (
    <div className="scene-table">
      <DataTable
        label={i18n.t('Rooms, devices and values')}
        rows={rows}
        columns={columns}
        rowId={(row) => `${row.device.id}/${row.key}`}
        onOpen={(row) => onSelect({ kind: 'device', id: row.device.id })}
        isSelected={(row) => row.device.id === selection?.id}
      />
    </div>
  )
}
