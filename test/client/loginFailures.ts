/** How often clients may try a credential that STS refuses, with the limits and caches of the proxy. */
import t from 'tap'
import { createLoginLimits } from '../../src/budget/loginLimits.js'
import type { StsOutcome } from '../../src/identity/outcome.js'
import { createRefusalCache } from '../../src/identity/refusalCache.js'
import { createManualClock } from '../support/clock.js'
import { faultOfAsync } from '../support/faults.js'
import { createAuthenticator, createLoginRequest, identity } from '../support/login.js'

/** Logins with one credential, by default limits. `answer` is that of STS at a time. */
function create(answer: (ms: number) => StsOutcome) {
  const clock = createManualClock(1_000_000)
  const start = clock.now()
  const calls: number[] = []
  const limits = createLoginLimits({
    perAddress: 1_000,
    failures: 10,
    periodMS: 60_000,
    maxEntries: 100,
    now: clock.now,
    shadow: false,
    onRejected() {},
    onKnownCredential() {},
  })
  const refusals = createRefusalCache({ maxEntries: 100, maxPerSource: 100, now: clock.now })
  const { authenticator } = createAuthenticator({
    now: clock.now,
    after: clock.after,
    reserveSlot: limits.acquireSlot,
    findRefusal: refusals.get,
    recordOutcome: refusals.store,
    askSts: async () => {
      const ms = clock.now() - start
      calls.push(ms)
      return answer(ms)
    },
  })
  const request = createLoginRequest()
  /** Why a login fails now; undefined if it succeeds. */
  const attempt = async () => {
    const fault = await faultOfAsync(async () =>
      authenticator.login({ ...(await request), record: { ms: {} } }, new AbortController()),
    )
    return fault?.kind
  }
  const elapsed = () => clock.now() - start
  return { attempt, calls, clock, elapsed }
}

const refused = (code: string): StsOutcome => ({ is: 'refused', code })
const spreading =
  (readyMS: number) =>
  (ms: number): StsOutcome =>
    ms < readyMS ? refused('InvalidClientTokenId') : { is: 'identity', identity }

for (const connections of [1, 12]) {
  for (const readyMS of [3_000, 10_000]) {
    const name = `${connections} connections try a new key every 200 ms, which STS knows after ${readyMS / 1000} s`
    t.test(`${name}: they get in within two seconds`, async t => {
      const { attempt, clock, elapsed, calls } = create(spreading(readyMS))
      let kinds: unknown[] = []
      while (elapsed() < readyMS + 2_000) {
        kinds = await Promise.all(Array.from({ length: connections }, attempt))
        if (kinds.every(kind => kind === undefined)) break
        t.ok(kinds.every(kind => kind === 'sts/refused'))
        clock.advance(200)
      }
      t.ok(
        kinds.every(kind => kind === undefined),
        `after ${elapsed()} ms`,
      )
      t.ok(calls.length <= connections * 8, `${calls.length} calls to STS`)
    })
  }
}

t.test('a key that stays unknown is blocked in the end, without further calls to STS', async t => {
  const { attempt, clock, elapsed, calls } = create(() => refused('InvalidClientTokenId'))
  while (elapsed() < 20_000) {
    await attempt()
    clock.advance(200)
  }
  t.equal(await attempt(), 'login/failure-limit')
  t.equal(calls.length, 10)
})

t.test('answers of the cache are no failures, so an expired session hears its reason for the whole period', async t => {
  const { attempt, clock, elapsed, calls } = create(() => refused('ExpiredToken'))
  while (elapsed() < 60_000) {
    t.equal(await attempt(), 'sts/refused')
    clock.advance(1_000)
  }
  t.equal(calls.length, 1)
})
