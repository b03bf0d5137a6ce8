/**
 * The transactions that one connection has begun and not ended, as far as its commands show. Pure.
 *
 * Each command of a transaction carries `autocommit: false` and its session. Transactions of several sessions may share a
 * pooled connection, with other commands between theirs, so each session is counted separately.
 */
import type { CommandSummary } from '../wire/peek.js'

/** The last command of a transaction. */
const ENDS = new Set(['commitTransaction', 'abortTransaction'])
/** Bounds the memory of a connection. Drivers use a connection for one operation at a time. */
const MAX_SESSIONS = 100

export class OpenTransactions {
  readonly #sessions = new Set<string>()
  #mayBeOpen = false

  /** Whether a transaction is open, or may be. */
  get areOpen(): boolean {
    return this.#mayBeOpen || this.#sessions.size > 0
  }

  /** `command`: undefined if it could not be read. It then counts as part of a transaction until the next command. */
  record(command: CommandSummary | undefined): void {
    this.#mayBeOpen = command === undefined
    if (!command?.inTransaction) return
    const { name, session = '' } = command
    if (ENDS.has(name)) this.#sessions.delete(session)
    else if (this.#sessions.size < MAX_SESSIONS) this.#sessions.add(session)
  }
}
