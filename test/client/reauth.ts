import { getEventListeners } from 'node:events'
import { Binary, type Document, Int32, serialize } from 'bson'
import t from 'tap'
import type { LoginRequest } from '../../src/client/login.js'
import { watchLoginAge } from '../../src/client/reauth.js'
import type { Watcher } from '../../src/client/relay.js'
import { Fault } from '../../src/errors.js'
import type { LiveConnection } from '../../src/revocation/liveConnections.js'
import { Framer } from '../../src/wire/frame.js'
import { type Command, readCommand, writeMessage } from '../../src/wire/message.js'
import { createManualClock } from '../support/clock.js'
import { createFault, faultOfAsync } from '../support/faults.js'

const first = serialize({ r: new Binary(Buffer.alloc(32, 1)), p: new Int32(110) })
const final = serialize({ a: 'the-authorization', d: '20260813T120000Z', t: 'the-token' })
const start = { saslStart: 1, mechanism: 'MONGODB-AWS', payload: new Binary(first), $db: '$external' }
const next = { saslContinue: 1, conversationId: 1, payload: new Binary(final), $db: '$external' }
const AGE = 3_600_000

const commandOf = (body: Document): Command => {
  const [frame] = [...new Framer(1_000_000).push(writeMessage({ ...body, $db: body.$db ?? 'app' }, 7))]
  if (!frame) throw new Error('no frame')
  return readCommand(frame)
}

type Wanted = { maxAgeMS?: number | null; mode?: 'ask' | 'close'; again?: (over: AbortController) => Promise<void> }

/** A relay of which it is noted who watches it and why it was left, and the age of its login. */
function aged({ maxAgeMS = AGE, mode = 'ask', again = async () => {} }: Wanted = {}) {
  const clock = createManualClock()
  let watcher: Watcher | undefined
  const left: { kind: string | undefined; detail: string | undefined }[] = []
  const logins: string[] = []
  const candidates: LoginRequest[] = []
  const live = { match: maxAgeMS === null ? {} : { maxAgeMS } } as LiveConnection
  const stop = watchLoginAge(
    {
      watch: by => {
        watcher = by
      },
      drain: fault => void left.push({ kind: fault?.kind, detail: fault?.detail }),
      destroy: (_, fault) => void left.push({ kind: fault?.kind, detail: 'destroyed' }),
    },
    {
      request: { client: {}, address: '192.0.2.7', certificate: undefined, close: () => {} },
      live,
      reauthenticate: async (candidate, was, over) => {
        t.equal(was, live)
        candidates.push(candidate)
        await again(over)
      },
      mode: () => mode,
      handshakeContext: () => ({
        stsHost: () => 'sts.amazonaws.com',
        random: bytes => Buffer.alloc(bytes),
        buildInfo: () => undefined,
      }),
      metrics: { recordLogin: outcome => void logins.push(outcome) },
      after: clock.after,
    },
  )
  const ask = async (body: Document, signal = new AbortController().signal) => {
    if (!watcher) throw new Error('nobody watches')
    const command = commandOf(body)
    const { name } = command
    if (name.startsWith('sasl')) return watcher.renew?.(command, signal)
    const seen = { name, inTransaction: body.autocommit === false }
    const fault = watcher.stop(seen)
    if (!fault) watcher.passed(seen)
    return fault
  }
  return {
    clock,
    live,
    left,
    logins,
    candidates,
    stop,
    ask,
    watches: () => watcher !== undefined,
    passed: () => watcher?.passed(),
  }
}

t.test('a young login is left alone; an old one is asked for, renewed, and young again', async t => {
  const { clock, ask, watches, candidates, logins, left } = aged()
  clock.advance(AGE - 1)
  t.equal(watches(), false)
  clock.advance(1)
  t.match(await ask({ find: 'c' }), { kind: 'login/expired', definition: { reply: { code: 391 } } })
  t.match(await ask(start), { done: false, conversationId: { value: 1 } })
  t.match(await ask(next), { done: true })
  t.match(candidates, [{ address: '192.0.2.7', fields: { a: 'the-authorization', t: 'the-token' } }])
  t.same(logins, ['success'])
  t.equal(watches(), false)
  clock.advance(AGE - 1)
  t.equal(watches(), false)
  clock.advance(1)
  t.equal(watches(), true, 'the next age begins with the new login')
  t.same(left, [])
})

t.test('a rule without an age is never asked about, and nothing waits', async t => {
  const { clock, watches } = aged({ maxAgeMS: null })
  t.equal(clock.waiting(), 0)
  t.equal(watches(), false)
})

t.test('inside a transaction nobody is asked, for a minute; the first command behind it is', async t => {
  const { clock, ask, left } = aged()
  clock.advance(AGE)
  t.equal(await ask({ insert: 'c', autocommit: false, startTransaction: true }), undefined)
  clock.advance(59_000)
  t.equal(await ask({ commitTransaction: 1, autocommit: false }), undefined)
  t.match(await ask({ find: 'c' }), { kind: 'login/expired' })
  await ask(start)
  t.match(await ask(next), { done: true })
  clock.advance(60_000)
  t.same(left, [], 'in time')

  const long = aged()
  long.clock.advance(AGE)
  await long.ask({ insert: 'c', autocommit: false, startTransaction: true })
  long.clock.advance(60_000)
  t.match(long.left, [{ kind: 'login/expired', detail: 'there was no moment to ask' }])
})

t.test('who sends nothing that can be answered is closed after a minute', async t => {
  const { clock, passed, left } = aged()
  clock.advance(AGE)
  passed()
  clock.advance(59_999)
  passed()
  t.same(left, [])
  clock.advance(1)
  t.equal(left.length, 1)
})

t.test('who goes on as if it had not been asked has no longer for it', async t => {
  const { clock, ask, left } = aged()
  clock.advance(AGE)
  for (let seconds = 0; seconds < 30; seconds += 10) {
    t.match(await ask({ find: 'c' }), { kind: 'login/expired' })
    t.same(left, [])
    clock.advance(10_000)
  }
  t.match(left, [{ detail: 'it was not renewed in time' }])
})

t.test('each step has thirty seconds', async t => {
  for (const [steps, detail] of [
    [[{ find: 'c' }], 'it was not renewed in time'],
    [[{ find: 'c' }, start], 'it was not renewed in time'],
  ] as const) {
    const { clock, ask, left } = aged()
    clock.advance(AGE)
    for (const step of steps) {
      clock.advance(29_999)
      await ask(step)
    }
    clock.advance(29_999)
    t.same(left, [])
    clock.advance(1)
    t.match(left, [{ kind: 'login/expired', detail }])
  }
})

t.test('somebody else, or a login that fails, is the end', async t => {
  for (const kind of ['login/principal-changed', 'sts/refused', 'login/denied'] as const) {
    const again = async () => {
      throw createFault(kind)
    }
    const { clock, ask, logins } = aged({ again })
    clock.advance(AGE)
    await ask({ find: 'c' })
    await ask(start)
    t.equal((await faultOfAsync(() => ask(next)))?.kind, kind)
    t.same(logins, [kind])
  }
})

t.test('a relay that ends meanwhile ends the login, and it alone', async t => {
  for (const early of [true, false]) {
    let login = new AbortController()
    const again = (over: AbortController) => {
      login = over
      return new Promise<void>((_, reject) => {
        const leave = () => reject(new Fault('login/abandoned'))
        over.signal.addEventListener('abort', leave)
        if (over.signal.aborted) leave()
      })
    }
    const { clock, ask, logins } = aged({ again })
    const relay = new AbortController()
    const ended = new Error('the relay has ended')
    clock.advance(AGE)
    await ask({ find: 'c' })
    await ask(start)
    if (early) relay.abort(ended)
    const fault = faultOfAsync(() => ask(next, relay.signal))
    t.equal(login.signal.aborted, early)
    relay.abort(ended)
    t.equal((await fault)?.kind, 'login/abandoned')
    t.equal(login.signal.reason, ended)
    t.same(logins, ['login/abandoned'])
  }
})

t.test('a login that ends itself leaves the relay alone, and one that is over is left alone by it', async t => {
  const logins: AbortController[] = []
  const again = async (over: AbortController) => {
    logins.push(over)
    if (logins.length === 1) over.abort(new Fault('login/timeout'))
    over.signal.throwIfAborted()
  }
  const relay = new AbortController()
  for (const kind of ['login/timeout', undefined] as const) {
    const { clock, ask } = aged({ again })
    clock.advance(AGE)
    await ask({ find: 'c' }, relay.signal)
    await ask(start, relay.signal)
    t.equal((await faultOfAsync(() => ask(next, relay.signal)))?.kind, kind)
    t.notOk(relay.signal.aborted)
  }
  t.equal(getEventListeners(relay.signal, 'abort').length, 0)
  relay.abort()
  t.same(
    logins.map(({ signal }) => signal.aborted),
    [true, false],
  )
})

t.test('another mechanism is refused; steps out of turn are the end', async t => {
  const { clock, ask } = aged()
  clock.advance(AGE)
  t.match(await ask({ ...start, mechanism: 'SCRAM-SHA-256' }), { kind: 'sasl/mechanism-unavailable' })
  t.equal((await faultOfAsync(() => ask(next)))?.kind, 'sasl/out-of-order')
  t.equal((await faultOfAsync(() => ask(start)))?.kind, 'sasl/out-of-order')
})

t.test('a command between the steps begins them anew', async t => {
  const { clock, ask } = aged()
  clock.advance(AGE)
  await ask({ find: 'c' })
  await ask(start)
  t.match(await ask({ find: 'c' }), { kind: 'login/expired' })
  t.match(await ask(start), { done: false })
  t.match(await ask(next), { done: true })
})

t.test('where nobody is asked, the connection closes between operations', async t => {
  const { clock, left } = aged({ mode: 'close' })
  clock.advance(AGE)
  clock.advance(999)
  t.same(left, [])
  clock.advance(1)
  t.match(left, [{ kind: 'login/expired', detail: 'its time is over' }])

  const busy = aged({ mode: 'close' })
  busy.clock.advance(AGE)
  busy.passed()
  t.same(busy.left, [], 'of this it is not known whether it is inside a transaction')
  t.equal(await busy.ask(start), undefined, 'nobody logs in again')
  t.equal(await busy.ask({ find: 'c' }), undefined, 'it goes upstream')
  t.match(busy.left, [{ kind: 'login/expired', detail: 'its time is over' }])
})

t.test('and behind a transaction, for which it waits a minute', async t => {
  for (const [end, ms] of [
    [{ commitTransaction: 1, autocommit: false }, 0],
    [{ find: 'c' }, 0],
    [{ insert: 'c', autocommit: false }, 59_000],
  ] as const) {
    const { clock, ask, left } = aged({ mode: 'close' })
    clock.advance(AGE)
    await ask({ insert: 'c', autocommit: false })
    clock.advance(1_000)
    t.same(left, [])
    t.equal(await ask(end), undefined, 'it goes upstream')
    t.equal(left.length, ms === 0 ? 1 : 0)
    clock.advance(ms)
    t.equal(left.length, 1)
  }
})

t.test('one that does not close in peace within a minute is cut off', async t => {
  const { clock, ask, left } = aged({ mode: 'close' })
  clock.advance(AGE)
  await ask({ find: 'c' })
  t.match(left, [{ kind: 'login/expired', detail: 'its time is over' }])
  clock.advance(59_999)
  t.equal(left.length, 1)
  clock.advance(1)
  t.match(left[1], { kind: 'login/expired', detail: 'destroyed' })
  t.equal(clock.waiting(), 0)
})

t.test('a relay that has ended leaves nothing that waits', async t => {
  for (const step of [undefined, { find: 'c' }, { find: 'c', autocommit: false }]) {
    const { clock, ask, stop } = aged()
    if (step) {
      clock.advance(AGE)
      await ask(step)
    }
    stop()
    t.equal(clock.waiting(), 0)
  }
})
