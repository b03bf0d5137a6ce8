/** Commands that a client can send after its login: ordinary ones, and every way of changing the identity. */
import { Binary, type Document, Int32, Long, ObjectId, serialize } from 'bson'
import { HEADER_BYTES, OP_COMPRESSED, OP_MSG, OP_QUERY, writeFrame } from '../../src/wire/frame.js'
import { CHECKSUM_PRESENT, EXHAUST_ALLOWED, MORE_TO_COME, writeMessage } from '../../src/wire/message.js'
import { saslStart } from '../client.js'
import type { Random } from '../random.js'

/** Changes the identity of a connection, or would log in upstream. None may ever reach the upstream. */
export const IDENTITY_COMMANDS = ['saslStart', 'saslContinue', 'authenticate', 'logout', 'getnonce', 'copydbsaslstart']

const lsid = { id: new Binary(Buffer.alloc(16, 7), 4) }

const documents: readonly Document[] = [
  { ping: 1, $db: 'admin' },
  { hello: 1, $db: 'admin' },
  {
    hello: 1,
    topologyVersion: { processId: new ObjectId(), counter: Long.fromNumber(0) },
    maxAwaitTimeMS: 10,
    $db: 'admin',
  },
  { find: 'c', filter: { a: { $gt: 1 } }, lsid, $db: 'app' },
  { insert: 'c', documents: [{ a: 1 }, { b: 'x'.repeat(200) }], ordered: true, lsid, $db: 'app' },
  { aggregate: 'c', pipeline: [{ $match: {} }], cursor: {}, $db: 'app' },
  { getMore: Long.fromNumber(5), collection: 'c', $db: 'app' },
  { update: 'c', updates: [{ q: {}, u: { $set: { a: 2 } } }], txnNumber: Long.fromNumber(1), lsid, $db: 'app' },
  { endSessions: [lsid], $db: 'admin' },
  { abortTransaction: 1, txnNumber: Long.fromNumber(1), autocommit: false, lsid, $db: 'admin' },
  { logout: 1, $db: 'admin' },
  { getnonce: 1, $db: 'admin' },
  { authenticate: 1, mechanism: 'MONGODB-X509', $db: '$external' },
  { saslContinue: 1, conversationId: 1, payload: new Binary(Buffer.alloc(4)), $db: 'admin' },
  { copydbsaslstart: 1, $db: 'admin' },
  saslStart(),
]

const asQuery = (id: number, command: Document, name = 'admin.$cmd') =>
  writeFrame(OP_QUERY, id, 0, [Buffer.from(`\0\0\0\0${name}\0\0\0\0\0\xff\xff\xff\xff`, 'latin1'), serialize(command)])

/** A sequence of documents before or behind the body. */
function withSequence(id: number, body: Document, isFirst: boolean): Buffer {
  const documents = serialize({ a: 1 })
  const name = Buffer.from('documents\0')
  const size = new Int32(4 + name.length + documents.length)
  const header = Buffer.alloc(5, 1)
  header.writeInt32LE(Number(size), 1)
  const sequence = [header, name, documents]
  const section = [Buffer.from([0]), serialize(body)]
  return writeFrame(OP_MSG, id, 0, [
    Buffer.alloc(4),
    ...(isFirst ? [...sequence, ...section] : [...section, ...sequence]),
  ])
}

/** A frame of any kind, well formed. */
export function createFrame(id: number, random: Random): Buffer {
  const document = random.pick(documents)
  const build = random.pick<() => Buffer>([
    () => writeMessage(document, id, 0, 0),
    () => writeMessage(document, id, 0, 0),
    () => writeMessage(document, id, 0, random.pick([MORE_TO_COME, EXHAUST_ALLOWED, CHECKSUM_PRESENT, 1 << 20])),
    () => asQuery(id, { isMaster: 1, helloOk: true }),
    () => asQuery(id, { $query: document }, 'app.$cmd'),
    () => withSequence(id, { insert: 'c', $db: 'app' }, true),
    () => withSequence(id, document, random.chance(0.5)),
    () => compress(writeMessage(document, id, 0, 0)),
    () =>
      Buffer.concat([writeMessage(document, id, 0, MORE_TO_COME), writeMessage({ ping: 1, $db: 'admin' }, id, 0, 0)]),
  ])
  return build()
}

/** OP_COMPRESSED with the compressor `noop`. */
function compress(frame: Buffer): Buffer {
  const head = Buffer.alloc(9)
  head.writeInt32LE(OP_MSG, 0)
  head.writeInt32LE(frame.length - HEADER_BYTES, 4)
  return writeFrame(OP_COMPRESSED, frame.readInt32LE(4), 0, [head, frame.subarray(HEADER_BYTES)])
}
