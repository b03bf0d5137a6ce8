import { once } from 'node:events'
import { connect } from 'node:net'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { Binary, serialize } from 'bson'
import t from 'tap'
import { OP_COMPRESSED, OP_MSG, writeFrame } from '../../src/wire/frame.js'
import { writeMessage } from '../../src/wire/message.js'
import { requireClients } from '../support/clients.js'
import { startTestProxy } from '../support/testProxy.js'
import { waitUntil } from '../support/waitUntil.js'

await requireClients('mongodb7')

setFlagsFromString('--expose-gc')
const gc = runInNewContext('gc') as () => void

const length = (value: number) => {
  const bytes = Buffer.alloc(16)
  bytes.writeInt32LE(value)
  return bytes
}
const message = (...parts: Uint8Array[]) => writeFrame(OP_MSG, 1, 0, parts)
const flags = (bits: number) => length(bits).subarray(0, 4)
const ping = serialize({ ping: 1, $db: 'admin' })
const wrongLength = Buffer.from(ping)
wrongLength.writeInt32LE(ping.length + 8, 0)
const twice = Buffer.from(serialize({ ping: 1, aa: 1, bb: 1, $db: 'admin' }))
twice.write('aa', twice.indexOf('bb'))
const saslStart = (payload: object) =>
  writeMessage({ saslStart: 1, mechanism: 'MONGODB-AWS', payload: new Binary(serialize(payload)), $db: '$external' }, 1)

/** What attackers send before a login. Every one of these connections ends. */
const bad: Record<string, Buffer> = {
  'a length of 0': length(0),
  'a length of 15': length(15),
  'a length of -1': length(-1),
  'a length of 2³¹−1': length(2 ** 31 - 1),
  'a frame of 48 MB': length(48_000_000),
  'a document that lies about its length': message(flags(0), Buffer.of(0), wrongLength),
  'a key twice': message(flags(0), Buffer.of(0), twice),
  'unknown flag bits': message(flags(1 << 5), Buffer.of(0), ping),
  'a checksum that is wrong': message(flags(1), Buffer.of(0), ping, flags(7)),
  'an HTTP request': Buffer.from('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n'),
  'a TLS hello': Buffer.from('16030100f5010000f10303', 'hex'),
  'a compressed message': writeFrame(OP_COMPRESSED, 1, 0, [ping]),
  'half a message': message(flags(0), Buffer.of(0), ping).subarray(0, 20),
  nothing: Buffer.alloc(0),
  'a nonce that is too long': saslStart({ r: new Binary(Buffer.alloc(33)), p: 110 }),
  'a challenge without an answer': saslStart({ r: new Binary(Buffer.alloc(32)), p: 110 }),
  'a command before login': writeMessage({ find: 'c', $db: 'app' }, 1),
}
const kinds = Object.values(bad)

/** Sends the bytes, then closes the connection or resets it. */
async function sendAndLeave(port: number, bytes: Buffer, reset: boolean): Promise<void> {
  const socket = connect({ port, host: '127.0.0.1' })
  socket.on('error', () => {})
  await once(socket, 'connect')
  if (reset) socket.write(bytes, () => socket.resetAndDestroy())
  else socket.end(bytes)
  socket.resume()
  if (!socket.closed) await new Promise(resolve => socket.once('close', resolve))
}

/** Opens that many connections, 32 at a time. */
async function attack(port: number, count: number): Promise<void> {
  let next = 0
  const worker = async () => {
    while (next < count) {
      const nth = next++
      await sendAndLeave(port, kinds[nth % kinds.length] as Buffer, nth % 3 === 0)
    }
  }
  await Promise.all(Array.from({ length: 32 }, worker))
}

/** The client connections that the proxy holds, by its own metrics. */
async function openConnections(adminPort: number | undefined): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${adminPort}/metrics`)).text()
  const counts = [...text.matchAll(/^mongo_iam_proxy_connections\{.*\} (\d+)$/gm)].map(([, count]) => Number(count))
  if (counts.length === 0) throw new Error('there is no gauge of connections')
  return counts.reduce((sum, count) => sum + count, 0)
}

/** Memory in use, in MiB. */
function memory(): number {
  gc()
  gc()
  const { heapUsed, external, arrayBuffers } = process.memoryUsage()
  return (heapUsed + external + arrayBuffers) / 2 ** 20
}

t.test('ten thousand bad connections cost no more memory than a thousand, and none stays open', async t => {
  const { uri, client, keyOf, log, running, clock } = await startTestProxy(t, {
    settings: { 'ldap.every': '24h', 'admin.port': '0' },
  })
  const port = Number(new URL(uri).port)
  const allClosed = () => waitUntil(async () => (await openConnections(running.adminPort)) === 0)
  await attack(port, 100)
  await allClosed()
  await attack(port, 900)
  await allClosed()
  const early = memory()
  await attack(port, 9_000)
  await allClosed()
  const late = memory()
  t.ok(late - early <= 10, `${early.toFixed(1)} MB, then ${late.toFixed(1)} MB`)

  for (const bytes of kinds) {
    clock.advance(1_000) // the log has a bounded number of such lines per second
    await sendAndLeave(port, bytes, false)
  }
  await allClosed()
  const faults = new Set(log.map(line => line.fault))
  for (const kind of ['frame/length', 'message/malformed', 'message/compressed', 'sasl/payload-invalid']) {
    t.ok(faults.has(kind), `${kind} is in the log`)
  }
  const honest = await client('mongodb7', keyOf('alice'))
  t.match(await honest.db('app').command({ ping: 1 }), { ok: 1 }, 'the next client is served')
})
