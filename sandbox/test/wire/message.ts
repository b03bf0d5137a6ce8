import { serialize } from 'bson'
import t from 'tap'
import { crc32c } from '../../src/wire/crc32c.js'
import { encodeFrame, type Frame, FrameSplitter, OP_MSG, OP_QUERY } from '../../src/wire/frame.js'
import {
  CHECKSUM_PRESENT,
  encodeMessage,
  encodeReply,
  MORE_TO_COME,
  nameOf,
  readMessage,
  readQuery,
  readReply,
} from '../../src/wire/message.js'

const parse = (bytes: Buffer) => new FrameSplitter(10_000).push(bytes)[0] as Frame
const message = (flagBits: number, ...sections: Uint8Array[]) => {
  const flags = Buffer.alloc(4)
  flags.writeUInt32LE(flagBits)
  return encodeFrame(OP_MSG, 1, 0, [flags, ...sections])
}
const body = (document: object) => Buffer.concat([Buffer.from([0]), serialize(document)])
const sequence = (identifier: string, ...documents: object[]) => {
  const content = Buffer.concat([Buffer.from(`${identifier}\0`), ...documents.map(one => serialize(one))])
  const head = Buffer.alloc(5)
  head[0] = 1
  head.writeInt32LE(content.length + 4, 1)
  return Buffer.concat([head, content])
}

t.test('a body and sequences are read in any order', async t => {
  const sections = [sequence('documents', { a: 1 }, { a: 2 }), body({ insert: 'c' })]
  for (const ordered of [sections, sections.toReversed()]) {
    const { flagBits, body, sequences } = readMessage(parse(message(MORE_TO_COME, ...ordered)))
    t.equal(flagBits, MORE_TO_COME)
    t.equal(nameOf(body), 'insert')
    t.match(sequences, [{ identifier: 'documents', documents: [serialize({ a: 1 }), serialize({ a: 2 })] }])
  }
})

t.test('a checksum is verified', async t => {
  t.equal(crc32c(Buffer.from('123456789')), 0xe3069283, 'the check value of CRC-32C')
  const good = message(CHECKSUM_PRESENT, body({ ping: 1 }), Buffer.alloc(4))
  good.writeUInt32LE(crc32c(good.subarray(0, -4)), good.length - 4)
  t.equal(nameOf(readMessage(parse(good)).body), 'ping')
  const bad = Buffer.from(good)
  bad[bad.length - 1] = (bad.at(-1) as number) ^ 1
  t.throws(() => readMessage(parse(bad)), { code: 'malformedMessage' })
})

t.test('malformed messages are errors', async t => {
  const ping = body({ ping: 1 })
  for (const [what, bytes] of [
    ['no flag bits', encodeFrame(OP_MSG, 1, 0, [])],
    ['no body', message(0)],
    ['an unknown required flag', message(1 << 2, ping)],
    ['an unknown kind of section', message(0, Buffer.from([2]), serialize({}))],
    ['a truncated document', message(0, ping.subarray(0, -1))],
    ['a sequence without an identifier', message(0, ping, Buffer.from([1, 6, 0, 0, 0, 65, 65]))],
  ] as const) {
    t.throws(() => readMessage(parse(bytes)), { code: 'malformedMessage' }, what)
  }
})

t.test('OP_QUERY is read with and without $query around the command', async t => {
  const query = (namespace: string, document: object) =>
    parse(
      encodeFrame(OP_QUERY, 1, 0, [
        Buffer.alloc(4),
        Buffer.from(`${namespace}\0`),
        Buffer.alloc(8),
        serialize(document),
      ]),
    )
  for (const document of [
    { isMaster: 1 },
    { $query: { isMaster: 1 }, $readPreference: {} },
    { query: { isMaster: 1 } },
  ]) {
    const { db, name, body } = readQuery(query('admin.$cmd', document))
    t.match({ db, name, inner: nameOf(body) }, { db: 'admin', name: 'isMaster', inner: 'isMaster' })
  }
  t.throws(() => readQuery(query('app.orders', {})), { code: 'malformedMessage' })
})

t.test('replies are encoded as OP_MSG and as OP_REPLY', async t => {
  t.match(readReply(parse(encodeMessage(serialize({ ok: 1 }), 5, 4, MORE_TO_COME))), {
    document: { ok: { value: 1 } },
    moreToCome: true,
  })
  const legacy = parse(encodeReply(4, { ok: 1 }, 5))
  t.match(legacy, { responseTo: 4, requestID: 5 })
  t.match(readReply(legacy), { document: { ok: { value: 1 } }, moreToCome: false })
})
