import { EventEmitter } from 'node:events'
import type { Socket } from 'node:net'
import t from 'tap'
import { Backpressure } from '../../src/client/backpressure.js'
import type { Fault } from '../../src/errors.js'
import { createManualClock } from '../support/clock.js'

function createFullSocket() {
  const clock = createManualClock()
  const socket = new EventEmitter()
  const faults: Fault[] = []
  const backpressure = new Backpressure(socket as Socket, clock.after, fault => faults.push(fault))
  return { clock, socket, faults, backpressure }
}

t.test('callbacks run once and in order when the socket drains', async t => {
  const { socket, backpressure, faults, clock } = createFullSocket()
  const done: number[] = []
  for (const step of [1, 2]) backpressure.onDrain(() => done.push(step))
  t.equal(socket.listenerCount('drain'), 1)
  t.same(done, [])
  socket.emit('drain')
  t.same(done, [1, 2])
  socket.emit('drain')
  t.same(done, [1, 2])
  backpressure.onDrain(() => done.push(3))
  socket.emit('drain')
  t.same(done, [1, 2, 3])
  clock.advance(60_000)
  t.same(faults, [], 'a socket that drained does not time out later')
})

t.test('a socket that does not drain within a minute times out', async t => {
  const { backpressure, faults, clock } = createFullSocket()
  backpressure.onDrain(() => t.fail('the socket did not drain'))
  clock.advance(59_999)
  t.same(faults, [])
  clock.advance(1)
  t.match(faults, [{ kind: 'connection/write-timeout', facts: { timeoutMS: 60_000 } }])
})

t.test('the callbacks run when the socket closes, and no listener remains', async t => {
  const { socket, backpressure, faults, clock } = createFullSocket()
  const done: number[] = []
  backpressure.onDrain(() => done.push(1))
  socket.emit('close')
  t.same(done, [1])
  t.same(socket.eventNames(), [])
  clock.advance(60_000)
  t.same(faults, [])
})

t.test('a cancelled timeout reports nothing', async t => {
  const { backpressure, faults, clock } = createFullSocket()
  backpressure.onDrain(() => {})
  backpressure.cancelTimeout()
  clock.advance(60_000)
  t.same(faults, [])
})
