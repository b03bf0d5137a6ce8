/** Logical sessions and transactions: sessions are taken and mean nothing, transactions need a replica set. */
import { freshUuid } from './bytes.js'
import { CommandError } from './commandError.js'
import type { Commands, Row } from './request.js'
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
  endSessions: taken,
  refreshSessions: taken,
  killSessions: taken,
  killAllSessions: { needs: () => [['killAnySession', { cluster: true }]], run: () => ({}) },
  commitTransaction: { needs: 'login', run: noTransactions },
  abortTransaction: { needs: 'login', run: noTransactions },
}

/** Throws IllegalOperation. */
export function noTransactions(): never {
  const message = 'Transaction numbers are only allowed on a replica set member or mongos'
  throw new CommandError('IllegalOperation', message)
}
