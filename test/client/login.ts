import { Int32 } from 'bson'
import t from 'tap'
import { bucketKey, type LoginRecord } from '../../src/client/login.js'
import { Fault } from '../../src/errors.js'
import type { Proof } from '../../src/identity/proof.js'
import { Secret } from '../../src/log.js'
import { rejectOnAbort } from '../../src/upstream/deadline.js'
import { createFault, faultOfAsync } from '../support/faults.js'
import {
  ARN,
  CLIENT_LEFT,
  challenge,
  createAuthenticator,
  createLoginRequest,
  createUpstream,
  earlyEnds,
  identity,
  key,
  match,
  metadata,
  NOON,
  readBuffer,
  runLogin,
  term,
  throwing,
} from '../support/login.js'

t.test('a login takes its steps in order', async t => {
  const { authenticator, steps, outcomes, socket, abort } = createAuthenticator()
  const session = await authenticator.login(await createLoginRequest(), abort)
  const first = ['after', 'assertLdapOff', 'reserveSlot', 'findKeyDenial', 'acquirePermit', 'askSts']
  t.same(steps, [
    ...first,
    'registerLive',
    'assertNotDenied',
    'authorize',
    'connectUpstream',
    'assertLdapOff',
    'assertNotDenied',
  ])
  t.same(outcomes, ['verified'])
  t.equal(session.socket, socket)
  t.same(session.rest, Buffer.from('rest'))
  t.equal(session.maxMessageBytes, 1_000_000)
})

t.test('each step gets the results of the ones before', async t => {
  const request = await createLoginRequest()
  let signals: AbortSignal[] = []
  const { authenticator, abort } = createAuthenticator({
    async acquirePermit(bucket, host, entry, maxWaitMS, signal) {
      t.match(bucket, /^\d{12} sts\.eu-west-1\.amazonaws\.com$/, 'the account that the key names')
      t.equal(host, 'sts.eu-west-1.amazonaws.com')
      t.match(entry, { subnet: '127.0.0.1' })
      t.equal(maxWaitMS, 4000)
      signals = [...signals, signal]
      return () => {}
    },
    async askSts(proof: Proof, _, signal) {
      t.match(proof, { accessKeyId: key.accessKeyId, challenge, date: '20260813T120000Z' })
      t.notOk('a' in proof)
      signals = [...signals, signal]
      return { is: 'identity', identity }
    },
    async authorize(verified, address) {
      t.equal(verified, identity)
      t.equal(address, '127.0.0.1')
      return match
    },
    async connectUpstream(as, client, signal) {
      t.match(as, { match, identity, address: '127.0.0.1' })
      t.same(client, { metadata, apiVersion: '1' })
      t.equal(signal, abort.signal)
      signals = [...signals, signal]
      return createUpstream()
    },
    after(ms) {
      t.equal(ms, 8000)
      return () => {}
    },
  })
  await authenticator.login(request, abort)
  t.equal(signals.length, 3)
  t.equal(new Set(signals).size, 1, 'all steps share one signal')
})

t.test('keys that name no account share one bucket per host', async t => {
  const bucket = (accessKeyId: string) => bucketKey({ accessKeyId, challenge } as Proof)
  t.equal(bucket('AKIAIOSFODNN7EXAMPLE'.replace(/./g, 'x')), 'none sts.eu-west-1.amazonaws.com')
  t.equal(bucket('no key'), bucket('another'))
})

t.test('an invalid proof is refused before any other step', async t => {
  for (const [kind, signing] of [
    ['proof/header-unsigned', { signedHeadersWithout: ['x-mongodb-server-nonce'] }],
    ['proof/scope-mismatch', { service: 'iam' }],
    ['proof/scope-mismatch', { region: 'us-east-1' }],
    ['proof/malformed', { extraHeaders: { 'x-evil': '1' } }],
  ] as const) {
    const { fault, steps } = await runLogin({}, signing)
    t.equal(fault?.kind, kind)
    t.same(steps, ['after'])
  }
})

t.test('the date is validated by the clock of STS', async t => {
  const compared: string[] = []
  const syncClock = async (host: string) => void compared.push(host)
  const { fault, steps } = await runLogin({ stsNow: () => NOON + 20 * 60_000, syncClock })
  t.equal(fault?.kind, 'proof/clock-skew')
  t.same(compared, [challenge.host], 'the clock is compared again first')
  t.same(steps, ['after'], 'no other step is taken')
  await runLogin({ syncClock })
  t.equal(compared.length, 1, 'for a valid date it is not')
})

t.test('a proof with another date is validated again after the clock was compared', async t => {
  let stsNow = NOON + 20 * 60_000
  const { fault } = await runLogin({
    stsNow: () => stsNow,
    async syncClock() {
      stsNow = NOON
    },
  })
  t.equal(fault, undefined)
})

t.test('a proof with another date is not refused if the clock cannot be compared', async t => {
  const { fault } = await runLogin({ stsNow: () => NOON + 20 * 60_000, syncClock: throwing('sts/unavailable') })
  t.equal(fault?.kind, 'sts/unavailable')
})

t.test('a client may leave while the clock is compared', async t => {
  const { authenticator, abort } = createAuthenticator({
    stsNow: () => NOON + 20 * 60_000,
    syncClock: () => new Promise(() => {}),
  })
  const fault = faultOfAsync(async () => authenticator.login(await createLoginRequest(), abort))
  setImmediate(() => abort.abort(CLIENT_LEFT))
  t.equal((await fault)?.kind, 'login/abandoned')
})

t.test('while LDAP authorization is on, STS is not asked', async t => {
  for (const kind of ['ldap/on', 'ldap/unknown'] as const) {
    const { fault, steps } = await runLogin({ assertLdapOff: throwing(kind) })
    t.equal(fault?.kind, kind)
    t.same(steps, ['after', 'assertLdapOff'])
  }
})

t.test('the refusal of a principal without a rule contains its ARN', async t => {
  const refuse = () => {
    throw new Fault('users/no-rule', ARN)
  }
  for (const authorize of [refuse, async () => refuse()]) {
    const { fault, last, record } = await runLogin({ authorize })
    t.match(fault, { kind: 'users/no-rule', message: new RegExp(`${ARN}$`) })
    t.equal(last, 'unregister')
    t.match(record, { arn: ARN })
    t.notOk('user' in record)
  }
})

t.test('authorization may be synchronous', async t => {
  const { authenticator, abort } = createAuthenticator({ authorize: () => match })
  const request = await createLoginRequest()
  const { live } = await authenticator.login(request, abort)
  t.equal(live.match, match)
  t.same(request.record.by, { rule: 1 })
  live.match = { ...match }
  await authenticator.reauthenticate(request, live, abort)
  t.equal(live.match, match)
})

t.test('a fault of the upstream is passed on', async t => {
  for (const kind of [
    'upstream/unreachable',
    'upstream/authentication-failed',
    'upstream/protocol-error',
    'ldap/on',
  ] as const) {
    const { fault, record } = await runLogin({ connectUpstream: throwing(kind) })
    t.equal(fault?.kind, kind)
    t.match(record, { arn: ARN, user: 'alice@admin' })
  }
})

t.test('LDAP authorization that is turned on during a login closes the new session', async t => {
  let checks = 0
  const { authenticator, socket, abort } = createAuthenticator({
    assertLdapOff() {
      if (++checks === 2) throw new Fault('ldap/on')
    },
  })
  const request = await createLoginRequest()
  t.equal((await faultOfAsync(() => authenticator.login(request, abort)))?.kind, 'ldap/on')
  t.ok(socket.destroyed)
})

t.test('the login record has the identity and the time of each stage', async t => {
  const attempt = createAuthenticator({
    acquirePermit: async () => {
      attempt.clock.advance(100)
      return () => {}
    },
    askSts: async () => {
      attempt.clock.advance(20.4)
      return { is: 'identity', identity }
    },
    connectUpstream: async () => {
      attempt.clock.advance(3)
      return createUpstream(attempt.socket)
    },
  })
  const request = await createLoginRequest()
  await attempt.authenticator.login(request, attempt.abort)
  const expected: LoginRecord = {
    accessKeyId: 'AKIASP2TPHJSQH3FJXYZ',
    arn: ARN,
    user: 'alice@admin',
    identity,
    sts: { host: challenge.host, requestId: null },
    match,
    by: { rule: 1 },
    ms: { queue: 100, sts: 20, upstream: 3, login: 123 },
  }
  t.same(request.record, expected)
})

t.test('the time of a failed stage is recorded', async t => {
  const attempt = createAuthenticator({
    askSts: async () => {
      attempt.clock.advance(50)
      return { is: 'throttled', code: 'Throttling' }
    },
  })
  const request = await createLoginRequest()
  await faultOfAsync(() => attempt.authenticator.login(request, attempt.abort))
  t.same(request.record.ms, { queue: 0, sts: 50, login: 50 })
})

t.test('the longest message is that of the upstream, within the limit of MongoDB', async t => {
  const cases: [unknown, number][] = [
    [16_000_000, 16_000_000],
    [new Int32(16_000_000), 16_000_000],
    [undefined, 48_000_000],
    [0, 48_000_000],
    ['many', 48_000_000],
    [2 ** 40, 48_000_000],
    [Number.POSITIVE_INFINITY, 48_000_000],
  ]
  for (const [maxMessageSizeBytes, bytes] of cases) {
    const attempt = createAuthenticator({
      connectUpstream: async () => ({
        socket: attempt.socket,
        readBuffer,
        rest: Buffer.alloc(0),
        hello: { maxMessageSizeBytes },
        term,
        address: '127.0.0.1:27018',
      }),
    })
    t.equal((await attempt.authenticator.login(await createLoginRequest(), attempt.abort)).maxMessageBytes, bytes)
  }
})

t.test('a denied principal is refused before it is authorized', async t => {
  const later = await runLogin({ assertNotDenied: throwing('login/denied') })
  t.equal(later.fault?.kind, 'login/denied')
  t.same(
    later.steps.slice(-3),
    ['registerLive', 'assertNotDenied', 'unregister'],
    'it was registered before the deny list was consulted',
  )
})

t.test('a principal that is denied during the login upstream gets no session', async t => {
  let checks = 0
  const { authenticator, socket, steps, abort } = createAuthenticator({
    assertNotDenied() {
      if (++checks === 2) throw createFault('login/denied')
    },
  })
  const request = await createLoginRequest()
  t.equal((await faultOfAsync(() => authenticator.login(request, abort)))?.kind, 'login/denied')
  t.ok(socket.destroyed)
  t.equal(steps.at(-1), 'unregister')
})

t.test('reauthentication verifies the same principal and database user, without a second login upstream', async t => {
  const certificates: unknown[] = []
  const { authenticator, steps, abort } = createAuthenticator({
    findIdentity({ certificate }) {
      certificates.push(certificate)
      return { identity: undefined, store() {} }
    },
  })
  const { live } = await authenticator.login(await createLoginRequest(), abort)
  steps.length = 0
  await authenticator.reauthenticate({ ...(await createLoginRequest()), certificate: 'AB:CD' }, live, abort)
  t.same(steps, [
    'after',
    'assertLdapOff',
    'reserveSlot',
    'findKeyDenial',
    'acquirePermit',
    'askSts',
    'assertNotDenied',
    'authorize',
    'assertNotDenied',
  ])
  t.equal(certificates.at(-1), undefined, 'the certificate of an earlier handshake is not used')
})

t.test('reauthentication as another principal or database user is refused', async t => {
  const { authenticator, abort } = createAuthenticator()
  const { live } = await authenticator.login(await createLoginRequest(), abort)
  const bob = { ...identity, canonical: 'arn:aws:iam::123456789012:user/bob' }
  const asBob = createAuthenticator({ askSts: async () => ({ is: 'identity', identity: bob }) })
  const request = await createLoginRequest()
  t.equal(
    (await faultOfAsync(() => asBob.authenticator.reauthenticate(request, live, abort)))?.kind,
    'login/principal-changed',
  )
  const grant = { user: { name: 'alice', db: 'other' }, password: new Secret('x') }
  const moved = createAuthenticator({ authorize: async () => ({ ...match, grant }) })
  t.equal(
    (await faultOfAsync(() => moved.authenticator.reauthenticate(request, live, abort)))?.kind,
    'login/principal-changed',
  )
  t.equal(live.match, match, 'the entry is unchanged')
  const newer = { ...match, maxAgeMS: 1 }
  const session = { ...identity, session: 'pod-8' }
  await createAuthenticator({
    authorize: async () => newer,
    askSts: async () => ({ is: 'identity', identity: session }),
  }).authenticator.reauthenticate(request, live, abort)
  t.equal(live.identity.session, 'pod-8', 'a denial of this session finds it')
  t.equal(live.match, newer)
})

t.test('a login takes a session slot for its canonical ARN, before it dials the upstream', async t => {
  const requests: unknown[] = []
  const { fault, steps } = await runLogin({
    authorize: () => ({ ...match, maxSessions: 3 }),
    sessionSlots: {
      assertFree() {},
      acquire(request) {
        requests.push(request)
        throw createFault('login/principal-limit')
      },
    },
    askSts: async () => ({ is: 'identity', identity: { ...identity, arn: `${ARN}/session` } }),
  })
  t.same(requests, [{ arn: ARN, maxSessions: 3 }])
  t.equal(fault?.kind, 'login/principal-limit')
  t.notOk(steps.includes('connectUpstream'))
  t.equal(steps.at(-1), 'unregister')
})

t.test('a refused credential is cached if its principal holds all of its slots', async t => {
  for (const [kind, isStored] of [
    ['login/principal-limit', true],
    ['login/session-limit', false],
  ] as const) {
    const stored: unknown[] = []
    await runLogin({
      sessionSlots: { assertFree() {}, acquire: throwing(kind) },
      principalRefusals: { assertNone() {}, store: (...entry) => stored.push(entry) },
    })
    const entry = ['127.0.0.1', `fingerprint of ${key.accessKeyId}`, { arn: ARN, maxSessions: undefined }]
    t.same(stored, isStored ? [entry] : [])
  }
})

t.test('without a free slot STS is not asked', async t => {
  const full = { assertFree: throwing('login/session-limit'), acquire: () => () => {} }
  const refused = { assertNone: throwing('login/principal-limit'), store() {} }
  for (const [kind, replaced] of [
    ['login/session-limit', { sessionSlots: full }],
    ['login/principal-limit', { principalRefusals: refused }],
  ] as const) {
    const { fault, steps } = await runLogin(replaced)
    t.equal(fault?.kind, kind)
    t.notOk(steps.includes('acquirePermit'))
  }
})

t.test('a login that waited for STS does not ask if the last slot was taken meanwhile', async t => {
  let isFull = false
  let released = 0
  const { fault, steps } = await runLogin({
    acquirePermit: async () => {
      isFull = true
      return () => released++
    },
    sessionSlots: {
      assertFree() {
        if (isFull) throw createFault('login/session-limit')
      },
      acquire: () => () => {},
    },
  })
  t.equal(fault?.kind, 'login/session-limit')
  t.notOk(steps.includes('askSts'))
  t.equal(released, 1, 'the permit is given back')
})

t.test('a reauthentication takes no slot, and needs none', async t => {
  let acquired = 0
  let isFull = false
  const assertFree = () => {
    if (isFull) throw createFault('login/session-limit')
  }
  const { authenticator, abort } = createAuthenticator({
    sessionSlots: {
      assertFree,
      acquire() {
        acquired++
        return () => {}
      },
    },
    principalRefusals: { assertNone: assertFree, store() {} },
  })
  const { live } = await authenticator.login(await createLoginRequest(), abort)
  isFull = true
  await authenticator.reauthenticate(await createLoginRequest(), live, abort)
  t.equal(acquired, 1)
})

t.test('a slot is given back however the login ends', async t => {
  const stays = () => new Promise<never>(() => {})
  type Attempt = ReturnType<typeof createAuthenticator>
  const ends: [string, Parameters<typeof createAuthenticator>[0], (login: Attempt) => void][] = [
    ['upstream/unreachable', { connectUpstream: throwing('upstream/unreachable') }, () => {}],
    ['internal', { connectUpstream: async () => null as never }, () => {}],
    ...earlyEnds.map(
      ([kind, end]) =>
        [
          kind,
          {
            connectUpstream: (_as: unknown, _client: unknown, signal: AbortSignal) => rejectOnAbort(signal, stays()),
          },
          end,
        ] as (typeof ends)[number],
    ),
  ]
  for (const [kind, replaced, end] of ends) {
    let held = 0
    const login = createAuthenticator({
      sessionSlots: {
        assertFree() {},
        acquire() {
          held++
          return () => held--
        },
      },
      ...replaced,
    })
    const fault = faultOfAsync(async () => login.authenticator.login(await createLoginRequest(), login.abort))
    while (!login.steps.includes('connectUpstream')) await new Promise(setImmediate)
    end(login)
    t.ok(await fault, kind)
    t.equal(held, 0, kind)
  }
})

t.test('a slot is given back with the session, however the session ends', async t => {
  for (const end of ['release', 'dispose'] as const) {
    let held = 0
    const { authenticator, abort, steps } = createAuthenticator({
      sessionSlots: {
        assertFree() {},
        acquire() {
          held++
          return () => held--
        },
      },
    })
    const session = await authenticator.login(await createLoginRequest(), abort)
    t.equal(held, 1)
    session[end]()
    t.equal(held, 0)
    t.equal(steps.at(-1), 'unregister')
  }
})
