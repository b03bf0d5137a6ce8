/** Cryptographically secure random bytes. Modules take `randomBytes` as an argument, so that tests can pass their own. */
import { randomFillSync } from 'node:crypto'

/** A system call costs more than the bytes of one nonce, so fetch this many bytes at a time. */
const POOL_BYTES = 4096
const pool = Buffer.alloc(POOL_BYTES)
let used = POOL_BYTES

/** Returns a new buffer of random bytes. No byte of the pool is returned twice, and returned bytes are erased from it. */
export function randomBytes(size: number): Buffer {
  if (size > POOL_BYTES) return randomFillSync(Buffer.alloc(size))
  if (used + size > POOL_BYTES) {
    randomFillSync(pool)
    used = 0
  }
  const bytes = Buffer.from(pool.subarray(used, used + size))
  pool.fill(0, used, used + size)
  used += size
  return bytes
}
