import { serialize } from 'bson'
import fc from 'fast-check'
import t from 'tap'
import { Fault } from '../../src/errors.js'
import { crc32c } from '../../src/wire/crc32c.js'
import { type Frame, Framer, frame, OP_COMPRESSED, OP_MSG, OP_QUERY, OP_REPLY } from '../../src/wire/frame.js'
import { readCommand, readReply, writeMessage, writeReply } from '../../src/wire/message.js'
import { faultOf } from '../support/faults.js'

const framed = (bytes: Buffer): Frame => {
  const [only] = [...new Framer(2 ** 20).push(bytes)]
  if (!only) throw new Error('not a whole frame')
  return only
}
const message = (...parts: Uint8Array[]) => framed(frame(OP_MSG, 1, 0, parts))
const kind = (run: () => unknown) => faultOf(run)?.kind
const int32 = (value: number) => {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32LE(value)
  return bytes
}
const body = Buffer.concat([Buffer.of(0), serialize({ insert: 'c', $db: 'app' })])
const documents = Buffer.concat([Buffer.from('documents\0'), serialize({ _id: 1 }), serialize({ _id: 2 })])
const sequence = Buffer.concat([Buffer.of(1), int32(documents.length + 4), documents])
const query = (namespace: string, document: Uint8Array) =>
  framed(frame(OP_QUERY, 5, 0, [int32(4), Buffer.from(`${namespace}\0`), int32(0), int32(-1), document]))

t.test('a command is read whichever section comes first', async t => {
  for (const sections of [
    [body, sequence],
    [sequence, body],
  ]) {
    t.match(readCommand(message(int32(0), ...sections)), { name: 'insert', db: 'app', requestID: 1 })
  }
})

t.test('the name is the first key as sent, even before a key that looks like an index', async t => {
  t.equal(
    readCommand(
      message(
        int32(0),
        Buffer.of(0),
        serialize(
          new Map<string, unknown>([
            ['ping', 1],
            ['0', 1],
            ['$db', 'a'],
          ]),
        ),
      ),
    ).name,
    'ping',
  )
})

t.test('two bodies, none, an unknown kind, a size that leaves the frame and $db left out are faults', async t => {
  const lying = Buffer.from(body)
  lying.writeInt32LE(body.length, 1)
  for (const parts of [
    [body, body],
    [sequence],
    [Buffer.concat([Buffer.of(2), body])],
    [lying],
    [Buffer.of(0), serialize({ ping: 1 })],
    [Buffer.of(1), int32(4)],
  ]) {
    t.equal(
      kind(() => readCommand(message(int32(0), ...parts))),
      'message/malformed',
    )
  }
})

t.test('a key that stands twice is refused at any depth', async t => {
  const once = serialize({ ping: 1, a: { bb: 1, cc: 2 }, $db: 'app' })
  const twice = Buffer.from(once)
  twice.write('bb', twice.indexOf('cc'))
  t.equal(
    kind(() => readCommand(message(int32(0), Buffer.of(0), twice))),
    'message/malformed',
  )
})

t.test('a document that lies about its length is refused', async t => {
  for (const by of [-1, 1, 1000]) {
    const document = Buffer.from(serialize({ ping: 1, $db: 'app' }))
    document.writeInt32LE(document.length + by, 0)
    t.equal(
      kind(() => readCommand(message(int32(0), Buffer.of(0), document))),
      'message/malformed',
    )
  }
})

t.test('unknown required flag bits are refused, optional ones are not', async t => {
  t.equal(
    kind(() => readCommand(message(int32(1 << 3), body))),
    'message/malformed',
  )
  t.equal(readCommand(message(int32(1 << 20), body)).name, 'insert')
})

t.test('a checksum is verified', async t => {
  t.equal(crc32c(Buffer.from('123456789')), 0xe3069283, 'the check value of CRC-32C')
  const good = frame(OP_MSG, 1, 0, [int32(1), body, int32(0)])
  good.writeUInt32LE(crc32c(good.subarray(0, -4)), good.length - 4)
  t.equal(readCommand(framed(good)).name, 'insert')
  good[good.length - 1] = (good.at(-1) as number) ^ 1
  t.equal(
    kind(() => readCommand(framed(good))),
    'message/malformed',
  )
})

t.test('OP_QUERY is read on a command namespace, wrapped or not', async t => {
  for (const document of [
    { isMaster: 1 },
    { $query: { isMaster: 1 }, $readPreference: {} },
    { query: { isMaster: 1 } },
  ]) {
    t.match(readCommand(query('admin.$cmd', serialize(document))), { name: 'isMaster', db: 'admin', opCode: OP_QUERY })
  }
  t.equal(
    kind(() => readCommand(query('app.things', serialize({ isMaster: 1 })))),
    'frame/opcode',
  )
})

t.test('what was compressed is closed, and so is what is not served', async t => {
  t.equal(
    kind(() => readCommand(framed(frame(OP_COMPRESSED, 1, 0, [int32(OP_MSG)])))),
    'message/compressed',
  )
  t.equal(
    kind(() => readCommand(framed(frame(2002, 1, 0, [int32(0)])))),
    'frame/opcode',
  )
})

t.test('a reply comes in the opcode of its question and reads back', async t => {
  const asked = readCommand(query('admin.$cmd', serialize({ isMaster: 1 })))
  const reply = framed(writeReply(asked, { ok: 1 }, 77))
  t.match(reply, { opCode: OP_REPLY, responseTo: 5, requestID: 77 })
  t.same(readReply(reply).document, { ok: 1 })
  t.match(framed(writeReply({ opCode: OP_MSG, requestID: 9 }, { ok: 1 }, 78)), { opCode: OP_MSG, responseTo: 9 })
  t.same(readReply(framed(writeMessage({ ok: 1 }, 1, 0, 2))), { document: { ok: 1 }, moreToCome: true })
})

t.test('random bytes give a command or a fault and nothing else', async t => {
  fc.assert(
    fc.property(
      fc.constantFrom(OP_MSG, OP_QUERY, OP_COMPRESSED, OP_REPLY),
      fc.uint8Array({ maxLength: 200 }),
      (opCode, bytes) => {
        try {
          readCommand(framed(frame(opCode, 1, 0, [bytes])))
        } catch (thrown) {
          if (!(thrown instanceof Fault) || thrown.kind === 'internal') throw thrown
        }
      },
    ),
    { numRuns: 2000 },
  )
  t.pass()
})
