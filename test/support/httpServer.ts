/** An HTTP server on a free port of loopback that answers as a test says, and keeps what it was asked. */
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
  /** How many sockets are open, and how many there ever were. */
  open(): number
  opened(): number
  /** Resolves when no socket is open any more. */
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
