// Verification of ledger entries in the reader's own browser, in one file without dependencies:
// RFC 6962 hashing (SHA-256 by WebCrypto), inclusion and consistency proofs (RFC 9162, 2.1.3.2
// and 2.1.4.2), C2SP signed notes and checkpoints (Ed25519 by WebCrypto). It trusts no server
// answer: every result is recomputed from bytes.

export type Bytes = Uint8Array<ArrayBuffer>
export type Checkpoint = { origin: string; size: bigint; root: Bytes; note: string }
export type VerifierKey = { name: string; id: Bytes; publicKey: Bytes }
export type Outcome = 'passed' | 'failed' | 'unavailable'
export type StepName = 'leaf' | 'root' | 'checkpoint' | 'signature'
export type Step = { name: StepName; outcome: Outcome; detail: string }
export type EntryProof = {
  index: number
  tree_size: number
  leaf: string
  leaf_hash: string
  path: string[]
  checkpoint: string
  vkey: string
}

const ALGORITHM_ED25519 = 0x01
const HASH_BYTES = 32
/** A path longer than this cannot belong to a tree of 2^63 leaves. */
const PATH_MAX = 63

export class VerifyError extends Error {}

export function fromBase64(text: string): Bytes {
  let binary: string
  try {
    binary = atob(text)
  } catch {
    throw new VerifyError('not base64')
  }
  return Uint8Array.from(binary, (character) => character.charCodeAt(0))
}

export function toBase64(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes))
}

/** Hashes arrive as base64 or as hex; 32 bytes either way. */
export function parseHash(text: string): Bytes {
  const hash = /^[0-9a-f]{64}$/i.test(text) ? fromHex(text) : fromBase64(text)
  if (hash.length !== HASH_BYTES) throw new VerifyError('a hash must be 32 bytes')
  return hash
}

export function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i])
}

export async function leafHash(leaf: Uint8Array): Promise<Bytes> {
  return sha256([Uint8Array.of(0), leaf])
}

export async function nodeHash(left: Uint8Array, right: Uint8Array): Promise<Bytes> {
  return sha256([Uint8Array.of(1), left, right])
}

/** The root that a leaf and its path imply (RFC 9162, 2.1.3.2). */
export async function rootFromInclusion(
  index: bigint,
  size: bigint,
  leaf: Bytes,
  path: Bytes[],
): Promise<Bytes> {
  if (index < 0n || index >= size) throw new VerifyError('the index lies outside the tree')
  if (path.length > PATH_MAX) throw new VerifyError('the path is too long')
  let node = index
  let last = size - 1n
  let root = leaf
  for (const sibling of path) {
    if (last === 0n) throw new VerifyError('the path is too long')
    if ((node & 1n) === 1n || node === last) {
      root = await nodeHash(sibling, root)
      while ((node & 1n) === 0n && node !== 0n) {
        node >>= 1n
        last >>= 1n
      }
    } else {
      root = await nodeHash(root, sibling)
    }
    node >>= 1n
    last >>= 1n
  }
  if (last !== 0n) throw new VerifyError('the path is too short')
  return root
}

/** True when the larger tree extends the smaller one (RFC 9162, 2.1.4.2). */
export async function isConsistent(
  older: { size: bigint; root: Bytes },
  newer: { size: bigint; root: Bytes },
  path: Bytes[],
): Promise<boolean> {
  if (older.size > newer.size || path.length > 2 * PATH_MAX) return false
  if (older.size === newer.size) return path.length === 0 && equal(older.root, newer.root)
  if (older.size === 0n) return path.length === 0
  const powerOfTwo = (older.size & (older.size - 1n)) === 0n
  const steps = powerOfTwo ? [older.root, ...path] : [...path]
  let node = older.size - 1n
  let last = newer.size - 1n
  while ((node & 1n) === 1n) {
    node >>= 1n
    last >>= 1n
  }
  const first = steps.shift()
  if (first === undefined) return false
  let oldRoot = first
  let newRoot = first
  for (const sibling of steps) {
    if (last === 0n) return false
    if ((node & 1n) === 1n || node === last) {
      oldRoot = await nodeHash(sibling, oldRoot)
      newRoot = await nodeHash(sibling, newRoot)
      while ((node & 1n) === 0n && node !== 0n) {
        node >>= 1n
        last >>= 1n
      }
    } else {
      newRoot = await nodeHash(newRoot, sibling)
    }
    node >>= 1n
    last >>= 1n
  }
  return last === 0n && equal(oldRoot, older.root) && equal(newRoot, newer.root)
}

/** C2SP tlog-checkpoint: origin, size, root, then signatures. */
export function parseCheckpoint(note: string): Checkpoint {
  const [origin, size, root] = splitNote(note).text.split('\n')
  if (!origin || size === undefined || root === undefined || !/^(0|[1-9]\d{0,18})$/.test(size)) {
    throw new VerifyError('not a checkpoint: expected origin, tree size and root hash')
  }
  const hash = fromBase64(root)
  if (hash.length !== HASH_BYTES) throw new VerifyError('the root hash must be 32 bytes')
  return { origin, size: BigInt(size), root: hash, note }
}

/** C2SP signed-note verifier key: NAME+HEX KEY ID+BASE64(algorithm, key). */
export async function parseVerifierKey(vkey: string): Promise<VerifierKey> {
  const match = /^([^\s+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)$/.exec(vkey.trim())
  const [, name, idHex, encoded] = match ?? []
  if (name === undefined || idHex === undefined || encoded === undefined) {
    throw new VerifyError('not a verifier key: expected NAME+KEYID+KEY')
  }
  const material = fromBase64(encoded)
  if (material[0] !== ALGORITHM_ED25519 || material.length !== 1 + HASH_BYTES) {
    throw new VerifyError('the verifier key is not Ed25519')
  }
  const id = (await sha256([new TextEncoder().encode(`${name}\n`), material])).slice(0, 4)
  if (!equal(id, fromHex(idHex))) throw new VerifyError('the key id does not match the key')
  return { name, id, publicKey: material.slice(1) }
}

/** Whether the key signed the note. "unavailable": this browser has no Ed25519. */
export async function verifyNote(note: string, key: VerifierKey): Promise<Outcome> {
  const { text, signatures } = splitNote(note)
  const message = new TextEncoder().encode(text)
  for (const line of signatures) {
    const match = /^\u2014 (\S+) (\S+)$/.exec(line)
    if (match?.[1] !== key.name || match[2] === undefined) continue
    const signed = fromBase64(match[2])
    if (!equal(signed.slice(0, 4), key.id)) continue
    try {
      const imported = await crypto.subtle.importKey('raw', key.publicKey, 'Ed25519', false, [
        'verify',
      ])
      const valid = await crypto.subtle.verify('Ed25519', imported, signed.slice(4), message)
      return valid ? 'passed' : 'failed'
    } catch {
      return 'unavailable'
    }
  }
  return 'failed'
}

/** What is said of a checkpoint beside it. */
export type Stated = { origin: string; tree_size: number; root_hash: string }

/** Whether the key of this very log signed the checkpoint, and the checkpoint says what is stated. */
export async function verifyStated(note: string, vkey: string, stated: Stated): Promise<Outcome> {
  const checkpoint = parseCheckpoint(note)
  const key = await parseVerifierKey(vkey)
  const agrees =
    key.name === checkpoint.origin &&
    checkpoint.origin === stated.origin &&
    checkpoint.size === BigInt(stated.tree_size) &&
    equal(checkpoint.root, parseHash(stated.root_hash))
  return agrees ? verifyNote(note, key) : 'failed'
}

/** Everything a reader can check about one entry: leaf, path, checkpoint, signature. */
export async function verifyEntry(proof: EntryProof): Promise<Step[]> {
  const steps: Step[] = []
  const run = async (
    name: StepName,
    check: () => Promise<{ outcome: Outcome; detail: string }>,
  ) => {
    try {
      steps.push({ name, ...(await check()) })
    } catch (error) {
      const detail = error instanceof Error ? error.message : String(error)
      steps.push({ name, outcome: 'failed', detail })
    }
  }
  if (globalThis.crypto?.subtle === undefined) {
    return [{ name: 'leaf', outcome: 'unavailable', detail: 'WebCrypto needs a secure context' }]
  }
  let root: Bytes | null = null
  let leaf: Bytes | null = null
  await run('leaf', async () => {
    leaf = await leafHash(fromBase64(proof.leaf))
    return judge(equal(leaf, parseHash(proof.leaf_hash)), toBase64(leaf))
  })
  await run('root', async () => {
    if (leaf === null) throw new VerifyError('no leaf hash')
    const path = proof.path.map(parseHash)
    root = await rootFromInclusion(BigInt(proof.index), BigInt(proof.tree_size), leaf, path)
    return { outcome: 'passed', detail: toBase64(root) }
  })
  await run('checkpoint', async () => {
    const checkpoint = parseCheckpoint(proof.checkpoint)
    const agrees =
      root !== null && checkpoint.size === BigInt(proof.tree_size) && equal(checkpoint.root, root)
    return judge(agrees, `${checkpoint.origin}, ${checkpoint.size}`)
  })
  await run('signature', async () => {
    const key = await parseVerifierKey(proof.vkey)
    const checkpoint = parseCheckpoint(proof.checkpoint)
    if (key.name !== checkpoint.origin) throw new VerifyError('the key names another log')
    return { outcome: await verifyNote(proof.checkpoint, key), detail: key.name }
  })
  return steps
}

/** One word for all steps: a failure outweighs what could not be checked. */
export function overall(steps: { outcome: Outcome }[]): Outcome {
  if (steps.length === 0 || steps.some((step) => step.outcome === 'failed')) return 'failed'
  return steps.some((step) => step.outcome === 'unavailable') ? 'unavailable' : 'passed'
}

function judge(passed: boolean, detail: string): { outcome: Outcome; detail: string } {
  return { outcome: passed ? 'passed' : 'failed', detail }
}

function splitNote(note: string): { text: string; signatures: string[] } {
  const end = note.lastIndexOf('\n\n')
  if (end < 0) throw new VerifyError('not a signed note: no empty line before the signatures')
  const signatures = note
    .slice(end + 2)
    .split('\n')
    .filter((line) => line !== '')
  return { text: note.slice(0, end + 1), signatures }
}

function fromHex(text: string): Bytes {
  const bytes = new Uint8Array(text.length / 2)
  for (let i = 0; i < bytes.length; i += 1) {
    bytes[i] = Number.parseInt(text.slice(2 * i, 2 * i + 2), 16)
  }
  return bytes
}

async function sha256(parts: Uint8Array[]): Promise<Bytes> {
  const joined = new Uint8Array(parts.reduce((total, part) => total + part.length, 0))
  let offset = 0
  for (const part of parts) {
    joined.set(part, offset)
    offset += part.length
  }
  return new Uint8Array(await crypto.subtle.digest('SHA-256', joined))
}
