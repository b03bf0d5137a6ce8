import t from 'tap'
import { deadline, sleep } from '../src/clock.js'

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

t.test('a deadline tells whether the time was over or the client gone', async t => {
  const gone = new AbortController()
  const first = deadline(60_000, gone.signal)
  gone.abort()
  t.ok(first.signal.aborted)
  t.notOk(first.late())
  first.cancel()
  t.ok(deadline(60_000, gone.signal).signal.aborted, 'gone before it began')
  const second = deadline(1, never)
  await new Promise(resolve => second.signal.addEventListener('abort', resolve))
  t.ok(second.late())
  const third = deadline(1, never)
  third.cancel()
  await sleep(5, never)
  t.notOk(third.signal.aborted, 'cancelled')
})
