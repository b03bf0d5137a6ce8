import t from 'tap'
import { Fault } from '../../src/errors.js'
import { createTermController, type PrimaryTerm, runDuringTerm } from '../../src/upstream/primaryTerm.js'
import { faultOfAsync } from '../support/faults.js'

const why = new Fault('upstream/stepped-down')

t.test('whoever asked is told at the moment of the end, once', async t => {
  const { term, end } = createTermController()
  const told: Fault[] = []
  for (let relay = 0; relay < 10_000; relay++) term.onEnd(fault => told.push(fault))
  t.equal(term.endReason, undefined)
  end(why)
  t.equal(told.length, 10_000)
  t.equal(term.endReason, why)
  end(new Fault('internal'))
  t.equal(told.length, 10_000)
  t.equal(term.endReason, why)
})

t.test('what stands is told when the term is vacated, and is waited for', async t => {
  const { term, end, closeSessions: vacate } = createTermController()
  const told: string[] = []
  let go = () => {}
  term.onCloseSessions(() => told.push('quick'))
  term.onCloseSessions(() => new Promise<void>(resolve => (go = resolve)))
  t.equal(vacate(), undefined, 'it lasts')
  t.same(told, [])
  end(why)
  t.same(told, [])
  const gone = vacate()?.then(() => told.push('gone'))
  t.same(told, ['quick'])
  t.equal(vacate(), undefined, 'once')
  go()
  await gone
  t.same(told, ['quick', 'gone'])
  term.onCloseSessions(() => told.push('late'))
  t.same(told, ['quick', 'gone', 'late'])
})

t.test('nobody is waited for who was done at once', async t => {
  const { term, end, closeSessions: vacate } = createTermController()
  for (let relay = 0; relay < 3; relay++) term.onCloseSessions(() => undefined)
  end(why)
  t.equal(vacate(), undefined)
})

t.test('who comes too late is told at once; who left is told nothing', async t => {
  const { term, end } = createTermController()
  const leave = term.onEnd(() => t.fail('it left'))
  leave()
  end(why)
  let told = 0
  term.onEnd(() => told++)
  t.equal(told, 1)
})

t.test('a step of a login ends with the term, or with the login', async t => {
  const waits = (term: PrimaryTerm, login = new AbortController()) =>
    runDuringTerm(term, login, () => {
      const { signal } = login
      return new Promise<never>((_, reject) => {
        if (signal.aborted) reject(signal.reason)
        signal.addEventListener('abort', () => reject(signal.reason))
      })
    })
  const { term, end } = createTermController()
  const login = new AbortController()
  const done = new AbortController()
  t.equal(await runDuringTerm(term, login, async () => 7), 7)
  t.equal(await runDuringTerm(term, done, async () => 7), 7)
  await t.rejects(
    runDuringTerm(term, done, () => Promise.reject(new Error('its own'))),
    { message: 'its own' },
  )
  const left = waits(term, login)
  login.abort(new Error('left'))
  await t.rejects(left, { message: 'left' })
  await t.rejects(waits(term, login), { message: 'left' })
  const deposed = faultOfAsync(() => waits(term))
  end(why)
  t.match(await deposed, { kind: 'upstream/unreachable', detail: 'the primary stepped down during the login' })
  t.match(await faultOfAsync(() => waits(term)), { kind: 'upstream/unreachable' })
  t.notOk(done.signal.aborted, 'a login whose step is over goes on')
  t.match(login.signal.reason, { message: 'left' }, 'and whoever left before has left')
})
