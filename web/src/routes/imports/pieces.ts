// A file of readings in pieces of whole rows, the same ones each time: what the platform has taken
// is not sent again.
export type Form = 'csv' | 'ndjson' | 'line_protocol' | 'parquet'

export const FORMS: Form[] = ['csv', 'ndjson', 'line_protocol', 'parquet']

/** Bytes of a piece of text at most. A Parquet file is one piece. */
export const PIECE_BYTES = 4 * 1024 * 1024
/** How much of a text is shown before it is imported. */
const SAMPLE_BYTES = 512 * 1024
/** How much of a text says what stands between its columns. */
const HEADER_BYTES = 64 * 1024
/** What may stand between the columns of a CSV file; the first one where nothing tells. */
const DELIMITERS = [',', ';', '\t', '|']

const QUOTE = 0x22
const BREAK = 0x0a
const RETURN = 0x0d

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

/** What a file is written in, and what stands between the columns of one that is CSV. */
export type Written = { form: Form; delimiter: string }

/** What stands between the columns that the first line names. */
export function delimiterOf(text: string): string {
  const line = text.split(/[\r\n]/, 1)[0] ?? ''
  const bare = line.replace(/"[^"]*"/g, '')
  const counted = DELIMITERS.map((one) => ({ one, count: bare.split(one).length }))
  return counted.reduce((best, next) => (next.count > best.count ? next : best)).one
}

/** What stands between the columns of a file. */
export async function sniff(file: Blob): Promise<string> {
  return delimiterOf(await file.slice(0, HEADER_BYTES).text())
}

/** Behind the last row that ends in these bytes; 0 where none does. */
export function cutOf({ form, delimiter }: Written, bytes: Uint8Array): number {
  const between = delimiter.charCodeAt(0)
  let cut = 0
  let quoted = false
  let begins = true
  // A quote inside of quotes ends them, unless another one follows.
  let ended = false
  for (let index = 0; index < bytes.length; index += 1) {
    const byte = bytes[index]
    if (byte === BREAK && !quoted) cut = index + 1
    if (form !== 'csv') continue
    if (quoted) {
      ended = byte === QUOTE
      quoted = !ended
    } else {
      quoted = byte === QUOTE && (begins || ended)
      ended = false
    }
    begins = !quoted && !ended && (byte === BREAK || byte === RETURN || byte === between)
  }
  return cut
}

export type Piece = { content: Blob; end: number; isLast: boolean }

/** The pieces of a file, one at a time; null where a row is longer than a piece. */
export async function* pieces(
  file: Blob,
  written: Written,
  size = PIECE_BYTES,
): AsyncGenerator<Piece | null> {
  if (written.form === 'parquet' || file.size <= size) {
    yield { content: file, end: file.size, isLast: true }
    return
  }
  let from = 0
  while (from < file.size) {
    const rest = file.slice(from, from + size)
    const isLast = from + rest.size >= file.size
    const cut = isLast ? rest.size : cutOf(written, new Uint8Array(await rest.arrayBuffer()))
    if (cut === 0) {
      yield null
      return
    }
    yield { content: rest.slice(0, cut), end: from + cut, isLast }
    from += cut
  }
}

/** The beginning of a file, in whole rows. */
export async function sampleOf(file: Blob, written: Written): Promise<Blob> {
  if (written.form === 'parquet' || file.size <= SAMPLE_BYTES) return file
  const head = file.slice(0, SAMPLE_BYTES)
  return head.slice(0, cutOf(written, new Uint8Array(await head.arrayBuffer())))
}

async function sha256(bytes: BufferSource): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await crypto.subtle.digest('SHA-256', bytes))
}

/** Tells this file from every other one: the hash of the hashes of its parts, all of them. */
export async function fingerprintOf(file: Blob, size = PIECE_BYTES): Promise<string> {
  const hashes: Uint8Array<ArrayBuffer>[] = []
  for (let from = 0; from < file.size; from += size) {
    hashes.push(await sha256(await file.slice(from, from + size).arrayBuffer()))
  }
  const digest = await sha256(await new Blob(hashes).arrayBuffer())
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('')
}
