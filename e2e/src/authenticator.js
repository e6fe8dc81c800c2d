// What an authenticator app shows.
import { createHmac } from 'node:crypto'

/** A code of RFC 6238 for a secret in base 32. */
export function code(secret, later = 0) {
  const letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'
  const bits = [...secret].map((c) => letters.indexOf(c).toString(2).padStart(5, '0')).join('')
  const bytes = bits.match(/.{8}/g).map((octet) => parseInt(octet, 2))
  const step = Buffer.alloc(8)
  step.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 30_000) + later))
  const tag = createHmac('sha1', Buffer.from(bytes)).update(step).digest()
  const number = tag.readUInt32BE(tag[19] & 15) & 0x7fffffff
  return String(number % 1_000_000).padStart(6, '0')
}
