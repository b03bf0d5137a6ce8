/** A way to a port of this machine that can be shut, and that can swallow what comes. */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import type { Test } from 'tap'

export type Gate = {
  port: number
  /** From now on nobody new gets in; who is in stays. */
  shut(): Promise<void>
  /** Ends every connection. */
  cut(): void
  /** New connections are accepted, and nothing comes through. */
  swallow(): void
  /** As it was at first. */
  open(): Promise<void>
}

/** Ends with the test. */
export async function gate(t: Test, target: number): Promise<Gate> {
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
    shut,
    cut,
    swallow() {
      through = false
    },
    open,
  }
}
