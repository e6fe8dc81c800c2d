// A batch of three records, hashed as in docs/reference/ledger.md, and what an altered page shows.
import { expect, test } from 'vitest'

import { verifyRecord, type RecordOpening, type Shown } from './record'
import { leafHash, nodeHash, toBase64, type Bytes } from './verify'

const SHOWN: Shown = {
  deviceId: '01900000-0000-7000-8000-000000000001',
  key: 'temperature',
  at: '2026-01-02T03:04:05.123456Z',
  value: 21.5,
  quality: 'good',
  credentialId: '01900000-0000-7000-8000-000000000002',
  receivedAt: '2026-01-02T03:04:06Z',
  position: 77,
}
const RECORD = {
  v: 1,
  kind: 'readings',
  position: 77,
  device: SHOWN.deviceId,
  credential: SHOWN.credentialId,
  received_at_us: 1_767_323_046_000_000,
  readings: [
    ['humidity', 1_767_323_045_123_456, 40, 'good'],
    ['temperature', 1_767_323_045_123_456, 21.5, 'good'],
  ],
}

function salted(sequence: number, record: string): Bytes {
  const text = new TextEncoder().encode(record)
  const bytes = new Uint8Array(40 + text.length)
  bytes.fill(sequence, 0, 32)
  new DataView(bytes.buffer).setBigUint64(32, BigInt(sequence))
  bytes.set(text, 40)
  return bytes
}

async function batch(record = JSON.stringify(RECORD)) {
  const hashes = await Promise.all([
    leafHash(salted(5, 'a')),
    leafHash(salted(6, record)),
    leafHash(salted(7, 'c')),
  ])
  const [first, second, third] = hashes as [Bytes, Bytes, Bytes]
  const leaf = new Uint8Array(176 + 32 + 64)
  const fields = new DataView(leaf.buffer)
  leaf.set([1, 1])
  fields.setBigUint64(66, 5n)
  fields.setUint32(74, 3)
  leaf.set(await nodeHash(await nodeHash(first, second), third), 142)
  const opening: RecordOpening = {
    sequence: 6,
    salt: toBase64(new Uint8Array(32).fill(6)),
    record: toBase64(new TextEncoder().encode(record)),
    path: [toBase64(first), toBase64(third)],
  }
  return { leaf, opening }
}

const failing = async (leaf: Bytes, opening: RecordOpening, shown: Shown) =>
  (await verifyRecord(leaf, opening, shown))
    .filter((step) => step.outcome === 'failed')
    .map((step) => step.name)

test('the shown reading is proven against the records root', async () => {
  const { leaf, opening } = await batch()
  const steps = await verifyRecord(leaf, opening, SHOWN)
  expect(steps.map((step) => [step.name, step.outcome])).toEqual([
    ['record', 'passed'],
    ['reading', 'passed'],
  ])
})

test('whatever a page shows differently is named', async () => {
  const { leaf, opening } = await batch()
  const changes: Partial<Shown>[] = [
    { value: 21.6 },
    { value: '21.5 or so' },
    { at: '2026-01-02T03:04:05.123457Z' },
    { key: 'humidity' },
    { quality: 'bad' },
    { deviceId: SHOWN.credentialId ?? '' },
    { credentialId: null },
    { credentialId: SHOWN.deviceId },
    { receivedAt: '2026-01-02T03:04:07Z' },
    { position: 78 },
  ]
  for (const change of changes) {
    expect(await failing(leaf, opening, { ...SHOWN, ...change })).toEqual(['reading'])
  }
})

test('a record, salt, number or leaf that was altered does not lead to the root', async () => {
  const { leaf, opening } = await batch()
  const lie = JSON.stringify(RECORD).replace('21.5', '99.5')
  const record = toBase64(new TextEncoder().encode(lie))
  expect(await failing(leaf, { ...opening, record }, { ...SHOWN, value: 99.5 })).toEqual(['record'])
  const salt = toBase64(new Uint8Array(32))
  expect(await failing(leaf, { ...opening, salt }, SHOWN)).toEqual(['record'])
  expect(await failing(leaf, { ...opening, sequence: 7 }, SHOWN)).toEqual(['record'])
  expect(await failing(leaf, { ...opening, sequence: 9 }, SHOWN)).toEqual(['record'])
  expect(await failing(leaf.slice(0, 200), opening, SHOWN)).toEqual(['record'])
})

test('a JSON value is compared with what its text says', async () => {
  const sealed = { ...RECORD, readings: [['state', 1_767_323_045_123_456, '{"b":1,"a":2}', 'good']] }
  const { leaf, opening } = await batch(JSON.stringify(sealed))
  const shown = { ...SHOWN, key: 'state' }
  expect(await failing(leaf, opening, { ...shown, value: { a: 2, b: 1 } })).toEqual([])
  expect(await failing(leaf, opening, { ...shown, value: { a: 2, b: 2 } })).toEqual(['reading'])
})
