/** The admin port: whether we live, whether we are ready, what was measured, who is denied or pinned. Small, and bounded. */
import { createServer, type IncomingMessage, type Server } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { isLoopback } from '../config/hosts.js'
import { Fault } from '../errors.js'
import { type AdminRequest, type AdminResponse, jsonResponse, textResponse } from './http.js'
import { type DenyOptions, handleDenyRequest } from './deny.js'
import { isAllowedHost } from './access.js'
import { handlePinsRequest, type PinsOptions } from './pins.js'

export type AdminServerOptions = {
  host: string
  /** 0 takes any free one. */
  port: number
  ready: () => { ready: boolean; body: Record<string, unknown> }
  /** The text for Prometheus. */
  metrics: () => Promise<string>
  /** Told when an answer could not be made; who asked gets a 500 without particulars. */
  onError?: (fault: Fault) => void
  /** Told of who asked without the token. */
  onUnauthorized?: (path: string, address: string) => void
  /** Names by which we may be asked besides those of loopback, lower case. */
  hosts?: () => readonly string[]
  /** Without them there is no such page. */
  deny?: DenyOptions
  pins?: PinsOptions
}

export type AdminServer = {
  port: number
  /** Answers until then; resolves when the port is free again. */
  close(): Promise<void>
}

type Page = (sources: AdminServerOptions, asked: AdminRequest) => AdminResponse | Promise<AdminResponse>

/** Pages that are only read. */
const pages: Readonly<Record<string, Page>> = {
  '/healthz': () => textResponse(200, 'ok'),
  '/readyz': ({ ready: ask }) => {
    const { ready, body } = ask()
    return jsonResponse(ready ? 200 : 503, { ready, ...body })
  },
  '/metrics': async ({ metrics }) => ({
    status: 200,
    type: 'text/plain; version=0.0.4; charset=utf-8',
    body: await metrics(),
  }),
}

/** Pages that change something; they have guards of their own. */
const guarded: Readonly<Record<string, Page>> = {
  '/deny': ({ deny }, asked) => (deny ? handleDenyRequest(asked, deny) : textResponse(404, 'not here')),
  '/pins': ({ pins }, asked) => (pins ? handlePinsRequest(asked, pins) : textResponse(404, 'not here')),
}

/** Whoever asks needs milliseconds; what takes longer is somebody who holds sockets. */
const LIMITS = { headersTimeout: 5000, requestTimeout: 5000, keepAliveTimeout: 5000, maxHeaderSize: 8192 }
/** Of those who ask nothing, the one that is longest silent goes when there are more; twice as many there are at most. */
const CONNECTIONS = 64

/** Starts to answer. Throws `listener/address-unavailable` where the address cannot be had. */
export async function startAdminServer(sources: AdminServerOptions): Promise<AdminServer> {
  const idle = new Set<Socket>() // in the order of their last request, or of accepting
  const server = createServer({ ...LIMITS, connectionsCheckingInterval: 1000 }, async (request, response) => {
    idle.delete(request.socket)
    response.once('close', () => {
      if (!request.socket.destroyed) idle.add(request.socket)
    })
    const { status, type, body, headers } = await answer(request, sources)
    response.writeHead(status, {
      'content-type': type,
      'content-length': Buffer.byteLength(body),
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
      ...headers,
    })
    response.end(body)
  })
  server.maxConnections = 2 * CONNECTIONS
  // Whoever holds sockets must not keep out who asks whether we live.
  server.on('connection', (socket: Socket) => {
    const [longest] = idle
    if (idle.size >= CONNECTIONS) longest?.destroy()
    idle.add(socket)
    socket.once('close', () => idle.delete(socket))
  })
  await listen(server, sources)
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise(resolve => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

async function answer(request: IncomingMessage, sources: AdminServerOptions): Promise<AdminResponse> {
  const path = request.url?.split('?')[0] ?? ''
  const open = !Object.hasOwn(guarded, path)
  const page = open ? (Object.hasOwn(pages, path) ? pages[path] : undefined) : guarded[path]
  // On loopback a web page could reach us through a name that it points at 127.0.0.1; then Host has that name. Elsewhere we
  // cannot know our names where all we do is tell: Prometheus and kubelets ask by the address of a pod.
  if (
    open &&
    isLoopback(sources.host) &&
    !isAllowedHost(request.headers.host ?? 'localhost', sources.hosts?.() ?? [])
  ) {
    return textResponse(421, 'this host is not served here; see the setting admin.hosts')
  }
  if (page === undefined)
    return textResponse(404, `not here; there are ${Object.keys({ ...pages, ...guarded }).join(', ')}`)
  if (open && request.method !== 'GET') return textResponse(405, 'GET only', { allow: 'GET' })
  try {
    const answer = await page(sources, askedBy(request))
    if (answer.status === 401) sources.onUnauthorized?.(path, request.socket.remoteAddress ?? 'nobody')
    return answer
  } catch (thrown) {
    sources.onError?.(Fault.from(thrown))
    return textResponse(500, 'failed; the log says why')
  }
}

function askedBy(request: IncomingMessage): AdminRequest {
  return {
    method: request.method ?? '',
    headers: request.headers,
    async body(most) {
      const chunks: Buffer[] = []
      let length = 0
      try {
        for await (const chunk of request) {
          length += chunk.length
          if (length <= most) chunks.push(chunk)
        }
      } catch {
        return undefined // who asked has gone
      }
      return length <= most ? Buffer.concat(chunks).toString() : undefined
    },
  }
}

const TAKEN = new Set(['EADDRINUSE', 'EADDRNOTAVAIL', 'EACCES', 'ENOTFOUND', 'EAI_AGAIN'])

function listen(server: Server, { host, port }: AdminServerOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (thrown: NodeJS.ErrnoException) => {
      const { code } = thrown
      const address = `${host.includes(':') ? `[${host}]` : host}:${port}`
      const busy = code !== undefined && TAKEN.has(code)
      reject(busy ? new Fault('listener/address-unavailable', address, { address, code }, thrown) : Fault.from(thrown))
    })
    server.listen({ host, port }, () => {
      server.removeAllListeners('error')
      server.on('error', () => {}) // accept errors such as EMFILE: the next accept tries again
      resolve()
    })
  })
}
