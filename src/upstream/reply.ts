/** Replies of the upstream to commands of our own, and what an `ok: 0` among them means. */
import type { Document } from 'bson'
import { Fault } from '../errors.js'

/** Codes by which a server says that it is stopping, starting or stepping down: away, not a word about the user. */
const STOPPING = new Set([6, 7, 89, 91, 189, 262, 9001, 10107, 11600, 11602, 13435, 13436])

/**
 * Gives a reply with `ok: 1`. Throws `upstream/unreachable` where the server is stopping, `upstream/authentication-failed` otherwise; the
 * facts hold its code, code name and message, cut short. `details`: what to tell the client for some codes.
 */
export function assertOk(reply: Document, upstream: string, details: Record<number, string> = {}): Document {
  if (Number(reply.ok) === 1) return reply
  const code = Number(reply.code)
  const facts = { upstream, code, codeName: sanitizeText(reply.codeName), errmsg: sanitizeText(reply.errmsg) }
  if (STOPPING.has(code)) throw new Fault('upstream/unreachable', undefined, facts)
  throw new Fault('upstream/authentication-failed', details[code], facts)
}

/** A text of the upstream's as it may stand in our log. */
export function sanitizeText(text: unknown): string | undefined {
  return typeof text === 'string' ? text.slice(0, 200) : undefined
}
