// A form that is sent: its button, its failure, and, where somebody else was first, the way to what
// they wrote.
import { i18n } from '@lingui/core'
import { Button, Group } from '@mantine/core'
import type { ReactNode } from 'react'

import { Failure } from './layout'
import { useSubmit } from './useSubmit'

export function SubmitForm(props: {
  /** What the button says. */
  action: string
  /** Sends it; what it throws is shown, and nothing that was entered is lost. */
  submit: () => Promise<unknown>
  /** Called when it was sent. */
  onDone?: () => void
  incomplete?: boolean
  /** What it does cannot be undone. */
  destroys?: boolean
  onCancel?: () => void
  /** Shows what somebody else wrote meanwhile in place of what was entered. */
  onReload?: () => void
  /** A failure in other words; null for the usual ones. */
  failure?: (error: unknown) => ReactNode
  children: ReactNode
}) {
  const { busy, error, run } = useSubmit(props.onDone)
  return (
    <form
      className="stack"
      onSubmit={(event) => {
        event.preventDefault()
        if (!props.incomplete) void run(props.submit)
      }}
    >
      {props.children}
      {error !== null &&
        (props.failure?.(error) ?? (
          <Failure error={error} compact {...(props.onReload && { reload: props.onReload })} />
        ))}
      <Group justify="flex-end">
        {props.onCancel && (
          <Button variant="default" onClick={props.onCancel}>
            {i18n.t('Cancel')}
          </Button>
        )}
        <Button
          type="submit"
          loading={busy}
          disabled={props.incomplete ?? false}
          {...(props.destroys && { color: 'var(--critical)' })}
        >
          {props.action}
        </Button>
      </Group>
    </form>
  )
}
