/**
 * The password of a provisioned user, which is derived and never stored, and the mark that proves its creator.
 *
 *     password = HMAC(secret, purpose, ARN, period)
 *     mark     = {fleet, period, clientSource,
 *                 mac:  HMAC(secret, purpose, db, user, fleet),
 *                 seal: HMAC(secret, purpose, db, user, fleet, period, clientSource)}
 *
 * Every replica of the proxy derives all of them. Password and mark are always written in one command, so the secret that
 * verifies a mark and the period in it determine the password. With several secrets, the first creates new passwords and
 * all verify marks, so that a secret can be replaced without locking anyone out.
 *
 * Release 0.1.0 wrote marks without a seal. They prove the creator, but anyone who may change customData could have set
 * their period, for example to a year that never comes, so that the password would never change again.
 */
import { createHmac, timingSafeEqual } from 'node:crypto'
import { Secret } from '../log.js'

/** Minimum length of a master secret in bytes. */
export const MIN_SECRET_BYTES = 32

/** `user`: the canonical ARN. */
export type ProvisionedUser = { db: string; user: string; fleet: string }

/**
 * The customData of a provisioned user. `clientSource`: the networks as written to its restrictions; servers return those
 * in other spellings. `seal`: missing in marks of release 0.1.0.
 */
export type Mark = { fleet: string; period: number; mac: string; clientSource?: readonly string[]; seal?: string }

/**
 * The content of a mark that verifies, with the secret that created it. `isSealed`: whether period and networks are proven,
 * too.
 */
export type VerifiedMark = { secret: Secret; period: number; clientSource: readonly string[]; isSealed: boolean }

/**
 * The period of a moment, as the number of its first second since 1970. Periods therefore stay in order when their length
 * changes, and are the same on every replica. `now` and `periodMS` are in milliseconds.
 */
export function getPeriod(now: number, periodMS: number): number {
  return (Math.floor(now / periodMS) * periodMS) / 1000
}

export function derivePassword(secret: Secret, arn: string, period: number): Secret {
  return new Secret(hmac(secret, 'password', arn, String(period)).toString('base64url'))
}

export function createMark(
  secret: Secret,
  user: ProvisionedUser,
  period: number,
  clientSource: readonly string[] = [],
): Mark {
  const mac = deriveMac(secret, user).toString('base64url')
  const seal = deriveSeal(secret, user, period, clientSource).toString('base64url')
  return { fleet: user.fleet, period, mac, ...(clientSource.length > 0 && { clientSource }), seal }
}

/**
 * Verifies the mark in a user's customData. Returns undefined if this fleet did not create the user, or if the period or the
 * networks are not those that it wrote.
 */
export function verifyMark(
  customData: unknown,
  user: ProvisionedUser,
  secrets: readonly Secret[],
): VerifiedMark | undefined {
  const { fleet, period, mac, clientSource = [], seal } = (customData ?? {}) as Record<string, unknown>
  const periodNumber = Number(period ?? Number.NaN)
  if (fleet !== user.fleet) return undefined
  if (!Number.isSafeInteger(periodNumber) || periodNumber < 0) return undefined
  if (!Array.isArray(clientSource) || clientSource.some(network => typeof network !== 'string')) return undefined
  const secret = secrets.find(secret => isEqualHmac(mac, deriveMac(secret, user)))
  if (!secret) return undefined
  const isSealed = seal !== undefined
  if (isSealed && !isEqualHmac(seal, deriveSeal(secret, user, periodNumber, clientSource))) return undefined
  return { secret, period: periodNumber, clientSource, isSealed }
}

function isEqualHmac(given: unknown, expected: Buffer): boolean {
  if (typeof given !== 'string') return false
  const bytes = Buffer.from(given, 'base64url')
  return bytes.length === expected.length && timingSafeEqual(bytes, expected)
}

function deriveMac(secret: Secret, { db, user, fleet }: ProvisionedUser): Buffer {
  return hmac(secret, 'mark', db, user, fleet)
}

function deriveSeal(
  secret: Secret,
  { db, user, fleet }: ProvisionedUser,
  period: number,
  clientSource: readonly string[],
): Buffer {
  return hmac(secret, 'seal', db, user, fleet, String(period), ...clientSource)
}

/** JSON separates the parts, whatever they contain. The purpose keeps one value from being used as another. */
function hmac(secret: Secret, purpose: 'password' | 'mark' | 'seal', ...parts: string[]): Buffer {
  const text = JSON.stringify(['mongo-iam-proxy', 1, purpose, ...parts])
  return createHmac('sha256', secret.reveal()).update(text).digest()
}
