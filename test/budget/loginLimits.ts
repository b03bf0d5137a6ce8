import t from 'tap'
import { createLoginLimits, type LimitName, type LoginLimitsOptions } from '../../src/budget/loginLimits.js'
import { Fault, type FaultKind, toReply } from '../../src/errors.js'
import { createCredentialFingerprinter } from '../../src/identity/credentialFingerprint.js'
import { Secret } from '../../src/log.js'
import { createManualClock } from '../support/clock.js'
import { faultOf } from '../support/faults.js'

const NAT = '192.0.2.7'
const MINUTE = 60_000
const label = createCredentialFingerprinter(Buffer.alloc(32))

/** Who knocks: the fleet's long-term key at the NAT of the fleet, unless told. */
function client(wanted: Partial<{ address: string; accessKeyId: string; token: string }> = {}) {
  const { address = NAT, accessKeyId = 'AKIASP2TPHJSQH3FJXYZ', token } = wanted
  return { address, accessKeyId, token: token === undefined ? undefined : new Secret(token) }
}
const refusal = (code: string) => new Fault('sts/refused', `${code}: because`, { code })
const expired = refusal('ExpiredToken')
const missigned = refusal('SignatureDoesNotMatch')

/** Limits of three failures a minute, and what they refused. */
function house(wanted: Partial<LoginLimitsOptions> = {}) {
  const clock = createManualClock(1_000_000)
  const told: LimitName[] = []
  const { acquireSlot: enterAs, clearFailures } = createLoginLimits({
    perAddress: 100,
    failures: 3,
    periodMS: MINUTE,
    maxEntries: 1_000,
    now: clock.now,
    shadow: false,
    onRejected: limit => told.push(limit),
    onKnownCredential() {},
    ...wanted,
  })
  const enter = (who: ReturnType<typeof client>) => enterAs(who.address, label(who))
  const good = (who = client()) => enter(who).release('vouched')
  const bad = (fault: Fault, who = client(), times = 1) => {
    for (let i = 0; i < times; i++) enter(who).release(fault)
  }
  /** The priority of a login that does not go on, or what refused it. */
  const standing = (who = client()): string => {
    try {
      const place = enter(who)
      place.release(new Fault('login/timeout'))
      return place.priority
    } catch (thrown) {
      return (thrown as Fault).kind
    }
  }
  return { clock, told, enter, clearFailures, good, bad, standing }
}
const codeOf = (fault: Fault | undefined) => fault && toReply(fault, 1)?.code.value

t.test('so many logins of one address are under way at most, and one that is over makes room', async t => {
  const { enter, told } = house({ perAddress: 2 })
  const one = enter(client())
  enter(client({ accessKeyId: 'AKIAOTHER' }))
  const fault = faultOf(() => enter(client()))
  t.match(fault, { kind: 'login/concurrency-limit', facts: { address: NAT, backoffMS: 5_000 } })
  t.equal(codeOf(fault), 262)
  t.same(told, ['concurrency'])
  t.equal(enter(client({ address: '192.0.2.8' })).priority, 'plain', 'another address is not affected')
  one.release('unasked')
  one.release('unasked')
  const next = enter(client())
  t.equal(faultOf(() => enter(client()))?.kind, 'login/concurrency-limit', 'it was over once')
  next.release(new Fault('login/abandoned'))
  enter(client())
})

t.test('strangers who crowd an address do not keep out who was good there', async t => {
  const { enter, good, bad } = house({ perAddress: 2 })
  const stranger = client({ accessKeyId: 'AKIASTRANGER' })
  good()
  const crowd = [enter(stranger), enter(stranger)]
  t.equal(faultOf(() => enter(stranger))?.kind, 'login/concurrency-limit')
  const known = enter(client())
  t.equal(known.priority, 'known')
  enter(client())
  t.equal(faultOf(() => enter(client()))?.kind, 'login/concurrency-limit', 'it has its own limit')
  for (const one of crowd) one.release(new Fault('login/timeout'))
  known.release(missigned)
  t.equal(
    faultOf(() => bad(expired, client())),
    undefined,
    'it is one of the strangers now',
  )
  t.equal(enter(stranger).subnet, NAT)
})

t.test('the addresses of one /64 are one, and so are both spellings of an IPv4 address', async t => {
  const { enter } = house({ perAddress: 1 })
  t.equal(enter(client({ address: '2001:db8::1' })).subnet, '2001:db8:0:0::/64')
  t.equal(faultOf(() => enter(client({ address: '2001:db8::ffff:2' })))?.kind, 'login/concurrency-limit')
  enter(client({ address: '2001:db8:0:1::1' }))
  enter(client({ address: '::ffff:192.0.2.7' }))
  t.equal(faultOf(() => enter(client()))?.kind, 'login/concurrency-limit')
})

t.test('an expired token that keeps coming is refused without asking, until its period is over', async t => {
  const { bad, standing, enter, clock, told } = house()
  const looping = client({ accessKeyId: 'ASIALOOPING', token: 'old' })
  bad(expired, looping, 2)
  clock.advance(10_000)
  t.equal(standing(looping), 'plain')
  bad(expired, looping)
  const fault = faultOf(() => enter(looping))
  t.match(fault, { kind: 'login/failure-limit', message: /ExpiredToken; asked again in 50 s$/ })
  t.equal(codeOf(fault), 18, 'it is true of whoever has this token')
  t.equal(standing({ ...looping, token: new Secret('renewed') }), 'suspect', 'a renewed token is another')
  t.equal(standing({ ...looping, address: '192.0.2.8' }), 'plain', 'and so is another address')
  clock.advance(50_000)
  t.equal(standing(looping), 'plain')
  t.same(told, ['failures'])
})

t.test(
  'a principal that the rules or the deny list refuse is refused for its period, or until the rules change',
  async t => {
    for (const kind of [
      'users/no-rule',
      'users/source-not-allowed',
      'users/expired',
      'users/recreated',
      'login/denied',
    ] as const) {
      const { bad, standing, enter, clearFailures } = house()
      bad(new Fault(kind, 'arn:aws:iam::123456789012:user/mallory'), client(), 3)
      const fault = faultOf(() => enter(client()))
      t.equal(fault?.kind, 'login/failure-limit')
      t.notMatch(fault?.message, 'mallory', 'whoever shows the key without its secret learns no name')
      clearFailures()
      t.equal(standing(), 'suspect')
    }
  },
)

t.test('wrong signatures of a key that is good lately shut out nobody', async t => {
  const { good, bad, standing, told } = house()
  good()
  t.equal(standing(), 'known')
  bad(missigned, client(), 1_000)
  t.equal(standing(), 'suspect', 'served after others')
  good()
  t.equal(standing(), 'known')
  t.same(told, [])
})

t.test(
  'wrong signatures of a key that nobody has seen good are told to come back, never that they are wrong',
  async t => {
    const { good, bad, standing, enter, clock } = house()
    bad(missigned, client(), 3)
    clock.advance(MINUTE - 2_000)
    const fault = faultOf(() => enter(client()))
    t.match(fault, { kind: 'login/signature-limit', facts: { backoffMS: 2_000 } })
    t.equal(codeOf(fault), 262, 'a good pod may stand beside the bad one')
    clock.advance(2_000)
    t.equal(standing(), 'plain')
    good()
    bad(missigned, client(), 30)
    t.equal(standing(), 'suspect', 'once the good one got through, the bad one cannot shut it out')
    clock.advance(60 * MINUTE)
    bad(missigned, client(), 3)
    t.equal(standing(), 'login/signature-limit', 'that it was good is forgotten after an hour')
  },
)

t.test(
  'the hint of a known key dies with its first wrong signature, and lives again with its next good one',
  async t => {
    const { good, bad, standing, clock } = house()
    good()
    bad(missigned)
    t.equal(standing(), 'plain')
    good()
    t.equal(standing(), 'known')
    clock.advance(60 * MINUTE)
    t.equal(standing(), 'plain', 'it lives for an hour')
    good()
    bad(expired)
    t.equal(standing(), 'plain')
  },
)

t.test('known is a key, its token and an address together', async t => {
  const { good, standing } = house()
  const session = { accessKeyId: 'ASIAGOOD', token: 'token' }
  good(client(session))
  t.equal(standing(client(session)), 'known')
  t.equal(standing(client({ ...session, token: 'another' })), 'plain')
  t.equal(standing(client({ ...session, accessKeyId: 'ASIAOTHER' })), 'plain')
  t.equal(standing(client({ ...session, address: '192.0.2.8' })), 'plain')
})

t.test('many failures make an address suspect, and not those who were good there', async t => {
  const { good, bad, standing, clock } = house()
  good()
  for (let i = 0; i < 3; i++) bad(refusal('InvalidClientTokenId'), client({ accessKeyId: `AKIAFORGED${i}` }))
  t.equal(standing(client({ accessKeyId: 'AKIANEW' })), 'suspect')
  t.equal(standing(), 'known')
  t.equal(standing(client({ accessKeyId: 'AKIANEW', address: '192.0.2.8' })), 'plain')
  clock.advance(MINUTE)
  t.equal(standing(client({ accessKeyId: 'AKIANEW' })), 'plain')
})

t.test('leaving before the answer makes an address suspect, too, in the long run', async t => {
  const { enter, good, standing } = house()
  const leave = (times: number) => {
    for (let i = 0; i < times; i++) enter(client({ accessKeyId: `AKIA${i}` })).release(new Fault('login/abandoned'))
  }
  for (let i = 0; i < 20; i++) {
    leave(2)
    good(client({ accessKeyId: 'AKIAMONGOSH' }))
  }
  t.equal(standing(client({ accessKeyId: 'AKIANEW' })), 'plain', 'mongosh leaves two of three')
  leave(50)
  t.equal(standing(client({ accessKeyId: 'AKIANEW' })), 'suspect')
})

t.test('one bad pod does not make its NAT suspect while the fleet behind it logs in', async t => {
  const { good, bad, standing } = house()
  for (let i = 0; i < 50; i++) good(client({ accessKeyId: `ASIAPOD${i}`, token: `${i}` }))
  bad(expired, client({ accessKeyId: 'ASIABAD', token: 'old' }), 3)
  t.equal(standing(client({ accessKeyId: 'ASIANEWPOD', token: 'new' })), 'plain')
})

t.test('a success ends what was counted', async t => {
  const { good, bad, standing } = house()
  for (let i = 0; i < 5; i++) {
    bad(refusal('InvalidClientTokenId'), client(), 2)
    good()
  }
  t.equal(standing(), 'known')
})

t.test('what is our fault, or nobody’s, is not counted', async t => {
  const { bad, standing, told } = house()
  const kinds: FaultKind[] = [
    ...([
      'sts/throttled',
      'sts/unavailable',
      'budget/exhausted',
      'identity/partition-mismatch',
      'upstream/unreachable',
      'internal',
    ] as const),
    ...(['users/ambiguous', 'users/unreadable', 'login/principal-changed'] as const),
    ...([
      'upstream/authentication-failed',
      'ldap/on',
      'ldap/unknown',
      'login/timeout',
      'login/concurrency-limit',
    ] as const),
  ]
  for (const kind of kinds) {
    bad(new Fault(kind), client(), 5)
    t.equal(standing(), 'plain', kind)
  }
  t.same(told, [])
})

t.test('a refusal without a code may be a wrong signature, so it is never 18', async t => {
  const { bad, standing } = house()
  bad(new Fault('sts/refused'), client(), 3)
  t.equal(standing(), 'login/signature-limit')
})

t.test('a login that STS was not asked about makes nobody known', async t => {
  const { enter, standing } = house()
  enter(client()).release('unasked')
  t.equal(standing(), 'plain')
})

t.test('fifty thousand made-up keys grow nothing and push out no success', async t => {
  const { good, bad, standing, enter } = house({ maxEntries: 100 })
  good()
  for (let i = 0; i < 50_000; i++) {
    bad(refusal('InvalidClientTokenId'), client({ accessKeyId: `AKIAFORGED${i}`, address: '203.0.113.66' }))
  }
  t.equal(standing(), 'known')
  t.equal(enter(client({ address: '203.0.113.66' })).priority, 'suspect')
})

t.test('as a shadow each limit tells what it would have refused, and lets it pass', async t => {
  const { enter, bad, told, standing } = house({ shadow: true, perAddress: 1 })
  enter(client())
  t.equal(enter(client()).priority, 'plain')
  t.same(told, ['concurrency'])
  const elsewhere = { address: '192.0.2.8' }
  bad(expired, client({ ...elsewhere, token: 'old' }), 3)
  t.equal(standing(client({ ...elsewhere, token: 'old' })), 'suspect')
  bad(missigned, client({ ...elsewhere, accessKeyId: 'AKIAOTHER' }), 3)
  t.equal(standing(client({ ...elsewhere, accessKeyId: 'AKIAOTHER' })), 'suspect')
  t.same(told, ['concurrency', 'failures', 'signatures'])
})

t.test('it is told when a credential becomes known at an address, and again after a wrong signature', async t => {
  const known: [string, string][] = []
  const { good, bad, enter } = house({ onKnownCredential: (address, holder) => known.push([address, holder]) })
  const { subnet, fingerprint } = enter(client())
  t.equal(fingerprint, label(client()))
  good()
  good()
  t.same(known, [[subnet, fingerprint]])
  bad(missigned)
  good()
  t.equal(known.length, 2)
})

t.test('who may not come from its address keeps out no neighbour with the same credential who may', async t => {
  const clock = createManualClock(1_000_000)
  const parts = {
    perAddress: 100,
    failures: 3,
    periodMS: MINUTE,
    maxEntries: 100,
    shadow: false,
    onRejected() {},
    onKnownCredential() {},
  }
  const { acquireSlot, clearFailures } = createLoginLimits({ ...parts, now: clock.now } as LoginLimitsOptions)
  const allowed = '2001:db8::5'
  const neighbour = '2001:db8::6'
  acquireSlot(allowed, 'a').release('vouched')
  const misplaced = () => {
    for (let n = 0; n < 3; n++) acquireSlot(neighbour, 'a').release(new Fault('users/source-not-allowed', neighbour))
  }
  misplaced()
  t.equal(faultOf(() => acquireSlot(neighbour, 'a'))?.kind, 'login/failure-limit')
  const { priority, release } = acquireSlot(allowed, 'a')
  t.equal(priority, 'known')
  release('vouched')
  t.equal(
    faultOf(() => acquireSlot(neighbour, 'a'))?.kind,
    'login/failure-limit',
    'and the success there changes nothing here',
  )
  clearFailures()
  acquireSlot(neighbour, 'a').release('vouched')
  misplaced()
  acquireSlot(neighbour, 'b').release('vouched')
  for (let n = 0; n < 3; n++) acquireSlot(allowed, 'a').release(new Fault('users/no-rule'))
  t.equal(
    faultOf(() => acquireSlot('2001:db8::7', 'a'))?.kind,
    'login/failure-limit',
    'a stranger is one from all of them',
  )
})
