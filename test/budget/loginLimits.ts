import t from 'tap'
import { createLoginLimits, type LimitName, type LoginLimitsOptions } from '../../src/budget/loginLimits.js'
import { Fault, type FaultKind, toReply } from '../../src/errors.js'
import { createCredentialFingerprinter } from '../../src/identity/credentialFingerprint.js'
import { Secret } from '../../src/log.js'
import { createManualClock } from '../support/clock.js'
import { createFault, faultOf } from '../support/faults.js'

const NAT = '192.0.2.7'
const MINUTE = 60_000
const fingerprintOf = createCredentialFingerprinter(Buffer.alloc(32))

/** A client; by default with the long-term key of a fleet, at the NAT of that fleet. */
function client(options: Partial<{ address: string; accessKeyId: string; token: string }> = {}) {
  const { address = NAT, accessKeyId = 'AKIASP2TPHJSQH3FJXYZ', token } = options
  return { address, accessKeyId, token: token === undefined ? undefined : new Secret(token) }
}
const stsRefusal = (code: string) => new Fault('sts/refused', `${code}: because`, { code })
const expired = stsRefusal('ExpiredToken')
const badSignature = stsRefusal('SignatureDoesNotMatch')

/** Limits of three failures a minute. */
function create(options: Partial<LoginLimitsOptions> = {}) {
  const clock = createManualClock(1_000_000)
  const rejections: LimitName[] = []
  const { acquireSlot, clearFailures } = createLoginLimits({
    perAddress: 100,
    failures: 3,
    periodMS: MINUTE,
    maxEntries: 1_000,
    now: clock.now,
    shadow: false,
    onRejected: limit => rejections.push(limit),
    onKnownCredential() {},
    ...options,
  })
  const begin = (from: ReturnType<typeof client>) => acquireSlot(from.address, fingerprintOf(from))
  const succeed = (from = client()) => begin(from).release('verified')
  const fail = (fault: Fault, from = client(), times = 1) => {
    for (let i = 0; i < times; i++) begin(from).release(fault)
  }
  /** The priority of a login that then times out, or the kind of fault that rejected it. */
  const attempt = (from = client()): string => {
    try {
      const slot = begin(from)
      slot.release(new Fault('login/timeout'))
      return slot.isContested() ? 'contested' : slot.priority
    } catch (thrown) {
      return (thrown as Fault).kind
    }
  }
  return { clock, rejections, begin, acquireSlot, clearFailures, succeed, fail, attempt }
}
const codeOf = (fault: Fault | undefined) => fault && toReply(fault, 1)?.code.value

t.test('concurrent logins of an address are bounded, and a finished login makes room', async t => {
  const { begin, rejections } = create({ perAddress: 2 })
  const one = begin(client())
  begin(client({ accessKeyId: 'AKIAOTHER' }))
  const fault = faultOf(() => begin(client()))
  t.match(fault, { kind: 'login/concurrency-limit', facts: { address: NAT, backoffMS: 5_000 } })
  t.equal(codeOf(fault), 262)
  t.same(rejections, ['concurrency'])
  t.equal(begin(client({ address: '192.0.2.8' })).priority, 'normal', 'another address is not affected')
  one.release('cached')
  one.release('cached')
  const next = begin(client())
  t.equal(faultOf(() => begin(client()))?.kind, 'login/concurrency-limit', 'a second release has no effect')
  next.release(new Fault('login/abandoned'))
  begin(client())
})

t.test('known credentials have a concurrency limit of their own', async t => {
  const { begin, succeed, fail } = create({ perAddress: 2 })
  const other = client({ accessKeyId: 'AKIAOTHER' })
  succeed()
  const others = [begin(other), begin(other)]
  t.equal(faultOf(() => begin(other))?.kind, 'login/concurrency-limit')
  const known = begin(client())
  t.equal(known.priority, 'known')
  begin(client())
  t.equal(faultOf(() => begin(client()))?.kind, 'login/concurrency-limit', 'known credentials are bounded, too')
  for (const one of others) one.release(new Fault('login/timeout'))
  known.release(badSignature)
  t.equal(
    faultOf(() => fail(expired, client())),
    undefined,
    'after a bad signature it counts among the others',
  )
  t.equal(begin(other).subnet, NAT)
})

t.test('all addresses of a /64 count as one, and so do both notations of an IPv4 address', async t => {
  const { begin } = create({ perAddress: 1 })
  t.equal(begin(client({ address: '2001:db8::1' })).subnet, '2001:db8:0:0::/64')
  t.equal(faultOf(() => begin(client({ address: '2001:db8::ffff:2' })))?.kind, 'login/concurrency-limit')
  begin(client({ address: '2001:db8:0:1::1' }))
  begin(client({ address: '::ffff:192.0.2.7' }))
  t.equal(faultOf(() => begin(client()))?.kind, 'login/concurrency-limit')
})

t.test('an expired token that is used repeatedly is rejected without a call to STS until its window ends', async t => {
  const { fail, attempt, begin, clock, rejections } = create()
  const looping = client({ accessKeyId: 'ASIALOOPING', token: 'old' })
  fail(expired, looping, 2)
  clock.advance(10_000)
  t.equal(attempt(looping), 'normal')
  fail(expired, looping)
  const fault = faultOf(() => begin(looping))
  t.match(fault, { kind: 'login/failure-limit', message: /ExpiredToken; checked again in 50 s$/ })
  t.equal(codeOf(fault), 18, 'it is true of every client with this token')
  t.equal(attempt({ ...looping, token: new Secret('renewed') }), 'suspect', 'a renewed token is another credential')
  t.equal(attempt({ ...looping, address: '192.0.2.8' }), 'normal', 'other addresses are not affected')
  clock.advance(50_000)
  t.equal(attempt(looping), 'normal')
  t.same(rejections, ['failures'])
})

t.test('a failure that may pass counts once a second, whatever the number of connections', async t => {
  for (const code of ['InvalidClientTokenId', 'RegionDisabledException', 'AccessDenied']) {
    const { fail, attempt, begin, clock } = create()
    fail(stsRefusal(code), client(), 12)
    t.equal(attempt(), 'normal', `${code}: twelve connections at once`)
    clock.advance(999)
    fail(stsRefusal(code))
    clock.advance(1)
    fail(stsRefusal(code), client(), 12)
    t.equal(attempt(), 'normal', `${code}: twice`)
    clock.advance(1_000)
    fail(stsRefusal(code))
    t.match(
      faultOf(() => begin(client())),
      { kind: 'login/failure-limit', message: new RegExp(`${code}; checked again in 58 s$`) },
    )
  }
})

t.test('a pool that repeats one unknown key makes its address suspect no sooner than one connection', async t => {
  const { fail, attempt } = create()
  fail(stsRefusal('InvalidClientTokenId'), client({ accessKeyId: 'AKIANEW' }), 12)
  t.equal(attempt(), 'normal')
})

t.test('unknown keys count apart from each other, and by address', async t => {
  const { fail, attempt, clock } = create({ failures: 2 })
  const [one, other] = [client({ token: 'one' }), client({ token: 'other' })]
  fail(stsRefusal('InvalidClientTokenId'), one)
  fail(stsRefusal('InvalidClientTokenId'), other)
  clock.advance(1_000)
  fail(stsRefusal('InvalidClientTokenId'), one)
  t.equal(attempt(one), 'login/failure-limit')
  t.equal(attempt(other), 'suspect')
  t.equal(attempt({ ...one, address: '192.0.2.8' }), 'normal')
})

t.test('a principal that rules or deny list refuse is rejected until its window ends or the rules change', async t => {
  for (const kind of [
    'users/no-rule',
    'users/source-not-allowed',
    'users/expired',
    'users/recreated',
    'login/denied',
  ] as const) {
    const { fail, attempt, begin, clearFailures } = create()
    fail(createFault(kind, 'arn:aws:iam::123456789012:user/mallory'), client(), 3)
    const fault = faultOf(() => begin(client()))
    t.match(fault, { kind: 'login/failure-limit', detail: 'checked again in 60 s', facts: { cause: kind } })
    t.not(fault && String(toReply(fault, 1)?.errmsg).includes(fault.facts.cause as string), true)
    clearFailures()
    t.equal(attempt(), 'suspect')
  }
})

t.test('bad signatures of a key that logged in recently lock out no one', async t => {
  const { succeed, fail, attempt, rejections } = create()
  succeed()
  t.equal(attempt(), 'known')
  fail(badSignature, client(), 1_000)
  t.equal(attempt(), 'contested', 'served after others')
  t.same(rejections, [])
})

t.test('a key with bad signatures is contested, and its logins are served last', async t => {
  const { fail, attempt, begin, clock } = create()
  fail(badSignature, client(), 2)
  t.equal(attempt(), 'normal')
  const early = begin(client())
  t.notOk(early.isContested())
  fail(badSignature)
  t.equal(attempt(), 'contested', 'each bad signature counts')
  t.equal(begin(client()).priority, 'suspect')
  t.ok(early.isContested(), 'also for logins that are under way')
  t.equal(attempt(client({ address: '192.0.2.8' })), 'normal', 'other addresses are not affected')
  t.not(attempt(client({ token: 'of its owner' })), 'contested', 'neither are other tokens')
  clock.advance(2 * MINUTE)
  t.equal(attempt(), 'normal')
})

t.test('a key stays contested while bad signatures go on, also when its owner gets in', async t => {
  const { succeed, fail, attempt, clock } = create()
  fail(badSignature, client(), 3)
  for (let second = 0; second < 300; second++) {
    fail(badSignature, client(), 2)
    if (second % 10 === 0) succeed()
    t.equal(attempt(), 'contested')
    clock.advance(1_000)
  }
})

t.test('a fleet with one bad pod is contested only until more of its logins succeeded than failed', async t => {
  const { succeed, fail, attempt } = create()
  fail(badSignature, client(), 12)
  for (let i = 0; i < 11; i++) succeed()
  t.equal(attempt(), 'contested')
  succeed()
  t.equal(attempt(), 'known')
  fail(badSignature)
  t.equal(attempt(), 'contested')
})

t.test('a credential is no longer known after one bad signature, and known again after one success', async t => {
  const { succeed, fail, attempt, clock } = create()
  succeed()
  fail(badSignature)
  t.equal(attempt(), 'normal')
  succeed()
  t.equal(attempt(), 'known')
  clock.advance(60 * MINUTE)
  t.equal(attempt(), 'normal', 'a success counts for an hour')
  succeed()
  fail(expired)
  t.equal(attempt(), 'normal')
})

t.test('known is a combination of key, token and address', async t => {
  const { succeed, attempt } = create()
  const session = { accessKeyId: 'ASIAGOOD', token: 'token' }
  succeed(client(session))
  t.equal(attempt(client(session)), 'known')
  t.equal(attempt(client({ ...session, token: 'another' })), 'normal')
  t.equal(attempt(client({ ...session, accessKeyId: 'ASIAOTHER' })), 'normal')
  t.equal(attempt(client({ ...session, address: '192.0.2.8' })), 'normal')
})

t.test('many failures make an address suspect, except for credentials that logged in there', async t => {
  const { succeed, fail, attempt, clock } = create()
  succeed()
  for (let i = 0; i < 3; i++) fail(stsRefusal('InvalidClientTokenId'), client({ accessKeyId: `AKIAFORGED${i}` }))
  t.equal(attempt(client({ accessKeyId: 'AKIANEW' })), 'suspect')
  t.equal(attempt(), 'known')
  t.equal(attempt(client({ accessKeyId: 'AKIANEW', address: '192.0.2.8' })), 'normal')
  clock.advance(MINUTE)
  t.equal(attempt(client({ accessKeyId: 'AKIANEW' })), 'normal')
})

t.test('many abandoned logins make an address suspect', async t => {
  const { begin, succeed, attempt } = create()
  const abandon = (times: number) => {
    for (let i = 0; i < times; i++) begin(client({ accessKeyId: `AKIA${i}` })).release(new Fault('login/abandoned'))
  }
  for (let i = 0; i < 20; i++) {
    abandon(2)
    succeed(client({ accessKeyId: 'AKIAMONGOSH' }))
  }
  t.equal(attempt(client({ accessKeyId: 'AKIANEW' })), 'normal', 'mongosh abandons two of three logins')
  abandon(50)
  t.equal(attempt(client({ accessKeyId: 'AKIANEW' })), 'suspect')
})

t.test('one bad pod does not make its NAT suspect while the fleet behind the NAT logs in', async t => {
  const { succeed, fail, attempt } = create()
  for (let i = 0; i < 50; i++) succeed(client({ accessKeyId: `ASIAPOD${i}`, token: `${i}` }))
  fail(expired, client({ accessKeyId: 'ASIABAD', token: 'old' }), 3)
  t.equal(attempt(client({ accessKeyId: 'ASIANEWPOD', token: 'new' })), 'normal')
})

t.test('a success clears the failures of its credential', async t => {
  const { succeed, fail, attempt } = create()
  for (let i = 0; i < 5; i++) {
    fail(expired, client(), 2)
    succeed()
  }
  t.equal(attempt(), 'known')
})

t.test('faults of the proxy, of STS and of the upstream are not counted', async t => {
  const { fail, attempt, rejections } = create()
  const kinds: FaultKind[] = [
    'sts/throttled',
    'sts/unavailable',
    'budget/exhausted',
    'identity/partition-mismatch',
    'upstream/unreachable',
    'internal',
    'users/ambiguous',
    'users/unreadable',
    'login/principal-changed',
    'upstream/authentication-failed',
    'ldap/on',
    'ldap/unknown',
    'login/timeout',
    'login/concurrency-limit',
  ]
  for (const kind of kinds) {
    fail(createFault(kind), client(), 5)
    t.equal(attempt(), 'normal', kind)
  }
  t.same(rejections, [])
})

t.test('a refusal without a code counts as a bad signature', async t => {
  const { fail, attempt } = create()
  fail(new Fault('sts/refused'), client(), 3)
  t.equal(attempt(), 'contested')
})

t.test('a login without a call to STS does not make a credential known', async t => {
  const { begin, attempt } = create()
  begin(client()).release('cached')
  t.equal(attempt(), 'normal')
})

t.test('fifty thousand made-up keys evict no success', async t => {
  const { succeed, fail, attempt, begin } = create({ maxEntries: 100 })
  succeed()
  for (let i = 0; i < 50_000; i++) {
    fail(stsRefusal('InvalidClientTokenId'), client({ accessKeyId: `AKIAFORGED${i}`, address: '203.0.113.66' }))
  }
  t.equal(attempt(), 'known')
  t.equal(begin(client({ address: '203.0.113.66' })).priority, 'suspect')
})

t.test('in shadow mode each limit reports what it would reject, and rejects nothing', async t => {
  const { begin, fail, rejections, attempt } = create({ shadow: true, perAddress: 1 })
  begin(client())
  t.equal(begin(client()).priority, 'normal')
  t.same(rejections, ['concurrency'])
  const elsewhere = { address: '192.0.2.8' }
  fail(expired, client({ ...elsewhere, token: 'old' }), 3)
  t.equal(attempt(client({ ...elsewhere, token: 'old' })), 'suspect')
  fail(badSignature, client({ ...elsewhere, accessKeyId: 'AKIAOTHER' }), 3)
  t.equal(attempt(client({ ...elsewhere, accessKeyId: 'AKIAOTHER' })), 'suspect')
  t.same(rejections, ['concurrency', 'failures', 'signatures'])
})

t.test('onKnownCredential is called when a credential becomes known, and again after a bad signature', async t => {
  const known: [string, string][] = []
  const { succeed, fail, begin } = create({
    onKnownCredential: (subnet, fingerprint) => known.push([subnet, fingerprint]),
  })
  const { subnet, fingerprint } = begin(client())
  t.equal(fingerprint, fingerprintOf(client()))
  succeed()
  succeed()
  t.same(known, [[subnet, fingerprint]])
  fail(badSignature)
  succeed()
  t.equal(known.length, 2)
})

t.test('a source address that is not allowed does not lock out its neighbour with the same credential', async t => {
  const { acquireSlot, clearFailures } = create({ maxEntries: 100 })
  const allowed = '2001:db8::5'
  const neighbour = '2001:db8::6'
  acquireSlot(allowed, 'a').release('verified')
  const failAtNeighbour = () => {
    for (let n = 0; n < 3; n++) acquireSlot(neighbour, 'a').release(new Fault('users/source-not-allowed', neighbour))
  }
  failAtNeighbour()
  t.equal(faultOf(() => acquireSlot(neighbour, 'a'))?.kind, 'login/failure-limit')
  const { priority, release } = acquireSlot(allowed, 'a')
  t.equal(priority, 'known')
  release('verified')
  t.equal(
    faultOf(() => acquireSlot(neighbour, 'a'))?.kind,
    'login/failure-limit',
    'a success at the allowed address does not clear it',
  )
  clearFailures()
  acquireSlot(neighbour, 'a').release('verified')
  failAtNeighbour()
  acquireSlot(neighbour, 'b').release('verified')
  for (let n = 0; n < 3; n++) acquireSlot(allowed, 'a').release(new Fault('users/no-rule'))
  t.equal(
    faultOf(() => acquireSlot('2001:db8::7', 'a'))?.kind,
    'login/failure-limit',
    'a principal without a rule is rejected at all addresses of the /64',
  )
})
