// A bundle of evidence: a file that verifies in any browser without a connection.
import { download } from '../lib/csv'
import { ProblemError } from './problem'

export type EvidenceAsked = { device_id?: string; key?: string; entries: number[] }

/** Not through the client: an answer of this size is not kept for a repetition. */
export async function fetchEvidence(asked: EvidenceAsked): Promise<void> {
  const response = await fetch('/v1/ledger/evidence', {
    method: 'POST',
    credentials: 'same-origin',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(asked),
  })
  if (!response.ok) throw await ProblemError.fromResponse(response)
  const named = /filename="([^"]+)"/.exec(response.headers.get('content-disposition') ?? '')
  download(named?.[1] ?? 'evidence.zip', 'application/zip', await response.blob())
}

/** The numbers of a list that somebody typed. */
export function entryNumbers(text: string): number[] {
  return text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => /^\d+$/.test(part))
    .map(Number)
}
