/** What `doctor` asks the network: DNS, TCP and TLS, each within its own time. Nothing here rejects. */
import { lookup } from 'node:dns/promises'
import { connect as connectTCP, isIP } from 'node:net'
import { type ConnectionOptions, connect as connectTLS, type TLSSocket } from 'node:tls'
import { errorCode } from '../../errors.js'
import type { Address } from '../../upstream/address.js'
import { rejectOnAbort } from '../../upstream/deadline.js'
import type { TlsOptions } from '../../upstream/uriOptions.js'
import type { CertificateFacts, LookupEvidence, TlsEvidence } from './networkDiagnosis.js'

/** The code of an error, or ETIMEDOUT for the abort of a time limit. */
export function codeOf(thrown: unknown): string {
  if (thrown instanceof DOMException && thrown.name === 'TimeoutError') return 'ETIMEDOUT'
  return errorCode(thrown) ?? 'no code'
}

/**
 * Follows a promise for at most `ms` milliseconds. The timer keeps the process alive, unlike that of `AbortSignal.timeout`: a
 * promise that nothing will settle must not end the report.
 */
export async function within<T>(ms: number, promise: Promise<T>): Promise<T> {
  const controller = new AbortController()
  const timer = setTimeout(() => controller.abort(new DOMException('no answer in time', 'TimeoutError')), ms)
  try {
    return await rejectOnAbort(controller.signal, promise)
  } finally {
    clearTimeout(timer)
  }
}

export async function lookUp(host: string, ms: number): Promise<LookupEvidence> {
  try {
    const found = await within(ms, lookup(host, { all: true }))
    return { addresses: found.map(({ address }) => address) }
  } catch (thrown) {
    return { code: codeOf(thrown) }
  }
}

/** Undefined if a connection is established; otherwise the code of the error. */
export function tryConnect({ host, port }: Address, ms: number): Promise<string | undefined> {
  return new Promise(resolve => {
    const socket = connectTCP({ host, port })
    const settle = (code: string | undefined) => {
      clearTimeout(timer)
      socket.on('error', () => {}).destroy()
      resolve(code)
    }
    const timer = setTimeout(() => settle('ETIMEDOUT'), ms)
    socket.once('connect', () => settle(undefined)).once('error', error => settle(codeOf(error)))
  })
}

/** A TLS handshake that accepts any certificate, and reports why it is not valid. */
export function inspectTls(
  address: Address,
  tls: TlsOptions | undefined,
  ms: number,
): Promise<Exclude<TlsEvidence, { is: 'failed' }> | string> {
  return new Promise(resolve => {
    const socket = connectTLS(toTlsOptions(address, tls))
    const settle = (result: Exclude<TlsEvidence, { is: 'failed' }> | string) => {
      clearTimeout(timer)
      socket.on('error', () => {}).destroy()
      resolve(result)
    }
    const timer = setTimeout(() => settle('ETIMEDOUT'), ms)
    socket.once('secureConnect', () => settle(describeSession(socket)))
    socket.once('error', error => settle(codeOf(error)))
    socket.once('close', () => settle('ECONNRESET'))
  })
}

function toTlsOptions({ host, port }: Address, tls: TlsOptions | undefined): ConnectionOptions {
  const servername = tls?.servername ?? (isIP(host) ? undefined : host)
  return {
    host,
    port,
    rejectUnauthorized: false,
    ...(tls && { secureContext: tls.context }),
    ...(servername !== undefined && { servername }),
    ...(tls?.verify === 'chain' && { checkServerIdentity: () => undefined }),
  }
}

function describeSession(socket: TLSSocket): Exclude<TlsEvidence, { is: 'failed' }> {
  // The type says Error; Node.js gives the code or the message of that error.
  const problem: unknown = socket.authorizationError
  return {
    is: 'established',
    protocol: socket.getProtocol() ?? 'TLS',
    problem: socket.authorized ? undefined : typeof problem === 'string' ? problem : 'unverified',
    certificate: readCertificate(socket),
  }
}

const MAX_NAME = 253

function readCertificate(socket: TLSSocket): CertificateFacts {
  // Empty if the server sent no certificate.
  const { subjectaltname, issuer, valid_from, valid_to } = socket.getPeerCertificate()
  const names = (subjectaltname ?? '')
    .split(', ')
    .map(name => name.replace(/^(DNS|IP Address):/, '').slice(0, MAX_NAME))
  const authority = issuer?.CN ?? issuer?.O ?? ''
  return {
    names: names.filter(name => name !== ''),
    issuer: String(authority).slice(0, MAX_NAME),
    validFrom: Date.parse(valid_from),
    validTo: Date.parse(valid_to),
  }
}
