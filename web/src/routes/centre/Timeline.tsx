// The one timeline: alerts of the range, and a scrubber that takes scene, panels and charts to a
// moment. Replayed values are the last of each bucket; the banner and the label say so.
import { i18n } from '@lingui/core'
import { useLingui } from '@lingui/react'
import { useEffect, useRef, useState } from 'react'

import { REPLAY_STEPS } from '../../api/queries'
import type { Alert } from '../../api/types'
import { useAppSearch, usePatchSearch, useRange } from '../../app/search'
import { occurrences } from '../../lib/occurrences'
import { usePreferences } from '../../lib/preferences'
import { formatClock, formatInstant, formatTick, formatWidth } from '../../lib/time'
import { Icon } from '../../ui/icons'
import { severityLabel } from '../../ui/marks'
import type { Building } from './useBuilding'

const PLAY_STEP_MS = 500
const TICKS = 6
/** More marks than this would only be a smear. */
const ALERTS_MAX = 200

export function Timeline(props: { building: Building; allAlerts: Alert[] }) {
  const { i18n: lingui } = useLingui()
  const { zone } = usePreferences()
  const search = useAppSearch()
  const patch = usePatchSearch()
  const range = useRange()
  const [playing, setPlaying] = useState(false)
  const span = range.toMs - range.fromMs
  const step = span / REPLAY_STEPS
  const atMs = search.at === undefined ? range.toMs : Date.parse(search.at)
  const goTo = (ms: number) => {
    // Letting go within half a step of now means "live again".
    if (range.rolling && ms > range.toMs - step / 2) patch({ at: undefined })
    else patch({ at: new Date(Math.max(range.fromMs, ms)).toISOString() })
  }
  const advance = useRef(() => {})
  useEffect(() => {
    advance.current = () => {
      if (atMs + step >= range.toMs) setPlaying(false)
      goTo(atMs + step)
    }
  })
  useEffect(() => {
    if (!playing) return
    const timer = setInterval(() => advance.current(), PLAY_STEP_MS)
    return () => clearInterval(timer)
  }, [playing])
  const share = (ms: number) => `${Math.min(100, Math.max(0, ((ms - range.fromMs) / span) * 100))}%`
  const alerts = props.allAlerts
    .filter((alert) => props.building.deviceById.has(alert.device_id))
    .flatMap((alert) => occurrences(alert).map((span) => ({ ...alert, ...span })))
    .filter(({ fromMs, toMs }) => fromMs < range.toMs && (toMs ?? Infinity) > range.fromMs)
    .slice(0, ALERTS_MAX)
  const ticks = Array.from({ length: TICKS + 1 }, (_, i) => range.fromMs + (span * i) / TICKS)
  const { replay } = props.building
  return (
    <section className="timeline" aria-label={i18n.t('Timeline')}>
      <button
        type="button"
        className="icon-button play"
        aria-label={playing ? i18n.t('Pause replay') : i18n.t('Play from here')}
        onClick={() => {
          if (!playing && search.at === undefined) goTo(range.fromMs)
          setPlaying(!playing)
        }}
      >
        <Icon name={playing ? 'pause' : 'play'} size={18} />
      </button>
      <div className="timeline-track">
        <div className="timeline-alerts" aria-hidden="true">
          {alerts.map((alert) => {
            const left = share(alert.fromMs)
            const width = `calc(${share(alert.toMs ?? range.toMs)} - ${left})`
            return (
              <span
                key={`${alert.id}/${alert.fromMs}`}
                className="timeline-alert"
                data-severity={alert.severity}
                title={`${severityLabel(alert.severity)}: ${alert.message}`}
                style={{ left, width }}
              />
            )
          })}
        </div>
        <input
          type="range"
          min={range.fromMs}
          max={range.toMs}
          step={Math.max(1000, Math.round(step))}
          value={Math.min(range.toMs, Math.max(range.fromMs, atMs))}
          aria-label={i18n.t('Moment shown')}
          aria-valuetext={
            search.at === undefined ? i18n.t('Live') : formatInstant(atMs, lingui.locale, zone)
          }
          data-live={search.at === undefined || undefined}
          onChange={(event) => {
            setPlaying(false)
            goTo(Number(event.currentTarget.value))
          }}
        />
        <div className="timeline-ticks num" aria-hidden="true">
          {ticks.map((tick, i) => (
            <span key={i}>{formatTick(tick, span, lingui.locale, zone)}</span>
          ))}
        </div>
      </div>
      <div className="timeline-now num" aria-live="off">
        {search.at === undefined ? (
          <span className="dim">{i18n.t('Live')}</span>
        ) : (
          <>
            <span>{formatClock(atMs, lingui.locale, zone)}</span>
            <span className="dim">
              {replay?.loading || !replay?.widthMs
                ? i18n.t('Loading')
                : i18n.t('last value per {width}', {
                    width: formatWidth(replay.widthMs, lingui.locale),
                  })}
            </span>
          </>
        )}
      </div>
    </section>
  )
}
