/** The admin interface: an HTTP server for liveness, readiness, metrics, the deny list and the pins. */
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { type AddressInfo, createServer, type Server } from 'node:net'
import type { After } from '../clock.js'
import { describeListenAddress, isLoopback } from '../config/hosts.js'
import { errorCode, Fault } from '../errors.js'
import { isAllowedHost } from './access.js'
import { AdminConnection, AdminConnections, MAX_ADMIN_CONNECTIONS } from './connections.js'
import { type DenyOptions, handleDenyRequest } from './deny.js'
import { type AdminRequest, type AdminResponse, jsonResponse, textResponse } from './http.js'
import { handlePinsRequest, type PinsOptions } from './pins.js'

export type AdminServerOptions = {
  host: string
  /** 0 listens on any free port. */
  port: number
  /** Connections at a time, at least two. By default as many as there are with enough file descriptors. */
  maxConnections?: number
  /** `body` is shown by /readyz. */
  ready: () => { ready: boolean; body: Record<string, unknown> }
  /** Returns the metrics in the Prometheus text format. */
  metrics: () => Promise<string>
  after: After
  /** Called with the cause of a response 500, which contains no details. */
  onError?: (fault: Fault) => void
  /** Called for a request without a valid token. */
  onUnauthorized?: (path: string, address: string) => void
  /** Permitted Host headers, lower case, in addition to the names of loopback. */
  hosts?: () => readonly string[]
  /** Undefined: /deny does not exist. */
  deny?: DenyOptions
  /** Undefined: /pins does not exist. */
  pins?: PinsOptions
}

export type AdminServer = {
  port: number
  /** Closes all connections. Resolves when the port is free. */
  close(): Promise<void>
}

type Page = (options: AdminServerOptions, request: AdminRequest) => AdminResponse | Promise<AdminResponse>

const readOnlyPages: Readonly<Record<string, Page>> = {
  '/healthz': () => textResponse(200, 'ok'),
  '/readyz': options => {
    const { ready, body } = options.ready()
    return jsonResponse(ready ? 200 : 503, { ready, ...body })
  },
  '/metrics': async ({ metrics }) => ({
    status: 200,
    type: 'text/plain; version=0.0.4; charset=utf-8',
    body: await metrics(),
  }),
}

/** Pages that change something. They check access themselves. */
const protectedPages: Readonly<Record<string, Page>> = {
  '/deny': ({ deny }, request) => (deny ? handleDenyRequest(request, deny) : textResponse(404, 'not found')),
  '/pins': ({ pins }, request) => (pins ? handlePinsRequest(request, pins) : textResponse(404, 'not found')),
}

const MAX_HEAD_BYTES = 8192

/**
 * Starts the admin server. A connection has one request, because many pipelined requests would take the event loop from
 * live sessions. Throws `listener/address-unavailable`.
 */
export async function startAdminServer(given: AdminServerOptions): Promise<AdminServer> {
  const options = { ...given, metrics: shareConcurrent(given.metrics) }
  const connections = new AdminConnections(given.maxConnections ?? MAX_ADMIN_CONNECTIONS, given.after)
  // This server never listens. It parses what the connections let through.
  const http = createHttpServer({ maxHeaderSize: MAX_HEAD_BYTES }, (request, response) => {
    const connection: unknown = request.socket
    if (!(connection instanceof AdminConnection)) return
    const isFirst = connections.acceptRequest(connection)
    if (!isFirst || !hasBody(request)) connection.finishRequest()
    if (isFirst) void respond(request, response, options)
  })
  const server = createServer(socket => http.emit('connection', connections.add(socket)))
  await listen(server, options)
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise(resolve => {
        server.close(() => resolve())
        connections.closeAll()
      }),
  }
}

function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0
}

/** Calls that arrive while a result is pending get the same result. */
function shareConcurrent<T>(run: () => Promise<T>): () => Promise<T> {
  let pending: Promise<T> | undefined
  return () => {
    pending ??= run().finally(() => {
      pending = undefined
    })
    return pending
  }
}

async function respond(request: IncomingMessage, response: ServerResponse, options: AdminServerOptions): Promise<void> {
  const { status, type, body, headers } = await handle(request, options)
  response.writeHead(status, {
    'content-type': type,
    'content-length': Buffer.byteLength(body),
    connection: 'close',
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    ...headers,
  })
  response.end(body)
}

async function handle(request: IncomingMessage, options: AdminServerOptions): Promise<AdminResponse> {
  const path = request.url?.split('?')[0] ?? ''
  const isProtected = Object.hasOwn(protectedPages, path)
  if (!isProtected && isRebound(request, options)) {
    return textResponse(421, 'this Host is not allowed; add it to admin.hosts')
  }
  const pages = isProtected ? protectedPages : readOnlyPages
  const page = Object.hasOwn(pages, path) ? pages[path] : undefined
  if (page === undefined) {
    return textResponse(404, `not found; pages: ${Object.keys({ ...readOnlyPages, ...protectedPages }).join(', ')}`)
  }
  if (!isProtected && request.method !== 'GET') return textResponse(405, 'only GET is allowed', { allow: 'GET' })
  try {
    const response = await page(options, toAdminRequest(request))
    if (response.status === 401) options.onUnauthorized?.(path, request.socket.remoteAddress ?? 'unknown')
    return response
  } catch (thrown) {
    options.onError?.(Fault.from(thrown))
    return textResponse(500, 'internal error; see the log')
  }
}

/**
 * DNS rebinding: a web page reaches loopback through a name that resolves to 127.0.0.1, and sends that name as Host. Only
 * checked on loopback, because Prometheus and kubelets use the address of the pod, which the proxy does not know.
 */
function isRebound({ headers }: IncomingMessage, { host, hosts }: AdminServerOptions): boolean {
  return isLoopback(host) && !isAllowedHost(headers.host ?? 'localhost', hosts?.() ?? [])
}

function toAdminRequest(request: IncomingMessage): AdminRequest {
  return {
    method: request.method ?? '',
    headers: request.headers,
    readBody: maxBytes =>
      new Promise(resolve => {
        const chunks: Buffer[] = []
        let length = 0
        request.on('data', (chunk: Buffer) => {
          length += chunk.length
          if (length <= maxBytes) chunks.push(chunk)
          else resolve(undefined)
        })
        request.once('end', () => resolve(length <= maxBytes ? Buffer.concat(chunks).toString() : undefined))
        request.once('close', () => resolve(undefined)) // the client disconnected
        request.on('error', () => {}) // 'close' follows
      }),
  }
}

const ADDRESS_ERRORS = new Set(['EADDRINUSE', 'EADDRNOTAVAIL', 'EACCES', 'ENOTFOUND', 'EAI_AGAIN'])

function listen(server: Server, { host, port }: AdminServerOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', thrown => {
      const code = errorCode(thrown)
      const address = describeListenAddress({ host, port })
      const isUnavailable = code !== undefined && ADDRESS_ERRORS.has(code)
      reject(
        isUnavailable
          ? new Fault('listener/address-unavailable', address, { address, code }, thrown)
          : Fault.from(thrown),
      )
    })
    server.listen({ host, port }, () => {
      server.removeAllListeners('error')
      server.on('error', () => {}) // an accept error such as EMFILE; the next accept tries again
      resolve()
    })
  })
}
