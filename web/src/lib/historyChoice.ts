// What a chart of a series asks: points as they fit, a line through all of them, or buckets by the
// calendar of a time zone. Pure, so that the page, the query and the download say the same.

export const BUCKETS = ['line', 'hour', 'day', 'week', 'month', 'quarter', 'year'] as const
export const SHOWS = [
  'mean',
  'held',
  'sum',
  'change',
  'counted',
  'rate',
  'median',
  'p95',
  'count',
] as const
export type HistoryBucket = (typeof BUCKETS)[number]
export type HistoryShow = (typeof SHOWS)[number]

/** Without a bucket: as it fits. */
export type HistoryChoice = { bucket?: HistoryBucket; show: HistoryShow; timeZone: string }

/** Points of a chart. */
export const CHART_POINTS_MAX = 600
/** A raw series breaks where nothing came for so many times its usual distance. */
const GAP_TIMES = 10
/** Fewer readings have no usual distance. */
const GAP_POINTS_MIN = 16

const WEEKDAYS = [
  'monday',
  'tuesday',
  'wednesday',
  'thursday',
  'friday',
  'saturday',
  'sunday',
] as const
type WeekInfo = { firstDay: number }

/** The day on which weeks begin where the language is at home. */
export function weekStart(locale: string): (typeof WEEKDAYS)[number] {
  const known = new Intl.Locale(locale) as Intl.Locale & {
    getWeekInfo?: () => WeekInfo
    weekInfo?: WeekInfo
  }
  const info = known.getWeekInfo?.() ?? known.weekInfo
  return WEEKDAYS[(info?.firstDay ?? 1) - 1] ?? 'monday'
}

type Column = 'avg' | 'time_weighted_avg' | 'sum' | 'delta' | 'rate' | 'p50' | 'p95' | 'count'

/** The column that is drawn of each, and whether it is a counter's. */
const ASKED: Record<HistoryShow, { column: Column; counter?: boolean }> = {
  mean: { column: 'avg' },
  held: { column: 'time_weighted_avg' },
  sum: { column: 'sum' },
  change: { column: 'delta' },
  counted: { column: 'delta', counter: true },
  rate: { column: 'rate', counter: true },
  median: { column: 'p50' },
  p95: { column: 'p95' },
  count: { column: 'count' },
}

/** The column that a chart draws of buckets. */
export function columnOf(show: HistoryShow): Column {
  return ASKED[show].column
}

/** What is asked beside the series and the range. */
export function questionOf(choice: HistoryChoice, locale: string) {
  const { bucket, show, timeZone } = choice
  if (bucket === undefined) return { points_max: CHART_POINTS_MAX }
  if (bucket === 'line') return { lttb: CHART_POINTS_MAX }
  const { column, counter } = ASKED[show]
  return {
    bucket,
    time_zone: timeZone,
    ...(bucket === 'week' && { week_starts: weekStart(locale) }),
    aggregates: show === 'mean' ? ['avg', 'min', 'max', 'last'] : [column],
    ...(counter === true && { counter }),
    fill: 'null' as const,
  }
}

/** The same as a table: all points where the chart shows as many as fit. */
export function tableQuestionOf(choice: HistoryChoice, locale: string) {
  const { bucket } = choice
  return bucket === undefined || bucket === 'line' ? {} : questionOf(choice, locale)
}

/** Where a line breaks: the places behind which something is missing. */
export function gaps(atMs: number[], widthMs: number | null): number[] {
  const steps = atMs.slice(1).map((at, i) => at - (atMs[i] ?? at))
  let most = widthMs === null ? Infinity : widthMs * 1.5
  if (widthMs === null && atMs.length >= GAP_POINTS_MIN) {
    const usual = steps.toSorted((a, b) => a - b)[Math.floor(steps.length / 2)] ?? 0
    if (usual > 0) most = usual * GAP_TIMES
  }
  return steps.flatMap((step, i) => (step > most ? [i] : []))
}

/** A column with nothing where a line breaks. */
export function broken<T>(column: T[], after: number[], nothing: (index: number) => T): T[] {
  if (after.length === 0) return column
  const places = new Set(after)
  return column.flatMap((value, i) => (places.has(i) ? [value, nothing(i)] : [value]))
}
