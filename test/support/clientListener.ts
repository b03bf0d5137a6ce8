/** A listener on a free port of loopback, whose connections are fakes that record what they are asked to do. */
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { setImmediate as nextIteration } from 'node:timers/promises'
import type { Test } from 'tap'
import type { AcceptQueue } from '../../src/client/acceptQueue.js'
import type { CertificateRefusal } from '../../src/client/audit.js'
import { type ListenerOptions, listen } from '../../src/client/listener.js'
import type { AcceptedClient } from '../../src/client/preauth.js'
import { SocketServer, type SocketServerOptions } from '../../src/client/socketServer.js'
import type { Fault, FaultKind } from '../../src/errors.js'
import { createLog } from '../../src/log.js'
import { createManualClock } from './clock.js'

export const readPem = (name: string) => readFileSync(new URL(`tls/${name}.pem`, import.meta.url), 'utf8')
/** The certificate of proxy.test, its key, and the CA that clients need for it. */
export const pem = readPem('listener')
export const tls = { cert: pem, key: pem }
/** Only Linux routes all of 127.0.0.0/8 to loopback. */
export const skipWithoutLoopbackNetwork = process.platform !== 'linux' && 'one loopback address only'

/** Serves every socket at once. */
export const unqueued: AcceptQueue = { enqueue: (_, serve) => serve(), schedule: (_, serve) => serve() }

export type FakeConnection = {
  socket: Socket
  client: AcceptedClient
  destroyedWith?: Fault
  closedAsMonitorWith?: Fault
  drained: boolean
}

export async function startListener(t: Test, options: Partial<ListenerOptions & SocketServerOptions> = {}) {
  const clock = createManualClock()
  const connections: FakeConnection[] = []
  const rejected: FaultKind[] = []
  const refusedCertificates: ({ peer: string } & CertificateRefusal)[] = []
  const failedAccepts: string[] = []
  const lines: Record<string, unknown>[] = []
  const clients: Socket[] = []
  const settings = {
    log: createLog('debug', { write: line => lines.push(JSON.parse(line)) }),
    acceptQueue: unqueued,
    onRejected: (fault: Fault) => void rejected.push(fault.kind),
    ...options,
  }
  const sockets = new SocketServer({
    after: clock.after,
    wallClock: Date.now,
    shouldLog: () => true,
    createConnection(socket, client) {
      const connection = createFakeConnection(socket, client)
      connections.push(connection.fake)
      return connection
    },
    onCertificateRefused: ({ peer }, refusal) => refusedCertificates.push({ peer, ...refusal }),
    ...settings,
  })
  const listener = await listen({
    host: '127.0.0.1',
    port: 0,
    backlog: 100,
    connections: 100,
    reserve: 0,
    perAddress: 50,
    sockets,
    maxDescriptor: () => Number.POSITIVE_INFINITY,
    onAcceptFailed: why => failedAccepts.push(why),
    ...settings,
  })
  /** Resolves once the client has connected. */
  const dial = async (from = '127.0.0.1'): Promise<Socket> => {
    const client = connect({ host: '127.0.0.1', port: listener.port, localAddress: from })
    clients.push(client)
    client.on('error', () => {})
    client.resume()
    await once(client, 'connect')
    return client
  }
  /** Resolves once the listener serves the client. */
  const dialServed = async (from?: string): Promise<FakeConnection> => {
    const before = connections.length
    await dial(from)
    await until(() => connections.length > before)
    return connections[before] as FakeConnection
  }
  t.teardown(() => {
    listener.destroy()
    for (const client of clients) client.destroy()
  })
  return { listener, clock, connections, rejected, refusedCertificates, failedAccepts, lines, dial, dialServed }
}

function createFakeConnection(socket: Socket, client: AcceptedClient) {
  const fake: FakeConnection = { socket, client, drained: false }
  socket.on('error', () => {})
  socket.resume()
  return {
    fake,
    drain() {
      fake.drained = true
    },
    closeIfMonitor(fault: Fault) {
      fake.closedAsMonitorWith = fault
    },
    destroy(fault: Fault) {
      fake.destroyedWith = fault
      socket.destroy()
    },
  }
}

export const until = async (isTrue: () => boolean) => {
  while (!isTrue()) await nextIteration()
}

export const sum = (counts: Record<string, number>) => Object.values(counts).reduce((total, count) => total + count, 0)
