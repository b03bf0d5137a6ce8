import { BSONRegExp, Code, type Document, MaxKey, MinKey, serialize, UUID } from 'bson'
import t from 'tap'
import { Framer, OP_MSG, writeFrame } from '../../src/wire/frame.js'
import { writeMessage } from '../../src/wire/message.js'
import { peekCommand } from '../../src/wire/peek.js'
import { faultOf } from '../support/faults.js'

const parseFrame = (bytes: Buffer) => {
  const [only] = [...new Framer(1_000_000).push(bytes)]
  if (!only) throw new Error('no frame')
  return only
}
const peek = (command: Document) => peekCommand(parseFrame(writeMessage({ ...command, $db: 'app' }, 1)))
const peekSections = (...sections: Uint8Array[]) =>
  peekCommand(parseFrame(writeFrame(OP_MSG, 1, 0, [Buffer.alloc(4), ...sections])))

t.test('the first key is the name, and autocommit: false marks a transaction', async t => {
  t.same(peek({ find: 'c', filter: { autocommit: false } }), { name: 'find', inTransaction: false })
  t.same(peek({ commitTransaction: 1, autocommit: false }), { name: 'commitTransaction', inTransaction: true })
  for (const autocommit of [true, 0, null, 'no']) t.equal(peek({ find: 'c', autocommit }).inTransaction, false)
})

t.test('a command of a transaction names its session', async t => {
  const [one, other] = [{ id: new UUID() }, { id: new UUID() }]
  const sessionOf = (lsid: unknown, autocommit = false) => peek({ insert: 'c', lsid, autocommit }).session
  t.type(sessionOf(one), 'string')
  t.equal(sessionOf(one), sessionOf(one))
  t.not(sessionOf(one), sessionOf(other))
  t.equal(sessionOf(one, true), undefined)
  t.equal(sessionOf('no document'), undefined)
  t.equal(sessionOf({ id: 'x'.repeat(1_000) }), undefined, 'its length is bounded')
})

t.test('values that the proxy cannot parse are left to the server', async t => {
  const twice = Buffer.from(serialize({ find: 'c', filter: { aa: 1, bb: 2 }, $db: 'app' }))
  twice.write('aa', twice.indexOf('bb'))
  t.match(peekSections(Buffer.of(0), twice), { name: 'find' })
  const deep = (levels: number): Document => (levels ? { a: deep(levels - 1) } : {})
  for (const filter of [
    { name: new BSONRegExp('(?i)^al') },
    { name: new BSONRegExp('a++b') },
    { $where: new Code('1', { a: 1 }) },
    { from: new MinKey(), to: new MaxKey() },
    deep(150),
  ]) {
    t.match(peek({ find: 'c', filter }), { name: 'find' })
    t.match(peek({ count: 'c', query: filter, ...filter, autocommit: false }), { name: 'count', inTransaction: true })
  }
})

t.test('the body is found after a document sequence', async t => {
  const documents = Buffer.concat([Buffer.alloc(4), Buffer.from('documents\0'), serialize({ _id: 1 })])
  documents.writeInt32LE(documents.length)
  t.match(peekSections(Buffer.of(1), documents, Buffer.of(0), serialize({ insert: 'c' })), { name: 'insert' })
})

t.test('an empty or unparsable body is a fault', async t => {
  const broken = Buffer.from(serialize({ find: 'c' }))
  broken[4] = 99
  for (const body of [serialize({}), broken]) {
    t.equal(faultOf(() => peekSections(Buffer.of(0), body))?.kind, 'message/malformed')
  }
})
