/** The HTTP server of the admin interface. Its routes are in files of their own. */
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { type AddressInfo, createServer, type Server } from 'node:net'
import type { After } from '../clock.js'
import { describeListenAddress } from '../config/hosts.js'
import { errorCode, Fault } from '../errors.js'
import { AdminConnection, AdminConnections, MAX_ADMIN_CONNECTIONS } from './connections.js'
import { type AdminRequest, type AdminResponse, type ResponseStream, textResponse } from './http.js'
import { type RoutingOptions, routeRequest } from './routes.js'

export type AdminServerOptions = RoutingOptions & {
  host: string
  /** 0 listens on any free port. */
  port: number
  /** Connections at a time, at least two. By default as many as there are with enough file descriptors. */
  maxConnections?: number
  after: After
  /** Called with the cause of a response 500, which contains no details. */
  onError(fault: Fault): void
  /** Replaces what must not be shown in a response. */
  hide?: ((text: string) => string) | undefined
}

export type AdminServer = {
  port: number
  /** Closes all connections. Resolves when the port is free. */
  close(): Promise<void>
}

const MAX_HEAD_BYTES = 8192

/**
 * Starts the admin server. A connection has one request, because many pipelined requests would take the event loop from
 * live sessions. Throws `listener/address-unavailable`.
 */
export async function startAdminServer(options: AdminServerOptions): Promise<AdminServer> {
  const connections = new AdminConnections(options.maxConnections ?? MAX_ADMIN_CONNECTIONS, options.after)
  // This server never listens. It parses what the connections let through.
  const http = createHttpServer({ maxHeaderSize: MAX_HEAD_BYTES }, (request, response) => {
    const connection: unknown = request.socket
    if (!(connection instanceof AdminConnection)) return
    const isFirst = connections.acceptRequest(connection)
    if (!isFirst || !hasBody(request)) connection.finishRequest()
    if (isFirst) void respond(request, response, connection)
  })
  const respond = async (request: IncomingMessage, response: ServerResponse, connection: AdminConnection) => {
    const answer = await handle(request, options)
    writeHead(response, answer)
    if (!answer.stream) return void response.end(answer.bytes ?? answer.body)
    if (connection.destroyed) return
    connections.startStream(connection)
    response.on('error', () => {}) // 'close' follows
    response.flushHeaders()
    try {
      answer.stream(createStream(response, connection, connections))
    } catch (thrown) {
      options.onError(Fault.from(thrown))
      connection.destroy()
    }
  }
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

function writeHead(response: ServerResponse, { status, type, body, bytes, stream, headers }: AdminResponse): void {
  response.writeHead(status, {
    'content-type': type,
    ...(!stream && { 'content-length': Buffer.byteLength(bytes ?? body) }),
    connection: 'close',
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    ...headers,
  })
}

function createStream(
  response: ServerResponse,
  connection: AdminConnection,
  connections: AdminConnections,
): ResponseStream {
  return {
    get unreadBytes() {
      return response.writableLength
    },
    write: bytes => void response.write(bytes),
    end() {
      response.end()
      connections.endStream(connection)
    },
    destroy: () => connection.destroy(),
    onClose: run => void connection.once('close', run),
  }
}

async function handle(request: IncomingMessage, options: AdminServerOptions): Promise<AdminResponse> {
  try {
    const response = await routeRequest(toAdminRequest(request), options)
    return options.hide ? { ...response, body: options.hide(response.body) } : response
  } catch (thrown) {
    options.onError(Fault.from(thrown))
    return textResponse(500, 'internal error; see the log')
  }
}

function toAdminRequest(request: IncomingMessage): AdminRequest {
  const [path = '', query] = request.url?.split('?', 2) ?? []
  const { remoteAddress: address, remotePort: port } = request.socket
  return {
    method: request.method ?? '',
    path,
    query: new URLSearchParams(query),
    headers: request.headers,
    peer: { address, port },
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

function listen(server: Server, { host, port }: Pick<AdminServerOptions, 'host' | 'port'>): Promise<void> {
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
