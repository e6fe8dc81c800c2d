// Time ranges of the address bar, zones and relative ages. Pure: "now" is always passed in.
export const PRESETS = ['15m', '1h', '6h', '24h', '7d', '30d'] as const
/** Shown when nothing else is asked for. */
export const RANGE_DEFAULT = '1h'
export type Preset = (typeof PRESETS)[number]

export type RangeSearch = { range?: Preset; from?: string; to?: string }
export type Range = { fromMs: number; toMs: number; rolling: boolean }

export type Zone = 'local' | 'UTC'

const UNIT_MS = { m: 60_000, h: 3_600_000, d: 86_400_000 }

export function presetMs(preset: Preset): number {
  const unit = preset.at(-1) as keyof typeof UNIT_MS
  return Number(preset.slice(0, -1)) * UNIT_MS[unit]
}

/** A fixed range when both ends are given and in order, else a rolling one that ends now. */
export function resolveRange(search: RangeSearch, nowMs: number): Range {
  const fromMs = Date.parse(search.from ?? '')
  const toMs = Date.parse(search.to ?? '')
  if (Number.isFinite(fromMs) && Number.isFinite(toMs) && fromMs < toMs) {
    return { fromMs, toMs, rolling: false }
  }
  return { fromMs: nowMs - presetMs(search.range ?? RANGE_DEFAULT), toMs: nowMs, rolling: true }
}

const NICE_BUCKETS_MS = [
  1_000, 2_000, 5_000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000, 600_000, 900_000,
  1_800_000, 3_600_000, 7_200_000, 10_800_000, 21_600_000, 43_200_000, 86_400_000,
]

/** The smallest round bucket width that yields at most `pointsMax` buckets. */
export function bucketMs(range: Range, pointsMax: number): number {
  const least = (range.toMs - range.fromMs) / pointsMax
  return (
    NICE_BUCKETS_MS.find((width) => width >= least) ?? Math.ceil(least / 86_400_000) * 86_400_000
  )
}

const AGE_STEPS: [Intl.RelativeTimeFormatUnit, number][] = [
  ['day', 86_400_000],
  ['hour', 3_600_000],
  ['minute', 60_000],
  ['second', 1_000],
]

/** A wait is told in full while no more of a unit than this has passed: seven days are seven. */
const PASSED_MAX = 0.02

/** "12s ago" in the reader's language; a little clock skew counts as now. */
export function formatAge(atMs: number, nowMs: number, locale: string): string {
  const format = new Intl.RelativeTimeFormat(locale, { numeric: 'always', style: 'narrow' })
  const delta = atMs - nowMs
  if (delta > 0 && delta < 5_000) return format.format(-0, 'second')
  for (const [unit, width] of AGE_STEPS) {
    const count = Math.trunc(delta / width + (delta > 0 ? PASSED_MAX : 0))
    if (count !== 0 || unit === 'second') return format.format(count, unit)
  }
  return ''
}

const DURATION_STEPS: [Intl.RelativeTimeFormatUnit & string, number][] = [
  ['day', 86_400_000],
  ['hour', 3_600_000],
]

/** "20 minutes" in the reader's language: the largest unit of which there are at least two. */
export function formatDuration(ms: number, locale: string): string {
  const [unit, width] = DURATION_STEPS.find(([, width]) => ms >= 2 * width) ?? ['minute', 60_000]
  const format = new Intl.NumberFormat(locale, { style: 'unit', unit, unitDisplay: 'long' })
  return format.format(Math.round(ms / width))
}

/** The reader's own variety of the language, such as en-GB for en: dates differ between them. */
export function regional(
  locale: string,
  preferred: readonly string[] = globalThis.navigator?.languages ?? [],
): string {
  return preferred.find((one) => one.startsWith(`${locale}-`)) ?? locale
}

export function timeZoneOf(zone: Zone): string {
  return zone === 'UTC' ? 'UTC' : Intl.DateTimeFormat().resolvedOptions().timeZone
}

/** Whether clocks of a zone of this name can be told. */
export function isTimeZone(name: string): boolean {
  if (!/^[A-Za-z]/.test(name)) return false
  try {
    return new Intl.DateTimeFormat('en', { timeZone: name }).format(0) !== ''
  } catch {
    return false
  }
}

/** Date, time and zone. Seconds are shown: operators compare with logs. */
export function formatInstant(atMs: number, locale: string, zone: Zone): string {
  if (!Number.isFinite(atMs)) return '—'
  return new Intl.DateTimeFormat(regional(locale), {
    year: 'numeric',
    month: 'short',
    day: 'numeric',
    hour: '2-digit',
    minute: '2-digit',
    second: '2-digit',
    hourCycle: 'h23',
    timeZone: timeZoneOf(zone),
    timeZoneName: 'short',
  }).format(atMs)
}

export function formatClock(
  atMs: number,
  locale: string,
  zone: Zone,
  timeZone = timeZoneOf(zone),
): string {
  return new Intl.DateTimeFormat(regional(locale), {
    month: 'short',
    day: 'numeric',
    hour: '2-digit',
    minute: '2-digit',
    second: '2-digit',
    hourCycle: 'h23',
    timeZone,
  }).format(atMs)
}

/** The label of a tick: the date only where a day is not enough to tell the times apart. */
export function formatTick(
  atMs: number,
  spanMs: number,
  locale: string,
  zone: Zone,
  timeZone = timeZoneOf(zone),
): string {
  const days = spanMs > 36 * 3_600_000
  return new Intl.DateTimeFormat(regional(locale), {
    ...(days && { month: 'short', day: 'numeric' }),
    ...(spanMs < 8 * 86_400_000 && { hour: '2-digit', minute: '2-digit' }),
    ...(spanMs < 10 * 60_000 && { second: '2-digit' }),
    hourCycle: 'h23',
    timeZone,
  }).format(atMs)
}

/** A width in words short enough for a label: "5 min", "2 h". */
export function formatWidth(widthMs: number, locale: string): string {
  const [unit, size] =
    (
      [
        ['day', 86_400_000],
        ['hour', 3_600_000],
        ['minute', 60_000],
        ['second', 1_000],
      ] as const
    ).find(([, step]) => widthMs >= step) ?? (['second', 1_000] as const)
  return new Intl.NumberFormat(locale, { style: 'unit', unit, maximumFractionDigits: 1 }).format(
    widthMs / size,
  )
}

/** Older than this, a live value is marked stale. */
export const STALE_AFTER_MS = 10 * 60_000

export function isStale(atMs: number, nowMs: number): boolean {
  return nowMs - atMs > STALE_AFTER_MS
}
