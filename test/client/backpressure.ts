import { EventEmitter } from 'node:events'
import type { Socket } from 'node:net'
import t from 'tap'
import { Stall } from '../../src/client/backpressure.js'
import type { Fault } from '../../src/errors.js'
import { createManualClock } from '../support/clock.js'

function stalled() {
  const clock = createManualClock()
  const socket = new EventEmitter()
  const faults: Fault[] = []
  const stall = new Stall(socket as Socket, clock.after, fault => faults.push(fault))
  return { clock, socket, faults, stall }
}

t.test('steps wait until the socket has drained, each once and in order', async t => {
  const { socket, stall, faults, clock } = stalled()
  const done: number[] = []
  for (const step of [1, 2]) stall.drained(() => done.push(step))
  t.equal(socket.listenerCount('drain'), 1)
  t.same(done, [])
  socket.emit('drain')
  t.same(done, [1, 2])
  socket.emit('drain')
  t.same(done, [1, 2])
  stall.drained(() => done.push(3))
  socket.emit('drain')
  t.same(done, [1, 2, 3])
  clock.advance(60_000)
  t.same(faults, [], 'one that drains is not given up later')
})

t.test('one that does not drain for a minute is given up', async t => {
  const { stall, faults, clock } = stalled()
  stall.drained(() => t.fail('it did not drain'))
  clock.advance(59_999)
  t.same(faults, [])
  clock.advance(1)
  t.match(faults, [{ kind: 'connection/write-timeout', facts: { ms: 60_000 } }])
})

t.test('where it closes instead, the steps run all the same, and nobody listens any more', async t => {
  const { socket, stall, faults, clock } = stalled()
  const done: number[] = []
  stall.drained(() => done.push(1))
  socket.emit('close')
  t.same(done, [1])
  t.same(socket.eventNames(), [])
  clock.advance(60_000)
  t.same(faults, [])
})

t.test('nobody is given up once nobody waits', async t => {
  const { stall, faults, clock } = stalled()
  stall.drained(() => {})
  stall.clear()
  clock.advance(60_000)
  t.same(faults, [])
})
