// Whether a shown reading is what the ledger holds: the record's salted hash leads to the leaf's
// records root, and the record states the device, key, time, value, quality and credential shown.
// The forms are those of docs/reference/ledger.md (leaf version 1, record version 1).
import {
  equal,
  fromBase64,
  leafHash,
  parseHash,
  rootFromInclusion,
  toBase64,
  VerifyError,
  type Bytes,
  type Outcome,
} from './verify'

export type RecordOpening = { sequence: number; salt: string; record: string; path: string[] }
export type Shown = {
  deviceId: string
  key: string
  at: string
  value: unknown
  quality: string
  credentialId: string | null
  receivedAt: string | null
  position: number | null
}
export type RecordStep = { name: 'record' | 'reading'; outcome: Outcome; detail: string }

const LEAF_VERSION = 1
const LEAF_KIND_BATCH = 1
const FIRST_SEQUENCE_AT = 66
const COUNT_AT = 74
const RECORDS_ROOT_AT = 142
const ACT_LENGTH_AT = 174
const SALT_BYTES = 32
/** Fixed fields, submitter key and signature; a batch says nothing more. */
const LEAF_BATCH_BYTES = 176 + 32 + 64

/** `leaf` is the leaf's own bytes, already proven to be in the log. */
export async function verifyRecord(
  leaf: Uint8Array,
  opening: RecordOpening,
  shown: Shown,
): Promise<RecordStep[]> {
  const steps: RecordStep[] = []
  const run = async (name: RecordStep['name'], check: () => Promise<string> | string) => {
    try {
      steps.push({ name, outcome: 'passed', detail: await check() })
    } catch (error) {
      const detail = error instanceof Error ? error.message : String(error)
      steps.push({ name, outcome: 'failed', detail })
    }
  }
  await run('record', () => proveUnderLeaf(leaf, opening))
  await run('reading', () => compare(fromBase64(opening.record), shown))
  return steps
}

async function proveUnderLeaf(leaf: Uint8Array, opening: RecordOpening): Promise<string> {
  const fields = new DataView(leaf.buffer, leaf.byteOffset, leaf.byteLength)
  const isBatch = leaf.length === LEAF_BATCH_BYTES && fields.getUint16(ACT_LENGTH_AT) === 0
  if (!isBatch || leaf[0] !== LEAF_VERSION || leaf[1] !== LEAF_KIND_BATCH) {
    throw new VerifyError('the leaf is not a batch of version 1')
  }
  const sequence = BigInt(opening.sequence)
  const index = sequence - fields.getBigUint64(FIRST_SEQUENCE_AT)
  const count = BigInt(fields.getUint32(COUNT_AT))
  const salt = fromBase64(opening.salt)
  if (salt.length !== SALT_BYTES) throw new VerifyError('the salt must be 32 bytes')
  const hash = await leafHash(message(salt, sequence, fromBase64(opening.record)))
  const root = await rootFromInclusion(index, count, hash, opening.path.map(parseHash))
  if (!equal(root, leaf.subarray(RECORDS_ROOT_AT, ACT_LENGTH_AT))) {
    throw new VerifyError('the record does not lead to the records root of the leaf')
  }
  return toBase64(root)
}

function message(salt: Bytes, sequence: bigint, record: Bytes): Bytes {
  const bytes = new Uint8Array(SALT_BYTES + 8 + record.length)
  bytes.set(salt)
  new DataView(bytes.buffer).setBigUint64(SALT_BYTES, sequence)
  bytes.set(record, SALT_BYTES + 8)
  return bytes
}

function compare(record: Bytes, shown: Shown): string {
  const text = new TextDecoder('utf-8', { fatal: true }).decode(record)
  const stated = JSON.parse(text) as Record<string, unknown>
  const agree = (what: string, holds: boolean) => {
    if (!holds) throw new VerifyError(`the record states another ${what}`)
  }
  agree('kind', stated.v === 1 && stated.kind === 'readings')
  agree('device', stated.device === shown.deviceId)
  agree('credential', shown.credentialId !== null && stated.credential === shown.credentialId)
  agree('log position', stated.position === shown.position)
  const received = shown.receivedAt === null ? null : microseconds(shown.receivedAt)
  agree('time of receipt', stated.received_at_us === received)
  const at = microseconds(shown.at)
  const readings = (stated.readings as [string, number, unknown, string][]).filter(
    ([key, time]) => key === shown.key && time === at,
  )
  agree('key or time', readings.length > 0)
  const found = readings.find(([, , value]) => sameValue(value, shown.value))
  agree('value', found !== undefined)
  agree('quality', found?.[3] === shown.quality)
  return `${shown.key} ${JSON.stringify(shown.value)}`
}

/** RFC 3339 in UTC to microseconds, which still fit into a double. */
function microseconds(at: string): number {
  const fraction = /\.(\d+)Z$/.exec(at)?.[1] ?? ''
  const whole = Date.parse(at.replace(/\.\d+Z$/, 'Z'))
  return whole * 1000 + Number(fraction.padEnd(6, '0').slice(0, 6))
}

/** A JSON value is sealed as its text and shown as what the text says. */
function sameValue(sealed: unknown, shown: unknown): boolean {
  if (typeof shown !== 'object' || shown === null) {
    return sealed === shown || (typeof sealed === 'string' && asJson(sealed) === shown)
  }
  return typeof sealed === 'string' && canonical(asJson(sealed)) === canonical(shown)
}

function asJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function canonical(value: unknown): string {
  return JSON.stringify(value, (_, part: unknown) =>
    typeof part === 'object' && part !== null && !Array.isArray(part)
      ? Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1)))
      : part,
  )
}
