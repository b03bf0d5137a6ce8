import { Binary, type Document, Double, Int32, Long, serialize } from 'bson'
import t from 'tap'
import { readDocument } from '../../src/wire/document.js'
import { Elements } from '../../src/wire/elements.js'
import { faultOf } from '../support/faults.js'

const bytesOf = (document: Document) => Buffer.from(serialize(document))
const kind = (step: () => unknown) => faultOf(step)?.kind

const everything: Document = {
  text: 'a text, größer',
  none: '',
  binary: new Binary(Buffer.from('four')),
  old: new Binary(Buffer.from('four'), 2),
  id: new Binary(Buffer.alloc(16, 7), 4),
  yes: true,
  no: false,
  int: new Int32(-7),
  double: new Double(1.5),
  long: Long.fromString('9007199254740993'),
  date: new Date(5),
  null: null,
  list: [1, { a: 2 }],
  document: { b: { c: 3 } },
}

t.test('each value is the one that the BSON library parses', async t => {
  const bytes = bytesOf(everything)
  const elements = new Elements(bytes)
  const whole = readDocument(bytes, { exact: true })
  t.same([...elements.names()], Object.keys(everything))
  for (const name of Object.keys(everything)) {
    t.same(elements.get(name), whole[name], name)
    t.ok(elements.has(name))
  }
  t.equal(elements.get('other'), undefined)
  t.notOk(elements.has('other'))
})

t.test('names have the order of the document', async t => {
  const bytes = bytesOf({ a: 1, b: 2 })
  bytes.write('9', bytes.indexOf('a'))
  bytes.write('1', bytes.indexOf('b'))
  t.same([...new Elements(bytes).names()], ['9', '1'])
})

t.test('an embedded document is returned as its bytes, and no other type is', async t => {
  const elements = new Elements(bytesOf(everything))
  t.same(elements.getDocument('document'), bytesOf(everything.document))
  for (const name of ['list', 'text', 'null', 'other']) t.equal(elements.getDocument(name), undefined, name)
})

t.test('an incomplete document, or one with a duplicate key at any depth, is refused by the constructor', async t => {
  const valid = bytesOf({ hello: 1, client: { a: 1, b: 2 } })
  const twice = Buffer.from(valid)
  twice.write('a', twice.indexOf('b\0', 20))
  for (const bytes of [Buffer.alloc(0), valid.subarray(1), Buffer.concat([valid, Buffer.of(0)]), twice]) {
    t.equal(
      kind(() => new Elements(bytes)),
      'message/malformed',
    )
  }
  for (let end = 0; end < valid.length; end++) {
    if (kind(() => new Elements(valid.subarray(0, end))) !== 'message/malformed') t.fail(`cut at ${end}`)
  }
})

t.test('a string that is not UTF-8 or not terminated is refused on access', async t => {
  const bytes = bytesOf({ text: 'abcd', other: 1 })
  const notUtf8 = Buffer.from(bytes)
  notUtf8[bytes.indexOf('abcd') + 1] = 0xff
  t.equal(
    kind(() => new Elements(notUtf8).get('text')),
    'message/malformed',
  )
  t.same(new Elements(notUtf8).get('other'), new Int32(1))
  const unterminated = Buffer.from(bytes)
  unterminated[bytes.indexOf('abcd') + 4] = 1
  t.equal(
    kind(() => new Elements(unterminated).get('text')),
    'message/malformed',
  )
})
