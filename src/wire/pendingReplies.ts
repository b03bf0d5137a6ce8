/** The requests of a relay that the upstream has not answered yet, in their order. */
import { type Facts, Fault } from '../errors.js'
import type { ForwardedReply, ForwardedRequest } from './split.js'

/** How many requests a client may send without waiting for replies. Drivers wait for each reply. */
const MAX_PENDING = 10_000

export class PendingReplies {
  readonly #requests: ForwardedRequest[] = []

  get size(): number {
    return this.#requests.length
  }

  /** A request goes upstream. Throws `connection/too-many-pending`. */
  add(request: ForwardedRequest): void {
    if (request.moreToCome) return
    if (this.#requests.push(request) > MAX_PENDING) {
      throw new Fault('connection/too-many-pending')
    }
  }

  /** A reply begins. Throws `upstream/protocol-error` if no request is pending. */
  assertPending(): void {
    if (this.#requests.length === 0) throw protocolError('a reply without a request')
  }

  /** A reply is complete. Returns whether more replies to the same request follow. Throws `upstream/protocol-error`. */
  complete({ requestID, responseTo, moreToCome }: ForwardedReply): boolean {
    const request = this.#requests[0]
    if (request?.requestID !== responseTo) throw protocolError('a reply to another request', { responseTo })
    if (moreToCome && !request.exhaustAllowed) throw protocolError('moreToCome without exhaustAllowed')
    // The next reply of an exhaust stream answers this reply, not the request.
    if (moreToCome) request.requestID = requestID
    else this.#requests.shift()
    return moreToCome
  }
}

function protocolError(why: string, fields: Facts = {}): Fault {
  return new Fault('upstream/protocol-error', undefined, { why, ...fields })
}
