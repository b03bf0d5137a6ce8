/** TLS with clients: settings, contexts, and the handshake on an accepted socket. */
import { constants } from 'node:crypto'
import type { Socket } from 'node:net'
import { createSecureContext, type SecureContext, TLSSocket } from 'node:tls'
import type { After } from '../clock.js'

const HANDSHAKE_TIMEOUT_MS = 5_000
/** The error of a handshake in which the client presents no certificate. */
export const NO_CERTIFICATE = 'ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE'

const SETTINGS = {
  minVersion: 'TLSv1.2',
  // The client chooses the curve and the server pays for it, so offer only cheap ones.
  ecdhCurve: 'X25519:P-256',
  // A handshake costs the server far more than the client, so a connection gets one.
  secureOptions: constants.SSL_OP_NO_RENEGOTIATION,
} as const

/** PEM texts. With `clientCA`, clients must present a certificate of that authority. */
export type TlsOptions = { cert: string; key: string; clientCA?: string | undefined }

/**
 * Creates a context with new ticket keys, so that no session of an earlier context can be resumed.
 *
 * With `clientCA` it issues no tickets. A resumed session presents no certificate, and one from before a change of the
 * authority would count as authorized.
 */
export function createTlsContext({ cert, key, clientCA }: TlsOptions): SecureContext {
  if (clientCA === undefined) return createSecureContext({ cert, key, ...SETTINGS })
  const secureOptions = SETTINGS.secureOptions | constants.SSL_OP_NO_TICKET
  return createSecureContext({ cert, key, ...SETTINGS, ca: clientCA, secureOptions })
}

/** `code` is undefined if the client closed the connection. */
export type TlsFailure = {
  code: string | undefined
  servername: string | undefined
  /** Set if the client certificate is the cause. `fingerprint`: its SHA-256, if there is one. */
  refusedCertificate?: { fingerprint: string | undefined }
}

export type TlsHandshakeOptions = {
  context: SecureContext
  /** Whether clients must present a certificate. */
  requireClientCertificate: boolean
  after: After
  /** Runs a step when the client's address is due. */
  schedule(step: () => void): void
  /** `socket` carries plain text. `fingerprint`: SHA-256 of the client certificate, if this handshake verified one. */
  onSecure(socket: Socket, fingerprint: string | undefined): void
  /** Not called if the client leaves before the handshake begins. The socket is destroyed afterwards. */
  onFailure(failure: TlsFailure): void
}

/**
 * One TLS handshake on a paused socket, within five seconds. It begins once the client has sent something and its address
 * is due, because it costs the server a thousand times what it costs the client.
 */
export class TlsHandshake {
  readonly #raw: Socket
  readonly #options: TlsHandshakeOptions
  readonly #cancelTimeout: () => void
  #socket: TLSSocket | undefined

  constructor(raw: Socket, options: TlsHandshakeOptions) {
    this.#raw = raw
    this.#options = options
    this.#cancelTimeout = options.after(HANDSHAKE_TIMEOUT_MS, () => this.#fail('timed out'))
    raw.once('close', this.#onClose)
    raw.once('readable', () => options.schedule(() => this.#begin()))
  }

  #begin(): void {
    const raw = this.#raw
    if (raw.destroyed) return
    if (raw.readableLength === 0) return void raw.destroy() // readable because it has ended
    const { context, requireClientCertificate } = this.#options
    const verify = { requestCert: requireClientCertificate, rejectUnauthorized: requireClientCertificate }
    const socket = new TLSSocket(raw, { isServer: true, secureContext: context, ...verify })
    this.#socket = socket
    socket.on('error', () => {}) // an error after the handshake must not end the process
    socket.on('error', this.#onError)
    // On a socket that no tls.Server created, only this event reports errors after the handshake.
    socket.on('_tlsError', error => socket.destroy(error))
    socket.on('end', this.#onEnd)
    socket.on('secure', this.#onSecure)
  }

  readonly #onSecure = (): void => {
    const socket = this.#socket as TLSSocket
    const { requireClientCertificate, onSecure } = this.#options
    const why = requireClientCertificate ? findCertificateError(socket) : undefined
    if (why !== undefined) {
      const fingerprint = socket.getPeerX509Certificate()?.fingerprint256
      return void this.#fail(why, { fingerprint })
    }
    this.#stopListening()
    // A resumed session presents what an earlier handshake verified, if anything.
    const isVerified = requireClientCertificate && !socket.isSessionReused()
    onSecure(socket, isVerified ? socket.getPeerX509Certificate()?.fingerprint256 : undefined)
  }

  readonly #onError = (error: NodeJS.ErrnoException): void => {
    if (error.code === NO_CERTIFICATE) this.#fail(error.code, { fingerprint: undefined })
    else this.#fail(error.code === 'ECONNRESET' ? undefined : (error.code ?? error.message))
  }

  /** Half-open sockets are for clients that wait for a reply. */
  readonly #onEnd = (): void => this.#fail(undefined)

  readonly #onClose = (): void => {
    if (this.#socket) this.#fail(undefined)
    else this.#cancelTimeout()
  }

  #fail(code: string | undefined, refusedCertificate?: TlsFailure['refusedCertificate']): void {
    this.#stopListening()
    const servername = readServername(this.#socket)
    this.#options.onFailure({ code, servername, ...(refusedCertificate && { refusedCertificate }) })
    this.#raw.destroy()
  }

  #stopListening(): void {
    this.#cancelTimeout()
    this.#raw.off('close', this.#onClose)
    this.#socket?.off('error', this.#onError).off('end', this.#onEnd).off('secure', this.#onSecure)
  }
}

/** The name that the client asked for. A TLSSocket has it only once the handshake is complete. */
function readServername(socket: TLSSocket | undefined): string | undefined {
  const { ssl } = (socket ?? {}) as { ssl?: { getServername?(): string | false | null | undefined } | null }
  return ssl?.getServername?.() || undefined
}

/**
 * The error in a client certificate; undefined if there is none. OpenSSL completes the handshake even so and leaves the
 * verdict for later. On a socket that no tls.Server created, `verifyError` is the only place that reports it.
 */
function findCertificateError(socket: TLSSocket): string | undefined {
  const { ssl } = socket as unknown as { ssl?: { verifyError?(): NodeJS.ErrnoException | null | undefined } }
  if (typeof ssl?.verifyError !== 'function') return 'this version of Node does not report certificate errors'
  const error = ssl.verifyError()
  return error ? (error.code ?? error.message) : undefined
}
