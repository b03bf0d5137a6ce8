/**
 * The lower bound for a login in one Node process: its sockets, reads and writes, in the same order and with the same sizes,
 * but without any parsing. Logins through the proxy are compared with it.
 *
 *     accept ─ hello ─ saslStart ─ proof ─▶ STS, over a keep-alive socket ─▶ connect upstream, two round trips ─▶ done
 */
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { Binary, Int32, serialize } from 'bson'
import { OP_MSG, writeFrame } from '../../src/wire/frame.js'
import { answerCalls } from './answer.js'

const [upstream = '', sts = '', host = ''] = process.argv.slice(2)
const KEEP_ALIVE_MS = 60_000

const message = (document: object): Buffer => writeFrame(OP_MSG, 7, 0, [Buffer.alloc(5), serialize(document)])
const sasl = (done: boolean, payload: Uint8Array): Buffer =>
  message({ conversationId: new Int32(1), done, payload: new Binary(payload), ok: 1 })
/** A ping that is `bytes` longer than usual. The upstream has its reply ready. */
const padded = (bytes: number): Buffer => message({ ping: 1, $db: 'admin', comment: 'x'.repeat(bytes) })

const HELLO = message({
  isWritablePrimary: true,
  localTime: new Date(),
  maxWireVersion: 25,
  ok: 1,
  pad: 'x'.repeat(200),
})
const CHALLENGE = sasl(false, serialize({ s: new Binary(Buffer.alloc(64)), h: host }))
const DONE = sasl(true, Buffer.alloc(0))
const UPSTREAM_REQUESTS = [padded(400), padded(150)]
const POST = Buffer.from(
  [
    'POST / HTTP/1.1',
    `Host: ${host}`,
    `Authorization: ${'x'.repeat(280)}`,
    `X-MongoDB-Server-Nonce: ${'x'.repeat(88)}`,
    'X-Amz-Date: 20260101T000000Z',
    'Connection: keep-alive',
    'Content-Length: 43',
    '',
    'Action=GetCallerIdentity&Version=2011-06-15',
  ].join('\r\n'),
)

const options = { allowHalfOpen: true, noDelay: true, keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE_MS }

/** Sockets to STS without a pending call, and the callback of each pending call. */
const idle: Socket[] = []
const pending = new Map<Socket, () => void>()

function callSts(then: () => void): void {
  const socket = idle.pop() ?? connectSts()
  pending.set(socket, then)
  socket.write(POST)
}

function connectSts(): Socket {
  const socket = connect({ ...options, host: '127.0.0.1', port: Number(sts) })
  return socket
    .on('error', () => socket.destroy())
    .on('data', () => {
      const then = pending.get(socket)
      idle.push(socket)
      then?.()
    })
}

/** The upstream half of a login. */
function logInUpstream(client: Socket, then: () => void): void {
  const socket = connect({ ...options, host: '127.0.0.1', port: Number(upstream) })
  let nth = 0
  const next = (): void => {
    const request = UPSTREAM_REQUESTS[nth++]
    if (request) socket.write(request)
    else then()
  }
  socket.on('connect', next).on('data', next)
  socket.on('error', () => client.destroy()).on('end', () => socket.end())
  client.on('end', () => socket.end()).on('error', () => socket.destroy())
}

function serve(client: Socket): void {
  const steps = [
    () => client.write(HELLO),
    () => client.write(CHALLENGE),
    () => callSts(() => logInUpstream(client, () => client.write(DONE))),
  ]
  client.on('data', () => steps.shift()?.())
  client.on('error', () => {}).on('end', () => client.end())
}

const server = createServer(options, serve)
server.listen(0, '127.0.0.1', 4096, () => answerCalls({ port: (server.address() as AddressInfo).port }))
