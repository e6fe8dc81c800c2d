// A second, recursive Merkle implementation (RFC 6962, 2.1) is the oracle for the iterative one.
import { expect, test } from 'vitest'

import {
  equal,
  fromBase64,
  isConsistent,
  leafHash,
  nodeHash,
  overall,
  parseCheckpoint,
  parseVerifierKey,
  rootFromInclusion,
  toBase64,
  verifyEntry,
  verifyNote,
  verifyStated,
  type Bytes,
  type EntryProof,
} from './verify'

const encode = (text: string) => new TextEncoder().encode(text)

function split(size: number): number {
  let power = 1
  while (power * 2 < size) power *= 2
  return power
}

async function root(leaves: Bytes[]): Promise<Bytes> {
  const [first] = leaves
  if (first === undefined) return new Uint8Array(await crypto.subtle.digest('SHA-256', encode('')))
  if (leaves.length === 1) return leafHash(first)
  const k = split(leaves.length)
  return nodeHash(await root(leaves.slice(0, k)), await root(leaves.slice(k)))
}

async function inclusion(index: number, leaves: Bytes[]): Promise<Bytes[]> {
  if (leaves.length <= 1) return []
  const k = split(leaves.length)
  return index < k
    ? [...(await inclusion(index, leaves.slice(0, k))), await root(leaves.slice(k))]
    : [...(await inclusion(index - k, leaves.slice(k))), await root(leaves.slice(0, k))]
}

async function consistency(m: number, leaves: Bytes[], whole = true): Promise<Bytes[]> {
  if (m === leaves.length) return whole ? [] : [await root(leaves)]
  const k = split(leaves.length)
  return m <= k
    ? [...(await consistency(m, leaves.slice(0, k), whole)), await root(leaves.slice(k))]
    : [...(await consistency(m - k, leaves.slice(k), false)), await root(leaves.slice(0, k))]
}

const LEAVES = Array.from({ length: 33 }, (_, i) => encode(`leaf ${i}`))

test('the hash of an empty leaf is the known one', async () => {
  const hex = [...(await leafHash(encode('')))].map((b) => b.toString(16).padStart(2, '0')).join('')
  expect(hex).toBe('6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d')
})

test('every inclusion proof of every tree up to 33 leaves verifies, and no other', async () => {
  for (const size of [1, 2, 3, 4, 5, 7, 8, 13, 16, 17, 33]) {
    const leaves = LEAVES.slice(0, size)
    const expected = await root(leaves)
    for (let index = 0; index < size; index += 1) {
      const hash = await leafHash(leaves[index] ?? encode(''))
      const path = await inclusion(index, leaves)
      const found = await rootFromInclusion(BigInt(index), BigInt(size), hash, path)
      expect(equal(found, expected)).toBe(true)
      await expect(
        rootFromInclusion(BigInt(index), BigInt(size), hash, [...path, hash]),
      ).rejects.toThrow('too long')
      if (path.length > 0) {
        await expect(
          rootFromInclusion(BigInt(index), BigInt(size), hash, path.slice(1)),
        ).rejects.toThrow('too short')
      }
    }
  }
})

test('consistency proofs verify, altered histories do not', async () => {
  for (let size = 1; size <= 17; size += 1) {
    const leaves = LEAVES.slice(0, size)
    const newer = { size: BigInt(size), root: await root(leaves) }
    for (let m = 1; m <= size; m += 1) {
      const older = { size: BigInt(m), root: await root(LEAVES.slice(0, m)) }
      const path = await consistency(m, leaves)
      expect(await isConsistent(older, newer, path)).toBe(true)
      const forged = { size: BigInt(m), root: await root([encode('x'), ...LEAVES.slice(1, m)]) }
      expect(await isConsistent(forged, newer, path)).toBe(false)
    }
  }
})

async function signedLog(index: number): Promise<EntryProof> {
  const name = 'veritwin.example/log'
  const pair = (await crypto.subtle.generateKey('Ed25519', true, [
    'sign',
    'verify',
  ])) as CryptoKeyPair
  const raw = new Uint8Array(await crypto.subtle.exportKey('raw', pair.publicKey))
  const material = Uint8Array.of(1, ...raw)
  const digest = await crypto.subtle.digest(
    'SHA-256',
    Uint8Array.of(...encode(`${name}\n`), ...material),
  )
  const id = new Uint8Array(digest).slice(0, 4)
  const hex = [...id].map((b) => b.toString(16).padStart(2, '0')).join('')
  const leaves = LEAVES.slice(0, 13)
  const text = `${name}\n13\n${toBase64(await root(leaves))}\n`
  const signature = new Uint8Array(
    await crypto.subtle.sign('Ed25519', pair.privateKey, encode(text)),
  )
  const leaf = leaves[index] ?? encode('')
  return {
    index,
    tree_size: 13,
    leaf: toBase64(leaf),
    leaf_hash: toBase64(await leafHash(leaf)),
    path: (await inclusion(index, leaves)).map(toBase64),
    checkpoint: `${text}\n\u2014 ${name} ${toBase64(Uint8Array.of(...id, ...signature))}\n`,
    vkey: `${name}+${hex}+${toBase64(material)}`,
  }
}

test('an honest entry passes every step', async () => {
  const steps = await verifyEntry(await signedLog(6))
  expect(steps.map((step) => [step.name, step.outcome])).toEqual([
    ['leaf', 'passed'],
    ['root', 'passed'],
    ['checkpoint', 'passed'],
    ['signature', 'passed'],
  ])
  expect(overall(steps)).toBe('passed')
})

test('each forgery fails at its own step', async () => {
  const honest = await signedLog(6)
  const failing = async (proof: EntryProof) =>
    (await verifyEntry(proof)).filter((step) => step.outcome === 'failed').map((step) => step.name)
  expect(await failing({ ...honest, leaf: toBase64(encode('other')) })).toContain('leaf')
  expect(await failing({ ...honest, index: 7 })).toContain('checkpoint')
  expect(await failing({ ...honest, path: honest.path.slice(1) })).toContain('root')
  expect(await failing({ ...honest, vkey: (await signedLog(6)).vkey })).toEqual(['signature'])
  expect(await failing({ ...honest, vkey: 'nonsense' })).toEqual(['signature'])
  const grown = honest.checkpoint.replace('\n13\n', '\n14\n')
  expect(await failing({ ...honest, checkpoint: grown })).toEqual(['checkpoint', 'signature'])
})

test('notes and keys are parsed strictly', async () => {
  expect(() => parseCheckpoint('no signatures')).toThrow('signed note')
  expect(() => parseCheckpoint('o\n01\nAAAA\n\n\u2014 o x\n')).toThrow('not a checkpoint')
  expect(() => fromBase64('*')).toThrow('base64')
  await expect(parseVerifierKey('a+00000000+AQ==')).rejects.toThrow('Ed25519')
  const log = await signedLog(0)
  const key = await parseVerifierKey(log.vkey)
  expect(await verifyNote(log.checkpoint, key)).toBe('passed')
  expect(await verifyNote(log.checkpoint, { ...key, name: 'other' })).toBe('failed')
})

test('a signature holds for what is stated beside it, and for no other value', async () => {
  const log = await signedLog(0)
  const { origin, size, root: hash } = parseCheckpoint(log.checkpoint)
  const stated = { origin, tree_size: Number(size), root_hash: toBase64(hash) }
  const check = (other: Partial<typeof stated>) =>
    verifyStated(log.checkpoint, log.vkey, { ...stated, ...other })
  expect(await check({})).toBe('passed')
  expect(await check({ tree_size: 14 })).toBe('failed')
  expect(await check({ origin: 'veritwin.example/other' })).toBe('failed')
  expect(await check({ root_hash: toBase64(new Uint8Array(32)) })).toBe('failed')
  const renamed = log.checkpoint.replaceAll('veritwin.example/log', 'veritwin.example/other')
  const other = { ...stated, origin: 'veritwin.example/other' }
  expect(await verifyStated(renamed, log.vkey, other)).toBe('failed')
})
