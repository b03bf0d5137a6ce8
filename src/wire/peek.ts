/** Finds out the name of a command that may be forwarded, and which transaction it belongs to. */
import { BSON } from 'bson'
import { Fault } from '../errors.js'
import type { Frame } from './frame.js'
import { readMessage } from './message.js'

/** `session`: identifies the session of a transaction. */
export type CommandSummary = { name: string; inTransaction: boolean; session?: string }

/** BSON types, https://bsonspec.org/spec.html. */
const DOCUMENT = 3
const BOOLEAN = 8
/** An `lsid` holds a UUID, and in rare cases the hash of a user too. Longer ones are not kept. */
const MAX_SESSION_BYTES = 128

/**
 * Reads the first key, `autocommit` and `lsid` of the body of a message. Everything else is left to the server and is not
 * validated. Throws `message/malformed` if the body cannot be parsed this far.
 */
export function peekCommand(frame: Frame): CommandSummary {
  const { body } = readMessage(frame)
  let name: string | undefined
  let inTransaction = false
  let lsid: Buffer | undefined
  for (const [type, nameOffset, nameLength, offset, length] of elementsOf(body)) {
    const key = body.toString('latin1', nameOffset, nameOffset + nameLength)
    name ??= key
    if (key === 'autocommit') inTransaction ||= type === BOOLEAN && body[offset] === 0
    if (key === 'lsid' && type === DOCUMENT && length <= MAX_SESSION_BYTES)
      lsid = body.subarray(offset, offset + length)
  }
  if (name === undefined) throw new Fault('message/malformed', undefined, { why: 'an empty command' })
  return inTransaction && lsid ? { name, inTransaction, session: lsid.toString('latin1') } : { name, inTransaction }
}

function elementsOf(body: Buffer) {
  try {
    return BSON.onDemand.parseToElements(body, 0)
  } catch (thrown) {
    throw new Fault('message/malformed', undefined, { why: 'not a BSON document' }, thrown)
  }
}
