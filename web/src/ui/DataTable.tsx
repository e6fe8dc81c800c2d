// A dense table: sortable headers, rows that can be opened by keyboard, only visible rows drawn.
import { i18n } from '@lingui/core'
import {
  createSortedRowModel,
  rowSortingFeature,
  tableFeatures,
  useTable,
  type ColumnDef,
} from '@tanstack/react-table'
import { useVirtualizer } from '@tanstack/react-virtual'
import { useMemo, useRef, type ReactNode } from 'react'

export type Column<Row> = {
  id: string
  header: string
  /** Hides the heading from sight, for columns of marks and buttons. */
  bare?: boolean
  cell: (row: Row) => ReactNode
  sort?: (row: Row) => string | number
  align?: 'end'
  width?: string
  /** Least important columns give way first on narrow screens. */
  give?: 'first' | 'second'
}

const features = tableFeatures({ rowSortingFeature, sortedRowModel: createSortedRowModel() })
const ROW_PX = 41
const VIRTUAL_FROM = 150

function compare(a: unknown, b: unknown): number {
  if (typeof a === 'number' && typeof b === 'number') return a - b
  return String(a).localeCompare(String(b), i18n.locale, { numeric: true })
}

export function DataTable<Row extends object>(props: {
  label: string
  rows: Row[]
  columns: Column<Row>[]
  rowId: (row: Row) => string
  onOpen?: (row: Row) => void
  isSelected?: (row: Row) => boolean
  rowTone?: (row: Row) => string | undefined
  /** Only the beginning of a longer list: its order is that of the list, not the reader's. */
  partial?: boolean | undefined
}) {
  const scroll = useRef<HTMLDivElement>(null)
  const { columns: specs, partial = false } = props
  const columns = useMemo<ColumnDef<typeof features, Row, unknown>[]>(
    () =>
      specs.map((spec) => ({
        id: spec.id,
        accessorFn: spec.sort ?? (() => ''),
        header: spec.header,
        enableSorting: spec.sort !== undefined && !partial,
        sortFn: (a, b, id) => compare(a.getValue(id), b.getValue(id)),
      })),
    [specs, partial],
  )
  const table = useTable({ features, columns, data: props.rows, getRowId: props.rowId })
  const rows = partial ? table.getCoreRowModel().rows : table.getRowModel().rows
  const virtual = rows.length > VIRTUAL_FROM
  const virtualizer = useVirtualizer({
    count: rows.length,
    enabled: virtual,
    getScrollElement: () => scroll.current,
    estimateSize: () => ROW_PX,
    overscan: 12,
  })
  const items = virtualizer.getVirtualItems()
  const shown = virtual ? items.flatMap((item) => rows[item.index] ?? []) : rows
  const before = virtual ? (items[0]?.start ?? 0) : 0
  const after = virtual ? virtualizer.getTotalSize() - (items.at(-1)?.end ?? 0) : 0
  const firstIndex = virtual ? (items[0]?.index ?? 0) : 0
  return (
    <div
      className="table-scroll"
      ref={scroll}
      data-virtual={virtual || undefined}
      tabIndex={0}
      role="region"
      aria-label={props.label}
    >
      <table className="table" aria-rowcount={rows.length + 1} aria-label={props.label}>
        <thead>
          {table.getHeaderGroups().map((group) => (
            <tr key={group.id}>
              {group.headers.map((header, i) => {
                const spec = specs[i]
                if (spec === undefined) return null
                const sorted = !partial && header.column.getIsSorted()
                return (
                  <th
                    key={header.id}
                    data-align={spec.align}
                    data-give={spec.give}
                    data-bare={spec.bare || undefined}
                    data-column={spec.id}
                    style={{ width: spec.width }}
                    aria-sort={
                      sorted === false ? undefined : sorted === 'asc' ? 'ascending' : 'descending'
                    }
                  >
                    {spec.sort === undefined || partial ? (
                      <span className={spec.bare ? 'visually-hidden' : undefined}>
                        {spec.header}
                      </span>
                    ) : (
                      <button type="button" onClick={header.column.getToggleSortingHandler()}>
                        <span className={spec.bare ? 'visually-hidden' : undefined}>
                          {spec.header}
                        </span>
                        <span className="sort" aria-hidden="true">
                          {sorted === 'asc' ? '↑' : sorted === 'desc' ? '↓' : ''}
                        </span>
                      </button>
                    )}
                  </th>
                )
              })}
            </tr>
          ))}
        </thead>
        <tbody>
          {before > 0 && <Spacer height={before} />}
          {shown.map((row, i) => (
            <tr
              key={row.id}
              aria-rowindex={firstIndex + i + 2}
              data-selected={props.isSelected?.(row.original) || undefined}
              data-tone={props.rowTone?.(row.original)}
              data-open={props.onOpen !== undefined || undefined}
              onClick={(event) => {
                if ((event.target as Element).closest('a,button,input,label') !== null) return
                props.onOpen?.(row.original)
              }}
            >
              {specs.map((spec) => (
                <td
                  key={spec.id}
                  data-align={spec.align}
                  data-give={spec.give}
                  data-bare={spec.bare || undefined}
                >
                  {spec.cell(row.original)}
                </td>
              ))}
            </tr>
          ))}
          {after > 0 && <Spacer height={after} />}
        </tbody>
      </table>
    </div>
  )
}

function Spacer(props: { height: number }) {
  return (
    <tr aria-hidden="true" className="spacer">
      <td style={{ height: props.height }} />
    </tr>
  )
}
