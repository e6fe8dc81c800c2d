// Instants on screen: absolute time with zone, and how long ago.
import { useLingui } from '@lingui/react'

import { useNow } from '../lib/now'
import { usePreferences } from '../lib/preferences'
import { formatAge, formatInstant } from '../lib/time'

type Props = { at: string | number | null | undefined }

function millis(at: Props['at']): number {
  return typeof at === 'number' ? at : Date.parse(at ?? '')
}

export function Age({ at }: Props) {
  const { i18n } = useLingui()
  const { zone } = usePreferences()
  const now = useNow()
  const atMs = millis(at)
  if (!Number.isFinite(atMs)) return <span className="dim">—</span>
  return (
    <time dateTime={new Date(atMs).toISOString()} title={formatInstant(atMs, i18n.locale, zone)}>
      {formatAge(atMs, now, i18n.locale)}
    </time>
  )
}

export function Instant({ at, age = true }: Props & { age?: boolean }) {
  const { i18n } = useLingui()
  const { zone } = usePreferences()
  const atMs = millis(at)
  if (!Number.isFinite(atMs)) return <span className="dim">—</span>
  return (
    <span className="instant">
      <time dateTime={new Date(atMs).toISOString()}>{formatInstant(atMs, i18n.locale, zone)}</time>
      {age && (
        <span className="instant-age">
          <Age at={atMs} />
        </span>
      )}
    </span>
  )
}
