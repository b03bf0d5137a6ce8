/** A TCP link to a server of this machine that may change what the server sends. */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

export type Link = {
  port: number
  /** Changes each chunk that the server sends. Undefined passes chunks on as they are. */
  transform: ((chunk: Buffer) => Buffer) | undefined
  /** Closes the open connections. */
  resetConnections(): void
}

export async function openLink(target: number): Promise<Link> {
  const sockets = new Set<Socket>()
  const register = (socket: Socket) => {
    sockets.add(socket)
    socket.setNoDelay(true)
    socket.on('error', () => {})
    socket.on('close', () => sockets.delete(socket))
  }
  const server = createServer({ allowHalfOpen: true }, outer => {
    const inner = connect({ port: target, host: '127.0.0.1', allowHalfOpen: true })
    register(outer)
    register(inner)
    outer.pipe(inner)
    inner.on('data', chunk => outer.write(link.transform ? link.transform(chunk) : chunk))
    inner.on('end', () => outer.end())
    inner.on('close', () => outer.destroy())
    outer.on('close', () => inner.destroy())
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const link: Link = {
    port: (server.address() as AddressInfo).port,
    transform: undefined,
    resetConnections() {
      for (const socket of sockets) socket.destroy()
    },
  }
  return link
}
