import t from 'tap'
import { after, now, sleep } from '../src/clock.js'
import { socketPair } from './support/sockets.js'

const never = new AbortController().signal

t.test('sleep ends at once when its signal aborts, or if it was aborted before', async t => {
  const stop = new AbortController()
  const long = sleep(60_000, stop.signal)
  stop.abort()
  await long
  await sleep(60_000, stop.signal)
  await sleep(1, never)
  t.pass()
})

t.test('after the event loop was blocked, data is read before a due step runs', async t => {
  const { near, far } = await socketPair(t)
  await new Promise<void>(resolve => near.once('data', () => resolve()).resume() && far.write('first'))
  const order: string[] = []
  const due = new Promise<void>(resolve => {
    const cancel = after(1, () => order.push('a cancelled step'))
    near.once('data', () => {
      order.push('read')
      cancel()
    })
    after(1, () => {
      order.push('due')
      resolve()
    })
  })
  far.write('second')
  for (const start = now(); now() < start + 5; ); // block the event loop
  await due
  t.same(order, ['read', 'due'])
})
