import { Code, Long, serialize } from 'bson'
import t from 'tap'
import { readDocument } from '../../src/wire/document.js'
import { faultOf } from '../support/faults.js'

/** A document with a key that no driver would write: it replaces a prefix of `placeholder` of the same length. */
const withKey = (key: string, document: object) => {
  const bytes = Buffer.from(serialize(document))
  bytes.write(key, bytes.indexOf('placeholder'.slice(0, key.length)))
  return bytes
}
const kind = (bytes: Buffer) => faultOf(() => readDocument(bytes, { exact: true }))?.kind

t.test('a key that the BSON library reserves for values of its own is refused at any depth', async t => {
  for (const key of ['_bsontype', '__isLong__']) {
    const name = 'placeholder'.slice(0, key.length)
    t.equal(kind(withKey(key, { hello: 1, [name]: true })), 'message/malformed', key)
    t.equal(kind(withKey(key, { hello: 1, client: { driver: { [name]: 'Binary' } } })), 'message/malformed', key)
    t.equal(kind(withKey(key, { hello: 1, list: [{ [name]: 'Binary' }] })), 'message/malformed', key)
    t.equal(kind(Buffer.from(serialize({ hello: 1, value: key }))), undefined, 'as a value it is plain text')
  }
})

t.test('code with scope is refused, since the scope is a document that is not validated', async t => {
  t.equal(kind(Buffer.from(serialize({ hello: 1, z: new Code('', { a: 1 }) }))), 'message/malformed')
  t.equal(kind(Buffer.from(serialize({ hello: 1, z: new Code('') }))), undefined)
})

t.test('a parsed document can be written again, byte for byte', async t => {
  const bytes = Buffer.from(serialize({ a: 1, b: 1.5, c: Long.fromNumber(7), d: [{ e: /f/i }], g: null }))
  t.same(Buffer.from(serialize(readDocument(bytes, { exact: true }))), bytes)
})

t.test('a document with too many elements is refused, however they are nested', async t => {
  const flat = (count: number) =>
    serialize(Object.fromEntries(Array.from({ length: count }, (_, index) => [`k${index}`, null])))
  t.ok(readDocument(Buffer.from(flat(2_000))))
  t.equal(faultOf(() => readDocument(Buffer.from(flat(2_001))))?.kind, 'message/malformed')
  const nested = Buffer.from(
    serialize({ list: Array.from({ length: 50 }, () => ({ list: Array.from({ length: 50 }, () => 1) })) }),
  )
  t.equal(faultOf(() => readDocument(nested))?.kind, 'message/malformed')
})
