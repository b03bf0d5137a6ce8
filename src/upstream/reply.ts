/** Replies to the proxy's own commands. */
import type { Document } from 'bson'
import { Fault } from '../errors.js'

/** Codes of a server that stops, starts, steps down or has no majority yet. They say nothing about the user. */
const UNAVAILABLE_CODES = new Set([6, 7, 89, 91, 134, 189, 262, 9001, 10058, 10107, 11600, 11602, 13435, 13436])

/** Upstream texts are cut to this length in the log. */
const MAX_TEXT_LENGTH = 200

/**
 * Returns the reply if its `ok` is 1. Throws `upstream/unreachable` if the server is not available, otherwise
 * `upstream/authentication-failed`, with its code, code name and message as data. `details`: texts for the client, by code.
 */
export function assertOk(reply: Document, upstream: string, details: Record<number, string> = {}): Document {
  if (Number(reply.ok) === 1) return reply
  const code = Number(reply.code)
  const fields = { upstream, code, codeName: sanitizeText(reply.codeName), errmsg: sanitizeText(reply.errmsg) }
  if (UNAVAILABLE_CODES.has(code)) throw new Fault('upstream/unreachable', undefined, fields)
  throw new Fault('upstream/authentication-failed', details[code], fields)
}

/**
 * Returns the reply to hello if its `ok` is 1. Throws `upstream/unreachable`, like the monitors: hello concerns no user, so
 * whatever the error is, the database user was not rejected.
 */
export function assertHelloOk(hello: Document, upstream: string): Document {
  if (Number(hello.ok) === 1) return hello
  const { code, codeName, errmsg } = hello
  throw new Fault('upstream/unreachable', 'the member answered hello with an error', {
    upstream,
    code: Number(code),
    codeName: sanitizeText(codeName),
    errmsg: sanitizeText(errmsg),
  })
}

/** A text from the upstream, cut for the log. Undefined for a value of another type. */
export function sanitizeText(text: unknown): string | undefined {
  return typeof text === 'string' ? text.slice(0, MAX_TEXT_LENGTH) : undefined
}
