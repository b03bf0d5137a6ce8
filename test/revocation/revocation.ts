import t from 'tap'
import { Fault } from '../../src/errors.js'
import type { Identity } from '../../src/identity/reply.js'
import { Secret, silentLog } from '../../src/log.js'
import { createAdminDenials } from '../../src/revocation/adminDenials.js'
import { type Denial, parseDenial } from '../../src/revocation/denials.js'
import type { LiveConnection } from '../../src/revocation/liveConnections.js'
import { createRevocation } from '../../src/revocation/revocation.js'
import type { Match } from '../../src/users/match.js'
import { createManualClock } from '../support/clock.js'
import { faultOf, faultOfAsync } from '../support/faults.js'

const alice: Identity = {
  arn: 'arn:aws:iam::123456789012:user/alice',
  canonical: 'arn:aws:iam::123456789012:user/alice',
  kind: 'user',
  partition: 'aws',
  account: '123456789012',
  name: 'alice',
  userId: 'AIDAIOSFODNN7EXAMPLE',
  principalId: 'AIDAIOSFODNN7EXAMPLE',
  session: undefined,
}
const KEY = 'AKIAIOSFODNN7EXAMPLE'
const match: Match = {
  decidedBy: { rule: 1 },
  arn: alice.canonical,
  grant: { user: { name: 'alice', db: 'admin' }, password: new Secret('x') },
}
const denialOf = (entry: unknown) => parseDenial(entry) as Denial

function made({
  disk = async (_text: string) => {},
  file = [] as Denial[],
  decided = match as Match | undefined,
} = {}) {
  const clock = createManualClock(0)
  const counts: number[] = []
  const parts = { decided, counts, clock, matched: [] as string[], takes: 0 }
  const made = createRevocation(
    {
      adminDenials: createAdminDenials({ text: undefined, path: 'x', write: disk }, clock.now),
      reevaluate: identity => {
        parts.matched.push(identity.name)
        clock.advance(parts.takes)
        return parts.decided
      },
      now: clock.now,
      after: clock.after,
      log: silentLog,
      onCount: count => counts.push(count),
      onChange: () => {},
    },
    file,
  )
  const faults: Fault[] = []
  const enter = (entry: Partial<LiveConnection> = {}) =>
    made.addConnection({
      identity: alice,
      accessKeyId: KEY,
      peer: '127.0.0.1:1',
      match,
      close: fault => faults.push(fault),
      ...entry,
    })
  return { ...made, parts, faults, enter, clock, counts }
}

t.test('a key is asked about by its name, an identity by all of it', async t => {
  const { assertNotDenied: check } = made({ file: [denialOf('123456789012')] })
  t.equal(
    faultOf(() => check(KEY)),
    undefined,
  )
  t.match(
    faultOf(() => check(KEY, alice)),
    { kind: 'login/denied', facts: { denial: 'account 123456789012' }, detail: undefined },
  )
  const other = made({ file: [denialOf({ accessKey: KEY, why: 'ticket 4711' })] })
  t.match(
    faultOf(() => other.assertNotDenied(KEY)),
    { facts: { denial: `accessKey ${KEY}`, reason: 'ticket 4711' } },
  )
})

t.test(
  'denied by the admin interface: live connections close, the next login is refused, until it is taken back',
  async t => {
    const { deny, allow, enter, faults, assertNotDenied: check, list, counts } = made()
    enter()
    enter({ identity: { ...alice, canonical: 'arn:aws:iam::123456789012:user/bob' } })
    t.equal(await deny(denialOf(alice.arn)), 1)
    t.match(faults, [{ kind: 'login/revoked', facts: { cause: 'login/denied', denial: `arn ${alice.arn}` } }])
    t.equal(faultOf(() => check(KEY, alice))?.kind, 'login/denied')
    t.match(list(), { file: [], admin: [{ value: alice.arn }] })
    t.equal(await allow(denialOf(alice.arn)), true)
    t.equal(await allow(denialOf(alice.arn)), false)
    t.equal(
      faultOf(() => check(KEY, alice)),
      undefined,
    )
    t.same(counts, [0, 1, 0])
  },
)

t.test('what the disk does not take denies nobody', async t => {
  const { deny, enter, faults, assertNotDenied: check } = made({ disk: () => Promise.reject(new Error('full')) })
  enter()
  t.equal((await faultOfAsync(() => deny(denialOf(alice.arn))))?.kind, 'denials/not-persisted')
  t.same(faults, [])
  check(KEY, alice)
})

t.test('a login that is not decided yet is closed by a denial, and by nothing else', async t => {
  const { read, reviewConnections: review, enter, faults, parts } = made()
  enter({ match: undefined })
  parts.decided = undefined
  t.equal((await review()).length, 0)
  read([denialOf(KEY)])
  t.equal((await review()).length, 1)
  t.equal(faults.length, 1)
})

t.test('file and admin interface add up: neither takes back what the other denies', async t => {
  const { read, deny, assertNotDenied: check } = made({ file: [denialOf(KEY)] })
  await deny(denialOf(alice.arn))
  read([])
  t.equal(faultOf(() => check('AKIAANOTHERANOTHER00', alice))?.kind, 'login/denied')
  t.equal(
    faultOf(() => check(KEY)),
    undefined,
  )
})

t.test('a rule whose time is over closes within a second, without anybody asking', async t => {
  const { enter, faults, clock, parts } = made()
  enter({ match: { ...match, deleteAfterDate: new Date(10_000) } })
  clock.advance(9_500)
  t.equal(faults.length, 0)
  parts.decided = undefined
  for (let ms = 0; ms < 1_000; ms += 500) clock.advance(500)
  t.match(faults, [{ kind: 'login/revoked' }])
})

t.test('a fault of the rules is why; a bug in them closes, too', async t => {
  const { reviewConnections: review, enter, faults, parts } = made()
  enter()
  Object.defineProperty(parts, 'decided', {
    get: () => {
      throw new Fault('users/no-rule', 'x')
    },
  })
  t.equal((await review()).length, 1)
  t.match(faults, [{ facts: { cause: 'users/no-rule' } }])
})

t.test('closed, no timer is left', async t => {
  const { close, clock } = made()
  close()
  t.equal(clock.waiting(), 0)
})

t.test('of many connections of one principal one is matched, and each is asked about in the deny list', async t => {
  const { reviewConnections: review, read, enter, faults, parts } = made()
  for (let n = 0; n < 10; n++) enter({ accessKeyId: n === 7 ? 'ASIAIOSFODNN7EXAMPLE' : KEY })
  enter({ peer: '127.0.0.2:1' })
  enter({ identity: { ...alice, name: 'bob', canonical: 'arn:aws:iam::123456789012:user/bob' } })
  read([denialOf('ASIAIOSFODNN7EXAMPLE')])
  t.equal((await review()).length, 1)
  t.same(parts.matched, ['alice', 'alice', 'bob'])
  parts.decided = undefined
  t.equal((await review()).length, 11, 'the next review asks again')
  t.equal(faults.length, 12)
})

t.test('each of two denials at once is told of what it closed itself', async t => {
  const { deny, enter, parts, clock } = made()
  const nameOf = (n: number) => ({ ...alice, name: `n${n}`, canonical: `arn:aws:iam::123456789012:user/n${n}` })
  for (let n = 0; n < 6; n++) enter({ identity: nameOf(n), accessKeyId: n > 1 ? KEY : 'ASIAIOSFODNN7EXAMPLE' })
  parts.takes = 3
  const both = Promise.all([deny(denialOf('ASIAIOSFODNN7EXAMPLE')), deny(denialOf(nameOf(5).canonical))])
  for (let n = 0; n < 20; n++) {
    await new Promise(setImmediate)
    clock.advance(0)
  }
  t.same(await both, [2, 1])
})
