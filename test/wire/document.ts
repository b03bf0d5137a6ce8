import { Code, Long, serialize } from 'bson'
import t from 'tap'
import { readDocument } from '../../src/wire/document.js'
import { faultOf } from '../support/faults.js'

/** A document in which a key was put in the place of `placeholder`, which is as long: no driver would write it. */
const withKey = (key: string, document: object) => {
  const bytes = Buffer.from(serialize(document))
  bytes.write(key, bytes.indexOf('placeholder'.slice(0, key.length)))
  return bytes
}
const kind = (bytes: Buffer) => faultOf(() => readDocument(bytes, { exact: true }))?.kind

t.test(
  'a key by which the BSON library would take a document for a value of its own is refused at any depth',
  async t => {
    for (const key of ['_bsontype', '__isLong__']) {
      const name = 'placeholder'.slice(0, key.length)
      t.equal(kind(withKey(key, { hello: 1, [name]: true })), 'message/malformed', key)
      t.equal(kind(withKey(key, { hello: 1, client: { driver: { [name]: 'Binary' } } })), 'message/malformed', key)
      t.equal(kind(withKey(key, { hello: 1, list: [{ [name]: 'Binary' }] })), 'message/malformed', key)
      t.equal(kind(Buffer.from(serialize({ hello: 1, value: key }))), undefined, 'as a value it is text')
    }
  },
)

t.test('code with a scope is refused: the scope is a document that nobody looked into', async t => {
  t.equal(kind(Buffer.from(serialize({ hello: 1, z: new Code('', { a: 1 }) }))), 'message/malformed')
  t.equal(kind(Buffer.from(serialize({ hello: 1, z: new Code('') }))), undefined)
})

t.test('what was read can be written again, byte for byte', async t => {
  const bytes = Buffer.from(serialize({ a: 1, b: 1.5, c: Long.fromNumber(7), d: [{ e: /f/i }], g: null }))
  t.same(Buffer.from(serialize(readDocument(bytes, { exact: true }))), bytes)
})

t.test('a document of more elements than anybody needs is refused, however they are nested', async t => {
  const flat = (count: number) =>
    serialize(Object.fromEntries(Array.from({ length: count }, (_, index) => [`k${index}`, null])))
  t.ok(readDocument(Buffer.from(flat(2_000))))
  t.equal(faultOf(() => readDocument(Buffer.from(flat(2_001))))?.kind, 'message/malformed')
  const nested = Buffer.from(
    serialize({ list: Array.from({ length: 50 }, () => ({ list: Array.from({ length: 50 }, () => 1) })) }),
  )
  t.equal(faultOf(() => readDocument(nested))?.kind, 'message/malformed')
})
