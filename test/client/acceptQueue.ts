import t from 'tap'
import { createAcceptQueue } from '../../src/client/acceptQueue.js'
import { createManualClock } from '../support/clock.js'

/** A queue whose event loop is iterated by hand. */
function createQueue() {
  const clock = createManualClock()
  let deferred: (() => void)[] = []
  const served: string[] = []
  const { enqueue, schedule } = createAcceptQueue({ defer: run => deferred.push(run), now: clock.now })
  let count = 0
  return {
    served,
    clock,
    accept: (address: string) => {
      const name = `${address}${++count}`
      enqueue(address, () => served.push(name))
    },
    request: (address: string) => {
      const name = `${address} asks ${++count}`
      schedule(address, () => served.push(name))
    },
    /** Runs one iteration of the event loop. Returns the number of its steps. */
    iterate: () => {
      const steps = deferred
      deferred = []
      for (const run of steps) run()
      return steps.length
    },
  }
}

t.test('a single socket is served in the next iteration, and then nothing runs', async t => {
  const { accept, iterate, served } = createQueue()
  accept('a')
  t.same(served, [])
  iterate()
  t.same(served, [], 'the iteration that accepted it may accept others')
  iterate()
  t.same(served, ['a1'])
  t.equal(iterate(), 0)
  accept('a')
  iterate()
  iterate()
  t.same(served, ['a1', 'a2'])
})

t.test('no socket is served while others arrive; afterwards addresses are served round-robin', async t => {
  const { accept, iterate, served } = createQueue()
  for (let arrivals = 0; arrivals < 5; arrivals++) {
    accept('a')
    iterate()
  }
  accept('b')
  iterate()
  t.same(served, [])
  iterate()
  t.same(served, ['a1', 'b6', 'a2', 'a3', 'a4', 'a5'])
})

t.test('a socket waits at most 20 milliseconds, however many arrive', async t => {
  const { accept, iterate, served, clock } = createQueue()
  for (let ms = 0; ms <= 20; ms++) {
    t.same(served, [], `${ms} ms`)
    accept('a')
    iterate()
    clock.advance(1)
  }
  t.equal(served.length, 8)
  for (let ms = 21; ms <= 40; ms++) {
    t.equal(served.length, 8, `${ms} ms`)
    accept('a')
    iterate()
    clock.advance(1)
  }
  accept('a')
  iterate()
  t.equal(served.length, 16)
})

t.test('an iteration serves eight, so a new address waits for eight and not for every socket before it', async t => {
  const { accept, iterate, served } = createQueue()
  for (let arrivals = 0; arrivals < 1000; arrivals++) accept(arrivals % 2 ? 'a' : 'b')
  iterate()
  iterate()
  t.equal(served.length, 8)
  accept('c')
  iterate()
  iterate()
  t.ok(served.slice(8, 16).includes('c1001'))
})

t.test('a request is served at once if nothing is queued, and otherwise when its address is due', async t => {
  const { accept, request, iterate, served } = createQueue()
  request('a')
  t.same(served, ['a asks 1'])
  iterate()
  t.equal(iterate(), 0)
  for (let arrivals = 0; arrivals < 20; arrivals++) accept('a')
  request('a')
  request('b')
  t.equal(served.length, 1)
  iterate()
  iterate()
  t.equal(served.length, 9)
  t.equal(served[2], 'b asks 23')
  while (iterate() > 0);
  t.equal(served.length, 23)
  t.equal(served.at(-1), 'a asks 22', 'after the earlier sockets of its address')
})

t.test('requests above eight per iteration wait for the next ones, addresses round-robin', async t => {
  const { request, iterate, served } = createQueue()
  for (let count = 0; count < 20; count++) request('a')
  request('b')
  t.equal(served.length, 8, 'so that the iteration stays short')
  iterate()
  t.equal(served.length, 16)
  t.ok(served.includes('b asks 21'))
  request('a')
  t.equal(served.length, 16, 'a new request does not overtake queued ones')
  while (iterate() > 0);
  t.equal(served.length, 22)
  request('a')
  t.equal(served.length, 23)
})
