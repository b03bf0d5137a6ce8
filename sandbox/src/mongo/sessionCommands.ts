/** Commands about logical sessions, and the end of transactions. A standalone accepts sessions but has no transactions. */

import type { Document } from 'bson'
import { createUuid } from './bytes.js'
import { CommandError } from './commandError.js'
import { parseSession, toSessionKey } from './memberCommands.js'
import type { CommandDefinition, Commands, Request } from './request.js'
import { toInteger } from './statistics.js'

const taken: CommandDefinition = { requires: 'authentication', run: () => ({}) }

export const sessionCommands: Commands = {
  startSession: {
    requires: 'authentication',
    run: ({ instance }) => ({
      id: { id: createUuid(instance.random) },
      timeoutMinutes: toInteger(30),
    }),
  },
  endSessions: { requires: 'authentication', run: end },
  refreshSessions: taken,
  killSessions: { requires: 'authentication', run: end },
  killAllSessions: { requires: () => [['killAnySession', { cluster: true }]], run: () => ({}) },
  commitTransaction: { requires: 'authentication', run: ending('commit') },
  abortTransaction: { requires: 'authentication', run: ending('abort') },
}

function end(request: Request): Document {
  const lsids: unknown = request.body[request.name]
  if (!Array.isArray(lsids)) throw new CommandError('TypeMismatch', `BSON field '${request.name}' is the wrong type`)
  for (const lsid of lsids) request.instance.replica?.set.sessions.end(toSessionKey(request, lsid))
  return {}
}

function ending(how: 'commit' | 'abort'): (request: Request) => Document {
  return request => {
    const { replica } = request.instance
    if (!replica) throw noTransactions()
    const { key, number } = parseSession(request)
    replica.set.sessions[how](key, number)
    return {}
  }
}

/** Throws IllegalOperation. */
export function rejectTransactions({ txnNumber, startTransaction, autocommit }: Document): void {
  if (txnNumber !== undefined || startTransaction !== undefined || autocommit !== undefined) throw noTransactions()
}

function noTransactions(): CommandError {
  const message = 'Transaction numbers are only allowed on a replica set member or mongos'
  return new CommandError('IllegalOperation', message)
}
