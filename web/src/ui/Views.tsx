// The views of a list: side by side, or one below the other where there is no room for them.
import { SegmentedControl, Select } from '@mantine/core'
import { useMediaQuery } from '@mantine/hooks'

export function Views<V extends string>(props: {
  label: string
  value: V
  views: { value: V; label: string }[]
  onChange: (value: string) => void
}) {
  const narrow = useMediaQuery('(max-width: 700px)', false, { getInitialValueInEffect: false })
  const field = {
    size: 'xs',
    'aria-label': props.label,
    value: props.value,
    data: props.views,
  } as const
  return narrow ? (
    <Select
      {...field}
      w="100%"
      allowDeselect={false}
      onChange={(value) => value !== null && props.onChange(value)}
    />
  ) : (
    <SegmentedControl {...field} onChange={props.onChange} />
  )
}
