/** Secure randomness, for whoever has it brought in by the door. */
import { randomFillSync } from 'node:crypto'

/** Asking the system costs more than what is asked for, so a page is fetched at a time; no byte of it is given twice. */
const POOL = 4096
const pool = Buffer.alloc(POOL)
let given = POOL

/** So many fresh bytes. */
export function randomBytes(bytes: number): Buffer {
  if (bytes > POOL) return randomFillSync(Buffer.alloc(bytes))
  if (given + bytes > POOL) {
    randomFillSync(pool)
    given = 0
  }
  const fresh = Buffer.from(pool.subarray(given, given + bytes))
  pool.fill(0, given, given + bytes)
  given += bytes
  return fresh
}
