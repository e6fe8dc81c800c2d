// Declaring streams, with the way back in the message that says so.
import { i18n } from '@lingui/core'

import { body, client } from '../../api/client'
import { queryClient } from '../../api/queries'
import type { Declaration, StreamSubjectInput } from '../../api/types'
import { failureSentence } from '../../ui/layout'
import { toast } from '../../ui/toasts'
import { declarationLabel } from '../declaration'

/** Streams in one act; the platform takes so many at once. */
const AT_ONCE = 500

export async function streamsChanged(): Promise<void> {
  const keys = ['streams', 'stream-rules', 'stream-declarations', 'devices']
  await Promise.all(keys.map((key) => queryClient.invalidateQueries({ queryKey: [key] })))
}

/** Takes acts back, the newest first. */
export async function undo(ids: string[]): Promise<void> {
  try {
    for (const id of [...ids].reverse()) {
      await body(client.POST('/v1/stream-declarations/{id}/undo', { params: { path: { id } } }))
    }
    toast(i18n.t('Taken back'))
  } catch (error) {
    toast(failureSentence(error))
  }
  await streamsChanged()
}

/** Declares a device as a whole. */
export function declareDevice(device_id: string, declaration: 'non_personal' | 'personal') {
  const subject = declaration === 'personal' ? ({ kind: 'device' } as const) : undefined
  return declare([{ device_id }], declaration, subject)
}

/** Declares streams, or devices as a whole, and says so; false when it was refused. */
export async function declare(
  streams: { device_id: string; key?: string }[],
  declaration: Declaration,
  subject?: StreamSubjectInput,
): Promise<boolean> {
  const done: string[] = []
  try {
    for (let from = 0; from < streams.length; from += AT_ONCE) {
      const targets = streams
        .slice(from, from + AT_ONCE)
        .map(({ device_id, key }) => ({ device_id, ...(key !== undefined && { key }) }))
      const act = await body(
        client.POST('/v1/stream-declarations', {
          body: { targets, declaration, ...(subject && { subject }) },
        }),
      )
      done.push(act.id)
    }
  } catch (error) {
    toast(failureSentence(error))
    await streamsChanged()
    return false
  }
  const what = declarationLabel(declaration)
  toast(i18n.t('Declared: {what}', { what }), {
    label: i18n.t('Undo'),
    run: () => void undo(done),
  })
  await streamsChanged()
  return true
}
