import { getEventListeners } from 'node:events'
import type { Socket } from 'node:net'
import { PassThrough } from 'node:stream'
import { Int32 } from 'bson'
import t from 'tap'
import type { LoginOutcome } from '../../src/budget/loginLimits.js'
import {
  bucketKey,
  createAuthenticator,
  type LoginOptions,
  type LoginRecord,
  type LoginRequest,
} from '../../src/client/login.js'
import { Fault, type FaultKind, toReply } from '../../src/errors.js'
import type { StsOutcome } from '../../src/identity/outcome.js'
import type { Proof } from '../../src/identity/proof.js'
import type { Identity } from '../../src/identity/reply.js'
import { Secret } from '../../src/log.js'
import { createTermController } from '../../src/upstream/primaryTerm.js'
import type { Match } from '../../src/users/match.js'
import { createManualClock } from '../support/clock.js'
import { createFault, faultOfAsync } from '../support/faults.js'
import { signClientFinal } from '../support/signingClient.js'

const ARN = 'arn:aws:iam::123456789012:user/alice'
const identity: Identity = {
  arn: ARN,
  canonical: ARN,
  kind: 'user',
  partition: 'aws',
  account: '123456789012',
  name: 'alice',
  userId: 'AIDAQ',
  principalId: 'AIDAQ',
  session: undefined,
}
const match: Match = {
  decidedBy: { rule: 1 },
  arn: 'arn:aws:iam::123456789012:user/alice',
  grant: { user: { name: 'alice', db: 'admin' }, password: new Secret('hunter2') },
}
const challenge = { nonce: Buffer.alloc(64, 7), host: 'sts.eu-west-1.amazonaws.com' }
const { term } = createTermController()
const LEFT = new Error('the client left')
const NOON = Date.parse('2026-08-13T12:00:00Z')
const key = { accessKeyId: 'AKIASP2TPHJSQH3FJXYZ', secretAccessKey: 'not/so+secret' }
const metadata = { driver: { name: 'nodejs', version: '7' }, os: { type: 'Linux' } }

/** A candidate with an honest proof, unless told. */
async function candidate(signing: Partial<Parameters<typeof signClientFinal>[1]> = {}): Promise<LoginRequest> {
  const { a, d, t } = await signClientFinal(key, { ...challenge, date: new Date(NOON), ...signing })
  const client = { metadata, apiVersion: '1' }
  return {
    fields: { a, d, t },
    challenge,
    client,
    address: '127.0.0.1',
    certificate: undefined,
    record: { ms: {} },
    close() {},
  }
}

const readBuffer = { setConsumer() {} }

/** The road with everything on it, each step written down; a test replaces the step that it is about. */
function road(wanted: Partial<LoginOptions> = {}) {
  const clock = createManualClock()
  const steps: string[] = []
  const ends: LoginOutcome[] = []
  const socket = new PassThrough() as unknown as Socket
  const over = new AbortController()
  const honest: LoginOptions = {
    stsNow: () => NOON,
    async syncClock() {},
    now: clock.now,
    assertNotDenied: () => {},
    fingerprint: ({ accessKeyId }) => `label of ${accessKeyId}`,
    reserveSlot: (subnet, fingerprint) => ({ subnet, fingerprint, priority: 'normal', release: end => ends.push(end) }),
    findRefusal: () => undefined,
    recordOutcome() {},
    findIdentity: () => ({ identity: undefined, store() {} }),
    registerLive: () => () => steps.push('leave'),
    authorize: async () => match,
    acquirePermit: async () => () => {},
    askSts: async () => ({ is: 'identity', identity }),
    assertLdapOff: () => {},
    connectUpstream: async () => ({
      socket,
      readBuffer,
      rest: Buffer.from('rest'),
      hello: { maxMessageSizeBytes: new Int32(1_000_000) },
      term,
    }),
    after: clock.after,
    deadlineMS: () => 8000,
  }
  const parts = { ...honest, ...wanted }
  const noted = <
    Name extends
      | 'assertNotDenied'
      | 'assertLdapOff'
      | 'reserveSlot'
      | 'acquirePermit'
      | 'registerLive'
      | 'authorize'
      | 'after',
  >(
    name: Name,
  ) => ({
    [name]: (...given: unknown[]) => {
      steps.push(name)
      return (parts[name] as (...given: unknown[]) => unknown)(...given)
    },
  })
  const { login: enter, reauthenticate: again } = createAuthenticator({
    ...parts,
    ...noted('acquirePermit'),
    askSts: async (proof, turn, signal) => {
      const done = await turn(4000)
      steps.push('askSts')
      try {
        return await parts.askSts(proof, turn, signal)
      } finally {
        done()
      }
    },
    ...noted('assertNotDenied'),
    ...noted('reserveSlot'),
    ...noted('registerLive'),
    ...noted('authorize'),
    ...noted('assertLdapOff'),
    connectUpstream: async (as, client, over) => {
      steps.push('connectUpstream')
      as.onUser({ name: 'alice', db: 'admin' })
      return parts.connectUpstream(as, client, over)
    },
    ...noted('after'),
  })
  return { enter, again, steps, ends, clock, socket, over }
}

/** Whatever ends a login early, and what it comes to. */
const endings: [FaultKind, (login: Pick<ReturnType<typeof road>, 'over' | 'clock'>) => void][] = [
  ['login/abandoned', ({ over }) => over.abort(LEFT)],
  ['login/timeout', ({ clock }) => clock.advance(8000)],
  ['upstream/unreachable', ({ over }) => over.abort(new Fault('upstream/unreachable'))],
]
/** The signal that a step is given, or that of what it is given. */
const signalOf = (given: unknown[]): AbortSignal => {
  const last = given.at(-1) as AbortSignal | AbortController
  return 'signal' in last ? last.signal : last
}

/** The fault of a road, and how far it went. */
async function ends(wanted: Partial<LoginOptions>, signing?: Parameters<typeof candidate>[0]) {
  const { enter, steps, over } = road(wanted)
  const wishing = await candidate(signing)
  const fault = await faultOfAsync(() => enter(wishing, over))
  return { fault, last: steps.at(-1), steps, journal: wishing.record }
}

const throws = (kind: FaultKind) => () => {
  throw createFault(kind)
}

t.test('the road of a login, in order', async t => {
  const { enter, steps, ends, socket, over } = road()
  const admitted = await enter(await candidate(), over)
  const first = ['after', 'assertNotDenied', 'assertLdapOff', 'reserveSlot', 'acquirePermit', 'askSts']
  t.same(steps, [
    ...first,
    'registerLive',
    'assertNotDenied',
    'authorize',
    'connectUpstream',
    'assertLdapOff',
    'assertNotDenied',
  ])
  t.same(ends, ['verified'])
  t.equal(admitted.socket, socket)
  t.same(admitted.rest, Buffer.from('rest'))
  t.equal(admitted.limit, 1_000_000)
})

t.test('each step gets what the one before has found', async t => {
  const wishing = await candidate()
  let signals: AbortSignal[] = []
  const { enter, over } = road({
    async acquirePermit(bucket, host, place, patience, signal) {
      t.match(bucket, /^\d{12} sts\.eu-west-1\.amazonaws\.com$/, 'the account that the key names')
      t.equal(host, 'sts.eu-west-1.amazonaws.com')
      t.match(place, { subnet: '127.0.0.1' })
      t.equal(patience, 4000)
      signals = [...signals, signal]
      return () => {}
    },
    async askSts(proof: Proof, _, signal) {
      t.match(proof, { accessKeyId: key.accessKeyId, challenge, date: '20260813T120000Z' })
      t.notOk('a' in proof)
      signals = [...signals, signal]
      return { is: 'identity', identity }
    },
    async authorize(found, address) {
      t.equal(found, identity)
      t.equal(address, '127.0.0.1')
      return match
    },
    async connectUpstream(as, client, given) {
      t.match(as, { match, identity })
      t.same(client, { metadata, apiVersion: '1' })
      t.equal(given, over)
      signals = [...signals, given.signal]
      return { socket: new PassThrough() as unknown as Socket, readBuffer, rest: Buffer.alloc(0), hello: {}, term }
    },
    after(ms) {
      t.equal(ms, 8000)
      return () => {}
    },
  })
  await enter(wishing, over)
  t.equal(signals.length, 3)
  t.equal(new Set(signals).size, 1, 'one signal for the whole road')
})

t.test('keys that name no account share one bucket at a host', async t => {
  const bucket = (accessKeyId: string) => bucketKey({ accessKeyId, challenge } as Proof)
  t.equal(bucket('AKIAIOSFODNN7EXAMPLE'.replace(/./g, 'x')), 'none sts.eu-west-1.amazonaws.com')
  t.equal(bucket('nobody'), bucket('somebody'))
})

t.test('a proof that does not hold is refused before anybody is asked', async t => {
  for (const [kind, signing] of [
    ['proof/header-unsigned', { signedHeadersWithout: ['x-mongodb-server-nonce'] }],
    ['proof/scope-mismatch', { service: 'iam' }],
    ['proof/scope-mismatch', { region: 'us-east-1' }],
    ['proof/malformed', { extraHeaders: { 'x-evil': '1' } }],
  ] as const) {
    const { fault, steps } = await ends({}, signing)
    t.equal(fault?.kind, kind)
    t.same(steps, ['after'])
  }
})

t.test('the date is judged by the clock of STS', async t => {
  const asked: string[] = []
  const syncClock = async (host: string) => void asked.push(host)
  const { fault, steps } = await ends({ stsNow: () => NOON + 20 * 60_000, syncClock })
  t.equal(fault?.kind, 'proof/clock-skew')
  t.same(asked, [challenge.host], 'which is asked first whether it is so still')
  t.same(steps, ['after'], 'and nobody else')
  await ends({ syncClock })
  t.equal(asked.length, 1, 'a good one asks nobody')
})

t.test('where our clock was set meanwhile, STS is asked for its time, and nobody is refused for that', async t => {
  let ours = NOON + 20 * 60_000
  const { fault } = await ends({
    stsNow: () => ours,
    async syncClock() {
      ours = NOON
    },
  })
  t.equal(fault, undefined)
})

t.test("where the time cannot be asked, a signature of another time is nobody's fault", async t => {
  const { fault } = await ends({ stsNow: () => NOON + 20 * 60_000, syncClock: throws('sts/unavailable') })
  t.equal(fault?.kind, 'sts/unavailable')
})

t.test('who leaves while the time is asked has left', async t => {
  const { enter, over } = road({ stsNow: () => NOON + 20 * 60_000, syncClock: () => new Promise(() => {}) })
  const fault = faultOfAsync(async () => enter(await candidate(), over))
  setImmediate(() => over.abort(LEFT))
  t.equal((await fault)?.kind, 'login/abandoned')
})

t.test('while LDAP authorization is on, STS is not asked', async t => {
  for (const kind of ['ldap/on', 'ldap/unknown'] as const) {
    const { fault, steps } = await ends({ assertLdapOff: throws(kind) })
    t.equal(fault?.kind, kind)
    t.same(steps, ['after', 'assertNotDenied', 'assertLdapOff'])
  }
})

t.test('a turn is waited for, and over with the answer', async t => {
  let running = 0
  const set = road({
    acquirePermit: async () => {
      set.clock.advance(1500)
      running++
      return () => running--
    },
    connectUpstream: async () => {
      t.equal(running, 0)
      return { socket: set.socket, readBuffer, rest: Buffer.alloc(0), hello: {}, term }
    },
  })
  const wishing = await candidate()
  await set.enter(wishing, set.over)
  t.same(set.steps.slice(4, 6), ['acquirePermit', 'askSts'])
  t.match(wishing.record.ms, { queue: 1500, sts: 0, upstream: 0, login: 1500 })
})

t.test('a queue that is too long is told at once, with how long it is', async t => {
  const acquirePermit = () => Promise.reject(new Fault('budget/exhausted', undefined, { backoffMS: 4201 }))
  const { fault, last } = await ends({ acquirePermit })
  t.match(fault, { kind: 'budget/exhausted', facts: { backoffMS: 4201 } })
  t.equal(last, 'acquirePermit')
  t.match(fault && toReply(fault, 1)?.baseBackoffMS.toString(), '4201')
})

t.test('what STS says decides, and nothing is dialled without an identity', async t => {
  const cases: [StsOutcome, FaultKind, RegExp?][] = [
    [{ is: 'refused', code: 'ExpiredToken', message: 'it is over' }, 'sts/refused', /: ExpiredToken: it is over$/],
    [{ is: 'refused', code: 'InvalidClientTokenId' }, 'sts/refused', /: InvalidClientTokenId$/],
    [{ is: 'throttled', code: 'Throttling' }, 'sts/throttled', /: Throttling$/],
    [{ is: 'unavailable', why: 'it answered 503', next: 'retry' }, 'sts/unavailable'],
    [{ is: 'unavailable', why: 'x', next: 'first-host' }, 'sts/unavailable'],
  ]
  for (const [outcome, kind, message = /STS/] of cases) {
    const { fault, last, journal } = await ends({ askSts: async () => outcome })
    t.equal(fault?.kind, kind)
    t.match(fault?.message, message)
    t.equal(last, 'askSts')
    t.same(Object.keys(journal).sort(), ['accessKeyId', 'ms'], 'nobody is known, only the key that was named')
  }
  const { fault } = await ends({
    askSts: async () => ({ is: 'unavailable', why: 'ENOTFOUND 10.0.0.1', next: 'none' }),
  })
  t.notMatch(fault?.message, '10.0.0.1', 'the client is not told about our network')
  t.match(fault?.facts, { why: 'ENOTFOUND 10.0.0.1' })
})

t.test('an outage, a throttle or a full queue is never a bad identity', async t => {
  const troubles: Partial<LoginOptions>[] = [
    { acquirePermit: throws('budget/exhausted') },
    { askSts: async () => ({ is: 'throttled', code: 'Throttling' }) },
    { askSts: async () => ({ is: 'unavailable', why: 'x', next: 'none' }) },
    { askSts: throws('identity/partition-mismatch') },
    { assertLdapOff: throws('ldap/unknown') },
    { connectUpstream: throws('upstream/unreachable') },
    { connectUpstream: throws('upstream/authentication-failed') },
    { connectUpstream: throws('upstream/protocol-error') },
  ]
  for (const trouble of troubles) {
    const { fault } = await ends(trouble)
    const reply = fault && toReply(fault, 1)
    t.not(reply?.code.value, 18, `${fault?.kind}`)
    t.ok(reply?.errorLabels?.includes('RetryableWriteError'), `${fault?.kind}`)
  }
})

t.test('a principal without a rule is told its own name', async t => {
  const stranger = () => {
    throw new Fault('users/no-rule', ARN)
  }
  for (const authorize of [stranger, async () => stranger()]) {
    const { fault, last, journal } = await ends({ authorize })
    t.match(fault, { kind: 'users/no-rule', message: new RegExp(`${ARN}$`) })
    t.equal(last, 'leave')
    t.match(journal, { arn: ARN })
    t.notOk('user' in journal)
  }
})

t.test('a decision that is there at once is as good as one that is waited for', async t => {
  const { enter, again, over } = road({ authorize: () => match })
  const wishing = await candidate()
  const { live } = await enter(wishing, over)
  t.equal(live.match, match)
  t.same(wishing.record.by, { rule: 1 })
  live.match = { ...match }
  await again(wishing, live, over)
  t.equal(live.match, match)
})

t.test('what the upstream has against it is passed on', async t => {
  for (const kind of [
    'upstream/unreachable',
    'upstream/authentication-failed',
    'upstream/protocol-error',
    'ldap/on',
  ] as const) {
    const { fault, journal } = await ends({ connectUpstream: throws(kind) })
    t.equal(fault?.kind, kind)
    t.match(journal, { arn: ARN, user: 'alice@admin' })
  }
})

t.test('LDAP authorization that is turned on meanwhile closes the new upstream connection', async t => {
  let asked = 0
  const { enter, socket, over } = road({
    assertLdapOff() {
      if (++asked === 2) throw new Fault('ldap/on')
    },
  })
  const wishing = await candidate()
  t.equal((await faultOfAsync(() => enter(wishing, over)))?.kind, 'ldap/on')
  t.ok(socket.destroyed)
})

t.test('a step that is aborted by the deadline is a login that took too long, or an upstream that is away', async t => {
  for (const step of ['acquirePermit', 'askSts', 'connectUpstream'] as const) {
    const { enter, clock, over } = road({
      [step]: async (...given: unknown[]) => {
        const signal = signalOf(given)
        clock.advance(7999)
        t.notOk(signal.aborted, `${step} has its time`)
        clock.advance(1)
        t.ok(signal.aborted, `${step} is told`)
        throw signal.reason
      },
    })
    const wishing = await candidate()
    const fault = await faultOfAsync(() => enter(wishing, over))
    // By then the upstream alone had all of the time.
    t.match(fault, { kind: step === 'connectUpstream' ? 'upstream/unreachable' : 'login/timeout', message: /8000 ms/ })
    t.type(wishing.record.ms.login, 'number')
  }
})

t.test('an upstream that was left less than a second is not called away', async t => {
  for (const [left, kind] of [
    [999, 'login/timeout'],
    [1000, 'upstream/unreachable'],
  ] as const) {
    const { enter, clock, over } = road({
      async askSts() {
        clock.advance(8000 - left)
        return { is: 'identity', identity }
      },
      async connectUpstream(_as, _client, { signal }) {
        clock.advance(left)
        throw signal.reason
      },
    })
    t.equal((await faultOfAsync(async () => enter(await candidate(), over)))?.kind, kind)
  }
})

t.test('a client that leaves ends its login, wherever it was', async t => {
  for (const step of ['acquirePermit', 'askSts', 'connectUpstream'] as const) {
    const { enter, steps, over } = road({
      [step]: async (...given: unknown[]) => {
        over.abort(LEFT)
        throw signalOf(given).reason
      },
    })
    const wishing = await candidate()
    t.equal((await faultOfAsync(() => enter(wishing, over)))?.kind, 'login/abandoned')
    t.equal(steps.filter(name => name !== 'leave').at(-1), step)
  }
})

t.test('a client that left before its login began is asked about nowhere', async t => {
  const { enter, steps, ends, over } = road()
  const wishing = await candidate()
  over.abort(LEFT)
  t.equal((await faultOfAsync(() => enter(wishing, over)))?.kind, 'login/abandoned')
  t.notOk(steps.includes('acquirePermit'))
  t.match(ends, [{ kind: 'login/abandoned' }])
})

t.test('a primary whose term is over ends its login with that, and not as if the client had left', async t => {
  const { enter, steps, ends, over } = road({
    connectUpstream: (_, __, login) => {
      login.abort(new Fault('upstream/unreachable', 'it stepped down during the login'))
      return Promise.reject(new Error('the socket is destroyed'))
    },
  })
  const wishing = await candidate()
  const fault = await faultOfAsync(() => enter(wishing, over))
  t.match(fault, { kind: 'upstream/unreachable', detail: 'it stepped down during the login' })
  t.same(ends, [fault])
  t.equal(steps.at(-1), 'leave')
})

t.test('what ends a login first is what ended it', async t => {
  for (const [kind, first] of endings) {
    const set = road({
      askSts: async (_, __, signal) => {
        first(set)
        for (const [, second] of endings) second(set)
        throw signal.reason
      },
    })
    const wishing = await candidate()
    t.equal((await faultOfAsync(() => set.enter(wishing, set.over)))?.kind, kind)
  }
})

t.test('a login that is over leaves no timer, and what it was given is as it was', async t => {
  const refused: StsOutcome = { is: 'refused', code: 'ExpiredToken' }
  const identified: StsOutcome = { is: 'identity', identity }
  for (const outcome of [identified, refused]) {
    const { enter, again, clock, over } = road({ askSts: async () => outcome })
    const wishing = await candidate()
    const fault = await faultOfAsync(() => enter(wishing, over))
    t.equal(fault?.kind, outcome === refused ? 'sts/refused' : undefined)
    t.equal(clock.waiting(), 0)
    const { live } = await road().enter(await candidate(), new AbortController())
    t.equal((await faultOfAsync(() => again(wishing, live, over)))?.kind, fault?.kind)
    t.equal(clock.waiting(), 0)
    clock.advance(8000)
    t.notOk(over.signal.aborted, 'the time of a login is not that of its connection')
    t.equal(getEventListeners(over.signal, 'abort').length, 0)
  }
})

t.test('a decision that never comes keeps no login beyond its time, and nobody who has left', async t => {
  for (const [kind, end] of endings) {
    const set = road({
      authorize: () => {
        setImmediate(() => end(set))
        return new Promise(() => {})
      },
    })
    const wishing = await candidate()
    t.equal((await faultOfAsync(() => set.enter(wishing, set.over)))?.kind, kind)
    t.match(set.ends, [{ kind }], 'the address has its place back')
    t.equal(set.steps.at(-1), 'leave', 'and it is not among the live connections')
  }
})

t.test('an upstream connection that comes too late is closed', async t => {
  for (const [kind, end] of endings) {
    const set = road({
      connectUpstream: async () => {
        end(set)
        return { socket: set.socket, readBuffer, rest: Buffer.alloc(0), hello: {}, term }
      },
    })
    const wishing = await candidate()
    const wanted = kind === 'login/timeout' ? 'upstream/unreachable' : kind // all of the time was spent there
    t.equal((await faultOfAsync(() => set.enter(wishing, set.over)))?.kind, wanted)
    t.ok(set.socket.destroyed)
  }
})

t.test('the journal tells who it was and where the time went', async t => {
  const set = road({
    acquirePermit: async () => {
      set.clock.advance(100)
      return () => {}
    },
    askSts: async () => {
      set.clock.advance(20.4)
      return { is: 'identity', identity }
    },
    connectUpstream: async () => {
      set.clock.advance(3)
      return { socket: set.socket, readBuffer, rest: Buffer.alloc(0), hello: {}, term }
    },
  })
  const wishing = await candidate()
  await set.enter(wishing, set.over)
  const wanted: LoginRecord = {
    accessKeyId: 'AKIASP2TPHJSQH3FJXYZ',
    arn: ARN,
    user: 'alice@admin',
    by: { rule: 1 },
    ms: { queue: 100, sts: 20, upstream: 3, login: 123 },
  }
  t.same(wishing.record, wanted)
})

t.test('a stage that fails has its time, too', async t => {
  const set = road({
    askSts: async () => {
      set.clock.advance(50)
      return { is: 'throttled', code: 'Throttling' }
    },
  })
  const wishing = await candidate()
  await faultOfAsync(() => set.enter(wishing, set.over))
  t.same(wishing.record.ms, { queue: 0, sts: 50, login: 50 })
})

t.test('the longest message is what the upstream says, within what MongoDB has ever taken', async t => {
  const cases: [unknown, number][] = [
    [16_000_000, 16_000_000],
    [new Int32(16_000_000), 16_000_000],
    [undefined, 48_000_000],
    [0, 48_000_000],
    ['many', 48_000_000],
    [2 ** 40, 48_000_000],
    [Number.POSITIVE_INFINITY, 48_000_000],
  ]
  for (const [maxMessageSizeBytes, limit] of cases) {
    const set = road({
      connectUpstream: async () => ({
        socket: set.socket,
        readBuffer,
        rest: Buffer.alloc(0),
        hello: { maxMessageSizeBytes },
        term,
      }),
    })
    t.equal((await set.enter(await candidate(), set.over)).limit, limit)
  }
})

t.test('a denied key is told before anybody is asked, a denied principal before it is decided', async t => {
  const early = await ends({ assertNotDenied: throws('login/denied') })
  t.equal(early.fault?.kind, 'login/denied')
  t.same(early.steps, ['after', 'assertNotDenied'])
  const later = await ends({
    assertNotDenied(_, found) {
      if (found) throw createFault('login/denied')
    },
  })
  t.equal(later.fault?.kind, 'login/denied')
  t.same(
    later.steps.slice(-3),
    ['registerLive', 'assertNotDenied', 'leave'],
    'it was among the live ones before it was asked',
  )
})

t.test('who is denied while the upstream logs in gets no connection', async t => {
  let known = 0
  const { enter, socket, steps, over } = road({
    assertNotDenied(_, found) {
      if (found && ++known === 2) throw createFault('login/denied')
    },
  })
  const wishing = await candidate()
  t.equal((await faultOfAsync(() => enter(wishing, over)))?.kind, 'login/denied')
  t.ok(socket.destroyed)
  t.equal(steps.at(-1), 'leave')
})

t.test('a limit ends a login before it costs anything', async t => {
  const { fault, steps } = await ends({ reserveSlot: throws('login/concurrency-limit') })
  t.equal(fault?.kind, 'login/concurrency-limit')
  t.same(steps, ['after', 'assertNotDenied', 'assertLdapOff', 'reserveSlot'])
})

t.test('the limits learn how it ended', async t => {
  const set = road({ askSts: async () => ({ is: 'refused', code: 'ExpiredToken' }) })
  const wishing = await candidate()
  await faultOfAsync(() => set.enter(wishing, set.over))
  t.match(set.ends, [{ kind: 'sts/refused', facts: { code: 'ExpiredToken' } }])
})

t.test('the place in the queue is that of the limits', async t => {
  const places: object[] = []
  const set = road({
    reserveSlot: (_, fingerprint) => ({ subnet: '2001:db8:0:1::/64', priority: 'known', fingerprint, release() {} }),
    acquirePermit: async (_bucket, _host, place) => {
      places.push(place)
      return () => {}
    },
  })
  await set.enter(await candidate(), set.over)
  t.match(places, [{ subnet: '2001:db8:0:1::/64', priority: 'known', fingerprint: `label of ${key.accessKeyId}` }])
})

t.test('one label a login: all that remember something of its credential know it by that', async t => {
  const { host } = challenge
  const told: Record<string, unknown[]> = {}
  const labelled: object[] = []
  const set = road({
    fingerprint: credential => {
      labelled.push(credential)
      return `label ${labelled.length}`
    },
    reserveSlot: (...given) => {
      told.limit = given
      const [, fingerprint] = given
      return { subnet: '127.0.0.0/24', fingerprint, priority: 'normal', release() {} }
    },
    findRefusal: (...given) => {
      told.refused = given
      return undefined
    },
    findIdentity: ({ fingerprint, certificate }) => {
      told.recall = [fingerprint, certificate]
      return { identity: undefined, store() {} }
    },
    acquirePermit: async (...given) => {
      told.take = given.slice(1, 3)
      return () => {}
    },
    recordOutcome: (...given) => {
      told.saw = given
    },
  })
  await set.enter({ ...(await candidate()), certificate: 'AB:CD' }, set.over)
  t.match(labelled, [{ accessKeyId: key.accessKeyId, token: undefined }])
  t.equal(labelled.length, 1)
  t.match(told, {
    limit: ['127.0.0.1', 'label 1'],
    refused: [host, 'label 1'],
    recall: ['label 1', 'AB:CD'],
    take: [host, { subnet: '127.0.0.0/24', fingerprint: 'label 1' }],
    saw: [host, 'label 1', { is: 'identity' }, '127.0.0.0/24'],
  })
})

t.test('a refusal that is remembered is told without a call', async t => {
  const noted: StsOutcome[] = []
  const recordOutcome: LoginOptions['recordOutcome'] = (_, __, outcome) => noted.push(outcome)
  const { fault, steps } = await ends({ recordOutcome, findRefusal: () => ({ is: 'refused', code: 'ExpiredToken' }) })
  t.match(fault, { kind: 'sts/refused', message: /ExpiredToken$/ })
  t.notOk(steps.includes('acquirePermit'))
  t.same(noted, [])
  await ends({ recordOutcome })
  t.match(noted, [{ is: 'identity' }], 'what STS says is noted')
})

t.test('a success that is remembered stands in for STS, and says nothing about the credential', async t => {
  const bearers: object[] = []
  const set = road({
    findIdentity(bearer) {
      bearers.push(bearer)
      return { identity, store: () => t.fail('nothing new') }
    },
  })
  const wishing = { ...(await candidate()), certificate: 'AB:CD' }
  await set.enter(wishing, set.over)
  t.match(bearers, [{ certificate: 'AB:CD', accessKeyId: key.accessKeyId, token: undefined }])
  t.notOk(set.steps.includes('askSts'))
  t.match(wishing.record, { cached: true, arn: ARN })
  t.same(set.ends, ['cached'])
  const kept: unknown[] = []
  const fresh = road({ findIdentity: () => ({ identity: undefined, store: found => kept.push(found) }) })
  await fresh.enter(await candidate(), fresh.over)
  t.same(kept, [identity])
})

t.test('logging in again: the same principal and database user, with no second upstream login', async t => {
  const certificates: unknown[] = []
  const { enter, again, steps, over } = road({
    findIdentity({ certificate }) {
      certificates.push(certificate)
      return { identity: undefined, store() {} }
    },
  })
  const { live } = await enter(await candidate(), over)
  steps.length = 0
  await again({ ...(await candidate()), certificate: 'AB:CD' }, live, over)
  t.same(steps, [
    'after',
    'assertNotDenied',
    'assertLdapOff',
    'reserveSlot',
    'acquirePermit',
    'askSts',
    'assertNotDenied',
    'authorize',
    'assertNotDenied',
  ])
  t.equal(certificates.at(-1), undefined, 'a handshake of long ago stands in for nothing')
})

t.test('logging in again as somebody else is refused', async t => {
  const { enter, over } = road()
  const { live } = await enter(await candidate(), over)
  const bob = { ...identity, canonical: 'arn:aws:iam::123456789012:user/bob' }
  const asBob = road({ askSts: async () => ({ is: 'identity', identity: bob }) })
  const wishing = await candidate()
  t.equal((await faultOfAsync(() => asBob.again(wishing, live, over)))?.kind, 'login/principal-changed')
  const grant = { user: { name: 'alice', db: 'other' }, password: new Secret('x') }
  const moved = road({ authorize: async () => ({ ...match, grant }) })
  t.equal((await faultOfAsync(() => moved.again(wishing, live, over)))?.kind, 'login/principal-changed')
  t.equal(live.match, match, 'and what it was stays')
  const newer = { ...match, maxAgeMS: 1 }
  const session = { ...identity, session: 'pod-8' }
  await road({ authorize: async () => newer, askSts: async () => ({ is: 'identity', identity: session }) }).again(
    wishing,
    live,
    over,
  )
  t.equal(live.identity.session, 'pod-8', 'a denial of this session finds it')
  t.equal(live.match, newer)
})
