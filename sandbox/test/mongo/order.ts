import { Binary, BSONRegExp, Decimal128, Double, Int32, Long, MaxKey, MinKey, ObjectId, Timestamp } from 'bson'
import fc from 'fast-check'
import t from 'tap'
import { compare, equal, toIndexKey } from '../../src/mongo/order.js'

/** In ascending order. */
const ascending = [
  new MinKey(),
  null,
  new Double(Number.NaN),
  new Double(Number.NEGATIVE_INFINITY),
  Long.fromString('-9007199254740993'),
  new Int32(-1),
  new Double(0.1),
  Decimal128.fromString('0.2'),
  new Int32(1),
  Long.fromString('9007199254740992'),
  Long.fromString('9007199254740993'),
  Decimal128.fromString('1E+40'),
  new Double(Number.POSITIVE_INFINITY),
  '',
  'A',
  'a',
  'é',
  {},
  { a: 1 },
  { a: 1, b: 1 },
  { a: 2 },
  { a: 'text' },
  [],
  [1],
  [1, 2],
  [2],
  new Binary(Buffer.from('z'), 0),
  new Binary(Buffer.from('aa'), 0),
  new ObjectId('000000000000000000000001'),
  new ObjectId('000000000000000000000002'),
  false,
  true,
  new Date(-1),
  new Date(1),
  new Timestamp({ t: 1, i: 2 }),
  new Timestamp({ t: 2, i: 1 }),
  new BSONRegExp('a', 'i'),
  new BSONRegExp('b', ''),
  new MaxKey(),
]

t.test('types and values are ordered as in MongoDB', async t => {
  for (const [a, left] of ascending.entries()) {
    for (const [b, right] of ascending.entries()) {
      const by = Math.sign(compare(left, right))
      if (by !== Math.sign(a - b)) t.fail(`${String(left)} and ${String(right)} compare as ${by}`)
    }
  }
  t.pass()
})

t.test('a missing field sorts like null and is not equal to it', async t => {
  t.equal(compare(undefined, null), 0)
  t.notOk(equal(undefined, null))
})

t.test('index keys are equal if and only if the values are', async t => {
  const values = [
    ...ascending,
    new Double(1),
    Long.fromNumber(1),
    Decimal128.fromString('1.000'),
    Decimal128.fromString('10E-1'),
    new Double(0.5),
    Decimal128.fromString('0.50'),
    new Double(2 ** 60),
    Long.fromNumber(2 ** 60),
    Decimal128.fromString('1152921504606846976'),
    new Double(-0),
    new Int32(0),
    Decimal128.fromString('0E+3'),
    'n1',
    '1',
  ]
  for (const a of values) {
    for (const b of values) {
      if (equal(a, b) !== (toIndexKey(a) === toIndexKey(b))) t.fail(`${toIndexKey(a)} and ${toIndexKey(b)}`)
    }
  }
  t.pass()
})

t.test('numbers of different types compare by value', async t => {
  const made = [
    (n: number) => new Int32(n),
    (n: number) => Long.fromNumber(n),
    (n: number) => new Double(n),
    (n: number) => Decimal128.fromString(String(n)),
  ]
  const type = fc.integer({ min: 0, max: 3 })
  const number = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 })
  fc.assert(
    fc.property(number, number, type, type, (a, b, one, other) => {
      const by = compare(made[one]?.(a), made[other]?.(b))
      return Math.sign(by) === Math.sign(a - b)
    }),
  )
  t.pass()
})
