/** A client with a denied access key gets the answer of an inactive key, because it must not learn of the denial. */
import { setImmediate as nextIteration } from 'node:timers/promises'
import t from 'tap'
import { createLoginLimits } from '../../src/budget/loginLimits.js'
import type { AuthenticatorOptions } from '../../src/client/login.js'
import { Fault, toReply } from '../../src/errors.js'
import { inactiveKeyOutcome, type StsOutcome } from '../../src/identity/outcome.js'
import { createRefusalCache } from '../../src/identity/refusalCache.js'
import { createManualClock } from '../support/clock.js'
import { faultOfAsync } from '../support/faults.js'
import { CLIENT_LEFT, createAuthenticator, createLoginRequest, runLogin, throwing } from '../support/login.js'

const findKeyDenial = (accessKeyId: string) =>
  new Fault('login/denied', undefined, { denial: `accessKey ${accessKeyId}`, reason: 'ticket 4711' })
const replyTo = (fault: Fault | undefined) => fault && JSON.stringify(toReply(fault, 7))

/** What a client gets for a key that is inactive, and what it gets for one that is denied, under the same conditions. */
async function compare(
  conditions: Partial<AuthenticatorOptions> = {},
  inactive: StsOutcome = inactiveKeyOutcome(true),
) {
  const genuine = await runLogin({ askSts: async () => inactive, ...conditions })
  const denied = await runLogin({ findKeyDenial, ...conditions })
  return { genuine, denied }
}

t.test('the reply is that of an inactive key, and the fault names the denial', async t => {
  const { genuine, denied } = await compare()
  t.equal(replyTo(denied.fault), replyTo(genuine.fault))
  t.match(toReply(denied.fault as Fault, 7), {
    code: { value: 18 },
    errmsg: /InvalidClientTokenId: The security token included in the request is invalid\./,
  })
  t.match(denied.fault, { kind: 'login/denied', facts: { denial: /^accessKey AKIA/, reason: 'ticket 4711' } })
})

t.test('the login takes the same steps, but STS is not asked', async t => {
  const { genuine, denied } = await compare()
  t.same(
    denied.steps,
    genuine.steps.map(step => (step === 'askSts' ? 'imitateInactiveKey' : step)),
  )
})

t.test('limits, caches, the queue and LDAP authorization answer both alike', async t => {
  const conditions: Partial<AuthenticatorOptions>[] = [
    { reserveSlot: throwing('login/concurrency-limit') },
    { reserveSlot: throwing('login/failure-limit') },
    { assertLdapOff: throwing('ldap/on') },
    { acquirePermit: throwing('budget/exhausted') },
    { findRefusal: () => ({ is: 'refused', code: 'ExpiredToken', message: 'it is over' }) },
  ]
  for (const condition of conditions) {
    const { genuine, denied } = await compare(condition)
    t.ok(genuine.fault)
    t.equal(replyTo(denied.fault), replyTo(genuine.fault))
  }
})

t.test('a host that is not the first answers both alike', async t => {
  const outcome = inactiveKeyOutcome(false)
  const { genuine, denied } = await compare({ imitateInactiveKey: async () => outcome }, outcome)
  t.match(genuine.fault, { kind: 'sts/unavailable' })
  t.equal(replyTo(denied.fault), replyTo(genuine.fault))
})

t.test('failures are counted, cached and blocked alike', async t => {
  const histories = await Promise.all(
    [{}, { findKeyDenial }].map(async condition => {
      const clock = createManualClock(1_000_000)
      const refusals = createRefusalCache({ maxEntries: 10, maxPerSource: 10, now: clock.now })
      const limits = createLoginLimits({
        perAddress: 10,
        failures: 3,
        periodMS: 60_000,
        maxEntries: 10,
        now: clock.now,
        shadow: false,
        onRejected() {},
        onKnownCredential() {},
      })
      const { authenticator, steps } = createAuthenticator({
        ...condition,
        now: clock.now,
        reserveSlot: limits.acquireSlot,
        findRefusal: refusals.get,
        cacheOutcome: refusals.store,
        recordOutcome: refusals.store,
        askSts: async () => inactiveKeyOutcome(true),
      })
      const request = await createLoginRequest()
      const history: string[] = []
      for (let i = 0; i < 20; i++) {
        const login = authenticator.login({ ...request, record: { ms: {} } }, new AbortController())
        const reply = replyTo(await faultOfAsync(() => login))
        history.push(`${reply} ${steps.filter(step => step === 'acquirePermit').length}`)
        clock.advance(400)
      }
      return history
    }),
  )
  t.same(histories[0], histories[1])
  t.match(histories[1]?.at(-1), /InvalidClientTokenId; checked again in \d+ s/)
})

t.test('the wait ends when the client leaves', async t => {
  let ends = 0
  const { authenticator, abort, outcomes, clock } = createAuthenticator({
    findKeyDenial,
    imitateInactiveKey: (_proof, _address, _acquire, signal) =>
      new Promise((_, reject) => {
        signal.addEventListener('abort', () => {
          ends++
          reject(signal.reason)
        })
      }),
  })
  const login = faultOfAsync(async () => authenticator.login(await createLoginRequest(), abort))
  await nextIteration()
  abort.abort(CLIENT_LEFT)
  t.equal((await login)?.kind, 'login/abandoned')
  t.equal(ends, 1)
  t.match(outcomes, [{ kind: 'login/abandoned' }])
  t.equal(clock.waiting(), 0)
})
