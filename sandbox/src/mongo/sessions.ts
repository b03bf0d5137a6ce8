/** Logical sessions and the ends of transactions. A server of its own takes sessions, and has no transactions. */

import type { Document } from 'bson'
import { freshUuid } from './bytes.js'
import { CommandError } from './commandError.js'
import { sessionKey, sessionOf } from './replica.js'
import type { Commands, Request, Row } from './request.js'
import { whole } from './statistics.js'

const taken: Row = { needs: 'login', run: () => ({}) }

export const sessions: Commands = {
  startSession: {
    needs: 'login',
    run: ({ instance }) => ({
      id: { id: freshUuid(instance.random) },
      timeoutMinutes: whole(30),
    }),
  },
  endSessions: { needs: 'login', run: end },
  refreshSessions: taken,
  killSessions: { needs: 'login', run: end },
  killAllSessions: { needs: () => [['killAnySession', { cluster: true }]], run: () => ({}) },
  commitTransaction: { needs: 'login', run: ending('commit') },
  abortTransaction: { needs: 'login', run: ending('abort') },
}

function end(request: Request): Document {
  const lsids: unknown = request.body[request.name]
  if (!Array.isArray(lsids)) throw new CommandError('TypeMismatch', `BSON field '${request.name}' is the wrong type`)
  for (const lsid of lsids) request.instance.replica?.set.sessions.end(sessionKey(request, lsid))
  return {}
}

function ending(how: 'commit' | 'abort'): (request: Request) => Document {
  return request => {
    const { replica } = request.instance
    if (!replica) throw noTransactions()
    const { key, number } = sessionOf(request)
    replica.set.sessions[how](key, number)
    return {}
  }
}

/** Throws IllegalOperation. */
export function refuseTransactions({ txnNumber, startTransaction, autocommit }: Document): void {
  if (txnNumber !== undefined || startTransaction !== undefined || autocommit !== undefined) throw noTransactions()
}

function noTransactions(): CommandError {
  const message = 'Transaction numbers are only allowed on a replica set member or mongos'
  return new CommandError('IllegalOperation', message)
}
