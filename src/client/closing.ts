/**
 * How connections end. A table maps the requester of the end and the pending work to an action on each socket.
 *
 * Three verbs carry the tables out:
 *
 * - `drain` closes once nothing is pending, for requests that no client should notice.
 * - `closeAfterReply` closes behind the last reply, within a short time limit.
 * - `destroy` closes both sockets at once, whatever is pending. Revocation, eviction, timeouts, broken sockets and
 *   violations of the protocol use it, so they need no row here.
 */
import type { Fault } from '../errors.js'

export type Side = 'client' | 'upstream' | 'proxy'

/** Which side closed first; `fault` unless it was an ordinary end. */
export type CloseReason = { by: Side; fault?: Fault }

/**
 * The action on a socket.
 *
 * - `end` sends the buffered bytes and a FIN, and destroys the socket if its peer does not close in time.
 * - `reset` sends a RST if the peer has received everything, and does the same as `end` otherwise.
 * - `destroy` discards the buffered bytes.
 */
export type SocketAction = 'end' | 'reset' | 'destroy'

/** `why`: the reason to report, if the request itself has none. */
export type Ending = { client: SocketAction; upstream: SocketAction; why?: string }

/**
 * The pending work of a relay; of several kinds, the last one in this list.
 *
 * - `request`: the client has sent the beginning of a request.
 * - `answer`: the proxy itself has a request to answer, such as a hello.
 * - `reply`: the upstream has a request to answer.
 */
export type Pending = 'nothing' | 'request' | 'answer' | 'reply'

/** `wait`: the request is decided again when less is pending. */
export type EndingsByPending = Record<Pending, Ending | 'wait'> & {
  /** After this time of waiting both sockets are destroyed. Milliseconds. */
  maxWaitMS?: number
  /** Time from the last reply to the end, for the reply to arrive. Milliseconds. */
  lingerMS?: number
}

const BOTH_END: Ending = { client: 'end', upstream: 'end' }
/** Nothing of a partial request may run upstream. */
const PARTIAL_REQUEST: Ending = { client: 'destroy', upstream: 'destroy', why: 'ended within a message' }
/**
 * After a FIN, Node's driver considers a pooled connection usable until its own side is closed too, and does not retry a
 * command that fails on it. It notices a reset at once.
 */
const RESET_CLIENT: Ending = { client: 'reset', upstream: 'destroy' }

/**
 * Who requests the end of a relay.
 *
 * - `newPrimary`: the upstream member stepped down. It answers interrupted commands with an error label that makes drivers
 *   retry. So the relay forwards these replies first. After a mere close, some drivers (Node's) do not retry if several
 *   pooled connections close while commands are pending.
 * - `loginExpired`: the login is older than its rule allows.
 * - `shutdown`: the proxy drains; the setting `drain.timeout` limits the wait.
 * - `clientEnd`: the client sent a FIN. It may still wait for the reply to its last request.
 * - `upstreamEnd`: the upstream sent a FIN.
 * - `loginRejected`: a reauthentication failed, and its error reply has been written; or none was attempted.
 */
export type Requester = 'newPrimary' | 'loginExpired' | 'shutdown' | 'clientEnd' | 'upstreamEnd' | 'loginRejected'

/** The endings of a relay, in their order of precedence. */
export const relayEndings: Readonly<Record<Requester, EndingsByPending>> = {
  newPrimary: {
    nothing: RESET_CLIENT,
    request: RESET_CLIENT,
    answer: RESET_CLIENT,
    reply: 'wait',
    maxWaitMS: 100,
    lingerMS: 20,
  },
  loginExpired: { nothing: BOTH_END, request: 'wait', answer: 'wait', reply: 'wait', maxWaitMS: 60_000 },
  shutdown: { nothing: BOTH_END, request: 'wait', answer: 'wait', reply: 'wait' },
  clientEnd: { nothing: BOTH_END, request: PARTIAL_REQUEST, answer: 'wait', reply: 'wait', maxWaitMS: 10_000 },
  upstreamEnd: { nothing: BOTH_END, request: BOTH_END, answer: BOTH_END, reply: BOTH_END },
  loginRejected: { nothing: BOTH_END, request: BOTH_END, answer: BOTH_END, reply: BOTH_END },
}

const PRECEDENCE = Object.keys(relayEndings) as Requester[]

/** A request to end a relay, which may have to wait. */
export type CloseRequest = { requester: Requester; by: Side; fault: Fault | undefined }

/** Adds a request in the order of precedence. */
export function addCloseRequest<R extends CloseRequest>(requests: readonly R[], added: R): R[] {
  return [...requests, added].sort((a, b) => PRECEDENCE.indexOf(a.requester) - PRECEDENCE.indexOf(b.requester))
}

/** The first request that does not have to wait, with its ending; undefined if all of them wait. */
export function findDue<R extends CloseRequest>(
  requests: readonly R[],
  pending: Pending,
): { request: R; ending: Ending } | undefined {
  for (const request of requests) {
    const ending = relayEndings[request.requester][pending]
    if (ending !== 'wait') return { request, ending }
  }
  return undefined
}

/**
 * The reply that an unauthenticated client waits for. `change`: an awaitable hello, which the proxy answers when the
 * topology changes or `maxAwaitTimeMS` has passed.
 */
export type ClientWait = 'nothing' | 'change' | 'answer' | 'login'

/**
 * The endings of an unauthenticated connection, which has no upstream. `newPrimary` concerns monitors only. `wait`: the
 * socket ends behind the answer. `keep`: the connection goes on.
 */
export const unauthenticatedEndings: Readonly<
  Record<'shutdown' | 'newPrimary', Record<ClientWait, 'destroy' | 'wait' | 'keep'>>
> = {
  shutdown: { nothing: 'destroy', change: 'destroy', answer: 'wait', login: 'wait' },
  newPrimary: { nothing: 'destroy', change: 'destroy', answer: 'destroy', login: 'keep' },
}
