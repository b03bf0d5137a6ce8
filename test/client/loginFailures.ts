/** How often clients may try a credential that STS refuses, with the limits and caches of the proxy. */
import { setImmediate as nextIteration } from 'node:timers/promises'
import t from 'tap'
import { createContestedLogins } from '../../src/budget/contestedLogins.js'
import { createLoginLimits } from '../../src/budget/loginLimits.js'
import type { StsOutcome } from '../../src/identity/outcome.js'
import type { Proof } from '../../src/identity/proof.js'
import { createRefusalCache } from '../../src/identity/refusalCache.js'
import { createManualClock } from '../support/clock.js'
import { faultOfAsync } from '../support/faults.js'
import { challenge, createAuthenticator, createLoginRequest, identity, key, NOON } from '../support/login.js'
import { signClientFinal } from '../support/signingClient.js'

type Answer = (ms: number, proof: Proof) => StsOutcome | Promise<StsOutcome>

/** Logins with one credential, by default limits. `answer` is that of STS at a time. */
function create(answer: Answer, random = () => 0) {
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
  const contested = createContestedLogins({ random, now: clock.now, after: clock.after, onRejected() {} })
  const refusals = createRefusalCache({ maxEntries: 100, maxPerSource: 100, now: clock.now })
  const { authenticator } = createAuthenticator({
    now: clock.now,
    after: clock.after,
    reserveSlot: limits.acquireSlot,
    findRefusal: refusals.get,
    recordOutcome: refusals.store,
    acquirePermit: async (_bucket, _host, slot, maxWaitMS, signal) => {
      const permit = async () => () => {}
      return slot.isContested() ? contested.acquire('key', maxWaitMS, signal, permit) : permit()
    },
    askSts: async proof => {
      const ms = clock.now() - start
      calls.push(ms)
      return answer(ms, proof)
    },
  })
  /** Why a login fails now; undefined if it succeeds. */
  const attempt = async (request = owner) => {
    const fault = await faultOfAsync(async () =>
      authenticator.login({ ...(await request), record: { ms: {} } }, new AbortController()),
    )
    return fault?.kind
  }
  const elapsed = () => clock.now() - start
  return { attempt, calls, clock, elapsed }
}

const owner = createLoginRequest()
/** The same access key, with a signature by another secret. */
const attacker = signClientFinal({ ...key, secretAccessKey: 'guessed' }, { ...challenge, date: new Date(NOON) }).then(
  async ({ a, d, t }) => ({ ...(await owner), fields: { a, d, t } }),
)

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

/** The same numbers in every run. */
function createRandom(seed: number): () => number {
  let state = seed
  return () => {
    state = (state * 1_103_515_245 + 12_345) % 2 ** 31
    return state / 2 ** 31
  }
}

/**
 * How long the owner of a key needs to get in while another client of its address sends 200 bad signatures a second, and
 * when STS was asked. The owner tries five times a second, over a number of connections.
 */
async function attack(seed: number, connections: number): Promise<{ ms: number; calls: number[] }> {
  const genuine = (await owner).fields.a
  const { attempt, clock, elapsed, calls } = create(
    (_, { signature }) =>
      genuine.includes(signature.reveal()) ? { is: 'identity', identity } : refused('SignatureDoesNotMatch'),
    createRandom(seed),
  )
  let enteredMS: number | undefined
  const tries = Array.from({ length: connections }, () => ({ isRunning: false, next: 1_000 }))
  for (; enteredMS === undefined && elapsed() < 60_000; clock.advance(5)) {
    void attempt(attacker)
    for (const connection of tries) {
      if (connection.isRunning || elapsed() < connection.next) continue
      connection.isRunning = true
      void attempt().then(kind => {
        if (kind === undefined) enteredMS ??= elapsed()
        else if (kind !== 'login/signature-limit' && kind !== 'login/timeout') throw new Error(kind)
        connection.isRunning = false
        connection.next = elapsed() + 200
      })
    }
    await nextIteration()
  }
  return { ms: (enteredMS ?? Number.POSITIVE_INFINITY) - 1_000, calls }
}

t.test(
  'the owner of a key gets in within seconds while another client of its address sends bad signatures',
  async t => {
    for (const [connections, medianMS] of [
      [1, 8_000],
      [12, 2_000],
    ] as const) {
      const times: number[] = []
      for (let seed = 1; seed <= 7; seed++) {
        const { ms, calls } = await attack(seed, connections)
        times.push(ms)
        const contested = calls.filter(at => at >= 1_000)
        for (const at of contested) {
          const second = contested.filter(other => other >= at && other < at + 1_000)
          if (second.length > 10) t.fail(`${second.length} calls in one second`)
        }
      }
      times.sort((a, b) => a - b)
      t.ok(Number(times[3]) <= medianMS, `${connections} connections: ${times.join(', ')} ms`)
    }
  },
)
