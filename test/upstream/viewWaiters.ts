import { getEventListeners } from 'node:events'
import { Long, ObjectId } from 'bson'
import t from 'tap'
import type { TopologyView } from '../../src/upstream/topologyView.js'
import { ViewWaiters } from '../../src/upstream/viewWaiters.js'
import { createManualClock } from '../support/clock.js'

const processId = new ObjectId()
const versionOf = (counter: number) => ({ processId, counter: Long.fromNumber(counter) })
const viewOf = (counter: number): TopologyView => ({
  hello: { topologyVersion: versionOf(counter) },
  isPrimary: true,
  isReplicaSet: true,
})
const never = () => new Promise<never>(() => {})

t.test('a waiter gets the first view that is new to its client', async t => {
  const clock = createManualClock()
  const waiters = new ViewWaiters(clock.after)
  const { signal } = new AbortController()
  const waiting = waiters.wait(versionOf(6), { ms: 1_000, onTimeout: never, signal })
  waiters.offer(viewOf(5))
  waiters.offer(viewOf(6))
  const next = viewOf(7)
  waiters.offer(next)
  waiters.offer(viewOf(8))
  t.equal(await waiting, next)
  t.equal(clock.waiting(), 0)
  t.same(getEventListeners(signal, 'abort'), [])
})

t.test('a wait that times out ends with the result of onTimeout', async t => {
  const clock = createManualClock()
  const waiters = new ViewWaiters(clock.after)
  const { signal } = new AbortController()
  const view = viewOf(6)
  const waiting = waiters.wait(versionOf(6), { ms: 1_000, onTimeout: async () => view, signal })
  const failing = waiters.wait(versionOf(6), { ms: 1_000, onTimeout: () => Promise.reject(new Error('no')), signal })
  clock.advance(1_000)
  t.equal(await waiting, view)
  await t.rejects(failing, { message: 'no' })
})

t.test('an abort and rejectAll reject waiters', async t => {
  const waiters = new ViewWaiters(createManualClock().after)
  const client = new AbortController()
  const aborted = waiters.wait(versionOf(6), { ms: 1_000, onTimeout: never, signal: client.signal })
  client.abort(new Error('client disconnected'))
  await t.rejects(aborted, { message: 'client disconnected' })
  await t.rejects(waiters.wait(versionOf(6), { ms: 1_000, onTimeout: never, signal: client.signal }), {
    message: 'client disconnected',
  })
  const rejected = waiters.wait(versionOf(6), { ms: 1_000, onTimeout: never, signal: new AbortController().signal })
  waiters.rejectAll(new Error('shutdown'))
  await t.rejects(rejected, { message: 'shutdown' })
})
