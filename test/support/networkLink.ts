/** A way to a port of this machine that can be shut, and that can swallow what comes. */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import type { Test } from 'tap'

export type NetworkLink = {
  port: number
  /** From now on nobody new gets in; who is in stays. */
  refuseConnections(): Promise<void>
  /** Ends every connection. */
  resetConnections(): void
  /** New connections are accepted, and nothing comes through. */
  blackhole(): void
  /** As it was at first. */
  restore(): Promise<void>
}

/** Ends with the test. */
export async function openLink(t: Test, target: number): Promise<NetworkLink> {
  const sockets = new Set<Socket>()
  let through = true
  let port = 0
  let server: Server

  const keep = (socket: Socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => sockets.delete(socket))
  }
  const accept = (outer: Socket) => {
    keep(outer)
    if (!through) return void outer.resume()
    const inner = connect(target, '127.0.0.1')
    keep(inner)
    outer.pipe(inner).pipe(outer)
    outer.on('close', () => inner.destroy())
    inner.on('close', () => outer.destroy())
  }
  const open = async () => {
    through = true
    if (server?.listening) return
    server = createServer({ allowHalfOpen: true }, accept).listen(port, '127.0.0.1')
    await once(server, 'listening')
    port = (server.address() as AddressInfo).port
  }
  const shut = async () => void server.close()
  const cut = () => {
    for (const socket of sockets) socket.destroy()
  }
  await open()
  t.teardown(() => {
    server.close()
    cut()
  })
  return {
    port,
    refuseConnections: shut,
    resetConnections: cut,
    blackhole() {
      through = false
    },
    restore: open,
  }
}
