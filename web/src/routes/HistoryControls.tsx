// How the histories of a page are shown: in which buckets, what of each, by whose clock. It stands
// in the address, so that a link shows the same.
import { i18n } from '@lingui/core'
import { Select } from '@mantine/core'

import { useAppSearch, usePatchSearch } from '../app/search'
import {
  BUCKETS,
  SHOWS,
  type HistoryBucket,
  type HistoryChoice,
  type HistoryShow,
} from '../lib/historyChoice'
import { usePreferences } from '../lib/preferences'
import { timeZoneOf } from '../lib/time'

const AUTOMATIC = 'auto'

function bucketLabel(bucket: HistoryBucket): string {
  switch (bucket) {
    case 'line':
      return i18n.t('A line through all points')
    case 'hour':
      return i18n.t('By hour')
    case 'day':
      return i18n.t('By day')
    case 'week':
      return i18n.t('By week')
    case 'month':
      return i18n.t('By month')
    case 'quarter':
      return i18n.t('By quarter')
    case 'year':
      return i18n.t('By year')
  }
}

function showLabel(show: HistoryShow): string {
  switch (show) {
    case 'mean':
      return i18n.t('Mean, lowest, highest')
    case 'held':
      return i18n.t('Mean over time')
    case 'sum':
      return i18n.t('Sum')
    case 'change':
      return i18n.t('Difference')
    case 'counted':
      return i18n.t('Difference of a counter')
    case 'rate':
      return i18n.t('Counted each second')
    case 'median':
      return i18n.t('Median')
    case 'p95':
      return i18n.t('95th percentile')
    case 'count':
      return i18n.t('Number of readings')
  }
}

/** What the address says of it. */
export function useHistoryChoice(): HistoryChoice {
  const { bucket, show, zone } = useAppSearch()
  const preferences = usePreferences()
  return {
    ...(bucket !== undefined && { bucket }),
    show: show ?? 'mean',
    timeZone: zone ?? timeZoneOf(preferences.zone),
  }
}

export function HistoryControls() {
  const choice = useHistoryChoice()
  const patch = usePatchSearch()
  const isCalendar = choice.bucket !== undefined && choice.bucket !== 'line'
  return (
    <div className="filters" role="group" aria-label={i18n.t('How history is shown')}>
      <Select
        size="xs"
        w={200}
        allowDeselect={false}
        label={i18n.t('Stretches of time')}
        value={choice.bucket ?? AUTOMATIC}
        onChange={(value) =>
          patch({ bucket: value === AUTOMATIC ? undefined : (value as HistoryBucket) })
        }
        data={[
          { value: AUTOMATIC, label: i18n.t('As it fits') },
          ...BUCKETS.map((value) => ({ value, label: bucketLabel(value) })),
        ]}
      />
      {isCalendar && (
        <>
          <Select
            size="xs"
            w={200}
            allowDeselect={false}
            label={i18n.t('What of each stretch')}
            value={choice.show}
            onChange={(value) =>
              patch({ show: value === 'mean' ? undefined : (value as HistoryShow) })
            }
            data={SHOWS.map((value) => ({ value, label: showLabel(value) }))}
          />
          <Select
            size="xs"
            w={200}
            searchable
            allowDeselect={false}
            limit={200}
            label={i18n.t('Time zone')}
            nothingFoundMessage={i18n.t('No such time zone')}
            value={choice.timeZone}
            onChange={(value) => patch({ zone: value ?? undefined })}
            data={zones(choice.timeZone)}
          />
        </>
      )}
    </div>
  )
}

/** The zones that the browser knows, with the chosen one. */
function zones(chosen: string): string[] {
  return [...new Set([chosen, 'UTC', ...Intl.supportedValuesOf('timeZone')])]
}
