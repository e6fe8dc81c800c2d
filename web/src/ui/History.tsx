// What a history chart shows, from plain data: the frame, its summary and its empty state.
import { i18n } from '@lingui/core'
import { Skeleton } from '@mantine/core'
import { lazy, Suspense } from 'react'

import type { ChartProps } from './Chart'

const Chart = lazy(() => import('./Chart').then((module) => ({ default: module.Chart })))

export function History(props: ChartProps & { loading: boolean }) {
  const height = props.height ?? 180
  if (props.data.atMs.length === 0) {
    return props.loading ? (
      <Skeleton height={height} />
    ) : (
      <p className="chart-empty dim">
        {i18n.t('No values in this time range. Widen it at the top.')}
      </p>
    )
  }
  return (
    <Suspense fallback={<Skeleton height={height} />}>
      <Chart {...props} />
    </Suspense>
  )
}
