import { getEventListeners } from 'node:events'
import t from 'tap'
import { Fault } from '../../src/errors.js'
import type { StsOutcome } from '../../src/identity/outcome.js'
import { faultOfAsync } from '../support/faults.js'
import {
  CLIENT_LEFT,
  createAuthenticator,
  createLoginRequest,
  createUpstream,
  earlyEnds,
  identity,
} from '../support/login.js'

/** The signal among the arguments of a step. */
const signalOf = (args: unknown[]): AbortSignal => args.at(-1) as AbortSignal

t.test('the deadline aborts a step; the fault is a timeout or an unreachable upstream', async t => {
  for (const step of ['acquirePermit', 'askSts', 'connectUpstream'] as const) {
    const { authenticator, clock, abort } = createAuthenticator({
      [step]: async (...args: unknown[]) => {
        const signal = signalOf(args)
        clock.advance(7999)
        t.notOk(signal.aborted, `${step} may run`)
        clock.advance(1)
        t.ok(signal.aborted, `${step} is aborted`)
        throw signal.reason
      },
    })
    const request = await createLoginRequest()
    const fault = await faultOfAsync(() => authenticator.login(request, abort))
    // The upstream had all of the time.
    t.match(fault, { kind: step === 'connectUpstream' ? 'upstream/unreachable' : 'login/timeout', message: /8000 ms/ })
    t.type(request.record.ms.login, 'number')
  }
})

t.test('an upstream that had less than a second is not reported as unreachable', async t => {
  for (const [remaining, kind] of [
    [999, 'login/timeout'],
    [1000, 'upstream/unreachable'],
  ] as const) {
    const { authenticator, clock, abort } = createAuthenticator({
      async askSts() {
        clock.advance(8000 - remaining)
        return { is: 'identity', identity }
      },
      async connectUpstream(_as, _client, signal) {
        clock.advance(remaining)
        throw signal.reason
      },
    })
    t.equal((await faultOfAsync(async () => authenticator.login(await createLoginRequest(), abort)))?.kind, kind)
  }
})

t.test('a client that leaves ends its login at any step', async t => {
  for (const step of ['acquirePermit', 'askSts', 'connectUpstream'] as const) {
    const { authenticator, steps, abort } = createAuthenticator({
      [step]: async (...args: unknown[]) => {
        abort.abort(CLIENT_LEFT)
        throw signalOf(args).reason
      },
    })
    const request = await createLoginRequest()
    t.equal((await faultOfAsync(() => authenticator.login(request, abort)))?.kind, 'login/abandoned')
    t.equal(steps.filter(name => name !== 'unregister').at(-1), step)
  }
})

t.test('the login of a client that has left takes no step', async t => {
  const { authenticator, steps, outcomes, abort } = createAuthenticator()
  const request = await createLoginRequest()
  abort.abort(CLIENT_LEFT)
  t.equal((await faultOfAsync(() => authenticator.login(request, abort)))?.kind, 'login/abandoned')
  t.notOk(steps.includes('acquirePermit'))
  t.match(outcomes, [{ kind: 'login/abandoned' }])
})

t.test('a login that has no primary at its deadline gets code 6, however late the upstream had its chance', async t => {
  const noPrimary = new Fault('upstream/unreachable', 'there is no primary now')
  for (const stsMS of [0, 7_500]) {
    const { authenticator, clock, abort } = createAuthenticator({
      findPrimaryFault: ms => (ms === 0 ? noPrimary : undefined),
      async askSts() {
        clock.advance(stsMS)
        return { is: 'identity', identity }
      },
      async connectUpstream(_as, _client, signal) {
        clock.advance(8_000 - stsMS)
        throw signal.reason
      },
    })
    const fault = await faultOfAsync(async () => authenticator.login(await createLoginRequest(), abort))
    t.equal(fault, noPrimary)
    t.match(fault?.definition.reply, { code: 6, labels: ['RetryableWriteError'] })
  }
})

t.test('a deadline that passes before the upstream is asked has nothing to do with the primary', async t => {
  const { authenticator, clock, abort } = createAuthenticator({
    findPrimaryFault: ms => (ms === 0 ? new Fault('upstream/unreachable') : undefined),
    async askSts(_proof, _acquire, signal) {
      clock.advance(8_000)
      throw signal.reason
    },
  })
  const request = await createLoginRequest()
  t.equal((await faultOfAsync(() => authenticator.login(request, abort)))?.kind, 'login/timeout')
})

t.test('a login asks STS nothing if there was no primary for as long as it could wait', async t => {
  const asked: number[] = []
  const { authenticator, steps, abort, outcomes } = createAuthenticator({
    findPrimaryFault: ms => {
      asked.push(ms)
      return new Fault('upstream/unreachable')
    },
  })
  const request = await createLoginRequest()
  t.equal((await faultOfAsync(() => authenticator.login(request, abort)))?.kind, 'upstream/unreachable')
  t.same(asked, [8_000])
  t.notOk(steps.includes('askSts') || steps.includes('reserveSlot'))
  t.same(outcomes, [])
  t.equal(request.record.accessKeyId, 'AKIASP2TPHJSQH3FJXYZ', 'the log names the access key')
  const { live } = await createAuthenticator().authenticator.login(await createLoginRequest(), new AbortController())
  await authenticator.reauthenticate(await createLoginRequest(), live, new AbortController())
  t.ok(steps.includes('askSts'), 'a reauthentication needs no primary')
})

t.test('the first early end decides the fault', async t => {
  for (const [kind, first] of earlyEnds) {
    const attempt = createAuthenticator({
      askSts: async (_, __, signal) => {
        first(attempt)
        for (const [, second] of earlyEnds) second(attempt)
        throw signal.reason
      },
    })
    const request = await createLoginRequest()
    t.equal((await faultOfAsync(() => attempt.authenticator.login(request, attempt.abort)))?.kind, kind)
  }
})

t.test('a finished login leaves no timer and no listener', async t => {
  const refused: StsOutcome = { is: 'refused', code: 'ExpiredToken' }
  const identified: StsOutcome = { is: 'identity', identity }
  for (const outcome of [identified, refused]) {
    const { authenticator, clock, abort } = createAuthenticator({ askSts: async () => outcome })
    const request = await createLoginRequest()
    const fault = await faultOfAsync(() => authenticator.login(request, abort))
    t.equal(fault?.kind, outcome === refused ? 'sts/refused' : undefined)
    t.equal(clock.waiting(), 0)
    const { live } = await createAuthenticator().authenticator.login(await createLoginRequest(), new AbortController())
    t.equal((await faultOfAsync(() => authenticator.reauthenticate(request, live, abort)))?.kind, fault?.kind)
    t.equal(clock.waiting(), 0)
    clock.advance(8000)
    t.notOk(abort.signal.aborted, 'the deadline of a login does not apply to its connection')
    t.equal(getEventListeners(abort.signal, 'abort').length, 0)
  }
})

t.test('an authorization that never resolves does not extend a login', async t => {
  for (const [kind, end] of earlyEnds) {
    const attempt = createAuthenticator({
      authorize: () => {
        setImmediate(() => end(attempt))
        return new Promise(() => {})
      },
    })
    const request = await createLoginRequest()
    t.equal((await faultOfAsync(() => attempt.authenticator.login(request, attempt.abort)))?.kind, kind)
    t.match(attempt.outcomes, [{ kind }], 'the login slot is released')
    t.equal(attempt.steps.at(-1), 'unregister', 'the live entry is removed')
  }
})

t.test('an upstream connection that arrives too late is closed', async t => {
  for (const [kind, end] of earlyEnds) {
    const attempt = createAuthenticator({
      connectUpstream: async () => {
        end(attempt)
        return createUpstream(attempt.socket)
      },
    })
    const request = await createLoginRequest()
    const expected = kind === 'login/timeout' ? 'upstream/unreachable' : kind // which had all of the time
    t.equal((await faultOfAsync(() => attempt.authenticator.login(request, attempt.abort)))?.kind, expected)
    t.ok(attempt.socket.destroyed)
  }
})
