import { type Document, Int32, Long } from 'bson'
import t from 'tap'
import { codeNameOf } from '../../../test/support/mongo.js'
import { compileProjection } from '../../src/mongo/projection.js'

const document = {
  _id: 1,
  a: 1,
  b: { c: 2, d: 3 },
  list: [1, 2, 3, 4],
  items: [
    { n: 1, m: 1 },
    { n: 2, m: 2 },
  ],
}

/** Projection and result. */
const rows: [projection: Document, expected: Document, filter?: Document][] = [
  [{ a: 1 }, { _id: 1, a: 1 }],
  [{ a: true, _id: 0 }, { a: 1 }],
  [{ _id: 1 }, { _id: 1 }],
  [{ _id: 0, 'b.c': 1 }, { b: { c: 2 } }],
  [{ _id: 0, b: { d: 1 } }, { b: { d: 3 } }],
  [{ _id: 0, 'items.n': 1 }, { items: [{ n: 1 }, { n: 2 }] }],
  [
    { list: 0, items: 0, 'b.c': 0 },
    { _id: 1, a: 1, b: { d: 3 } },
  ],
  [
    { _id: 0, list: { $slice: 2 }, a: 1 },
    { a: 1, list: [1, 2] },
  ],
  [
    { _id: 0, list: { $slice: -1 }, a: 1 },
    { a: 1, list: [4] },
  ],
  [
    { _id: 0, list: { $slice: [1, 2] }, a: 1 },
    { a: 1, list: [2, 3] },
  ],
  [{ _id: 0, items: { $elemMatch: { n: 2 } } }, { items: [{ n: 2, m: 2 }] }],
  [{ _id: 0, 'items.$': 1 }, { items: [{ n: 2, m: 2 }] }, { 'items.n': 2 }],
  [{ _id: 0, sum: { $add: ['$a', 1] } }, { sum: new Int32(2) }],
  [{ _id: 0, copy: '$b.c' }, { copy: new Int32(2) }],
]

t.test('projections work as in MongoDB', async t => {
  for (const [projection, expected, filter] of rows) {
    t.same(compileProjection(projection, filter)(document), expected, JSON.stringify(projection))
  }
})

t.test('selected values keep their types', async t => {
  t.same(compileProjection({ n: 1 })({ _id: 1, n: Long.fromNumber(5) }), { _id: 1, n: Long.fromNumber(5) })
})

t.test('inclusion and exclusion do not mix', async t => {
  t.equal(
    codeNameOf(() => compileProjection({ a: 1, b: 0 })),
    'Location31254',
  )
  t.equal(
    codeNameOf(() => compileProjection({ a: 0, b: 1 })),
    'Location31249',
  )
})
