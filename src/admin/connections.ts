/**
 * The connections of the admin interface, each for one request.
 *
 *     accepted ──▶ waiting for its request ──▶ answering ──▶ closed
 *                                                  └──▶ streaming ──▶ closed
 *
 * A connection that exceeds the limit of its phase evicts the oldest connection of the same phase. Clients that send
 * nothing therefore never lock out a request, and clients that do not read their answer never lock out the next one. Streams
 * are few, live longer, and are not evicted: a page that somebody watches must not go blank because of others.
 * `maxConnections` of Node.js was rejected, because it turns the newest connection away, which may be a liveness probe.
 */
import type { Socket } from 'node:net'
import { Duplex } from 'node:stream'
import type { After } from '../clock.js'

/** Connections at a time, if the file descriptors suffice. */
export const MAX_ADMIN_CONNECTIONS = 128
/** Streams among them, at most a quarter of all. */
const MAX_STREAMS = 20
/** How long a connection may wait for its request, and how long it may live. An honest request takes milliseconds. */
const WAIT_MS = 5_000
const LIFETIME_MS = 15_000
/** The parser of Node.js gets this many bytes at a time, so that it sees few pipelined requests after the first one. */
const PART_BYTES = 512

/** Streams at a time, if there are so many connections in all. */
export const countStreams = (maxConnections: number): number => Math.min(MAX_STREAMS, Math.floor(maxConnections / 4))

export class AdminConnections {
  /** The oldest connection comes first. */
  readonly #waiting = new Set<AdminConnection>()
  readonly #answering = new Set<AdminConnection>()
  readonly #streaming = new Set<AdminConnection>()
  readonly #lifetimes = new WeakMap<AdminConnection, () => void>()
  readonly #maxPerPhase: number
  readonly #after: After

  /** `maxConnections`: in all phases together. */
  constructor(maxConnections: number, after: After) {
    this.#maxPerPhase = Math.floor((maxConnections - countStreams(maxConnections)) / 2)
    this.#after = after
  }

  add(socket: Socket): AdminConnection {
    const connection = new AdminConnection(socket)
    const cancelWait = this.#after(WAIT_MS, () => {
      if (this.#waiting.has(connection)) connection.destroy()
    })
    this.#limitLifetime(connection)
    connection.once('close', () => {
      cancelWait()
      this.#lifetimes.get(connection)?.()
      for (const phase of [this.#waiting, this.#answering, this.#streaming]) phase.delete(connection)
    })
    this.#addToPhase(this.#waiting, connection)
    return connection
  }

  /** Returns whether a request is the first one of its connection. Any other must be ignored. */
  acceptRequest(connection: AdminConnection): boolean {
    if (!this.#waiting.delete(connection)) return false
    this.#addToPhase(this.#answering, connection)
    return true
  }

  /** The answer of this connection has no end yet. */
  startStream(connection: AdminConnection): void {
    this.#answering.delete(connection)
    this.#streaming.add(connection)
    this.#lifetimes.get(connection)?.()
  }

  /** The stream has ended. The client has some time to read the rest. */
  endStream(connection: AdminConnection): void {
    if (!connection.closed) this.#limitLifetime(connection)
  }

  closeAll(): void {
    for (const connection of [...this.#waiting, ...this.#answering, ...this.#streaming]) connection.destroy()
  }

  #limitLifetime(connection: AdminConnection): void {
    this.#lifetimes.set(
      connection,
      this.#after(LIFETIME_MS, () => connection.destroy()),
    )
  }

  #addToPhase(phase: Set<AdminConnection>, connection: AdminConnection): void {
    const [oldest] = phase
    if (oldest && phase.size >= this.#maxPerPhase) {
      phase.delete(oldest) // 'close' comes later
      oldest.destroy()
    }
    phase.add(connection)
  }
}

/** A socket whose reading side ends after one request. */
export class AdminConnection extends Duplex {
  readonly #socket: Socket
  #isRequestComplete = false

  constructor(socket: Socket) {
    super()
    this.#socket = socket
    socket.on('data', chunk => this.#forward(chunk))
    socket.once('end', () => this.push(null))
    socket.once('close', () => this.destroy())
    socket.on('error', () => {}) // 'close' follows
  }

  get remoteAddress(): string | undefined {
    return this.#socket.remoteAddress
  }

  get remotePort(): number | undefined {
    return this.#socket.remotePort
  }

  /** From now on, what the client sends is dropped. Unread data would reset the connection before the answer arrives. */
  finishRequest(): void {
    this.#isRequestComplete = true
  }

  #forward(chunk: Buffer): void {
    for (let at = 0; at < chunk.length && !this.#isRequestComplete && !this.destroyed; at += PART_BYTES) {
      this.push(chunk.subarray(at, at + PART_BYTES))
    }
  }

  override _read(): void {} // the parser takes every part at once

  override _write(chunk: Buffer, _: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#socket.write(chunk, done)
  }

  override _final(done: () => void): void {
    this.#socket.destroySoon()
    done()
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#socket.destroy()
    done(error)
  }
}
