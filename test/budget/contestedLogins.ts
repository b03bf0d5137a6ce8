import { getEventListeners } from 'node:events'
import t from 'tap'
import { type ContestedLoginsOptions, createContestedLogins } from '../../src/budget/contestedLogins.js'
import { Fault, toReply } from '../../src/errors.js'
import { createManualClock } from '../support/clock.js'

const INTERVAL_MS = 105

function create(options: Partial<ContestedLoginsOptions> = {}) {
  const clock = createManualClock(1_000_000)
  const rejected: string[] = []
  const contested = createContestedLogins({
    random: () => 0,
    now: clock.now,
    after: clock.after,
    onRejected: fault => rejected.push(fault.kind),
    ...options,
  })
  const results: string[] = []
  /** Logs in, and records the name of the login with its error, if any. */
  const enter = async (
    name: string,
    {
      credential = 'key',
      maxWaitMS = 4_000,
      signal = new AbortController().signal,
      acquire = async (_ms: number): Promise<() => void> =>
        () => {},
    } = {},
  ) => {
    try {
      await contested.acquire(credential, maxWaitMS, signal, acquire)
      results.push(name)
    } catch (thrown) {
      results.push(`${name} ${thrown instanceof Fault ? thrown.kind : (thrown as Error).message}`)
    }
  }
  /** Lets time pass in steps, with everything that happens in between. */
  const pass = async (ms: number) => {
    await settled()
    for (let left = ms; left > 0; left -= 5) {
      clock.advance(Math.min(5, left))
      await settled()
    }
  }
  return { clock, results, rejected, enter, pass }
}
const settled = () => new Promise(resolve => setImmediate(resolve))

t.test('the first login is served at once, and the others one by one', async t => {
  const { results, enter, pass } = create()
  for (const name of ['a', 'b', 'c']) void enter(name)
  await settled()
  t.same(results, ['a'])
  await pass(INTERVAL_MS - 5)
  t.same(results, ['a'])
  await pass(5)
  t.same(results, ['a', 'b'])
  await pass(INTERVAL_MS)
  t.same(results, ['a', 'b', 'c'])
})

t.test('the next login is drawn at random', async t => {
  const draws = [0.99, 0.5, 0]
  const { results, enter, pass } = create({ random: () => draws.shift() ?? 0 })
  for (const name of ['first', 'a', 'b', 'c', 'd']) void enter(name)
  await pass(4 * INTERVAL_MS)
  t.same(results, ['first', 'd', 'b', 'a', 'c'])
})

t.test('no second has more than ten calls, however many logins wait', async t => {
  const calls: number[] = []
  const { clock, enter, pass } = create({ random: Math.random })
  const acquire = async () => {
    calls.push(clock.now())
    return () => {}
  }
  for (let i = 0; i < 1_000; i++) {
    void enter('any', { acquire })
    await pass(5)
  }
  t.ok(calls.length > 40)
  for (const at of calls) t.ok(calls.filter(other => other >= at && other < at + 1_000).length <= 10)
})

t.test('when more than ten logins wait, one of them is rejected at once', async t => {
  const draws = [0, 0.999]
  const { results, rejected, enter } = create({ random: () => draws.shift() ?? 0 })
  void enter('served')
  for (let i = 1; i <= 12; i++) void enter(`${i}`)
  await settled()
  t.same(
    results.sort(),
    ['1 login/signature-limit', '12 login/signature-limit', 'served'],
    'the newest one or any other',
  )
  t.same(rejected, ['login/signature-limit', 'login/signature-limit'])
})

t.test('a rejected client is asked to retry soon', async t => {
  const faults: Fault[] = []
  const { enter } = create({ onRejected: fault => faults.push(fault) })
  for (let i = 0; i < 12; i++) void enter(`${i}`)
  await settled()
  t.match(
    faults.map(fault => toReply(fault, 1)),
    [{ code: { value: 262 }, baseBackoffMS: { low: 200 } }],
  )
})

t.test('a login that is not drawn in time is rejected', async t => {
  const { results, enter, pass, clock } = create()
  void enter('slow', { acquire: () => new Promise(() => {}) })
  void enter('waiting', { maxWaitMS: 300 })
  await pass(295)
  t.same(results, [])
  await pass(5)
  t.same(results, ['waiting login/signature-limit'])
  t.equal(clock.waiting(), 0)
})

t.test(
  'a drawn login has what is left of its time for its permit, and delays the next one until it has it',
  async t => {
    const { results, enter, pass, clock } = create()
    void enter('first')
    let grant = (): void => {}
    let left: number | undefined
    void enter('second', {
      acquire: ms => {
        left = ms
        return new Promise(resolve => {
          grant = () => resolve(() => {})
        })
      },
    })
    void enter('third')
    await pass(1_000)
    t.equal(left, 4_000 - INTERVAL_MS)
    t.same(results, ['first'])
    grant()
    await pass(INTERVAL_MS)
    t.same(results, ['first', 'second', 'third'])
    await pass(INTERVAL_MS)
    t.equal(clock.waiting(), 0)
  },
)

t.test('a login without a permit does not stop the others', async t => {
  const { results, enter, pass } = create()
  void enter('first', { acquire: () => Promise.reject(new Fault('budget/exhausted', undefined, { backoffMS: 1 })) })
  void enter('second')
  await pass(INTERVAL_MS)
  t.same(results, ['first budget/exhausted', 'second'])
})

t.test('a client that leaves waits no longer, and is not drawn', async t => {
  const { results, enter, pass, clock } = create()
  const client = new AbortController()
  void enter('first')
  void enter('left', { signal: client.signal })
  void enter('second')
  await settled()
  client.abort(new Error('left'))
  t.equal(getEventListeners(client.signal, 'abort').length, 0)
  await pass(2 * INTERVAL_MS)
  t.same(results, ['first', 'left left', 'second'])
  await enter('too late', { signal: client.signal })
  t.same(results.at(-1), 'too late left')
  t.equal(clock.waiting(), 0)
})

t.test('another credential is served apart', async t => {
  const { results, enter } = create()
  void enter('a')
  void enter('b', { credential: 'another' })
  await settled()
  t.same(results, ['a', 'b'])
})

t.test('a credential without logins leaves nothing behind', async t => {
  const { results, enter, pass, clock } = create()
  await enter('a')
  await pass(INTERVAL_MS)
  t.equal(clock.waiting(), 0)
  await enter('b')
  t.same(results, ['a', 'b'], 'it is served at once')
})
