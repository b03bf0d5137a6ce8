import { Binary, BSONRegExp, Decimal128, type Document, Double, Int32, Long, ObjectId } from 'bson'
import t from 'tap'
import { CommandError } from '../../src/mongo/commandError.js'
import { compileMatcher } from '../../src/mongo/match.js'

const id = new ObjectId()
const date = new Date(5)

/** Filter, document, and whether it matches. */
const rows: [filter: Document, document: Document, expected: boolean][] = [
  // numbers of different types
  [{ n: 5 }, { n: new Int32(5) }, true],
  [{ n: 5 }, { n: Long.fromNumber(5) }, true],
  [{ n: 5 }, { n: new Double(5) }, true],
  [{ n: 5 }, { n: Decimal128.fromString('5.00') }, true],
  [{ n: new Int32(5) }, { n: Long.fromNumber(6) }, false],
  [{ n: Decimal128.fromString('0.5') }, { n: new Double(0.5) }, true],
  [{ n: Decimal128.fromString('0.1') }, { n: new Double(0.1) }, false],
  [{ n: Long.fromString('9007199254740993') }, { n: Long.fromString('9007199254740992') }, false],
  [{ n: { $gt: Long.fromString('9007199254740992') } }, { n: Long.fromString('9007199254740993') }, true],
  [{ n: { $lt: Decimal128.fromString('1E+30') } }, { n: new Int32(7) }, true],
  [{ n: { $gte: 5, $lt: 6 } }, { n: new Double(5.5) }, true],
  [{ n: { $in: [1, 5] } }, { n: Long.fromNumber(5) }, true],
  [{ n: { $nin: [1, 5] } }, { n: Long.fromNumber(5) }, false],
  [{ n: { $mod: [4, 1] } }, { n: Long.fromNumber(5) }, true],
  [{ n: { $gt: Number.NaN } }, { n: new Double(1) }, false],
  // inequalities between types never match
  [{ n: { $gt: 5 } }, { n: 'text' }, false],
  [{ n: { $lt: 'b' } }, { n: 'a' }, true],
  [{ n: { $ne: 5 } }, { n: 'text' }, true],
  [{ n: { $gte: date } }, { n: new Date(6) }, true],
  [{ n: id }, { n: new ObjectId(id.toHexString()) }, true],
  [{ n: true }, { n: new Int32(1) }, false],
  [{ n: new Binary(Buffer.from('a'), 0) }, { n: new Binary(Buffer.from('a'), 5) }, false],
  // null matches missing fields
  [{ n: null }, {}, true],
  [{ n: null }, { n: null }, true],
  [{ n: { $ne: null } }, {}, false],
  [{ n: { $exists: true } }, { n: null }, true],
  [{ n: { $exists: false } }, { n: null }, false],
  [{ 'a.b': null }, { a: [{ b: 1 }, {}] }, true],
  [{ n: { $type: 'null' } }, {}, false],
  // documents are compared field by field, in order
  [{ a: { x: 1, y: 2 } }, { a: { x: 1, y: Long.fromNumber(2) } }, true],
  [{ a: { x: 1, y: 2 } }, { a: { y: 2, x: 1 } }, false],
  [{ a: {} }, { a: {} }, true],
  // arrays
  [{ a: 5 }, { a: [4, 5] }, true],
  [{ a: [4, 5] }, { a: [4, 5] }, true],
  [{ a: [4, 5] }, { a: [5, 4] }, false],
  [{ a: { $ne: 5 } }, { a: [4, 5] }, false],
  [{ 'a.b': 5 }, { a: [{ b: 4 }, { b: 5 }] }, true],
  [{ 'a.1.b': 5 }, { a: [{ b: 4 }, { b: 5 }] }, true],
  [{ 'a.0.b': 5 }, { a: [{ b: 4 }, { b: 5 }] }, false],
  [{ a: { $gt: 4, $lt: 3 } }, { a: [2, 5] }, true],
  [{ a: { $elemMatch: { $gt: 4, $lt: 3 } } }, { a: [2, 5] }, false],
  [
    { a: { $elemMatch: { b: 1, c: 2 } } },
    {
      a: [
        { b: 1, c: 1 },
        { b: 2, c: 2 },
      ],
    },
    false,
  ],
  [{ a: { $elemMatch: { b: 1, c: 2 } } }, { a: [{ b: 1, c: 2 }] }, true],
  [{ a: { $size: 2 } }, { a: [1, 2] }, true],
  [{ a: { $size: new Int32(1) } }, { a: [1, 2] }, false],
  [{ a: { $all: [1, 2] } }, { a: [2, 1, 3] }, true],
  [{ a: { $all: [1, 4] } }, { a: [2, 1, 3] }, false],
  [{ a: { $type: 'array' } }, { a: [1] }, true],
  [{ a: { $type: 'int' } }, { a: [new Int32(1)] }, true],
  [{ a: { $type: 'number' } }, { a: Decimal128.fromString('1') }, true],
  [{ a: { $type: 'long' } }, { a: new Int32(1) }, false],
  [{ a: { $type: new Int32(2) } }, { a: 'text' }, true],
  // text
  [{ s: /^b/i }, { s: 'Bob' }, true],
  [{ s: new BSONRegExp('^b', '') }, { s: 'Bob' }, false],
  [{ s: { $regex: '^b', $options: 'i' } }, { s: 'Bob' }, true],
  [{ s: { $not: /^b/i } }, { s: 'Bob' }, false],
  [{ s: { $in: [/^x/, /^B/] } }, { s: 'Bob' }, true],
  [{ s: { $regex: new BSONRegExp('b o # end', 'x') } }, { s: 'bob' }, true],
  // logic
  [{ $or: [{ a: 1 }, { b: 2 }] }, { b: 2 }, true],
  [{ $and: [{ a: 1 }, { b: 2 }] }, { b: 2 }, false],
  [{ $nor: [{ a: 1 }] }, { b: 2 }, true],
  [{ a: { $not: { $gt: 5 } } }, { a: 'text' }, true],
  [{ a: { $not: { $gt: 5, $lt: 9 } } }, { a: 7 }, false],
  [{ $expr: { $gt: ['$a', '$b'] } }, { a: new Int32(2), b: Long.fromNumber(1) }, true],
  [{ $expr: { $gt: ['$a', '$b'] } }, { a: new Int32(1), b: Long.fromNumber(2) }, false],
  [{ n: { $bitsAllSet: 5 } }, { n: new Int32(7) }, true],
  [{ n: { $bitsAnySet: [3] } }, { n: new Int32(7) }, false],
  [{ a: { $ref: 'c', $id: 1 } }, { a: 1 }, false],
  // names of built-in JavaScript properties
  [{ constructor: null }, {}, true],
  [{ 'a.toString': { $exists: false } }, { a: {} }, true],
]

t.test('filters match as they do in MongoDB', async t => {
  for (const [filter, document, expected] of rows) {
    t.equal(compileMatcher(filter)(document), expected, `${JSON.stringify(filter)} on ${JSON.stringify(document)}`)
  }
})

t.test('unknown operators are rejected', async t => {
  for (const filter of [
    { a: { $near: 1 } },
    { $where: '1' },
    { $text: { $search: 'x' } },
    { $or: [] },
    { a: { constructor: 1, $toString: 1 }, $valueOf: 1 },
    { a: { $type: 'nonsense' } },
    { a: { $regex: '(' } },
  ] as Document[]) {
    t.throws(() => compileMatcher(filter)({ a: 1 }), CommandError, JSON.stringify(filter))
  }
})
