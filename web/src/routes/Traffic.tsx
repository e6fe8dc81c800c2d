// Live traffic of a device: what comes, what is refused and why, when it connects and goes, what is
// sent to it. It begins when somebody asks for it, since watching leaves a record.
import { i18n } from '@lingui/core'
import { useLingui } from '@lingui/react'
import { Button } from '@mantine/core'
import { useEffect, useRef, useState } from 'react'

import type { Device } from '../api/types'
import { usePreferences } from '../lib/preferences'
import { formatClock } from '../lib/time'
import { useTraffic } from '../live/LiveProvider'
import { isIn, TRAFFIC_VIEWS, valueText, type TrafficLine, type TrafficView } from '../live/traffic'
import { Icon } from '../ui/icons'
import { InEnglish } from '../ui/layout'
import { ConditionMark } from '../ui/marks'
import { toast } from '../ui/toasts'
import { Views } from '../ui/Views'
import { factsOf, kindLabel, restOf, textOf, viewLabel } from './trafficWords'

export function Traffic({ device }: { device: Device }) {
  const [isOpen, setOpen] = useState(false)
  return (
    <section className="block" id="traffic">
      <div className="block-head">
        <h2>{i18n.t('Live traffic')}</h2>
        {/* One button for both, so that whoever pressed it stays on it. */}
        <Button
          size="compact-xs"
          variant="default"
          leftSection={<Icon name="activity" size={14} />}
          onClick={() => setOpen(!isOpen)}
        >
          {isOpen ? i18n.t('Stop watching') : i18n.t('Watch live traffic')}
        </Button>
      </div>
      {isOpen ? (
        <Panel device={device} />
      ) : (
        <p className="dim">
          {i18n.t(
            'Every message as it comes: what was in it as far as you may see that, what was refused and why, when the device connects and goes. Watching leaves a record.',
          )}
        </p>
      )}
    </section>
  )
}

function Panel({ device }: { device: Device }) {
  const { i18n: lingui } = useLingui()
  const { traffic, failure, isBroken, isPaused, pause, clear } = useTraffic(device.id)
  const [view, setView] = useState<TrafficView>('all')
  const lines = traffic.lines.filter((line) => isIn(view, line))
  const copy = async () => {
    const text = lines.map((line) => textOf(line, lingui.locale)).join('\n')
    try {
      await navigator.clipboard.writeText(text)
      toast(i18n.t('Copied'))
    } catch {
      toast(i18n.t('The browser did not let it be copied.'))
    }
  }
  return (
    <>
      <div className="traffic-bar" role="group" aria-label={i18n.t('Live traffic')}>
        <Views
          label={i18n.t('What is shown')}
          value={view}
          views={TRAFFIC_VIEWS.map((one) => ({ value: one, label: viewLabel(one) }))}
          onChange={(next) => setView(next as TrafficView)}
        />
        <Button
          size="xs"
          variant="default"
          leftSection={<Icon name={isPaused ? 'play' : 'pause'} size={14} />}
          onClick={() => pause(!isPaused)}
        >
          {isPaused ? i18n.t('Go on') : i18n.t('Pause')}
        </Button>
        <Button
          size="xs"
          variant="default"
          leftSection={<Icon name="copy" size={14} />}
          disabled={lines.length === 0}
          onClick={() => void copy()}
        >
          {i18n.t('Copy')}
        </Button>
        <Button size="xs" variant="default" disabled={lines.length === 0} onClick={clear}>
          {i18n.t('Clear')}
        </Button>
      </div>
      <Summary shown={traffic.next - 1} leftOut={traffic.leftOut} />
      {failure !== null && (
        <p className="notice" role="alert" lang="en">
          {failure}
        </p>
      )}
      {isBroken && (
        <p className="dim" role="status">
          {i18n.t(
            'The connection to the platform broke off for a while: what the device did meanwhile is not shown.',
          )}
        </p>
      )}
      {isPaused && traffic.waiting > 0 && (
        <p className="dim num">
          {i18n.t(
            '{count, plural, one {# came since you paused and is not kept.} other {# came since you paused and are not kept.}}',
            { count: traffic.waiting },
          )}
        </p>
      )}
      {lines.length === 0 ? (
        <p className="hint">
          {i18n.t('Nothing yet. What the device does from now on appears here by itself.')}
        </p>
      ) : (
        // A list that moves by itself: what is read aloud is the summary above.
        <ol className="traffic" aria-live="off" aria-label={i18n.t('Live traffic')} tabIndex={0}>
          {lines.map((line) => (
            <Line key={line.number} line={line} units={device.units} />
          ))}
        </ol>
      )}
      <InEnglish />
    </>
  )
}

function Line({ line, units }: { line: TrafficLine; units: Device['units'] }) {
  const { i18n: lingui } = useLingui()
  const { zone } = usePreferences()
  const rest = restOf(line)
  return (
    <li data-kind={line.kind}>
      <time className="num" dateTime={new Date(line.at_ms).toISOString()}>
        {formatClock(line.at_ms, lingui.locale, zone)}
      </time>
      <strong>{kindLabel(line.kind)}</strong>
      <span className="traffic-body">
        <span className="dim">{factsOf(line, lingui.locale).join(' · ')}</span>
        {line.values !== undefined && (
          <span className="traffic-values">
            {line.values.map((one, index) => (
              <span key={index}>
                <code>
                  {one.key} = {valueText(one.value)}
                  {line.kind === 'readings' && units[one.key] && ` ${units[one.key]}`}
                </code>
                {one.quality !== undefined && (
                  <>
                    {' '}
                    <ConditionMark condition={one.quality} />
                  </>
                )}
              </span>
            ))}
          </span>
        )}
        {rest.length > 0 && <span className="dim">{rest.join(', ')}</span>}
        {line.detail !== undefined && <span lang="en">{line.detail}</span>}
      </span>
    </li>
  )
}

const SUMMARY_MS = 10_000

/** How much came, said politely every ten seconds at most. */
function Summary(props: { shown: number; leftOut: number }) {
  const latest = useRef(props)
  const [said, setSaid] = useState(props)
  useEffect(() => {
    latest.current = props
  })
  useEffect(() => {
    const timer = setInterval(() => setSaid(latest.current), SUMMARY_MS)
    return () => clearInterval(timer)
  }, [])
  const { shown, leftOut } = said
  return (
    <p className="dim num" role="status">
      {i18n.t('{count, plural, one {# line} other {# lines}} since you watch', { count: shown })}
      {leftOut > 0 && (
        <>
          {' · '}
          {i18n.t('{count, plural, one {# more not shown} other {# more not shown}}', {
            count: leftOut,
          })}
        </>
      )}
    </p>
  )
}
