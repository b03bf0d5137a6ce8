import { getEventListeners } from 'node:events'
import t from 'tap'
import { Fault } from '../../src/errors.js'
import { createTermController, type PrimaryTerm, runDuringTerm } from '../../src/upstream/primaryTerm.js'
import { faultOfAsync } from '../support/faults.js'

const reason = new Fault('upstream/stepped-down')

t.test('the end of a term calls each listener once, at once', async t => {
  const { term, end } = createTermController()
  const calls: Fault[] = []
  for (let session = 0; session < 10_000; session++) term.onEnd(fault => calls.push(fault))
  t.equal(term.endReason, undefined)
  end(reason)
  t.equal(calls.length, 10_000)
  t.equal(term.endReason, reason)
  end(new Fault('internal'))
  t.equal(calls.length, 10_000)
  t.equal(term.endReason, reason)
})

t.test('closeSessions calls its listeners after the end, and waits for them', async t => {
  const { term, end, closeSessions } = createTermController()
  const calls: string[] = []
  let go = () => {}
  term.onCloseSessions(() => calls.push('quick'))
  term.onCloseSessions(() => new Promise<void>(resolve => (go = resolve)))
  t.equal(closeSessions(), undefined, 'the term has not ended')
  t.same(calls, [])
  end(reason)
  t.same(calls, [])
  const closed = closeSessions()?.then(() => calls.push('closed'))
  t.same(calls, ['quick'])
  t.equal(closeSessions(), undefined, 'only once')
  go()
  await closed
  t.same(calls, ['quick', 'closed'])
  term.onCloseSessions(() => calls.push('late'))
  t.same(calls, ['quick', 'closed', 'late'])
})

t.test('closeSessions returns no promise if no listener returned one', async t => {
  const { term, end, closeSessions } = createTermController()
  for (let session = 0; session < 3; session++) term.onCloseSessions(() => undefined)
  end(reason)
  t.equal(closeSessions(), undefined)
})

t.test('a listener that comes after the end is called at once, and a removed one is not called', async t => {
  const { term, end } = createTermController()
  const removeListener = term.onEnd(() => t.fail('the listener was removed'))
  removeListener()
  end(reason)
  let calls = 0
  term.onEnd(() => calls++)
  t.equal(calls, 1)
})

t.test('a step of a login is aborted with the term, or with the login', async t => {
  const waitForAbort = (term: PrimaryTerm, login = new AbortController().signal) =>
    runDuringTerm(
      term,
      login,
      signal =>
        new Promise<never>((_, reject) => {
          if (signal.aborted) reject(signal.reason)
          signal.addEventListener('abort', () => reject(signal.reason))
        }),
    )
  const { term, end } = createTermController()
  const login = new AbortController()
  const lasting = new AbortController()
  t.equal(await runDuringTerm(term, login.signal, async () => 7), 7)
  await t.rejects(
    runDuringTerm(term, lasting.signal, () => Promise.reject(new Error('of the step'))),
    { message: 'of the step' },
  )
  const aborted = waitForAbort(term, login.signal)
  login.abort(new Error('client disconnected'))
  await t.rejects(aborted, { message: 'client disconnected' })
  await t.rejects(waitForAbort(term, login.signal), { message: 'client disconnected' })
  const deposed = faultOfAsync(() => waitForAbort(term, lasting.signal))
  end(reason)
  t.match(await deposed, { kind: 'upstream/unreachable', detail: 'the primary stepped down during the login' })
  t.match(await faultOfAsync(() => waitForAbort(term)), { kind: 'upstream/unreachable' })
  t.notOk(lasting.signal.aborted, 'the login itself may dial again')
  t.equal(getEventListeners(lasting.signal, 'abort').length, 0)
})
