// The history of one series over the page's range: chart with alerts, summary, CSV.
import { i18n } from '@lingui/core'
import { useLingui } from '@lingui/react'
import { Button } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { useMemo, useState } from 'react'

import { historyQuery, historyTable } from '../api/queries'
import type { Alert, Device, Series } from '../api/types'
import { useAppSearch, usePatchSearch, useRange } from '../app/search'
import { download } from '../lib/csv'
import { formatNumber, formatScalar, formatValue } from '../lib/format'
import { broken, columnOf, gaps, type HistoryShow } from '../lib/historyChoice'
import { keyLabel } from '../lib/keys'
import { occurrences } from '../lib/occurrences'
import { usePreferences } from '../lib/preferences'
import { formatClock, formatTick, regional, timeZoneOf, type Range } from '../lib/time'
import { useLatestValue } from '../live/LiveProvider'
import { Failure, failureSentence, Tag } from '../ui/layout'
import { History } from '../ui/History'
import { Icon } from '../ui/icons'
import { toast } from '../ui/toasts'
import type { ChartData } from '../ui/Chart'
import { useHistoryChoice } from './HistoryControls'

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

/** What is drawn of buckets, beside their mean. */
function shown(series: Series, show: HistoryShow): unknown[] | undefined {
  return show === 'mean' ? undefined : series[columnOf(show)]
}

/** A line has nothing to draw where nothing was measured: it breaks there. */
function withGaps(data: ChartData, widthMs: number | null): ChartData {
  const after = data.isSwitch ? [] : gaps(data.atMs, widthMs)
  const none = () => null
  return {
    ...data,
    atMs: broken(data.atMs, after, (i) => (data.atMs[i] ?? 0) + 1),
    value: broken(data.value, after, none),
    ...(data.simulated && { simulated: broken(data.simulated, after, () => false) }),
    ...(data.band && {
      band: {
        min: broken(data.band.min, after, none),
        max: broken(data.band.max, after, none),
      },
    }),
  }
}

/** A series as lines; a switch, which is on or off, as steps of its last values. */
export function chartData(
  series: Series | null | undefined,
  isSwitch = false,
  show: HistoryShow = 'mean',
): ChartData {
  const chosen = series && shown(series, show)
  if (series && chosen) {
    return { atMs: series.at_ms ?? [], value: chosen.map(numeric), ...simulated(series) }
  }
  const data = { ...drawn(series, isSwitch), ...simulated(series) }
  return withGaps(data, series?.bucket_ms ?? null)
}

function drawn(series: Series | null | undefined, isSwitch: boolean): ChartData {
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

/** A device that has just begun to report would be a line at the edge: begin where it began. And a
 * bucket of the calendar begins before the range of which it holds a part. */
export function startOf(range: Range, atMs: number[]): number {
  const first = atMs[0]
  const span = range.toMs - range.fromMs
  if (first !== undefined && first < range.fromMs) return first
  if (!range.rolling || first === undefined || first < range.toMs - span / 2) return range.fromMs
  return Math.max(range.fromMs, Math.min(first, range.toMs - 60_000) - (range.toMs - first) * 0.05)
}

function extremes(data: ChartData): { min: number; max: number } | null {
  const low = (data.band?.min ?? data.value).filter((v) => v !== null)
  const high = (data.band?.max ?? data.value).filter((v) => v !== null)
  if (low.length === 0 || high.length === 0) return null
  // Not spread out: there may be more of them than a call takes.
  return { min: low.reduce((a, b) => Math.min(a, b)), max: high.reduce((a, b) => Math.max(a, b)) }
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
  const choice = useHistoryChoice()
  const [isTaking, setIsTaking] = useState(false)
  const series = { device_id: device.id, key: seriesKey }
  const variety = regional(lingui.locale)
  const query = useQuery(historyQuery(series, range, choice, variety))
  const isSwitch = typeof useLatestValue(device.id, seriesKey)?.value === 'boolean'
  const isCalendar = choice.bucket !== undefined && choice.bucket !== 'line'
  const show = isCalendar ? choice.show : 'mean'
  // Buckets begin by the clocks of their zone, and are labelled by them.
  const clocks = isCalendar ? choice.timeZone : timeZoneOf(zone)
  const data = useMemo(() => chartData(query.data, isSwitch, show), [query.data, isSwitch, show])
  const unit = unitOf(device.units[seriesKey] ?? '', show)
  const mine = props.alerts.filter(
    (a) => a.device_id === device.id && (a.key === null || a.key === seriesKey),
  )
  const marks = mine.flatMap((alert) =>
    occurrences(alert).map((span) => ({ ...span, severity: alert.severity })),
  )
  const span = extremes(data)
  const step = span ? (span.max - span.min) / 10 : 0
  const say = (value: number) =>
    data.isSwitch
      ? formatScalar(value >= 0.5, lingui.locale)
      : formatValue(value, unit, lingui.locale, step)
  const summary = span
    ? i18n.t('{key}: lowest {min}, highest {max}', {
        key: keyLabel(seriesKey),
        min: say(span.min),
        max: say(span.max),
      })
    : seriesKey
  const take = async () => {
    setIsTaking(true)
    try {
      const { parts, isCut } = await historyTable(series, range, choice, variety)
      download(`${device.name}-${seriesKey}.csv`, 'text/csv', new Blob(parts))
      if (isCut) toast(i18n.t('The file ends after a million readings. Choose a shorter range.'))
    } catch (error) {
      toast(failureSentence(error))
    } finally {
      setIsTaking(false)
    }
  }
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
        formatTime={(ms) => formatClock(ms, lingui.locale, zone, clocks)}
        formatTick={(ms) =>
          formatTick(ms, range.toMs - startOf(range, data.atMs), lingui.locale, zone, clocks)
        }
        formatValue={(value, near) =>
          data.isSwitch ? say(value) : formatNumber(value, lingui.locale, near ?? step)
        }
        onPick={(ms) => patch({ at: new Date(ms).toISOString() })}
        {...(props.height !== undefined && { height: props.height })}
      />
      <div className="history-foot dim">
        <span>
          {span && !data.isSwitch && (
            <>
              {i18n.t('min')} <span className="num">{say(span.min)}</span> · {i18n.t('max')}{' '}
              <span className="num">{say(span.max)}</span>
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
          loading={isTaking}
          disabled={data.atMs.length === 0}
          onClick={() => void take()}
        >
          CSV
        </Button>
      </div>
    </div>
  )
}

/** Numbers of readings have no unit, and what is counted each second has another. */
function unitOf(unit: string, show: HistoryShow): string {
  if (show === 'count') return ''
  return show === 'rate' && unit !== '' ? `${unit}/s` : unit
}
