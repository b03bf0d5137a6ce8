/**
 * Connects to STS through an HTTP proxy: a CONNECT request opens a tunnel, and TLS to STS runs inside it.
 *
 *     mongo-iam-proxy ──CONNECT sts…:443──▶ proxy ──TCP──▶ STS
 *                     ◀──────── TLS, verified for the STS host ────────▶
 *
 * The proxy can therefore delay or refuse calls, but it sees no credential and cannot answer for STS. undici's ProxyAgent was
 * rejected: it has no deadline for CONNECT and TLS together.
 */
import { type ClientRequest, request as requestHttp } from 'node:http'
import { request as requestHttps } from 'node:https'
import { isIP, type Socket } from 'node:net'
import { buildConnector } from 'undici'
import { Fault } from '../errors.js'
import type { Secret } from '../log.js'

export type ConnectProxy = {
  /** `http://host:port` or `https://host:port`. */
  url: string
  /** `user:password`. */
  credentials: Secret | undefined
}

export type TunnelOptions = {
  proxy: ConnectProxy
  /** The host and port that the proxy is asked to connect to, with brackets around an IPv6 address. */
  target: string
  /** The name that the certificate of STS must have. */
  servername: string
  /** The limit for CONNECT and TLS together. Milliseconds. */
  timeoutMS: number
  /** PEM of a certificate authority that replaces the well-known ones, for STS and for the proxy. */
  ca: string | undefined
}

const MAX_HEAD_BYTES = 8192
const WRONG_CREDENTIALS = '; check sts.proxyCredentialsFile'
/** What an operator can do about a status. tinyproxy answers 401 to wrong credentials. */
const HINTS: Readonly<Record<number, string>> = {
  401: WRONG_CREDENTIALS,
  403: '; it must allow this target',
  407: WRONG_CREDENTIALS,
}

/** A function that undici calls for each new connection. Its errors begin with `sts.proxy:` if the proxy is their cause. */
export function createTunnelConnector({ proxy, target, servername, timeoutMS, ca }: TunnelOptions) {
  const verification = { rejectUnauthorized: true, ...(ca !== undefined && { ca }) }
  const connectTls = buildConnector({ timeout: timeoutMS, servername, allowH2: false, ...verification })

  const connect: buildConnector.connector = (options, callback) => {
    let tunnel: Socket | undefined
    const request = requestTunnel(proxy, target, verification)
    let isSettled = false
    const settle = (...result: Parameters<buildConnector.Callback>): void => {
      if (isSettled) return
      isSettled = true
      clearTimeout(timer)
      const [error] = result
      if (error) {
        request.destroy()
        tunnel?.destroy()
      }
      callback(...result)
    }
    const fail = (why: string): void => settle(new Error(`sts.proxy: ${why}`), null)
    const timer = setTimeout(() => fail(`no tunnel within ${timeoutMS} ms`), timeoutMS)
    request.on('error', ({ message }) => fail(message))
    request.once('connect', ({ statusCode = 0 }, socket, head) => {
      tunnel = socket
      socket.on('error', () => {}) // TLS reports it
      if (isSettled) return void socket.destroy()
      if (statusCode < 200 || statusCode > 299)
        return fail(`it answered ${statusCode} to CONNECT ${target}${HINTS[statusCode] ?? ''}`)
      if (head.length > 0) return fail('it sent bytes before TLS')
      connectTls({ ...options, httpSocket: socket }, settle)
    })
    request.end()
  }
  return connect
}

/** Asks for a tunnel, on a connection of its own. */
function requestTunnel(
  { url, credentials }: ConnectProxy,
  target: string,
  verification: { rejectUnauthorized: boolean; ca?: string },
): ClientRequest {
  const { protocol, hostname, port } = new URL(url)
  const host = hostname.replace(/^\[(.*)\]$/, '$1')
  const options = {
    host,
    port: port === '' ? (protocol === 'https:' ? 443 : 80) : Number(port),
    method: 'CONNECT',
    path: target,
    headers: {
      Host: target,
      ...(credentials && { 'Proxy-Authorization': `Basic ${Buffer.from(credentials.reveal()).toString('base64')}` }),
    },
    agent: false as const,
    maxHeaderSize: MAX_HEAD_BYTES,
  }
  if (protocol === 'http:') return requestHttp(options)
  if (protocol !== 'https:') throw new Fault('config/invalid', 'sts.proxy: its scheme is not http or https')
  return requestHttps({ ...options, ...verification, servername: isIP(host) === 0 ? host : '' })
}
