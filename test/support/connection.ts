/** A client connection whose socket, upstream and clock belong to the test, and the messages of a driver. */
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { setImmediate as nextIteration } from 'node:timers/promises'
import { Binary, type Document, Double, Int32, Long, ObjectId, serialize } from 'bson'
import type { Test } from 'tap'
import type { ConnectionAudit } from '../../src/client/audit.js'
import { Connection, type ConnectionOptions } from '../../src/client/connection.js'
import type { Stage } from '../../src/client/connectionTable.js'
import type { Authenticator } from '../../src/client/login.js'
import type { AcceptedClient } from '../../src/client/preauth.js'
import { UpstreamSession } from '../../src/client/upstreamSession.js'
import type { FaultKind } from '../../src/errors.js'
import { createLog } from '../../src/log.js'
import type { LogEvent } from '../../src/logEvents.js'
import type { LiveConnection } from '../../src/revocation/liveConnections.js'
import { createTermController } from '../../src/upstream/primaryTerm.js'
import { OP_QUERY, writeFrame } from '../../src/wire/frame.js'
import { EXHAUST_ALLOWED, writeMessage } from '../../src/wire/message.js'
import { silentAudit } from './audit.js'
import { createManualClock } from './clock.js'
import { createFault } from './faults.js'
import { createFrameReceiver, readBufferOf, socketPair } from './sockets.js'

export const ALICE = { arn: 'arn:aws:iam::123456789012:user/alice', user: 'alice@admin' }
export const STS_HOST = 'sts.eu-west-1.amazonaws.com'
export const driver = { driver: { name: 'nodejs', version: '7.9.0' }, os: { type: 'Linux' } }

export const message = (id: number, { $db = 'admin', ...command }: Document, flags = 0) =>
  writeMessage({ ...command, $db }, id, 0, flags)
export const query = (id: number, command: Document) =>
  writeFrame(OP_QUERY, id, 0, [
    Buffer.from('\0\0\0\0admin.$cmd\0\0\0\0\0\xff\xff\xff\xff', 'latin1'),
    serialize(command),
  ])

export const clientFirst = new Binary(serialize({ r: new Binary(Buffer.alloc(32, 1)), p: new Int32(110) }))
const clientFinal = new Binary(serialize({ a: 'the-authorization', d: '20260813T120000Z', t: 'the-token' }))
/** The first hello of a driver, request 1. */
export const hello = query(1, { isMaster: 1, helloOk: true, client: driver })
/** Request 2. */
export const saslStart = message(2, {
  saslStart: 1,
  mechanism: 'MONGODB-AWS',
  payload: clientFirst,
  $db: '$external',
})
/** Request 3. */
export const saslContinue = message(3, {
  saslContinue: 1,
  conversationId: 1,
  payload: clientFinal,
  $db: '$external',
})
/** Request 4. */
export const find = message(4, { find: 'c', $db: 'app' })
export const ping = (id: number) => message(id, { ping: 1 })
/** A first hello of this driver. */
export const helloOf = (name: string, version: string) =>
  message(1, { hello: 1, client: { ...driver, driver: { name, version } } })

export const topologyVersion = (counter: number) => ({
  processId: new ObjectId('652f1f77bcf86cd799439011'),
  counter: Long.fromNumber(counter),
})
/** A hello that allows a stream. */
export const streamingHello = message(
  1,
  { hello: 1, topologyVersion: topologyVersion(6), maxAwaitTimeMS: new Int32(10_000) },
  EXHAUST_ALLOWED,
)

export type LogLine = { event: LogEvent; level: string; fault?: FaultKind } & Document
export type Login = Authenticator['login']
export type Settings = {
  login?: Login
  answerHello?: ConnectionOptions['answerHello']
  client?: Partial<AcceptedClient>
  audit?: ConnectionAudit
}

/** A login that succeeds as alice, with this upstream. */
export const succeedWith =
  (
    upstream: Duplex,
    { term = createTermController().term, live = {} as LiveConnection, unregister = () => {} } = {},
  ): Login =>
  async ({ record }) => {
    Object.assign(record, ALICE)
    record.ms.sts = 12
    const socket = upstream as Socket
    const connected = {
      socket,
      readBuffer: readBufferOf(upstream),
      rest: Buffer.alloc(0),
      hello: {},
      term,
      address: '127.0.0.1:27018',
    }
    return new UpstreamSession(connected, live, unregister)
  }

export const failWith =
  (kind: FaultKind, detail?: string): Login =>
  async () => {
    throw createFault(kind, detail)
  }

/** Serves `socket`. */
export function serveConnection(
  socket: Duplex,
  { login = failWith('sts/refused'), answerHello, client, audit = silentAudit }: Settings = {},
) {
  const addresses: string[] = []
  const clock = createManualClock()
  const lines: LogLine[] = []
  const stages: Stage[] = []
  const logins: string[] = []
  const faults: FaultKind[] = []
  let activities = 0
  let text = ''
  const log = createLog('debug', {
    write(line) {
      text += line
      lines.push(JSON.parse(line))
    },
  })
  const accepted: AcceptedClient = {
    id: 5,
    peer: '192.0.2.7:50000',
    certificate: undefined,
    setStage: stage => stages.push(stage),
    markMonitor() {},
    recordActivity: () => activities++,
    schedule: step => step(),
    ...client,
  }
  const connection = new Connection(socket as Socket, accepted, {
    log,
    handshakeContext(address) {
      addresses.push(address)
      return {
        stsHost: () => STS_HOST,
        random: bytes => Buffer.alloc(bytes, 0xee),
        buildInfo: () => ({ version: '7.0.12' }),
        assertSessionSlotFree() {},
      }
    },
    answerHello:
      answerHello ??
      (async request => ({ [request.legacy ? 'ismaster' : 'isWritablePrimary']: true, ok: new Double(1) })),
    authenticator: { login, reauthenticate: async () => {} },
    audit,
    reauthenticationMode: () => 'ask',
    shouldLog: () => true,
    metrics: {
      recordFault: kind => faults.push(kind),
      recordLogin: outcome => logins.push(outcome),
      recordRefusedCommand: () => {},
      recordRelayedBytes: () => {},
    },
    nextRequestID: () => 900,
    now: clock.now,
    after: clock.after,
  })
  return {
    clock,
    stages,
    logins,
    faults,
    addresses,
    connection,
    lines,
    text: () => text,
    countActivities: () => activities,
    /** The log line of the connection, once it has closed. */
    async closedLine(): Promise<LogLine> {
      await connection.closed
      const closed = lines.filter(({ event }) => event === 'connection closed')
      if (closed.length !== 1) throw new Error(`${closed.length} lines instead of one`)
      return lines.at(-1) as LogLine
    },
  }
}

/** A connection of a TCP client. `socket` is the end of the proxy. */
export async function startConnection(t: Test, settings: Settings = {}) {
  const { near, far } = await socketPair(t)
  const served = serveConnection(near, settings)
  return { ...served, socket: near, client: far, nextReply: createFrameReceiver(far) }
}

/** Lets everything that is in progress continue. */
export const settle = async () => {
  for (let iterations = 0; iterations < 20; iterations++) await nextIteration()
}
export const until = async (isTrue: () => boolean) => {
  while (!isTrue()) await nextIteration()
}
