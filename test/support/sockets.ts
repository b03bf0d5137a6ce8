/** Both ends of a TCP connection on loopback, closed with the test, and readers for them. */
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { ReadBuffer } from '../../src/upstream/readBuffer.js'
import { type Frame, Framer } from '../../src/wire/frame.js'

type Teardown = { teardown(run: () => void): void }

export async function socketPair(t: Teardown): Promise<{ near: Socket; far: Socket }> {
  const server = createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const far = connect({ port: (server.address() as { port: number }).port, host: '127.0.0.1', allowHalfOpen: true })
  const [[near]] = (await Promise.all([once(server, 'connection'), once(far, 'connect')])) as [[Socket], unknown]
  server.close()
  far.on('error', () => {})
  t.teardown(() => {
    near.destroy()
    far.destroy()
  })
  return { near, far }
}

/** Passes on what a socket that was made without a read buffer reads, in memory that nobody overwrites. */
export function readBufferOf(socket: Duplex): Pick<ReadBuffer, 'setConsumer'> {
  return { setConsumer: reader => void socket.on('data', chunk => reader.onChunk(chunk)) }
}

/** Resolves when a socket has closed, with or without an error. */
export function waitForClose(socket: Socket): Promise<void> {
  return new Promise(resolve => {
    if (socket.closed) resolve()
    else socket.once('close', () => resolve())
  })
}

/** Gives a function that reads the next frame of a socket. It rejects when the socket closes before. */
export function createFrameReceiver(socket: Socket): () => Promise<Frame> {
  const framer = new Framer(48_000_000)
  const ready: Frame[] = []
  let wake = (): void => {}
  socket.on('data', chunk => {
    ready.push(...framer.push(chunk))
    wake()
  })
  socket.on('close', () => wake())
  return async () => {
    while (ready.length === 0) {
      if (socket.destroyed) throw new Error('closed')
      await new Promise<void>(resolve => {
        wake = resolve
      })
    }
    return ready.shift() as Frame
  }
}
