import { getEventListeners } from 'node:events'
import { Binary, type Document, Int32, serialize } from 'bson'
import t from 'tap'
import type { LoginRecord, LoginRequest } from '../../src/client/login.js'
import { limitLoginAge } from '../../src/client/reauth.js'
import type { CommandInterceptor } from '../../src/client/relay.js'
import { Fault } from '../../src/errors.js'
import type { LiveConnection } from '../../src/revocation/liveConnections.js'
import { Framer } from '../../src/wire/frame.js'
import { type Command, readCommand, writeMessage } from '../../src/wire/message.js'
import { createManualClock } from '../support/clock.js'
import { createFault, faultOf, faultOfAsync } from '../support/faults.js'

const first = serialize({ r: new Binary(Buffer.alloc(32, 1)), p: new Int32(110) })
const final = serialize({ a: 'the-authorization', d: '20260813T120000Z', t: 'the-token' })
const start = { saslStart: 1, mechanism: 'MONGODB-AWS', payload: new Binary(first), $db: '$external' }
const next = { saslContinue: 1, conversationId: 1, payload: new Binary(final), $db: '$external' }
const AGE = 3_600_000

const readBody = (body: Document): Command => {
  const [frame] = [...new Framer(1_000_000).push(writeMessage({ ...body, $db: body.$db ?? 'app' }, 7))]
  if (!frame) throw new Error('no frame')
  return readCommand(frame)
}

type Settings = {
  maxAgeMS?: number | null
  mode?: 'ask' | 'close'
  reauthenticate?: (abort: AbortController, record: LoginRecord) => Promise<void>
}

/** A login with a limited age, over a relay that records its interceptor and why it was drained. */
function createAgedLogin({ maxAgeMS = AGE, mode = 'ask', reauthenticate = async () => {} }: Settings = {}) {
  const clock = createManualClock()
  let interceptor: CommandInterceptor | undefined
  const drains: { requester: string; kind: string | undefined; detail: string | undefined }[] = []
  const logins: string[] = []
  const requests: LoginRequest[] = []
  const lines: Record<string, unknown>[] = []
  const live = { match: maxAgeMS === null ? {} : { maxAgeMS } } as LiveConnection
  const stop = limitLoginAge(
    {
      setInterceptor: set => {
        interceptor = set
      },
      drain: (requester, fault) => void drains.push({ requester, kind: fault?.kind, detail: fault?.detail }),
    },
    {
      request: { client: {}, connectionId: 7, address: '192.0.2.7', certificate: undefined, destroy: () => {} },
      user: 'alice@admin',
      maxAgeMS: () => live.match?.maxAgeMS,
      reauthenticate: async (request, abort) => {
        requests.push(request)
        await reauthenticate(abort, request.record)
      },
      mode: () => mode,
      handshakeContext: () => ({
        stsHost: () => 'sts.amazonaws.com',
        random: bytes => Buffer.alloc(bytes),
        buildInfo: () => undefined,
        // All slots are taken, which must not matter to a session.
        assertSessionSlotFree() {
          throw createFault('login/session-limit')
        },
      }),
      audit: { assertAvailable() {}, async recordLogin() {}, recordRefused() {} },
      metrics: { recordLogin: outcome => void logins.push(outcome) },
      log: (level, event, fields) => void lines.push({ level, event, ...fields }),
      after: clock.after,
    },
  )
  /** What a relay does with a command while there is an interceptor. */
  const send = async (body: Document, signal = new AbortController().signal) => {
    if (!interceptor) throw new Error('there is no interceptor')
    const command = readBody(body)
    const { name } = command
    if (name.startsWith('sasl')) return interceptor.authenticate?.(command, signal)
    const summary = { name, inTransaction: body.autocommit === false, session: body.session }
    const fault = interceptor.check(summary)
    if (!fault) interceptor.onForwarded(summary)
    return fault
  }
  return {
    clock,
    live,
    drains,
    logins,
    lines,
    requests,
    stop,
    send,
    isIntercepted: () => interceptor !== undefined,
    forward: () => interceptor?.onForwarded(),
    streamReply: () => interceptor?.onStreamed?.(),
  }
}

t.test('an expired login is requested with 391, renewed, and fresh again', async t => {
  const { clock, send, isIntercepted, requests, logins, drains } = createAgedLogin()
  clock.advance(AGE - 1)
  t.equal(isIntercepted(), false)
  clock.advance(1)
  t.match(await send({ find: 'c' }), { kind: 'login/expired', definition: { reply: { code: 391 } } })
  t.match(await send(start), { done: false, conversationId: { value: 1 } })
  t.match(await send(next), { done: true })
  t.match(requests, [{ address: '192.0.2.7', fields: { a: 'the-authorization', t: 'the-token' } }])
  t.same(logins, ['success'])
  t.equal(isIntercepted(), false)
  clock.advance(AGE - 1)
  t.equal(isIntercepted(), false)
  clock.advance(1)
  t.equal(isIntercepted(), true, 'the age starts again with the new login')
  t.same(drains, [])
})

t.test('a rule without a maximum age starts no timer', async t => {
  const { clock, isIntercepted } = createAgedLogin({ maxAgeMS: null })
  t.equal(clock.waiting(), 0)
  t.equal(isIntercepted(), false)
})

t.test('commands of a transaction are forwarded for a minute; the first command behind it gets 391', async t => {
  const { clock, send, drains } = createAgedLogin()
  clock.advance(AGE)
  t.equal(await send({ insert: 'c', autocommit: false, startTransaction: true }), undefined)
  clock.advance(59_000)
  t.equal(await send({ commitTransaction: 1, autocommit: false }), undefined)
  t.match(await send({ find: 'c' }), { kind: 'login/expired' })
  await send(start)
  t.match(await send(next), { done: true })
  clock.advance(60_000)
  t.same(drains, [], 'the login was renewed in time')

  const long = createAgedLogin()
  long.clock.advance(AGE)
  await long.send({ insert: 'c', autocommit: false, startTransaction: true })
  long.clock.advance(60_000)
  t.match(long.drains, [{ kind: 'login/expired', detail: 'no command could be answered with 391' }])
})

t.test('a client that sends no command that can be answered is closed after a minute', async t => {
  const { clock, forward, drains } = createAgedLogin()
  clock.advance(AGE)
  forward()
  clock.advance(59_999)
  forward()
  t.same(drains, [])
  clock.advance(1)
  t.equal(drains.length, 1)
})

t.test('commands and steps of a login do not extend the time for it', async t => {
  const { clock, send, drains } = createAgedLogin()
  clock.advance(AGE)
  for (let seconds = 0; seconds < 30; seconds += 10) {
    t.match(await send({ find: 'c' }), { kind: 'login/expired' })
    clock.advance(5_000)
    t.match(await send(start), { done: false })
    t.same(drains, [])
    clock.advance(5_000)
  }
  t.match(drains, [{ kind: 'login/expired', detail: 'it was not renewed in time' }])
})

t.test('the time for a login begins with its first step if there was no code 391', async t => {
  const { clock, send, drains } = createAgedLogin()
  clock.advance(AGE)
  for (let seconds = 0; seconds < 30; seconds += 10) {
    t.match(await send({ ...start, mechanism: 'SCRAM-SHA-256' }), { kind: 'sasl/mechanism-unavailable' })
    t.same(drains, [])
    clock.advance(10_000)
  }
  t.equal(drains.length, 1)
})

t.test('a proof has the time of a login', async t => {
  let finish = () => {}
  const { clock, send, drains } = createAgedLogin({
    reauthenticate: () => new Promise<void>(resolve => (finish = resolve)),
  })
  clock.advance(AGE)
  await send({ insert: 'c', autocommit: false })
  clock.advance(25_000)
  await send({ find: 'c' })
  clock.advance(15_000)
  await send(start)
  clock.advance(14_999)
  const done = send(next)
  clock.advance(20_000)
  t.same(drains, [])
  finish()
  t.match(await done, { done: true })
  t.same(drains, [])
})

t.test('a connection that answers 391 with anything but a login is closed without an answer', async t => {
  for (const command of [{ find: 'c' }, { ping: 1 }, { insert: 'c', autocommit: false }]) {
    const { clock, send } = createAgedLogin()
    clock.advance(AGE)
    t.match(await send({ find: 'c' }), { kind: 'login/expired' })
    t.match(await faultOfAsync(() => send(command)), {
      kind: 'login/expired',
      detail: 'code 391 was not answered with a login',
    })
  }
  const unchecked = createAgedLogin()
  unchecked.clock.advance(AGE)
  await unchecked.send({ find: 'c' })
  t.equal(faultOf(unchecked.forward)?.kind, 'login/expired', 'a request that cannot be checked')
})

t.test('another principal, or a failed login, is reported and thrown', async t => {
  for (const kind of ['login/principal-changed', 'sts/refused', 'login/denied'] as const) {
    const reauthenticate = async () => {
      throw createFault(kind)
    }
    const { clock, send, logins } = createAgedLogin({ reauthenticate })
    clock.advance(AGE)
    await send({ find: 'c' })
    await send(start)
    t.equal((await faultOfAsync(() => send(next)))?.kind, kind)
    t.same(logins, [kind])
  }
})

t.test('the end of the relay aborts the login', async t => {
  for (const early of [true, false]) {
    let login = new AbortController()
    const reauthenticate = (abort: AbortController) => {
      login = abort
      return new Promise<void>((_, reject) => {
        const onAbort = () => reject(new Fault('login/abandoned'))
        abort.signal.addEventListener('abort', onAbort)
        if (abort.signal.aborted) onAbort()
      })
    }
    const { clock, send, logins } = createAgedLogin({ reauthenticate })
    const relay = new AbortController()
    const ended = new Error('the relay has ended')
    clock.advance(AGE)
    await send({ find: 'c' })
    await send(start)
    if (early) relay.abort(ended)
    const fault = faultOfAsync(() => send(next, relay.signal))
    t.equal(login.signal.aborted, early)
    relay.abort(ended)
    t.equal((await fault)?.kind, 'login/abandoned')
    t.equal(login.signal.reason, ended)
    t.same(logins, ['login/abandoned'])
  }
})

t.test('an aborted login does not abort the relay, and a finished one is not aborted by it', async t => {
  const logins: AbortController[] = []
  const reauthenticate = async (abort: AbortController) => {
    logins.push(abort)
    if (logins.length === 1) abort.abort(new Fault('login/timeout'))
    abort.signal.throwIfAborted()
  }
  const relay = new AbortController()
  for (const kind of ['login/timeout', undefined] as const) {
    const { clock, send } = createAgedLogin({ reauthenticate })
    clock.advance(AGE)
    await send({ find: 'c' }, relay.signal)
    await send(start, relay.signal)
    t.equal((await faultOfAsync(() => send(next, relay.signal)))?.kind, kind)
    t.notOk(relay.signal.aborted)
  }
  t.equal(getEventListeners(relay.signal, 'abort').length, 0)
  relay.abort()
  t.same(
    logins.map(({ signal }) => signal.aborted),
    [true, false],
  )
})

t.test('another mechanism is refused; steps out of order are thrown', async t => {
  const { clock, send } = createAgedLogin()
  clock.advance(AGE)
  t.match(await send({ ...start, mechanism: 'SCRAM-SHA-256' }), { kind: 'sasl/mechanism-unavailable' })
  t.equal((await faultOfAsync(() => send(next)))?.kind, 'sasl/out-of-order')
  t.equal((await faultOfAsync(() => send(start)))?.kind, 'sasl/out-of-order')
})

t.test('a command between the steps restarts them', async t => {
  const { clock, send } = createAgedLogin()
  clock.advance(AGE)
  await send({ find: 'c' })
  await send(start)
  t.match(await send({ find: 'c' }), { kind: 'login/expired' })
  t.match(await send(start), { done: false })
  t.match(await send(next), { done: true })
})

t.test('in mode close, the connection closes between operations', async t => {
  const { clock, drains } = createAgedLogin({ mode: 'close' })
  clock.advance(AGE)
  clock.advance(999)
  t.same(drains, [])
  clock.advance(1)
  t.match(drains, [{ kind: 'login/expired', detail: 'its maximum age is reached' }])

  const busy = createAgedLogin({ mode: 'close' })
  busy.clock.advance(AGE)
  busy.forward()
  t.same(busy.drains, [], 'it is unknown whether this request belongs to a transaction')
  t.equal(await busy.send(start), undefined, 'a login is refused')
  t.equal(await busy.send({ find: 'c' }), undefined, 'it is forwarded')
  t.match(busy.drains, [{ kind: 'login/expired', detail: 'its maximum age is reached' }])
})

t.test('in mode close, the connection closes behind a transaction, and after a minute at the latest', async t => {
  for (const [end, ms] of [
    [{ commitTransaction: 1, autocommit: false }, 0],
    [{ abortTransaction: 1, autocommit: false }, 0],
    [{ insert: 'c', autocommit: false }, 59_000],
    [{ find: 'c' }, 59_000],
    [{ commitTransaction: 1, autocommit: false, session: 'another' }, 59_000],
  ] as const) {
    const { clock, send, drains } = createAgedLogin({ mode: 'close' })
    clock.advance(AGE)
    await send({ insert: 'c', autocommit: false })
    clock.advance(1_000)
    t.same(drains, [])
    t.equal(await send(end), undefined, 'it is forwarded')
    t.equal(drains.length, ms === 0 ? 1 : 0, JSON.stringify(end))
    clock.advance(ms)
    t.equal(drains.length, 1)
  }
})

t.test('in mode close, a transaction that pauses when the age is reached has a minute more', async t => {
  for (const begun of [1, 59_000]) {
    const { clock, send, drains } = createAgedLogin({ mode: 'close' })
    clock.advance(AGE - begun)
    t.equal(await send({ insert: 'c', autocommit: false }), undefined)
    clock.advance(begun)
    clock.advance(59_999)
    t.same(drains, [])
    t.equal(await send({ commitTransaction: 1, autocommit: false }), undefined)
    t.match(drains, [{ detail: 'its maximum age is reached' }])

    const endless = createAgedLogin({ mode: 'close' })
    endless.clock.advance(AGE - begun)
    await endless.send({ insert: 'c', autocommit: false })
    endless.clock.advance(begun)
    for (let seconds = 0; seconds < 60; seconds++) {
      t.same(endless.drains, [])
      await endless.send({ insert: 'c', autocommit: false })
      endless.clock.advance(1_000)
    }
    t.match(endless.drains, [{ detail: /a transaction has not ended/ }])
  }
})

t.test('in mode close, a transaction that ended before the age does not extend it', async t => {
  const { clock, send, drains } = createAgedLogin({ mode: 'close' })
  clock.advance(AGE - 50_000)
  await send({ insert: 'c', autocommit: false })
  await send({ commitTransaction: 1, autocommit: false })
  clock.advance(50_000)
  clock.advance(1_000)
  t.equal(drains.length, 1)
})

t.test('commands are read from a minute before the age on, and only for drivers that are closed', async t => {
  for (const [mode, maxAgeMS, fresh, isObserved] of [
    ['close', AGE, AGE - 60_001, false],
    ['close', AGE, AGE - 60_000, true],
    ['close', 60_000, 0, true],
    ['close', 1_000, 0, true],
    ['ask', AGE, AGE - 1, false],
    ['ask', 1_000, 999, false],
  ] as const) {
    const { clock, isIntercepted } = createAgedLogin({ mode, maxAgeMS })
    clock.advance(fresh)
    t.equal(isIntercepted(), isObserved, `${mode}, ${fresh} of ${maxAgeMS} ms`)
  }
})

t.test('in mode close, a request that cannot be checked may belong to a transaction', async t => {
  const { clock, forward, send, drains } = createAgedLogin({ mode: 'close' })
  clock.advance(AGE - 1)
  forward()
  clock.advance(30_001)
  t.same(drains, [])
  await send({ find: 'c' })
  t.equal(drains.length, 1)
})

t.test('a stream that never ends is closed after a minute, or by the drain', async t => {
  const asked = createAgedLogin()
  asked.clock.advance(AGE)
  asked.streamReply()
  asked.clock.advance(60_000)
  t.equal(asked.drains.length, 1)
  const closed = createAgedLogin({ mode: 'close' })
  closed.clock.advance(AGE)
  closed.streamReply()
  closed.clock.advance(1_000)
  t.equal(closed.drains.length, 1, 'the drain limits the wait for a reply')
})

t.test('a reauthentication is logged with the fields of a login', async t => {
  const fields = { accessKeyId: 'AKIAIOSFODNN7EXAMPLE', arn: 'arn:aws:iam::123456789012:user/alice' }
  for (const kind of [undefined, 'sts/refused'] as const) {
    const { clock, send, lines } = createAgedLogin({
      reauthenticate: async (_, record) => {
        Object.assign(record, fields, { by: { rule: 1 }, ms: { sts: 12, login: 15 } })
        if (kind) throw createFault(kind)
      },
    })
    clock.advance(AGE)
    await send({ find: 'c' })
    await send(start)
    await faultOfAsync(async () => send(next))
    t.match(lines, [
      {
        level: 'info',
        event: kind ? 'reauthentication failed' : 'reauthentication succeeded',
        ...fields,
        user: 'alice@admin',
        rule: 1,
        ms: { sts: 12, login: 15 },
        fault: kind,
      },
    ])
  }
})

t.test('after the drain has begun no timer remains', async t => {
  const { clock, send, drains } = createAgedLogin({ mode: 'close' })
  clock.advance(AGE)
  await send({ find: 'c' })
  t.match(drains, [{ requester: 'loginExpired', kind: 'login/expired', detail: 'its maximum age is reached' }])
  t.equal(clock.waiting(), 0)
})

t.test('stopping cancels all timers', async t => {
  for (const step of [undefined, { find: 'c' }, { find: 'c', autocommit: false }]) {
    const { clock, send, stop } = createAgedLogin()
    if (step) {
      clock.advance(AGE)
      await send(step)
    }
    stop()
    t.equal(clock.waiting(), 0)
  }
})
