// Sends a file piece by piece: what the platform is too busy for is sent again, what it has taken
// is not.
import { i18n } from '@lingui/core'

import { body, client, upload } from '../../api/client'
import { ProblemError } from '../../api/problem'
import type { Import, ImportPlan, ImportPreview } from '../../api/types'
import { fingerprintOf, pieces, sampleOf, type Form, type Piece, type Written } from './pieces'

const AGAIN_MS = 2_000
/** How often a busy platform is asked again in a row. */
const TRIES_MAX = 60
const BUSY = new Set([429, 503])

const OCTETS = 'application/octet-stream'

/** Somebody ended it. */
export class Stopped extends Error {}

export type Watch = {
  signal: AbortSignal
  onProgress: (fraction: number, state: Import) => void
}

function writtenIn(plan: ImportPlan): Written {
  return { form: plan.format as Form, delimiter: plan.delimiter ?? ',' }
}

/** What a plan makes of the beginning of a file. */
export async function preview(file: File, plan: ImportPlan): Promise<ImportPreview> {
  const query = new URLSearchParams({ plan: JSON.stringify({ ...plan, columns: [] }) })
  return upload<ImportPreview>({
    method: 'POST',
    path: `/v1/imports/preview?${query.toString()}`,
    type: OCTETS,
    content: await sampleOf(file, writtenIn(plan)),
  })
}

/** Imports a file, or goes on with it. */
export async function run(file: File, plan: ImportPlan, watch: Watch): Promise<Import> {
  const fingerprint = await fingerprintOf(file)
  const opened = await body(
    client.POST('/v1/imports', { body: { name: file.name, digest: fingerprint, plan } }),
  )
  let state = opened as Import
  let number = 0
  for await (const piece of pieces(file, writtenIn(plan))) {
    if (state.state === 'done') break
    if (piece === null) throw new Error(i18n.t('A row is longer than 4 MiB.'))
    while (number >= state.next_piece && state.state === 'open') {
      if (watch.signal.aborted) throw new Stopped()
      state = await send(state.id, number, piece, watch.signal)
      watch.onProgress(piece.end / Math.max(1, file.size), state)
    }
    number += 1
  }
  return state
}

async function send(
  id: string,
  number: number,
  { content, isLast }: Piece,
  signal: AbortSignal,
): Promise<Import> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await upload<Import>({
        method: 'PUT',
        path: `/v1/imports/${id}/piece?number=${number}&last=${isLast}`,
        type: OCTETS,
        content,
      })
    } catch (error) {
      // What was on its way when somebody ended it is no failure.
      if (signal.aborted) throw new Stopped()
      if (!BUSY.has(ProblemError.of(error).status) || tries >= TRIES_MAX) throw error
      await new Promise((resolve) => setTimeout(resolve, AGAIN_MS))
    }
  }
}
