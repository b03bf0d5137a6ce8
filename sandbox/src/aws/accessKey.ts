/**
 * Access key ids as AWS has created them since 2019: a prefix and 80 bits in base32 that contain the account number.
 *
 *     4 letters | 1 bit: 1 | 40 bits: account | 39 random bits
 */

/** `size` random bytes. */
export type Random = (size: number) => Buffer

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'

/** A new key id of 20 characters: AKIA for long-term keys, ASIA for session keys. `account` has 12 digits. */
export function createAccessKeyId(prefix: 'AKIA' | 'ASIA', account: string, random: Random): string {
  const randomBits = BigInt(`0x${random(5).toString('hex')}`) & ((1n << 39n) - 1n)
  const bits = (1n << 79n) | (BigInt(account) << 39n) | randomBits
  let text = ''
  for (let shift = 75n; shift >= 0n; shift -= 5n) text += ALPHABET[Number((bits >> shift) & 31n)]
  return prefix + text
}

/** The unique id of a user (AIDA) or role (AROA), 21 characters. A name can be reused; its id never is. */
export function createUniqueId(prefix: 'AIDA' | 'AROA', random: Random): string {
  return prefix + [...random(17)].map(byte => ALPHABET[byte & 31]).join('')
}
