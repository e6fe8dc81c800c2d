// A file of readings in pieces of whole rows, the same ones each time: what the platform has taken
// is not sent again.
export type Form = 'csv' | 'ndjson' | 'line_protocol' | 'parquet'

export const FORMS: Form[] = ['csv', 'ndjson', 'line_protocol', 'parquet']

/** Bytes of a piece of text at most. A Parquet file is one piece. */
export const PIECE_BYTES = 4 * 1024 * 1024
/** How much of a text is shown before it is imported. */
const SAMPLE_BYTES = 512 * 1024
/** What of a file its fingerprint is made of, at either end. */
const ENDS_BYTES = 1024 * 1024

const QUOTE = 0x22
const BREAK = 0x0a

/** The form that a file's name tells. */
export function formOf(name: string): Form | null {
  const end = name.toLowerCase().split('.').at(-1)
  if (end === 'csv' || end === 'tsv') return 'csv'
  if (end === 'ndjson' || end === 'jsonl') return 'ndjson'
  if (end === 'lp' || end === 'line' || end === 'influx') return 'line_protocol'
  return end === 'parquet' ? 'parquet' : null
}

export function isTable(form: Form): boolean {
  return form === 'csv' || form === 'parquet'
}

/** Behind the last row that ends in these bytes; 0 where none does. */
export function cutOf(form: Form, bytes: Uint8Array): number {
  let cut = 0
  let quoted = false
  for (let index = 0; index < bytes.length; index += 1) {
    const byte = bytes[index]
    // A doubled quote inside of quotes closes and opens them again.
    if (byte === QUOTE && form === 'csv') quoted = !quoted
    else if (byte === BREAK && !quoted) cut = index + 1
  }
  return cut
}

export type Piece = { content: Blob; end: number; isLast: boolean }

/** The pieces of a file, one at a time; null where a row is longer than a piece. */
export async function* pieces(
  file: Blob,
  form: Form,
  size = PIECE_BYTES,
): AsyncGenerator<Piece | null> {
  if (form === 'parquet' || file.size <= size) {
    yield { content: file, end: file.size, isLast: true }
    return
  }
  let from = 0
  while (from < file.size) {
    const rest = file.slice(from, from + size)
    const isLast = from + rest.size >= file.size
    const cut = isLast ? rest.size : cutOf(form, new Uint8Array(await rest.arrayBuffer()))
    if (cut === 0) {
      yield null
      return
    }
    yield { content: rest.slice(0, cut), end: from + cut, isLast }
    from += cut
  }
}

/** The beginning of a file, in whole rows. */
export async function sampleOf(file: Blob, form: Form): Promise<Blob> {
  if (form === 'parquet' || file.size <= SAMPLE_BYTES) return file
  const head = file.slice(0, SAMPLE_BYTES)
  return head.slice(0, cutOf(form, new Uint8Array(await head.arrayBuffer())))
}

/** Tells this file from others by its size and both of its ends. */
export async function fingerprintOf(file: File): Promise<string> {
  const head = file.slice(0, ENDS_BYTES)
  const tail = file.slice(Math.max(0, file.size - ENDS_BYTES))
  const both = await new Blob([`${file.size}\n`, head, tail]).arrayBuffer()
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', both))
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('')
}
