import { type Document, Double, Int32, Long } from 'bson'
import t from 'tap'
import { codeNameOf } from '../../../test/support/mongo.js'
import { runPipeline } from '../../src/mongo/aggregation.js'

const people: Document[] = [
  { _id: 1, name: 'Ada', age: new Int32(36), team: 'x', points: Long.fromNumber(5) },
  { _id: 2, name: 'Bob', age: new Int32(41), team: 'y', points: Long.fromNumber(7) },
  { _id: 3, name: 'Cy', age: new Int32(7), team: 'x', points: Long.fromNumber(9) },
]
const teams: Document[] = [
  { _id: 'x', title: 'The X' },
  { _id: 'y', title: 'The Y' },
]
const run = (...pipeline: Document[]) =>
  runPipeline(people, pipeline, { collection: name => (name === 'teams' ? teams : people) })

t.test('filtering and sorting stages keep documents unchanged', async t => {
  t.same(run({ $match: { age: { $gt: 10 } } }, { $sort: { age: -1 } }, { $limit: 1 }), [people[1]])
  t.same(run({ $skip: 1 }, { $count: 'n' }), [{ n: new Int32(2) }])
  t.same(run({ $project: { points: 1, _id: 0 } }, { $limit: 1 }), [{ points: Long.fromNumber(5) }])
})

t.test('computing stages return numbers of the expected types', async t => {
  t.same(run({ $group: { _id: '$team', n: { $sum: 1 }, mean: { $avg: '$age' } } }, { $sort: { _id: 1 } }), [
    { _id: 'x', n: new Int32(2), mean: new Double(21.5) },
    { _id: 'y', n: new Int32(1), mean: new Int32(41) },
  ])
  const [first] = run({ $addFields: { next: { $add: ['$age', 1] } } })
  t.same(first, { ...people[0], next: new Int32(37) }, 'a long stays a long')
})

t.test('$lookup and $unionWith read other collections', async t => {
  const lookup = { $lookup: { from: 'teams', localField: 'team', foreignField: '_id', as: 'team' } }
  t.match(run({ $match: { _id: 2 } }, lookup, { $unwind: '$team' }), [{ team: { title: 'The Y' } }])
  t.equal(run({ $unionWith: 'teams' }).length, 5)
  t.match(run({ $facet: { all: [{ $count: 'n' }], young: [{ $match: { age: { $lt: 10 } } }] } }), [
    { all: [{ n: new Int32(3) }], young: [{ name: 'Cy' }] },
  ])
})

t.test('unsupported features are rejected with a message', async t => {
  t.equal(
    codeNameOf(() => run({ $nonsense: {} })),
    'Location40324',
  )
  t.equal(
    codeNameOf(() => run({ $changeStream: {} })),
    'Location40573',
  )
  t.equal(
    codeNameOf(() => run({ $out: 'c' })),
    'IllegalOperation',
  )
  t.equal(
    codeNameOf(() => run({ $match: {}, $sort: { a: 1 } })),
    'Location40323',
  )
})
