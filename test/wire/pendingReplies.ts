import t from 'tap'
import { PendingReplies } from '../../src/wire/pendingReplies.js'
import { faultOf } from '../support/faults.js'

const request = (requestID: number, changes = {}) => ({
  requestID,
  moreToCome: false,
  exhaustAllowed: false,
  isLast: false,
  ...changes,
})
const reply = (responseTo: number, changes = {}) => ({
  requestID: 100 + responseTo,
  responseTo,
  moreToCome: false,
  ...changes,
})
const protocolError = (why: string) => ({ kind: 'upstream/protocol-error', facts: { why } })

t.test('replies must have the order of their requests', async t => {
  const pending = new PendingReplies()
  t.match(
    faultOf(() => pending.assertPending()),
    protocolError('a reply without a request'),
  )
  for (const id of [1, 2]) pending.add(request(id))
  pending.assertPending()
  t.equal(pending.size, 2)
  t.match(
    faultOf(() => pending.complete(reply(2))),
    protocolError('a reply to another request'),
  )
  t.equal(pending.complete(reply(1)), false)
  t.equal(pending.complete(reply(2)), false)
  t.equal(pending.size, 0)
  t.match(
    faultOf(() => pending.complete(reply(2))),
    protocolError('a reply to another request'),
  )
})

t.test('a request with moreToCome has no reply', async t => {
  const pending = new PendingReplies()
  pending.add(request(1, { moreToCome: true }))
  t.equal(pending.size, 0)
})

t.test('each reply of an exhaust stream answers the one before it, and only if the request allowed it', async t => {
  const pending = new PendingReplies()
  pending.add(request(1, { exhaustAllowed: true }))
  t.equal(pending.complete(reply(1, { requestID: 7, moreToCome: true })), true)
  t.match(
    faultOf(() => pending.complete(reply(1))),
    protocolError('a reply to another request'),
  )
  t.equal(pending.complete(reply(7)), false)
  pending.add(request(2))
  t.match(
    faultOf(() => pending.complete(reply(2, { moreToCome: true }))),
    protocolError('moreToCome without exhaustAllowed'),
  )
})

t.test('ten thousand replies may be pending, and no more', async t => {
  const pending = new PendingReplies()
  for (let id = 1; id <= 10_000; id++) pending.add(request(id))
  t.match(
    faultOf(() => pending.add(request(10_001))),
    { kind: 'connection/too-many-pending' },
  )
})
