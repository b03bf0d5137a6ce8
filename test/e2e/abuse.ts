import { once } from 'node:events'
import { connect } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { Binary, serialize } from 'bson'
import t from 'tap'
import { OP_COMPRESSED, OP_MSG, writeFrame } from '../../src/wire/frame.js'
import { writeMessage } from '../../src/wire/message.js'
import { startTestProxy } from '../support/testProxy.js'

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
const lying = Buffer.from(ping)
lying.writeInt32LE(ping.length + 8, 0)
const twice = Buffer.from(serialize({ ping: 1, aa: 1, bb: 1, $db: 'admin' }))
twice.write('aa', twice.indexOf('bb'))
const saslStart = (payload: object) =>
  writeMessage({ saslStart: 1, mechanism: 'MONGODB-AWS', payload: new Binary(serialize(payload)), $db: '$external' }, 1)

/** What strangers send. None of it is answered with a login, and all of it ends. */
const bad: Record<string, Buffer> = {
  'a length of 0': length(0),
  'a length of 15': length(15),
  'a length of -1': length(-1),
  'a length of 2³¹−1': length(2 ** 31 - 1),
  'a frame of 48 MB': length(48_000_000),
  'a document that lies about its length': message(flags(0), Buffer.of(0), lying),
  'a key twice': message(flags(0), Buffer.of(0), twice),
  'unknown flag bits': message(flags(1 << 5), Buffer.of(0), ping),
  'a checksum that is wrong': message(flags(1), Buffer.of(0), ping, flags(7)),
  'an HTTP request': Buffer.from('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n'),
  'a TLS hello': Buffer.from('16030100f5010000f10303', 'hex'),
  'a compressed message': writeFrame(OP_COMPRESSED, 1, 0, [ping]),
  'half a message': message(flags(0), Buffer.of(0), ping).subarray(0, 20),
  nothing: Buffer.alloc(0),
  'a nonce that is too long': saslStart({ r: new Binary(Buffer.alloc(33)), p: 110 }),
  'a challenge nobody answers': saslStart({ r: new Binary(Buffer.alloc(32)), p: 110 }),
  'a command before login': writeMessage({ find: 'c', $db: 'app' }, 1),
}
const kinds = Object.values(bad)

/** Says it, and leaves: in peace, or by a reset. */
async function knock(port: number, bytes: Buffer, reset: boolean): Promise<void> {
  const socket = connect({ port, host: '127.0.0.1' })
  socket.on('error', () => {})
  await once(socket, 'connect')
  if (reset) socket.write(bytes, () => socket.resetAndDestroy())
  else socket.end(bytes)
  socket.resume()
  if (!socket.closed) await new Promise(resolve => socket.once('close', resolve))
}

async function knocks(port: number, count: number): Promise<void> {
  let next = 0
  const one = async () => {
    while (next < count) {
      const turn = next++
      await knock(port, kinds[turn % kinds.length] as Buffer, turn % 3 === 0)
    }
  }
  await Promise.all(Array.from({ length: 32 }, one))
}

const sockets = () => process.getActiveResourcesInfo().filter(name => name === 'TCPSocketWrap').length

/** Waits until there are so many sockets again, for as long as the slowest of them may take to close. */
async function settled(wanted: number): Promise<void> {
  for (const end = Date.now() + 10_000; sockets() !== wanted && Date.now() < end; ) await turn()
}

/** Memory in use, in MiB. */
function memory(): number {
  gc()
  gc()
  const { heapUsed, external, arrayBuffers } = process.memoryUsage()
  return (heapUsed + external + arrayBuffers) / 2 ** 20
}

t.test(
  'ten thousand bad connections cost no more memory than a thousand, and no handle',
  { timeout: 120_000 },
  async t => {
    const { uri, client, keyOf, log } = await startTestProxy(t, { settings: { 'ldap.every': '24h' } })
    const port = Number(new URL(uri).port)
    await knocks(port, 100)
    const before = sockets()
    await knocks(port, 900)
    await settled(before)
    const early = memory()
    await knocks(port, 9_000)
    await settled(before)
    const late = memory()
    t.ok(late - early <= 10, `${early.toFixed(1)} MB, then ${late.toFixed(1)} MB`)
    t.equal(sockets(), before)

    const kindsLogged = new Set(log.map(line => line.fault))
    for (const kind of ['frame/length', 'message/malformed', 'message/compressed', 'sasl/payload-invalid']) {
      t.ok(kindsLogged.has(kind), `${kind} is in the log`)
    }
    const honest = await client('mongodb7', keyOf('alice'))
    t.match(await honest.db('app').command({ ping: 1 }), { ok: 1 }, 'and the next client is served')
  },
)
