/** A connection that is logged in upstream, with its entry among the live connections. */
import type { Socket } from 'node:net'
import type { Document } from 'bson'
import type { LiveConnection } from '../revocation/liveConnections.js'
import type { PrimaryTerm } from '../upstream/primaryTerm.js'
import type { ReadBuffer } from '../upstream/readBuffer.js'

/** MongoDB's own limit. */
const MAX_MESSAGE_BYTES = 48_000_000

/** What a login upstream results in. */
export type AuthenticatedUpstream = {
  /** Paused and half-open capable. */
  socket: Socket
  /** Reads the socket. */
  readBuffer: Pick<ReadBuffer, 'setConsumer'>
  /** Bytes that were read after the last reply of the login. */
  rest: Buffer
  /** The upstream's reply to hello. */
  hello: Document
  /** The session ends with this term. */
  term: PrimaryTerm
  /** The member, as host:port. */
  address: string
}

/** Names a session upstream, so that it can be found in the log of MongoDB. `connectionId`: null if the server has none. */
export type UpstreamEndpoint = { address: string; localPort: number | null; connectionId: number | null }

/** A session upstream, as a connection and its relay use it. */
export type Session = {
  readonly socket: Socket
  readonly readBuffer: Pick<ReadBuffer, 'setConsumer'>
  readonly rest: Buffer
  readonly term: Pick<PrimaryTerm, 'endReason' | 'onCloseSessions'>
  readonly maxMessageBytes: number
  readonly endpoint: UpstreamEndpoint
  /** `match`: what admitted its last login. */
  readonly live: { readonly match: { readonly maxAgeMS?: number | undefined } | undefined }
  /** Gives back the session slot and removes the entry from the live connections. */
  release(): void
  /** Does the same and destroys the socket. */
  dispose(): void
}

/** Owns the socket and the entry. Its owner calls `dispose`, or `release` if a relay closes the socket. */
export class UpstreamSession implements Session {
  readonly socket: Socket
  readonly readBuffer: Pick<ReadBuffer, 'setConsumer'>
  readonly rest: Buffer
  readonly term: PrimaryTerm
  readonly live: LiveConnection
  readonly maxMessageBytes: number
  readonly endpoint: UpstreamEndpoint
  readonly #release: () => void

  /** `release` gives back the session slot and removes `live` from the live connections; further calls have no effect. */
  constructor(
    { socket, readBuffer, rest, hello, term, address }: AuthenticatedUpstream,
    live: LiveConnection,
    release: () => void,
  ) {
    this.socket = socket
    this.readBuffer = readBuffer
    this.rest = rest
    this.term = term
    this.live = live
    this.maxMessageBytes = readMaxMessageBytes(hello)
    this.endpoint = { address, localPort: socket.localPort ?? null, connectionId: readConnectionId(hello) }
    this.#release = release
  }

  release(): void {
    this.#release()
  }

  dispose(): void {
    this.release()
    this.socket.destroy()
  }
}

/** The upstream's `maxMessageSizeBytes`, which is not trusted above MongoDB's own limit. */
export function readMaxMessageBytes({ maxMessageSizeBytes }: Document): number {
  const bytes = Number(maxMessageSizeBytes)
  return bytes > 0 ? Math.min(bytes, MAX_MESSAGE_BYTES) : MAX_MESSAGE_BYTES
}

/** The server's own id of the connection, which its log calls `connN`. */
function readConnectionId({ connectionId }: Document): number | null {
  const id = Number(connectionId ?? Number.NaN)
  return Number.isSafeInteger(id) ? id : null
}
