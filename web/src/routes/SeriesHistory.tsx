// The history of one series over the page's range: chart with alerts, summary, CSV.
import { i18n } from '@lingui/core'
import { useLingui } from '@lingui/react'
import { Button } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useMemo } from 'react'

import { historyQuery } from '../api/queries'
import type { Alert, Device, Series } from '../api/types'
import { useAppSearch, usePatchSearch, useRange } from '../app/search'
import { download, toCsv } from '../lib/csv'
import { formatNumber, formatScalar, formatValue } from '../lib/format'
import { keyLabel } from '../lib/keys'
import { occurrences } from '../lib/occurrences'
import { usePreferences } from '../lib/preferences'
import { formatClock, formatTick, type Range } from '../lib/time'
import { useLatestValue } from '../live/LiveProvider'
import { Failure, Tag } from '../ui/layout'
import { History } from '../ui/History'
import { Icon } from '../ui/icons'
import type { ChartData } from '../ui/Chart'

function numeric(value: unknown): number | null {
  if (typeof value === 'boolean') return value ? 1 : 0
  return typeof value === 'number' && Number.isFinite(value) ? value : null
}

/** Which points are made up by a simulation; nothing when none is. */
function simulated(series: Series | null | undefined): Pick<ChartData, 'simulated'> {
  const marks =
    series?.simulated?.map((count) => count > 0) ??
    series?.quality?.map((quality) => quality === 'simulated') ??
    []
  return marks.includes(true) ? { simulated: marks } : {}
}

/** A series as lines; a switch, which is on or off, as steps of its last values. */
export function chartData(series: Series | null | undefined, isSwitch = false): ChartData {
  return { ...lines(series, isSwitch), ...simulated(series) }
}

function lines(series: Series | null | undefined, isSwitch: boolean): ChartData {
  const atMs = series?.at_ms ?? []
  const values = series?.value ?? series?.last ?? []
  if (values.some((value) => typeof value === 'boolean') || (isSwitch && values.length > 0)) {
    return { atMs, value: values.map(numeric), isSwitch: true }
  }
  if (series?.avg !== undefined && series.min !== undefined && series.max !== undefined) {
    return {
      atMs,
      value: series.avg.map(numeric),
      band: { min: series.min.map(numeric), max: series.max.map(numeric) },
    }
  }
  return { atMs, value: values.map(numeric) }
}

/** A device that has just begun to report would be a line at the edge: begin where it began. */
function startOf(range: Range, atMs: number[]): number {
  const first = atMs[0]
  const span = range.toMs - range.fromMs
  if (!range.rolling || first === undefined || first < range.toMs - span / 2) return range.fromMs
  return Math.max(range.fromMs, Math.min(first, range.toMs - 60_000) - (range.toMs - first) * 0.05)
}

function extremes(data: ChartData): { min: number; max: number } | null {
  const low = (data.band?.min ?? data.value).filter((v) => v !== null)
  const high = (data.band?.max ?? data.value).filter((v) => v !== null)
  if (low.length === 0 || high.length === 0) return null
  return { min: Math.min(...low), max: Math.max(...high) }
}

export function SeriesHistory(props: {
  device: Device
  seriesKey: string
  alerts: Alert[]
  height?: number
}) {
  const { device, seriesKey } = props
  const { i18n: lingui } = useLingui()
  const { zone } = usePreferences()
  const { at } = useAppSearch()
  const patch = usePatchSearch()
  const range = useRange()
  const query = useQuery(historyQuery({ device_id: device.id, key: seriesKey }, range))
  const isSwitch = typeof useLatestValue(device.id, seriesKey)?.value === 'boolean'
  const data = useMemo(() => chartData(query.data, isSwitch), [query.data, isSwitch])
  const unit = device.units[seriesKey] ?? ''
  const mine = props.alerts.filter(
    (a) => a.device_id === device.id && (a.key === null || a.key === seriesKey),
  )
  const marks = mine.flatMap((alert) =>
    occurrences(alert).map((span) => ({ ...span, severity: alert.severity })),
  )
  const span = extremes(data)
  const show = (value: number) =>
    data.isSwitch
      ? formatScalar(value >= 0.5, lingui.locale)
      : formatValue(value, unit, lingui.locale)
  const summary = span
    ? i18n.t('{key}: lowest {min}, highest {max}', {
        key: keyLabel(seriesKey),
        min: show(span.min),
        max: show(span.max),
      })
    : seriesKey
  if (query.isError)
    return <Failure error={query.error} retry={() => void query.refetch()} compact />
  return (
    <div className="history">
      <History
        loading={query.isPending}
        data={data}
        unit={unit || i18n.t('no unit stated')}
        label={summary}
        fromMs={startOf(range, data.atMs)}
        toMs={range.toMs}
        alerts={marks}
        threshold={mine.find((alert) => alert.threshold !== null)?.threshold ?? null}
        cursorMs={at === undefined ? null : Date.parse(at)}
        formatTime={(ms) => formatClock(ms, lingui.locale, zone)}
        formatTick={(ms) =>
          formatTick(ms, range.toMs - startOf(range, data.atMs), lingui.locale, zone)
        }
        formatValue={(value) => (data.isSwitch ? show(value) : formatNumber(value, lingui.locale))}
        onPick={(ms) => patch({ at: new Date(ms).toISOString() })}
        {...(props.height !== undefined && { height: props.height })}
      />
      <div className="history-foot dim">
        <span>
          {span && !data.isSwitch && (
            <>
              {i18n.t('min')} <span className="num">{show(span.min)}</span> · {i18n.t('max')}{' '}
              <span className="num">{show(span.max)}</span>
            </>
          )}
          {data.simulated && (
            <>
              {' '}
              <Tag tone="simulated">{i18n.t('Simulated')}</Tag>{' '}
              {i18n.t('What is hatched was made up by a simulation.')}
            </>
          )}
        </span>
        <Button
          size="compact-xs"
          variant="subtle"
          leftSection={<Icon name="download" size={13} />}
          disabled={data.atMs.length === 0}
          onClick={() => download(`${device.name}-${seriesKey}.csv`, 'text/csv', csv(data, unit))}
        >
          CSV
        </Button>
      </div>
    </div>
  )
}

function csv(data: ChartData, unit: string): string {
  const values = data.band ? ['mean', 'min', 'max'] : ['value']
  const head = ['time', ...values, 'unit', ...(data.simulated ? ['simulated'] : [])]
  const rows = data.atMs.map((ms, i) => {
    const time = new Date(ms).toISOString()
    const band = data.band ? [data.band.min[i], data.band.max[i]] : []
    const mark = data.simulated ? [data.simulated[i] === true ? 'yes' : 'no'] : []
    return [time, data.value[i], ...band, unit, ...mark]
  })
  return toCsv([head, ...rows])
}
