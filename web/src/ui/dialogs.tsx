// Confirmation of destructive acts: it names what will be lost and wants the name typed.
import { i18n } from '@lingui/core'
import { Button, Group, TextInput } from '@mantine/core'
import { useState, type ReactNode } from 'react'

import { Failure } from './layout'
import { Modal } from './overlays'

export function ConfirmTyped(props: {
  opened: boolean
  title: string
  name: string
  action: string
  children: ReactNode
  onConfirm: () => Promise<unknown>
  onClose: () => void
}) {
  const [typed, setTyped] = useState('')
  const [busy, setBusy] = useState(false)
  const [error, setError] = useState<unknown>(null)
  const close = () => {
    setTyped('')
    setError(null)
    props.onClose()
  }
  const confirm = async () => {
    setBusy(true)
    try {
      await props.onConfirm()
      close()
    } catch (failure) {
      setError(failure)
    } finally {
      setBusy(false)
    }
  }
  return (
    <Modal opened={props.opened} onClose={close} title={props.title}>
      <form
        className="stack"
        onSubmit={(event) => {
          event.preventDefault()
          if (typed === props.name) void confirm()
        }}
      >
        <div>{props.children}</div>
        <TextInput
          data-autofocus
          label={i18n.t('Type “{name}” to confirm', { name: props.name })}
          value={typed}
          onChange={(event) => setTyped(event.currentTarget.value)}
          autoComplete="off"
        />
        {error !== null && <Failure error={error} compact />}
        <Group justify="flex-end">
          <Button variant="default" onClick={close}>
            {i18n.t('Cancel')}
          </Button>
          <Button
            type="submit"
            color="var(--critical)"
            loading={busy}
            disabled={typed !== props.name}
          >
            {props.action}
          </Button>
        </Group>
      </form>
    </Modal>
  )
}
