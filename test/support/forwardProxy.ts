/** An HTTP forward proxy on a free port of loopback, which answers CONNECT as the test says and records the requests. */
import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders } from 'node:http'
import { createServer as createTLSServer } from 'node:https'
import { type AddressInfo, connect, type Socket } from 'node:net'

/** Answers a CONNECT on the socket of the client. `open` opens the tunnel and returns its other side. */
export type ConnectAnswer = (client: Socket, open: () => Socket) => void

export type ForwardProxy = {
  url: string
  requests: { target: string | undefined; headers: IncomingHttpHeaders }[]
  /** The number of open sockets of clients. */
  open(): number
}

export const openTunnel: ConnectAnswer = (client, open) => {
  const upstream = open()
  upstream.once('connect', () => {
    client.write('HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n')
    client.pipe(upstream).pipe(client)
  })
}

/** Ends with the test. `port`: where tunnels lead, whatever their target is. */
export async function startForwardProxy(
  t: { teardown(run: () => unknown): void },
  port: number,
  answer: ConnectAnswer = openTunnel,
  tls?: { key: string; cert: string },
): Promise<ForwardProxy> {
  const sockets = new Set<Socket>()
  const requests: ForwardProxy['requests'] = []
  const server = tls ? createTLSServer(tls) : createServer()
  server.on('connect', ({ url, headers }, client: Socket) => {
    client.on('error', () => {})
    client.once('end', () => client.destroy()) // sockets of HTTP servers stay half-open
    client.resume()
    requests.push({ target: url, headers })
    answer(client, () => {
      const upstream = connect(port, '127.0.0.1')
      upstream.on('error', () => client.destroy())
      client.once('close', () => upstream.destroy())
      return upstream
    })
  })
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.once('close', () => sockets.delete(socket))
  })
  server.on('tlsClientError', () => {})
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.close()
    for (const socket of sockets) socket.destroy()
  })
  const scheme = tls ? 'https' : 'http'
  return {
    url: `${scheme}://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    open: () => sockets.size,
  }
}
