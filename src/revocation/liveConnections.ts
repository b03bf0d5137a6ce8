/**
 * The live connections: every connection that is logged in or about to be, with the match that admitted it.
 *
 * A connection is added as soon as its identity is known, and the deny list is checked after that. A change of the list
 * therefore meets every connection that was checked against the old list.
 *
 * A review visits all connections, since a change may affect any of them. It yields to the event loop every few
 * milliseconds: 20,000 connections at once would block all others for too long. A second review takes over from the first:
 *
 *     review 1 ──▶ slice ─ yield ─▶ slice ─ yield ─▶ slice ─▶ the connections that review 1 had decided about ─▶ done
 *                             └ review 2 begins: it decides from here on
 */
import { Fault } from '../errors.js'
import type { Identity } from '../identity/reply.js'
import { isSameDatabaseUser, type Match } from '../users/match.js'

export type LiveConnection = {
  /** The identity of the last login. A reauthentication may use another session of the same role. */
  identity: Identity
  accessKeyId: string
  /** The client's address. */
  readonly peer: string
  /** What admitted the connection; undefined until that is decided. */
  match: Match | undefined
  destroy(fault: Fault): void
}

/** The current match of a connection; undefined or a fault if it must close. */
export type ReviewConnection = (connection: LiveConnection) => Match | undefined | Fault

export type LiveConnectionsOptions = {
  /** Milliseconds. */
  now(): number
  yieldToEventLoop(): Promise<void>
}

/** The longest time without a yield, in milliseconds. */
const SLICE_MS = 5

export class LiveConnections {
  readonly #options: LiveConnectionsOptions
  /** Each connection with the number of the last review that decided about it. */
  readonly #connections = new Map<LiveConnection, number>()
  #newestReview = 0
  #decide: ReviewConnection = ({ match }) => match
  #isReviewing = false
  #reviews: Promise<readonly Fault[]> = Promise.resolve([])

  constructor(options: LiveConnectionsOptions) {
    this.#options = options
  }

  /** Adds a connection until the returned function is called. */
  add(connection: LiveConnection): () => void {
    this.#connections.set(connection, this.#newestReview)
    return () => void this.#connections.delete(connection)
  }

  get size(): number {
    return this.#connections.size
  }

  /** The canonical ARNs of all principals that have a connection. */
  principals(): Set<string> {
    const arns = new Set<string>()
    for (const { identity } of this.#connections.keys()) arns.add(identity.canonical)
    return arns
  }

  some(test: (connection: LiveConnection) => boolean): boolean {
    for (const connection of this.#connections.keys()) if (test(connection)) return true
    return false
  }

  /**
   * Decides about every connection again. Closes a connection with `login/revoked` if it gets a fault, no match, another
   * database user, or a shorter maximum age. A connection whose login is not decided yet closes only on a fault.
   *
   * Skips connections added after the call: their login saw the change. Resolves once the newest review has decided about
   * all connections, with the faults of all that the reviews in progress have closed.
   */
  review(decide: ReviewConnection): Promise<readonly Fault[]> {
    this.#newestReview += 1
    this.#decide = decide
    if (!this.#isReviewing) this.#reviews = this.#reviewAll()
    return this.#reviews
  }

  async #reviewAll(): Promise<readonly Fault[]> {
    const faults: Fault[] = []
    this.#isReviewing = true
    let sliceStart = this.#options.now()
    for (let pass = 0; pass !== this.#newestReview; ) {
      pass = this.#newestReview
      for (const [connection, decidedBy] of this.#connections) {
        if (decidedBy === this.#newestReview) continue
        // If the clock is set back, the slice cannot be measured, so it ends.
        if (Math.abs(this.#options.now() - sliceStart) >= SLICE_MS) {
          await this.#options.yieldToEventLoop()
          sliceStart = this.#options.now()
          if (!this.#connections.has(connection)) continue
        }
        const fault = this.#reviewOne(connection)
        if (fault) faults.push(fault)
      }
    }
    this.#isReviewing = false
    return faults
  }

  /** Returns the fault with which the connection was closed, if it was. */
  #reviewOne(connection: LiveConnection): Fault | undefined {
    this.#connections.set(connection, this.#newestReview)
    const result = this.#decide(connection)
    const why = findRevocationReason(connection.match, result)
    if (why === undefined) {
      if (connection.match && result && !(result instanceof Fault)) connection.match = result
      return undefined
    }
    this.#connections.delete(connection)
    const fault = createRevokedFault(why, result)
    connection.destroy(fault)
    return fault
  }
}

function createRevokedFault(why: string, result: ReturnType<ReviewConnection>): Fault {
  if (!(result instanceof Fault)) return new Fault('login/revoked', undefined, { why })
  const denial = result.data('login/denied')?.denial
  return new Fault('login/revoked', undefined, { why, cause: result.kind, denial }, result)
}

/** Why a connection must close; undefined if it may stay. */
function findRevocationReason(previous: Match | undefined, current: ReturnType<ReviewConnection>): string | undefined {
  if (current instanceof Fault) return current.message
  if (previous === undefined) return undefined
  if (current === undefined) return 'no rule or directory user names this principal any more'
  if (!isSameDatabaseUser(previous, current)) return 'the principal has another database user now'
  // The age of a login counts from its start, by the rule of that time.
  const { maxAgeMS: before = Number.POSITIVE_INFINITY } = previous
  return (current.maxAgeMS ?? before) < before ? 'the maximum age of the login is shorter now' : undefined
}
