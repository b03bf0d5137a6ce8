/** What is seen of a command that may yet go upstream: its name, and whether it belongs to a transaction. */
import { BSON } from 'bson'
import { Fault } from '../errors.js'
import type { Frame } from './frame.js'
import { readMessage } from './message.js'

export type CommandSummary = { name: string; inTransaction: boolean }

const BOOLEAN = 8

/**
 * Reads the first key of a message's body and its `autocommit`; the rest, whatever a server may make of it, is not
 * judged. Throws `message/malformed` where that cannot be found.
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
