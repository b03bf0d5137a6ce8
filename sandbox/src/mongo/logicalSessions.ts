/**
 * Logical sessions: the last transaction number, the results of its statements, and the open transaction. All members of
 * a replica set share them, so a retried write is recognized after an election.
 */
import { CommandError } from './commandError.js'
import type { Store } from './store.js'
import { Transaction } from './transaction.js'

type Known = {
  number: bigint
  /** The result of each statement of a retryable write, by index. */
  statements: Map<number, unknown>
  state: 'writes' | 'open' | 'committed' | 'aborted'
  transaction?: Transaction
  since: number
}

/** The statements of one command. A statement that threw has no result and runs again. */
export class Statements {
  /** The indexes of the statements that were answered with an earlier result. */
  readonly retried: number[] = []
  readonly #known: Map<number, unknown>

  constructor(known: Map<number, unknown>) {
    this.#known = known
  }

  once<T>(index: number, run: () => T): T {
    if (this.#known.has(index)) {
      this.retried.push(index)
      return this.#known.get(index) as T
    }
    const result = run()
    this.#known.set(index, result)
    return result
  }
}

/** `transactionLifetimeLimitSeconds` of mongod, in ms. */
const LIFETIME = 60_000
/** The largest number of sessions. Beyond it, the least recently used one is dropped. */
const SESSIONS = 10_000

export class LogicalSessions {
  readonly #store: Store
  readonly #random: (size: number) => Buffer
  readonly #now: () => number
  readonly #known = new Map<string, Known>()

  /** `now` in ms. */
  constructor(store: Store, random: (size: number) => Buffer, now: () => number) {
    this.#store = store
    this.#random = random
    this.#now = now
  }

  /** The statements of a retryable write. Throws TransactionTooOld, NoSuchTransaction. */
  statements(key: string, number: bigint): Statements {
    let known = this.#at(key, number)
    if (!known || known.number < number) known = this.#begin(key, number, 'writes')
    if (known.state !== 'writes') throw noSuchTransaction(number)
    return new Statements(known.statements)
  }

  /** Throws TransactionTooOld, Location50911. */
  start(key: string, number: bigint): Transaction {
    const known = this.#at(key, number)
    if (known?.number === number) {
      const message = `Cannot start a transaction at given transaction number ${number}: it was used already`
      throw new CommandError('Location50911', message)
    }
    const transaction = new Transaction(this.#store, this.#random)
    this.#begin(key, number, 'open').transaction = transaction
    return transaction
  }

  /** The open transaction. Throws TransactionTooOld, NoSuchTransaction, TransactionCommitted. */
  open(key: string, number: bigint): Transaction {
    const known = this.#at(key, number)
    if (known?.number === number && known.state === 'committed') {
      throw new CommandError('TransactionCommitted', `Transaction with { txnNumber: ${number} } has been committed.`)
    }
    if (known?.number !== number || !known.transaction) throw noSuchTransaction(number)
    return known.transaction
  }

  /** Applies the transaction. Committing again has no further effect. Throws WriteConflict, NoSuchTransaction. */
  commit(key: string, number: bigint): void {
    const known = this.#at(key, number)
    if (known?.number === number && known.state === 'committed') return
    try {
      this.open(key, number).commit()
      if (known) close(known, 'committed')
    } catch (thrown) {
      this.discard(key, number)
      throw thrown
    }
  }

  /** Throws NoSuchTransaction, TransactionCommitted. */
  abort(key: string, number: bigint): void {
    this.open(key, number)
    this.discard(key, number)
  }

  /** Ends the transaction if it is still open. */
  discard(key: string, number: bigint): void {
    const known = this.#known.get(key)
    if (known?.number === number && known.state === 'open') close(known, 'aborted')
  }

  /** Aborts open transactions when the primary steps down. */
  discardAll(): void {
    for (const known of this.#known.values()) if (known.state === 'open') close(known, 'aborted')
  }

  end(key: string): void {
    this.#known.delete(key)
  }

  #at(key: string, number: bigint): Known | undefined {
    const known = this.#known.get(key)
    if (!known) return undefined
    if (known.number > number) {
      const message = `Cannot use transaction number ${number}: session has moved on to ${known.number}`
      throw new CommandError('TransactionTooOld', message)
    }
    if (known.state === 'open' && this.#now() - known.since > LIFETIME) close(known, 'aborted')
    return known
  }

  #begin(key: string, number: bigint, state: 'writes' | 'open'): Known {
    const known: Known = { number, statements: new Map(), state, since: this.#now() }
    this.#known.delete(key)
    this.#known.set(key, known)
    if (this.#known.size > SESSIONS) {
      const [oldest = ''] = this.#known.keys()
      this.#known.delete(oldest)
    }
    return known
  }
}

function close(known: Known, state: 'committed' | 'aborted'): void {
  known.state = state
  delete known.transaction
}

function noSuchTransaction(number: bigint): CommandError {
  const message = `Given transaction number ${number} does not match any in-progress transactions.`
  return new CommandError('NoSuchTransaction', message)
}
