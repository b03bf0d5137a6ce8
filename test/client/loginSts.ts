import t from 'tap'
import type { AuthenticatorOptions } from '../../src/client/login.js'
import { Fault, type FaultKind, toReply } from '../../src/errors.js'
import type { StsOutcome } from '../../src/identity/outcome.js'
import { faultOfAsync } from '../support/faults.js'
import {
  ARN,
  challenge,
  createAuthenticator,
  createLoginRequest,
  createUpstream,
  identity,
  key,
  runLogin,
  throwing,
} from '../support/login.js'

t.test('a permit is awaited, and released with the answer', async t => {
  let running = 0
  const attempt = createAuthenticator({
    acquirePermit: async () => {
      attempt.clock.advance(1500)
      running++
      return () => running--
    },
    connectUpstream: async () => {
      t.equal(running, 0)
      return createUpstream(attempt.socket)
    },
  })
  const request = await createLoginRequest()
  await attempt.authenticator.login(request, attempt.abort)
  t.same(attempt.steps.slice(4, 6), ['acquirePermit', 'askSts'])
  t.match(request.record.ms, { queue: 1500, sts: 0, upstream: 0, login: 1500 })
})

t.test('a queue that is too long is reported at once, with its length', async t => {
  const acquirePermit = () => Promise.reject(new Fault('budget/exhausted', undefined, { backoffMS: 4201 }))
  const { fault, last } = await runLogin({ acquirePermit })
  t.match(fault, { kind: 'budget/exhausted', facts: { backoffMS: 4201 } })
  t.equal(last, 'acquirePermit')
  t.match(fault && toReply(fault, 1)?.baseBackoffMS.toString(), '4201')
})

t.test('the answer of STS decides, and without an identity no upstream is dialed', async t => {
  const cases: [StsOutcome, FaultKind, RegExp?][] = [
    [{ is: 'refused', code: 'ExpiredToken', message: 'it is over' }, 'sts/refused', /: ExpiredToken: it is over$/],
    [{ is: 'refused', code: 'InvalidClientTokenId' }, 'sts/refused', /: InvalidClientTokenId$/],
    [{ is: 'throttled', code: 'Throttling' }, 'sts/throttled', /: Throttling$/],
    [{ is: 'unavailable', why: 'it answered 503', next: 'retry' }, 'sts/unavailable'],
    [{ is: 'unavailable', why: 'x', next: 'first-host' }, 'sts/unavailable'],
  ]
  for (const [outcome, kind, message = /STS/] of cases) {
    const { fault, last, record } = await runLogin({ askSts: async () => outcome })
    t.equal(fault?.kind, kind)
    t.match(fault?.message, message)
    t.equal(last, 'askSts')
    t.same(Object.keys(record).sort(), ['accessKeyId', 'ms', 'sts'], 'only the access key and the host are recorded')
  }
  const { fault } = await runLogin({
    askSts: async () => ({ is: 'unavailable', why: 'ENOTFOUND 10.0.0.1', next: 'none' }),
  })
  t.notMatch(fault?.message, '10.0.0.1', 'the message does not disclose the network')
  t.match(fault?.facts, { why: 'ENOTFOUND 10.0.0.1' })
})

t.test('the client and the log learn the host and the code of AWS, and the remedy if there is one', async t => {
  const STS = `STS host: ${challenge.host}`
  for (const [outcome, errmsg, facts] of [
    [
      {
        is: 'refused',
        code: 'InvalidClientTokenId',
        message: 'The security token included in the request is invalid.',
      },
      `InvalidClientTokenId: The security token included in the request is invalid. ${STS} (connection 1)`,
      { code: 'InvalidClientTokenId', host: challenge.host },
    ],
    [
      { is: 'refused', code: 'AccessDenied', message: 'not allowed' },
      `AccessDenied: not allowed. ${STS}. The endpoint policy of the VPC endpoint`,
      { code: 'AccessDenied', host: challenge.host, remedy: /VPC endpoint/ },
    ],
    [
      { is: 'unavailable', why: 'x', next: 'first-host', code: 'InvalidClientTokenId' },
      `AWS STS returned no usable answer: InvalidClientTokenId. ${STS} (connection 1)`,
      { code: 'InvalidClientTokenId', host: challenge.host, why: 'x' },
    ],
    [
      { is: 'unavailable', why: 'ECONNREFUSED 10.0.0.1', next: 'retry' },
      `AWS STS returned no usable answer. ${STS} (connection 1)`,
      { host: challenge.host },
    ],
    [{ is: 'throttled', code: 'Throttling' }, `Throttling. ${STS} (connection 1)`, { host: challenge.host }],
  ] as [StsOutcome, string, object][]) {
    const { fault } = await runLogin({ askSts: async () => outcome })
    t.match(fault && toReply(fault, 1)?.errmsg, errmsg)
    t.match(fault?.facts, facts)
  }
})

t.test('a cached refusal names host and remedy, too', async t => {
  const { fault } = await runLogin({ findRefusal: () => ({ is: 'refused', code: 'AccessDenied' }) })
  t.match(fault && toReply(fault, 1)?.errmsg, `AccessDenied. STS host: ${challenge.host}. The endpoint policy`)
})

t.test('an outage, a throttle or a full queue is not an authentication failure', async t => {
  const failures: Partial<AuthenticatorOptions>[] = [
    { acquirePermit: throwing('budget/exhausted') },
    { askSts: async () => ({ is: 'throttled', code: 'Throttling' }) },
    { askSts: async () => ({ is: 'unavailable', why: 'x', next: 'none' }) },
    { askSts: throwing('identity/partition-mismatch') },
    { assertLdapOff: throwing('ldap/unknown') },
    { connectUpstream: throwing('upstream/unreachable') },
    { connectUpstream: throwing('upstream/authentication-failed') },
    { connectUpstream: throwing('upstream/protocol-error') },
  ]
  for (const failure of failures) {
    const { fault } = await runLogin(failure)
    const reply = fault && toReply(fault, 1)
    t.not(reply?.code.value, 18, `${fault?.kind}`)
    t.ok(reply?.errorLabels?.includes('RetryableWriteError'), `${fault?.kind}`)
  }
})

t.test('a login limit refuses before STS is asked', async t => {
  const { fault, steps } = await runLogin({ reserveSlot: throwing('login/concurrency-limit') })
  t.equal(fault?.kind, 'login/concurrency-limit')
  t.same(steps, ['after', 'assertLdapOff', 'reserveSlot'])
})

t.test('the limits get the outcome', async t => {
  const attempt = createAuthenticator({ askSts: async () => ({ is: 'refused', code: 'ExpiredToken' }) })
  const request = await createLoginRequest()
  await faultOfAsync(() => attempt.authenticator.login(request, attempt.abort))
  t.match(attempt.outcomes, [{ kind: 'sts/refused', facts: { code: 'ExpiredToken' } }])
})

t.test('the place in the queue is that of the limits', async t => {
  const entries: object[] = []
  const attempt = createAuthenticator({
    reserveSlot: (_, fingerprint) => ({
      subnet: '2001:db8:0:1::/64',
      priority: 'known',
      fingerprint,
      isContested: () => false,
      release() {},
    }),
    acquirePermit: async (_bucket, _host, entry) => {
      entries.push(entry)
      return () => {}
    },
  })
  await attempt.authenticator.login(await createLoginRequest(), attempt.abort)
  t.match(entries, [
    { subnet: '2001:db8:0:1::/64', priority: 'known', fingerprint: `fingerprint of ${key.accessKeyId}` },
  ])
})

t.test('one fingerprint per login identifies its credential in limits, caches and queue', async t => {
  const { host } = challenge
  const seen: Record<string, unknown[]> = {}
  const credentials: object[] = []
  const attempt = createAuthenticator({
    fingerprint: credential => {
      credentials.push(credential)
      return `fingerprint ${credentials.length}`
    },
    reserveSlot: (...args) => {
      seen.reserveSlot = args
      const [, fingerprint] = args
      return { subnet: '127.0.0.0/24', fingerprint, priority: 'normal', isContested: () => false, release() {} }
    },
    findRefusal: (...args) => {
      seen.findRefusal = args
      return undefined
    },
    findIdentity: ({ fingerprint, certificate }) => {
      seen.findIdentity = [fingerprint, certificate]
      return { identity: undefined, store() {} }
    },
    acquirePermit: async (...args) => {
      seen.acquirePermit = args.slice(1, 3)
      return () => {}
    },
    recordOutcome: (...args) => {
      seen.recordOutcome = args
    },
  })
  await attempt.authenticator.login({ ...(await createLoginRequest()), certificate: 'AB:CD' }, attempt.abort)
  t.match(credentials, [{ accessKeyId: key.accessKeyId, token: undefined }])
  t.equal(credentials.length, 1)
  t.match(seen, {
    reserveSlot: ['127.0.0.1', 'fingerprint 1'],
    findRefusal: [host, 'fingerprint 1'],
    findIdentity: ['fingerprint 1', 'AB:CD'],
    acquirePermit: [host, { subnet: '127.0.0.0/24', fingerprint: 'fingerprint 1' }],
    recordOutcome: [host, 'fingerprint 1', { is: 'identity' }, '127.0.0.0/24'],
  })
})

t.test('a cached refusal is repeated without a call', async t => {
  const recorded: StsOutcome[] = []
  const recordOutcome: AuthenticatorOptions['recordOutcome'] = (_, __, outcome) => recorded.push(outcome)
  const { fault, steps } = await runLogin({
    recordOutcome,
    findRefusal: () => ({ is: 'refused', code: 'ExpiredToken' }),
  })
  t.match(fault, { kind: 'sts/refused', message: /ExpiredToken$/ })
  t.notOk(steps.includes('acquirePermit'))
  t.same(recorded, [])
  await runLogin({ recordOutcome })
  t.match(recorded, [{ is: 'identity' }], 'answers of STS are recorded')
})

t.test('a cached identity replaces the call, and proves nothing about the credential', async t => {
  const lookups: object[] = []
  const attempt = createAuthenticator({
    findIdentity(key) {
      lookups.push(key)
      return { identity, store: () => t.fail('there is nothing to store') }
    },
  })
  const request = { ...(await createLoginRequest()), certificate: 'AB:CD' }
  await attempt.authenticator.login(request, attempt.abort)
  t.match(lookups, [{ certificate: 'AB:CD', accessKeyId: key.accessKeyId, token: undefined }])
  t.notOk(attempt.steps.includes('askSts'))
  t.match(request.record, { cached: true, arn: ARN })
  t.same(attempt.outcomes, ['cached'])
  const stored: unknown[] = []
  const fresh = createAuthenticator({
    findIdentity: () => ({ identity: undefined, store: found => stored.push(found) }),
  })
  await fresh.authenticator.login(await createLoginRequest(), fresh.abort)
  t.same(stored, [identity])
})
