// The end of a list that is read in steps: how much of it is shown, and the next step.
import { i18n } from '@lingui/core'
import { Button } from '@mantine/core'

export function ListEnd(props: {
  shown: number
  total: number
  hasMore: boolean
  busy: boolean
  onMore: () => void
}) {
  const { shown, total } = props
  if (shown >= total) return null
  return (
    <div className="list-end">
      <span className="dim num" role="status">
        {i18n.t('{shown, number} of {total, number} are shown.', { shown, total })}{' '}
        {!props.hasMore && i18n.t('Narrow the list down to see the others.')}
      </span>
      {props.hasMore && (
        <Button size="xs" variant="default" loading={props.busy} onClick={props.onMore}>
          {i18n.t('Show more')}
        </Button>
      )}
    </div>
  )
}
