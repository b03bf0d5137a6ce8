/** The ledger of a relay: requests that the upstream has yet to answer, in their order. */
import { Fault } from '../errors.js'
import type { ForwardedReply, ForwardedRequest } from './split.js'

/** Requests that a client may have sent ahead of their replies. Drivers wait for each. */
const AHEAD = 10_000

export class PendingReplies {
  readonly #owed: ForwardedRequest[] = []

  get size(): number {
    return this.#owed.length
  }

  /** A request goes upstream. Throws `connection/write-timeout` where there are too many. */
  add(request: ForwardedRequest): void {
    if (request.moreToCome) return
    if (this.#owed.push(request) > AHEAD) {
      throw new Fault('connection/write-timeout', undefined, { why: 'too many requests ahead of replies' })
    }
  }

  /** A reply is on its way. Throws `upstream/protocol-error` where nobody is owed one. */
  assertPending(): void {
    if (this.#owed.length === 0) throw malformed('a reply that nobody asked for')
  }

  /** A reply is through. True where it goes on, as a stream does. Throws `upstream/protocol-error`. */
  complete({ requestID, responseTo, moreToCome }: ForwardedReply): boolean {
    const due = this.#owed[0]
    if (due?.requestID !== responseTo) throw malformed('a reply to another request', { responseTo })
    if (moreToCome && !due.exhaustAllowed) throw malformed('a stream that nobody asked for')
    if (moreToCome)
      due.requestID = requestID // which the next reply answers
    else this.#owed.shift()
    return moreToCome
  }
}

function malformed(why: string, facts = {}): Fault {
  return new Fault('upstream/protocol-error', undefined, { why, ...facts })
}
