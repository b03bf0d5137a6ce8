import { Decimal128, type Document, Double, Int32, Long, ObjectId, Timestamp } from 'bson'
import t from 'tap'
import { codeNameOf } from '../../../test/support/mongo.js'
import { CommandError } from '../../src/mongo/commandError.js'
import { compileUpdate, createUpserted, type Update } from '../../src/mongo/update.js'

const int = (value: number) => new Int32(value)
const apply = (document: Document, u: Document | Document[], more: Partial<Update> = {}): Document =>
  compileUpdate({ q: {}, u, ...more }, () => 5000)(document)

/** Document, update, and the updated document. */
const rows: [document: Document, update: Document, expected: Document][] = [
  [{ a: 1 }, { $set: { b: 2, 'c.d': 3 } }, { a: 1, b: 2, c: { d: 3 } }],
  [{ a: [1, 2] }, { $set: { 'a.1': 5, 'a.3': 6 } }, { a: [1, 5, null, 6] }],
  [{ a: 1, b: { c: 2, d: 3 } }, { $unset: { a: '', 'b.c': '', x: '' } }, { b: { d: 3 } }],
  [{ a: int(1) }, { $inc: { a: int(2), b: int(3) } }, { a: int(3), b: int(3) }],
  [{ a: Long.fromNumber(1) }, { $inc: { a: int(2) } }, { a: Long.fromNumber(3) }],
  [{ a: int(2 ** 31 - 1) }, { $inc: { a: int(1) } }, { a: Long.fromNumber(2 ** 31) }],
  [{ a: int(1) }, { $inc: { a: new Double(0.5) } }, { a: new Double(1.5) }],
  [
    { a: Decimal128.fromString('0.1') },
    { $inc: { a: Decimal128.fromString('0.2') } },
    { a: Decimal128.fromString('0.3') },
  ],
  [{ a: int(3) }, { $mul: { a: int(4), b: int(2) } }, { a: int(12), b: int(0) }],
  [{ a: 3, b: 3 }, { $min: { a: 2, b: 4, c: 1 } }, { a: 2, b: 3, c: 1 }],
  [{ a: 3, b: 3 }, { $max: { a: 2, b: Long.fromNumber(4) } }, { a: 3, b: Long.fromNumber(4) }],
  [{ a: 1, b: 2 }, { $rename: { a: 'c.d', x: 'y' } }, { b: 2, c: { d: 1 } }],
  [{}, { $push: { a: 1 } }, { a: [1] }],
  [{ a: [1] }, { $push: { a: { $each: [3, 2], $sort: -1, $slice: 2 } } }, { a: [3, 2] }],
  [{ a: [1, 2] }, { $push: { a: { $each: [9], $position: 1 } } }, { a: [1, 9, 2] }],
  [{ a: [int(1)] }, { $addToSet: { a: { $each: [Long.fromNumber(1), 2, 2] } } }, { a: [int(1), 2] }],
  [{ a: [1, 2, 3] }, { $pop: { a: int(1) } }, { a: [1, 2] }],
  [{ a: [1, 2, 3] }, { $pop: { a: int(-1) } }, { a: [2, 3] }],
  [{ a: [1, 2, 3] }, { $pull: { a: { $gte: 2 } } }, { a: [1] }],
  [{ a: [{ b: 1, c: 2 }, { b: 2 }] }, { $pull: { a: { b: 1 } } }, { a: [{ b: 2 }] }],
  [{ a: [1, 2, 1] }, { $pullAll: { a: [1] } }, { a: [2] }],
  [{ a: int(5) }, { $bit: { a: { and: int(4), or: int(1) } } }, { a: int(5) }],
  [
    {},
    { $currentDate: { a: true, b: { $type: 'timestamp' } } },
    { a: new Date(5000), b: new Timestamp({ t: 5, i: 1 }) },
  ],
  [{ a: [{ n: 1 }, { n: 2 }] }, { $set: { 'a.$[].n': 0 } }, { a: [{ n: 0 }, { n: 0 }] }],
  [{ _id: 1, a: 1 }, { b: 2 }, { _id: 1, b: 2 }],
  [{ _id: 1, a: 1 }, {}, { _id: 1 }],
  [{ a: 1 }, { $setOnInsert: { b: 2 } }, { a: 1 }],
]

t.test('update operators work as in MongoDB', async t => {
  for (const [document, update, expected] of rows) {
    const before = structuredClone(JSON.stringify(document))
    t.same(apply(document, update), expected, JSON.stringify(update))
    t.equal(JSON.stringify(document), before, 'the old document is unchanged')
  }
})

t.test('positional operators use the filter and the array filters', async t => {
  const document = { a: [{ n: 1 }, { n: 2 }, { n: 3 }] }
  const second = { a: [{ n: 1 }, { n: 9 }, { n: 3 }] }
  t.same(apply(document, { $set: { 'a.$.n': 9 } }, { q: { 'a.n': 2 } }), second)
  t.same(apply(document, { $set: { 'a.$.n': 9 } }, { q: { a: { $elemMatch: { n: { $gt: 1, $lt: 3 } } } } }), second)
  const filtered = apply(document, { $set: { 'a.$[x].n': 0 } }, { arrayFilters: [{ 'x.n': { $gte: 2 } }] })
  t.same(filtered, { a: [{ n: 1 }, { n: 0 }, { n: 0 }] })
  t.throws(() => apply(document, { $set: { 'a.$[x].n': 0 } }), CommandError)
  t.throws(() => apply(document, { $set: { 'a.$.n': 0 } }), CommandError)
})

t.test('a pipeline computes from the document itself', async t => {
  const document = { _id: 1, a: int(2), long: Long.fromNumber(3) }
  const u = [{ $set: { b: { $multiply: ['$a', 2] } } }, { $unset: 'a' }]
  t.same(apply(document, u), { _id: 1, long: Long.fromNumber(3), b: int(4) })
})

t.test('an upsert starts with the equality fields of the filter', async t => {
  const make = (q: Document, u: Document) =>
    createUpserted(
      { q, u },
      () => 5000,
      () => new ObjectId('0'.repeat(24)),
    )
  t.same(make({ _id: 1, 'a.b': 2, $and: [{ c: 3 }], d: { $gt: 1 } }, { $set: { e: 4 } }), {
    _id: 1,
    a: { b: 2 },
    c: 3,
    e: 4,
  })
  t.same(make({ a: 1 }, { b: 2 }), { _id: new ObjectId('0'.repeat(24)), b: 2 })
  t.same(make({ _id: 1 }, { $setOnInsert: { b: 2 } }), { _id: 1, b: 2 })
})

t.test('impossible updates have the error codes of MongoDB', async t => {
  const refused: [document: Document, update: Document, codeName: string][] = [
    [{ _id: 1 }, { $set: { _id: 2 } }, 'ImmutableField'],
    [{ _id: 1 }, { _id: 2, a: 1 }, 'ImmutableField'],
    [{ a: 5 }, { $set: { 'a.b': 1 } }, 'PathNotViable'],
    [{}, { $set: { a: 1, 'a.b': 2 } }, 'ConflictingUpdateOperators'],
    [{}, { $set: { a: 1 }, $inc: { a: 2 } }, 'ConflictingUpdateOperators'],
    [{}, { $nonsense: { a: 1 } }, 'FailedToParse'],
    [{ a: 'text' }, { $inc: { a: int(1) } }, 'TypeMismatch'],
    [{ a: int(1) }, { $inc: { a: 'text' } }, 'TypeMismatch'],
    [{ a: int(1) }, { $push: { a: 1 } }, 'BadValue'],
  ]
  for (const [document, update, codeName] of refused) {
    t.equal(
      codeNameOf(() => apply(document, update)),
      codeName,
      JSON.stringify(update),
    )
  }
})

t.test('a field called __proto__ is an ordinary field', async t => {
  const changed = apply({ a: 1 }, { $set: { '__proto__.polluted': true } })
  t.equal(({} as Document).polluted, undefined)
  t.same(Object.keys(changed), ['a', '__proto__'])
})
