/** Serves accepted sockets in this process: TLS, if it is on, and then a connection. */
import { X509Certificate } from 'node:crypto'
import type { Socket } from 'node:net'
import type { SecureContext } from 'node:tls'
import type { After } from '../clock.js'
import { Fault, type FaultKind, faults, toLogFields } from '../errors.js'
import type { Log } from '../log.js'
import type { AcceptQueue } from './acceptQueue.js'
import type { AuditedClient, CertificateRefusal } from './audit.js'
import type { Connection } from './connection.js'
import type { AcceptedClient } from './preauth.js'
import { createTlsContext, type TlsFailure, TlsHandshake, type TlsOptions } from './tls.js'
import { explainFailure, explainSilence } from './tlsCause.js'

export type ServedConnection = Pick<Connection, 'drain' | 'closeIfMonitor' | 'destroy'>

/** A client before its TLS handshake. `subnet`: that of its address. */
export type AcceptedSocket = Omit<AcceptedClient, 'certificate' | 'explainSilence' | 'schedule'> & {
  readonly subnet: string
  /** Call this once, when the client's socket has closed. */
  onClosed(): void
}

export type SocketServerOptions = {
  tls?: TlsOptions | undefined
  log: Log
  after: After
  /** Milliseconds since 1970. */
  wallClock(): number
  acceptQueue: Pick<AcceptQueue, 'schedule'>
  createConnection(socket: Socket, client: AcceptedClient): ServedConnection
  /** Whether to log another line about an unauthenticated client. */
  shouldLog(kind: FaultKind): boolean
  /** Called for each socket that is closed before a connection is created for it. */
  onRejected(fault: Fault): void
  /** Called for each handshake that failed because the client certificate is missing or not trusted. */
  onCertificateRefused(client: AuditedClient, refusal: CertificateRefusal): void
}

export class SocketServer {
  readonly #options: SocketServerOptions
  #tlsContext: SecureContext | undefined
  #certificate: X509Certificate | undefined
  #clientCA: string | undefined

  constructor(options: SocketServerOptions) {
    const { tls } = options
    this.#options = options
    this.#tlsContext = tls && createTlsContext(tls)
    this.#certificate = tls && new X509Certificate(tls.cert)
    this.#clientCA = tls?.clientCA
  }

  /** Applies other certificates to new connections. Sockets do not change between plain text and TLS. */
  reconfigure(tls: TlsOptions | undefined): void {
    if (!tls || !this.#tlsContext) return
    this.#tlsContext = createTlsContext(tls)
    this.#certificate = new X509Certificate(tls.cert)
    this.#clientCA = tls.clientCA
  }

  /** Serves a paused socket, which allows half-open and has no listeners for data. */
  serve(socket: Socket, client: AcceptedSocket): ServedConnection {
    socket.once('close', client.onClosed)
    if (this.#tlsContext) return this.#startTls(socket, client, this.#tlsContext)
    const connection = this.#connect(socket, client, undefined)
    socket.resume()
    return connection
  }

  #startTls(socket: Socket, client: AcceptedSocket, context: SecureContext): SecuredConnection {
    const { after, acceptQueue, onRejected } = this.#options
    const secured = new SecuredConnection(socket, onRejected)
    new TlsHandshake(socket, {
      context,
      requireClientCertificate: this.#clientCA !== undefined,
      after,
      schedule: step => acceptQueue.schedule(client.subnet, step),
      onSecure: (plain, fingerprint) => {
        secured.connection = this.#connect(plain, client, fingerprint)
      },
      onFailure: failure => {
        if (!secured.isClosedByProxy) this.#onTlsFailure(client, failure)
      },
    })
    return secured
  }

  #onTlsFailure(client: AcceptedSocket, { code, servername, refusedCertificate }: TlsFailure): void {
    const { id, peer } = client
    const { log, shouldLog, onRejected, onCertificateRefused } = this.#options
    if (refusedCertificate && code !== undefined) onCertificateRefused(client, { code, ...refusedCertificate })
    const why =
      code === undefined
        ? `the client closed the connection during the handshake: ${this.#explainSilence(servername)}`
        : this.#explainFailure(code, servername)
    const fault = new Fault('tls/handshake-failed', undefined, { why })
    onRejected(fault)
    const level = shouldLog(fault.kind) ? faults['tls/handshake-failed'].level : 'debug'
    log(level, 'tls handshake failed', { id, peer: peer.slice(0, peer.lastIndexOf(':')), ...toLogFields(fault) })
  }

  #explainFailure(code: string, servername: string | undefined): string {
    const certificate = this.#certificate
    return certificate ? explainFailure(code, { certificate, servername, now: this.#options.wallClock() }) : code
  }

  readonly #explainSilence = (servername: string | undefined): string => {
    const certificate = this.#certificate as X509Certificate
    return explainSilence({ certificate, servername, now: this.#options.wallClock() })
  }

  #connect(socket: Socket, accepted: AcceptedSocket, certificate: string | undefined): ServedConnection {
    const { id, peer, subnet, setStage, markMonitor, recordActivity } = accepted
    return this.#options.createConnection(socket, {
      id,
      peer,
      certificate,
      explainSilence: this.#tlsContext && this.#explainSilence,
      setStage,
      markMonitor,
      recordActivity,
      schedule: step => this.#options.acceptQueue.schedule(subnet, step),
    })
  }
}

/** A connection that exists once its TLS handshake is complete. */
class SecuredConnection implements ServedConnection {
  connection: ServedConnection | undefined
  isClosedByProxy = false
  readonly #socket: Socket
  readonly #onRejected: (fault: Fault) => void

  constructor(socket: Socket, onRejected: (fault: Fault) => void) {
    this.#socket = socket
    this.#onRejected = onRejected
  }

  drain(): void {
    if (this.connection) this.connection.drain()
    else this.#close()
  }

  closeIfMonitor(fault: Fault): void {
    this.connection?.closeIfMonitor(fault)
  }

  destroy(fault: Fault): void {
    if (this.connection) return void this.connection.destroy(fault)
    if (fault.kind === 'listener/connection-limit') this.#onRejected(fault)
    this.#close()
  }

  #close(): void {
    this.isClosedByProxy = true
    this.#socket.destroy()
  }
}
