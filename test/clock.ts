import t from 'tap'
import { sleep } from '../src/clock.js'

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
