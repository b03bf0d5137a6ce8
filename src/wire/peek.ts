/** Finds out the name of a command that may be forwarded, and whether it belongs to a transaction. */
import { BSON } from 'bson'
import { Fault } from '../errors.js'
import type { Frame } from './frame.js'
import { readMessage } from './message.js'

export type CommandSummary = { name: string; inTransaction: boolean }

/** A BSON type, https://bsonspec.org/spec.html. */
const BOOLEAN = 8

/**
 * Reads the first key and `autocommit` of the body of a message. Everything else is left to the server and is not validated.
 * Throws `message/malformed` if the body cannot be parsed this far.
 */
export function peekCommand(frame: Frame): CommandSummary {
  const { body } = readMessage(frame)
  let name: string | undefined
  let inTransaction = false
  for (const [type, nameOffset, nameLength, offset] of elementsOf(body)) {
    const key = body.toString('latin1', nameOffset, nameOffset + nameLength)
    name ??= key
    if (key === 'autocommit') inTransaction ||= type === BOOLEAN && body[offset] === 0
  }
  if (name === undefined) throw new Fault('message/malformed', undefined, { why: 'an empty command' })
  return { name, inTransaction }
}

function elementsOf(body: Buffer) {
  try {
    return BSON.onDemand.parseToElements(body, 0)
  } catch (thrown) {
    throw new Fault('message/malformed', undefined, { why: 'not a BSON document' }, thrown)
  }
}
