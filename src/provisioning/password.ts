/**
 * What a provisioned user is known by: a password that nobody stores, and a mark that says who made it (R21).
 *
 *     password = HMAC(secret, purpose, ARN, period)        mark = {fleet, period, mac: HMAC(secret, purpose, db, user, fleet)}
 *
 * Every replica of the proxy derives both. Password and mark are always written in one command, so the secret by which a
 * mark verifies and the period in it tell the password. Of several secrets the first makes new ones and all are known, so
 * that a secret is replaced without anybody being locked out.
 */
import { createHmac, timingSafeEqual } from 'node:crypto'
import { Secret } from '../log.js'

/** Least length of a master secret in bytes. */
export const MIN_SECRET_BYTES = 32

/** A database user of the proxy: `user` is the canonical ARN. */
export type ProvisionedUser = { db: string; user: string; fleet: string }

/** `clientSource`: what was written as restrictions with it; servers give those back in spellings of their own. */
export type Mark = { fleet: string; period: number; mac: string; clientSource?: readonly string[] }

/** What a mark that verifies tells: by which of the secrets it was made. */
export type VerifiedMark = { secret: Secret; period: number; clientSource: readonly string[] }

/**
 * The period of a moment (both in milliseconds), known by its first second. So periods stay in order when they become
 * longer or shorter, and are the same on every replica.
 */
export function getPeriod(now: number, periodMS: number): number {
  return (Math.floor(now / periodMS) * periodMS) / 1000
}

export function derivePassword(secret: Secret, arn: string, period: number): Secret {
  return new Secret(hmac(secret, 'password', arn, String(period)).toString('base64url'))
}

export function createMark(
  secret: Secret,
  owned: ProvisionedUser,
  period: number,
  clientSource: readonly string[] = [],
): Mark {
  const mac = macOf(secret, owned).toString('base64url')
  return { fleet: owned.fleet, period, mac, ...(clientSource.length > 0 && { clientSource }) }
}

/** Reads the mark in a user's customData; undefined where this fleet did not make that user. */
export function verifyMark(
  customData: unknown,
  owned: ProvisionedUser,
  secrets: readonly Secret[],
): VerifiedMark | undefined {
  const { fleet, period, mac, clientSource = [] } = (customData ?? {}) as Record<string, unknown>
  const counted = Number(period ?? Number.NaN)
  if (fleet !== owned.fleet || typeof mac !== 'string' || !Number.isSafeInteger(counted) || counted < 0)
    return undefined
  if (!Array.isArray(clientSource) || clientSource.some(one => typeof one !== 'string')) return undefined
  const given = Buffer.from(mac, 'base64url')
  const secret = secrets.find(secret => {
    const expected = macOf(secret, owned)
    return given.length === expected.length && timingSafeEqual(given, expected)
  })
  return secret && { secret, period: counted, clientSource }
}

function macOf(secret: Secret, { db, user, fleet }: ProvisionedUser): Buffer {
  return hmac(secret, 'mark', db, user, fleet)
}

/** JSON keeps the parts apart, whatever is in them, and the purpose keeps one use from being taken for another. */
function hmac(secret: Secret, purpose: 'password' | 'mark', ...parts: string[]): Buffer {
  const text = JSON.stringify(['mongo-iam-proxy', 1, purpose, ...parts])
  return createHmac('sha256', secret.reveal()).update(text).digest()
}
