// Short messages at the edge of the screen, spoken by screen readers; some carry an undo.
import { i18n } from '@lingui/core'
import { useSyncExternalStore, type ReactNode } from 'react'

import { Icon } from './icons'

type Toast = {
  id: number
  content: ReactNode
  action?: { label: string; run: () => void } | undefined
}

const TOASTS_MAX = 4
const SHOWN_MS = 8_000

let toasts: Toast[] = []
let nextId = 1
const watchers = new Set<() => void>()

function set(next: Toast[]): void {
  toasts = next
  for (const wake of watchers) wake()
}

function dismiss(id: number): void {
  set(toasts.filter((toast) => toast.id !== id))
}

export function toast(content: ReactNode, action?: Toast['action']): void {
  const id = nextId
  nextId += 1
  set([...toasts, { id, content, action }].slice(-TOASTS_MAX))
  setTimeout(() => dismiss(id), SHOWN_MS)
}

export function Toasts() {
  const shown = useSyncExternalStore(
    (wake) => {
      watchers.add(wake)
      return () => watchers.delete(wake)
    },
    () => toasts,
  )
  return (
    <div className="toasts" role="status" aria-live="polite">
      {shown.map(({ id, content, action }) => (
        <div key={id} className="toast">
          <div className="toast-body">{content}</div>
          {action && (
            <button
              type="button"
              className="link-button"
              onClick={() => {
                action.run()
                dismiss(id)
              }}
            >
              {action.label}
            </button>
          )}
          <button
            type="button"
            className="icon-button"
            aria-label={i18n.t('Dismiss')}
            onClick={() => dismiss(id)}
          >
            <Icon name="close" size={14} />
          </button>
        </div>
      ))}
    </div>
  )
}
