import { serialize } from 'bson'
import fc from 'fast-check'
import t from 'tap'
import { Fault } from '../../src/errors.js'
import { crc32c } from '../../src/wire/crc32c.js'
import { type Frame, Framer, OP_COMPRESSED, OP_MSG, OP_QUERY, OP_REPLY, writeFrame } from '../../src/wire/frame.js'
import { readCommand, readReply, writeMessage, writeReply } from '../../src/wire/message.js'
import { faultOf } from '../support/faults.js'

const parseFrame = (bytes: Buffer): Frame => {
  const [only] = [...new Framer(2 ** 20).push(bytes)]
  if (!only) throw new Error('not one complete frame')
  return only
}
const message = (...parts: Uint8Array[]) => parseFrame(writeFrame(OP_MSG, 1, 0, parts))
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
  parseFrame(writeFrame(OP_QUERY, 5, 0, [int32(4), Buffer.from(`${namespace}\0`), int32(0), int32(-1), document]))

t.test('the sections of a command may have any order', async t => {
  for (const sections of [
    [body, sequence],
    [sequence, body],
  ]) {
    t.match(readCommand(message(int32(0), ...sections)), { name: 'insert', db: 'app', requestID: 1 })
  }
})

t.test('the command name is the first key, even before a key that looks like an array index', async t => {
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

t.test('two bodies, no body, an unknown section kind, an excessive size and a missing $db are faults', async t => {
  const wrongSize = Buffer.from(body)
  wrongSize.writeInt32LE(body.length, 1)
  for (const parts of [
    [body, body],
    [sequence],
    [Buffer.concat([Buffer.of(2), body])],
    [wrongSize],
    [Buffer.of(0), serialize({ ping: 1 })],
    [Buffer.of(1), int32(4)],
  ]) {
    t.equal(
      kind(() => readCommand(message(int32(0), ...parts))),
      'message/malformed',
    )
  }
})

t.test('a duplicate key is refused at any depth', async t => {
  const once = serialize({ ping: 1, a: { bb: 1, cc: 2 }, $db: 'app' })
  const twice = Buffer.from(once)
  twice.write('bb', twice.indexOf('cc'))
  t.equal(
    kind(() => readCommand(message(int32(0), Buffer.of(0), twice))),
    'message/malformed',
  )
})

t.test('a document with a wrong length is refused', async t => {
  for (const by of [-1, 1, 1000]) {
    const document = Buffer.from(serialize({ ping: 1, $db: 'app' }))
    document.writeInt32LE(document.length + by, 0)
    t.equal(
      kind(() => readCommand(message(int32(0), Buffer.of(0), document))),
      'message/malformed',
    )
  }
})

t.test('unknown required flag bits are refused, unknown optional ones are ignored', async t => {
  t.equal(
    kind(() => readCommand(message(int32(1 << 3), body))),
    'message/malformed',
  )
  t.equal(readCommand(message(int32(1 << 20), body)).name, 'insert')
})

t.test('a checksum is verified', async t => {
  t.equal(crc32c(Buffer.from('123456789')), 0xe3069283, 'the check value of CRC-32C')
  const valid = writeFrame(OP_MSG, 1, 0, [int32(1), body, int32(0)])
  valid.writeUInt32LE(crc32c(valid.subarray(0, -4)), valid.length - 4)
  t.equal(readCommand(parseFrame(valid)).name, 'insert')
  valid[valid.length - 1] = (valid.at(-1) as number) ^ 1
  t.equal(
    kind(() => readCommand(parseFrame(valid))),
    'message/malformed',
  )
})

t.test('OP_QUERY is read on a command namespace, with or without $query', async t => {
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

t.test('compressed messages and unknown opcodes are refused', async t => {
  t.equal(
    kind(() => readCommand(parseFrame(writeFrame(OP_COMPRESSED, 1, 0, [int32(OP_MSG)])))),
    'message/compressed',
  )
  t.equal(
    kind(() => readCommand(parseFrame(writeFrame(2002, 1, 0, [int32(0)])))),
    'frame/opcode',
  )
})

t.test('a reply has the opcode that matches its request, and can be read', async t => {
  const command = readCommand(query('admin.$cmd', serialize({ isMaster: 1 })))
  const reply = parseFrame(writeReply(command, { ok: 1 }, 77))
  t.match(reply, { opCode: OP_REPLY, responseTo: 5, requestID: 77 })
  t.same(readReply(reply).document, { ok: 1 })
  t.match(parseFrame(writeReply({ opCode: OP_MSG, requestID: 9 }, { ok: 1 }, 78)), { opCode: OP_MSG, responseTo: 9 })
  t.same(readReply(parseFrame(writeMessage({ ok: 1 }, 1, 0, 2))), { document: { ok: 1 }, moreToCome: true })
})

t.test('random bytes give a command or a fault', async t => {
  fc.assert(
    fc.property(
      fc.constantFrom(OP_MSG, OP_QUERY, OP_COMPRESSED, OP_REPLY),
      fc.uint8Array({ maxLength: 200 }),
      (opCode, bytes) => {
        try {
          readCommand(parseFrame(writeFrame(opCode, 1, 0, [bytes])))
        } catch (thrown) {
          if (!(thrown instanceof Fault) || thrown.kind === 'internal') throw thrown
        }
      },
    ),
    { numRuns: 2000 },
  )
  t.pass()
})
