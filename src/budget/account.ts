/**
 * The AWS account that an access key id names, for limits only: anybody can make up a key that names any account.
 *
 * Behind the four letters of its kind, an id of since about 2019 is base32 (A–Z, 2–7) of 10 bytes: one bit that is set,
 * then 40 bits of account number.
 */
const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'
const KEY_ID = /^A[A-Z]{3}([A-Z2-7]{10})[A-Z2-7]{6}$/

/** Twelve digits, or undefined for an id that carries none. */
export function decodeAccountId(accessKeyId: string): string | undefined {
  const first50Bits = KEY_ID.exec(accessKeyId)?.[1]
  if (first50Bits === undefined) return undefined
  let value = 0n
  for (const letter of first50Bits) value = value * 32n + BigInt(ALPHABET.indexOf(letter))
  if (value >> 49n === 0n) return undefined
  const account = (value >> 9n) & 0xff_ffff_ffffn
  return account < 1_000_000_000_000n ? account.toString().padStart(12, '0') : undefined
}
