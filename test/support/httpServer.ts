/** An HTTP server on a free port of loopback that replies as the test says and records its requests. */
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http'
import { createServer as createTLSServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { TLSSocket } from 'node:tls'

export type Call = {
  method: string | undefined
  url: string | undefined
  headers: IncomingHttpHeaders
  body: string
  servername: string | undefined
}
export type Answer = (response: ServerResponse, call: Call) => void

export type TestHttpServer = {
  port: number
  calls: Call[]
  /** The number of open sockets, and of all sockets so far. */
  open(): number
  opened(): number
  /** Resolves when no socket is open. */
  quiet(): Promise<void>
}

/** Ends with the test. `answer` may leave a response unanswered. `tls`: key and certificate, PEM. */
export async function startHttpServer(
  t: { teardown(run: () => unknown): void },
  answer: Answer,
  tls?: { key: string | Buffer; cert: string | Buffer },
): Promise<TestHttpServer> {
  const calls: Call[] = []
  const sockets = new Set<unknown>()
  const waiting: (() => void)[] = []
  let opened = 0
  const server = tls ? createTLSServer(tls) : createServer()
  server.on('request', async (request, response: ServerResponse) => {
    let body = ''
    request.on('error', () => {})
    request.on('data', (chunk: Buffer) => {
      body += chunk
    })
    request.on('end', () => {
      const servername = (request.socket as TLSSocket).servername || undefined
      const call = { method: request.method, url: request.url, headers: request.headers, body, servername }
      calls.push(call)
      answer(response, call)
    })
  })
  server.on('connection', socket => {
    opened++
    sockets.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => {
      sockets.delete(socket)
      if (sockets.size === 0) for (const resolve of waiting.splice(0)) resolve()
    })
  })
  server.on('tlsClientError', () => {})
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return {
    port: (server.address() as AddressInfo).port,
    calls,
    open: () => sockets.size,
    opened: () => opened,
    quiet: () => (sockets.size === 0 ? Promise.resolve() : new Promise(resolve => waiting.push(resolve))),
  }
}
