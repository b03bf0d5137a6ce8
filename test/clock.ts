import t from 'tap'
import { after, now, sleep } from '../src/clock.js'
import { socketPair } from './support/sockets.js'

const never = new AbortController().signal

t.test('sleep ends at once when its signal aborts, also before it began', async t => {
  const stop = new AbortController()
  const long = sleep(60_000, stop.signal)
  stop.abort()
  await long
  await sleep(60_000, stop.signal)
  await sleep(1, never)
  t.pass()
})

t.test('what arrived while the process stood still is read before a step that was due meanwhile', async t => {
  const { near, far } = await socketPair(t)
  await new Promise<void>(resolve => near.once('data', () => resolve()).resume() && far.write('first'))
  const seen: string[] = []
  const due = new Promise<void>(resolve => {
    const cancel = after(1, () => seen.push('a step that was taken back'))
    near.once('data', () => {
      seen.push('read')
      cancel()
    })
    after(1, () => {
      seen.push('due')
      resolve()
    })
  })
  far.write('second')
  for (const from = now(); now() < from + 5; );
  await due
  t.same(seen, ['read', 'due'])
})
