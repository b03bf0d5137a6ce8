import { getEventListeners } from 'node:events'
import t from 'tap'
import { rejectOnAbort, withTimeout } from '../../src/upstream/deadline.js'
import { createManualClock } from '../support/clock.js'

const untilAborted = (signal: AbortSignal) =>
  new Promise<never>((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))

t.test('withTimeout aborts its signal after the timeout', async t => {
  const clock = createManualClock()
  const options = { after: clock.after, timeoutReason: () => new Error('late'), signal: new AbortController().signal }
  const rejected = t.rejects(withTimeout(100, options, untilAborted), { message: 'late' })
  clock.advance(100)
  await rejected
})

t.test('withTimeout aborts its signal with the signal of the caller', async t => {
  const clock = createManualClock()
  const caller = new AbortController()
  const options = { after: clock.after, timeoutReason: () => new Error('late'), signal: caller.signal }
  const rejected = t.rejects(withTimeout(100, options, untilAborted), { message: 'stopped' })
  caller.abort(new Error('stopped'))
  await rejected
  await t.rejects(
    withTimeout(100, options, async signal => signal.throwIfAborted()),
    { message: 'stopped' },
  )
})

t.test('withTimeout leaves no timer and no listener behind', async t => {
  const clock = createManualClock()
  const { signal } = new AbortController()
  const options = { after: clock.after, timeoutReason: () => new Error('late'), signal }
  t.equal(await withTimeout(100, options, async () => 7), 7)
  await t.rejects(
    withTimeout(100, options, () => Promise.reject(new Error('failed'))),
    { message: 'failed' },
  )
  t.equal(clock.waiting(), 0)
  t.same(getEventListeners(signal, 'abort'), [])
})

t.test('rejectOnAbort follows the promise until the signal aborts', async t => {
  const controller = new AbortController()
  const { signal } = controller
  t.equal(await rejectOnAbort(signal, Promise.resolve(7)), 7)
  await t.rejects(rejectOnAbort(signal, Promise.reject(new Error('failed'))), { message: 'failed' })
  const pending = rejectOnAbort(signal, new Promise<never>(() => {}))
  controller.abort(new Error('stopped'))
  await t.rejects(pending, { message: 'stopped' })
  await t.rejects(rejectOnAbort(signal, new Promise<never>(() => {})), { message: 'stopped' })
})
