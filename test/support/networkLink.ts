/** A TCP proxy to a port of this machine that fails in the ways of a network. */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import type { Test } from 'tap'

export type NetworkLink = {
  port: number
  /** New connections are refused; existing ones stay open. */
  refuseConnections(): Promise<void>
  /** New connections are accepted and closed, as by a server at its connection limit; existing ones stay open. */
  closeNewConnections(): void
  /** Closes every connection. */
  resetConnections(): void
  /** New connections are accepted, and no byte passes. */
  blackhole(): void
  /** Works again as it did at first. */
  restore(): Promise<void>
  /** Resolves when the next connection has been accepted. */
  nextConnection(): Promise<void>
}

/** Opens a link to `target`. It ends with the test. */
export async function openLink(t: Test, target: number): Promise<NetworkLink> {
  const sockets = new Set<Socket>()
  let passes = true
  let isFull = false
  let port = 0
  let server: Server
  let accepted: (() => void)[] = []

  const register = (socket: Socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => sockets.delete(socket))
  }
  const accept = (outer: Socket) => {
    register(outer)
    const waiting = accepted
    accepted = []
    for (const resolve of waiting) resolve()
    if (isFull) return void outer.destroy()
    if (!passes) return void outer.resume()
    const inner = connect(target, '127.0.0.1')
    register(inner)
    outer.pipe(inner).pipe(outer)
    outer.on('close', () => inner.destroy())
    inner.on('close', () => outer.destroy())
  }
  const restore = async () => {
    passes = true
    isFull = false
    if (server?.listening) return
    server = createServer({ allowHalfOpen: true }, accept).listen(port, '127.0.0.1')
    await once(server, 'listening')
    port = (server.address() as AddressInfo).port
  }
  const resetConnections = () => {
    for (const socket of sockets) socket.destroy()
  }
  await restore()
  t.teardown(() => {
    server.close()
    resetConnections()
  })
  return {
    port,
    refuseConnections: async () => void server.close(),
    closeNewConnections() {
      isFull = true
    },
    resetConnections,
    blackhole() {
      passes = false
    },
    restore,
    nextConnection: () => new Promise(resolve => accepted.push(resolve)),
  }
}
