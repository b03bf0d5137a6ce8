import t from 'tap'
import { Fault } from '../../src/errors.js'
import { beginTerm, during, type Term } from '../../src/upstream/primaryTerm.js'
import { faultOfAsync } from '../support/faults.js'

const why = new Fault('upstream/stepped-down')

t.test('whoever asked is told at the moment of the end, once', async t => {
  const { term, end } = beginTerm()
  const told: Fault[] = []
  for (let relay = 0; relay < 10_000; relay++) term.whenOver(fault => told.push(fault))
  t.equal(term.over, undefined)
  end(why)
  t.equal(told.length, 10_000)
  t.equal(term.over, why)
  end(new Fault('internal'))
  t.equal(told.length, 10_000)
  t.equal(term.over, why)
})

t.test('what stands is told when the term is vacated, and is waited for', async t => {
  const { term, end, vacate } = beginTerm()
  const told: string[] = []
  let go = () => {}
  term.whenVacated(() => told.push('quick'))
  term.whenVacated(() => new Promise<void>(resolve => (go = resolve)))
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
  term.whenVacated(() => told.push('late'))
  t.same(told, ['quick', 'gone', 'late'])
})

t.test('nobody is waited for who was done at once', async t => {
  const { term, end, vacate } = beginTerm()
  for (let relay = 0; relay < 3; relay++) term.whenVacated(() => undefined)
  end(why)
  t.equal(vacate(), undefined)
})

t.test('who comes too late is told at once; who left is told nothing', async t => {
  const { term, end } = beginTerm()
  const leave = term.whenOver(() => t.fail('it left'))
  leave()
  end(why)
  let told = 0
  term.whenOver(() => told++)
  t.equal(told, 1)
})

t.test('a step of a login ends with the term, or with the login', async t => {
  const waits = (term: Term, login = new AbortController()) =>
    during(term, login, () => {
      const { signal } = login
      return new Promise<never>((_, reject) => {
        if (signal.aborted) reject(signal.reason)
        signal.addEventListener('abort', () => reject(signal.reason))
      })
    })
  const { term, end } = beginTerm()
  const login = new AbortController()
  const done = new AbortController()
  t.equal(await during(term, login, async () => 7), 7)
  t.equal(await during(term, done, async () => 7), 7)
  await t.rejects(
    during(term, done, () => Promise.reject(new Error('its own'))),
    { message: 'its own' },
  )
  const left = waits(term, login)
  login.abort(new Error('left'))
  await t.rejects(left, { message: 'left' })
  await t.rejects(waits(term, login), { message: 'left' })
  const deposed = faultOfAsync(() => waits(term))
  end(why)
  t.match(await deposed, { kind: 'upstream/away', detail: 'it stepped down during the login' })
  t.match(await faultOfAsync(() => waits(term)), { kind: 'upstream/away' })
  t.notOk(done.signal.aborted, 'a login whose step is over goes on')
  t.match(login.signal.reason, { message: 'left' }, 'and whoever left before has left')
})
