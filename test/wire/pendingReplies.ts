import t from 'tap'
import { PendingReplies } from '../../src/wire/pendingReplies.js'
import { faultOf } from '../support/faults.js'

const request = (requestID: number, changes = {}) => ({
  requestID,
  moreToCome: false,
  exhaustAllowed: false,
  ...changes,
})
const reply = (responseTo: number, changes = {}) => ({
  requestID: 100 + responseTo,
  responseTo,
  moreToCome: false,
  ...changes,
})
const malformed = (why: string) => ({ kind: 'upstream/protocol-error', facts: { why } })

t.test('replies come in the order of their requests, and only to who asked', async t => {
  const ledger = new PendingReplies()
  t.match(
    faultOf(() => ledger.assertPending()),
    malformed('a reply that nobody asked for'),
  )
  for (const id of [1, 2]) ledger.add(request(id))
  ledger.assertPending()
  t.equal(ledger.size, 2)
  t.match(
    faultOf(() => ledger.complete(reply(2))),
    malformed('a reply to another request'),
  )
  t.equal(ledger.complete(reply(1)), false)
  t.equal(ledger.complete(reply(2)), false)
  t.equal(ledger.size, 0)
  t.match(
    faultOf(() => ledger.complete(reply(2))),
    malformed('a reply to another request'),
  )
})

t.test('a request that wants no reply is owed none', async t => {
  const ledger = new PendingReplies()
  ledger.add(request(1, { moreToCome: true }))
  t.equal(ledger.size, 0)
})

t.test('a stream answers its own last reply, for who allowed it', async t => {
  const ledger = new PendingReplies()
  ledger.add(request(1, { exhaustAllowed: true }))
  t.equal(ledger.complete(reply(1, { requestID: 7, moreToCome: true })), true)
  t.match(
    faultOf(() => ledger.complete(reply(1))),
    malformed('a reply to another request'),
  )
  t.equal(ledger.complete(reply(7)), false)
  ledger.add(request(2))
  t.match(
    faultOf(() => ledger.complete(reply(2, { moreToCome: true }))),
    malformed('a stream that nobody asked for'),
  )
})

t.test('ten thousand may be owed a reply, and no more', async t => {
  const ledger = new PendingReplies()
  for (let id = 1; id <= 10_000; id++) ledger.add(request(id))
  t.match(
    faultOf(() => ledger.add(request(10_001))),
    { kind: 'connection/write-timeout' },
  )
})
