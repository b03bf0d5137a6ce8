/**
 * Decodes the AWS account id that an access key id contains. Use it for limits only: anyone can make up a key id that
 * names any account.
 *
 * Key ids issued since about 2019 have a four-letter prefix, followed by base32 (A–Z, 2–7). The first 10 letters after
 * the prefix are 50 bits: one bit that is always set, 40 bits of account id, 9 other bits.
 */
const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'
const KEY_ID = /^A[A-Z]{3}([A-Z2-7]{10})[A-Z2-7]{6}$/

/** Twelve digits, or undefined for a key id that contains no account id. */
export function decodeAccountId(accessKeyId: string): string | undefined {
  const first50Bits = KEY_ID.exec(accessKeyId)?.[1]
  if (first50Bits === undefined) return undefined
  let value = 0n
  for (const letter of first50Bits) value = value * 32n + BigInt(ALPHABET.indexOf(letter))
  if (value >> 49n === 0n) return undefined
  const account = (value >> 9n) & 0xff_ffff_ffffn
  return account < 1_000_000_000_000n ? account.toString().padStart(12, '0') : undefined
}
