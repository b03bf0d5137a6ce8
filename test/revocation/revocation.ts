import t from 'tap'
import { Fault } from '../../src/errors.js'
import type { Identity } from '../../src/identity/reply.js'
import { Secret, silentLog } from '../../src/log.js'
import { createAdminDenials } from '../../src/revocation/adminDenials.js'
import { type Denial, parseDenial } from '../../src/revocation/denials.js'
import type { LiveConnection } from '../../src/revocation/liveConnections.js'
import { Revocation } from '../../src/revocation/revocation.js'
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

/** A revocation whose rules decide `rules.decision` for every principal, which takes `rules.delayMS`. */
function create({
  disk = async (_text: string) => {},
  file = [] as Denial[],
  decision = match as Match | undefined,
} = {}) {
  const clock = createManualClock(0)
  const counts: number[] = []
  const rules = { decision, evaluated: [] as string[], delayMS: 0 }
  const revocation = new Revocation({
    adminDenials: createAdminDenials({ text: undefined, path: 'x', write: disk }, clock.now),
    fileDenials: file,
    reevaluate: identity => {
      rules.evaluated.push(identity.name)
      clock.advance(rules.delayMS)
      return rules.decision
    },
    now: clock.now,
    after: clock.after,
    log: silentLog,
    onCountChange: count => counts.push(count),
    onAdminChange: () => {},
  })
  const faults: Fault[] = []
  const enter = (entry: Partial<LiveConnection> = {}) =>
    revocation.addConnection({
      identity: alice,
      accessKeyId: KEY,
      peer: '127.0.0.1:1',
      match,
      destroy: fault => faults.push(fault),
      ...entry,
    })
  return { revocation, rules, faults, enter, clock, counts }
}

t.test('a key is matched by its id, an identity by all of its parts', async t => {
  const { revocation } = create({ file: [denialOf('123456789012')] })
  t.equal(revocation.findKeyDenial(KEY), undefined)
  t.match(
    faultOf(() => revocation.assertNotDenied(KEY, alice)),
    { kind: 'login/denied', facts: { denial: 'account 123456789012' }, detail: undefined },
  )
  const other = create({ file: [denialOf({ accessKey: KEY, why: 'ticket 4711' })] })
  const denied = { kind: 'login/denied', facts: { denial: `accessKey ${KEY}`, reason: 'ticket 4711' } }
  t.match(other.revocation.findKeyDenial(KEY), denied)
  t.match(
    faultOf(() => other.revocation.assertNotDenied(KEY, alice)),
    denied,
  )
})

t.test('a denial by the admin interface closes live connections and refuses logins until it is removed', async t => {
  const { revocation, enter, faults, counts } = create()
  enter()
  enter({ identity: { ...alice, canonical: 'arn:aws:iam::123456789012:user/bob' } })
  t.equal(await revocation.deny(denialOf(alice.arn)), 1)
  t.match(faults, [{ kind: 'login/revoked', facts: { cause: 'login/denied', denial: alice.arn } }])
  t.equal(faultOf(() => revocation.assertNotDenied(KEY, alice))?.kind, 'login/denied')
  t.match(revocation.list(), { file: [], admin: [{ value: alice.arn }] })
  t.equal(await revocation.allow(denialOf(alice.arn)), true)
  t.equal(await revocation.allow(denialOf(alice.arn)), false)
  t.equal(
    faultOf(() => revocation.assertNotDenied(KEY, alice)),
    undefined,
  )
  t.same(counts, [0, 1, 0])
})

t.test('a denial that cannot be written has no effect', async t => {
  const { revocation, enter, faults } = create({ disk: () => Promise.reject(new Error('full')) })
  enter()
  t.equal((await faultOfAsync(() => revocation.deny(denialOf(alice.arn))))?.kind, 'denials/not-persisted')
  t.same(faults, [])
  revocation.assertNotDenied(KEY, alice)
})

t.test('only a denial closes a login that is not decided yet', async t => {
  const { revocation, enter, faults, rules } = create()
  enter({ match: undefined })
  rules.decision = undefined
  t.equal((await revocation.reviewConnections()).length, 0)
  t.equal((await revocation.replaceFile([denialOf(KEY)])).length, 1)
  t.equal(faults.length, 1)
})

t.test('the deny list joins the file and the admin interface, and neither removes denials of the other', async t => {
  const { revocation } = create({ file: [denialOf(KEY)] })
  await revocation.deny(denialOf(alice.arn))
  void revocation.replaceFile([])
  t.equal(faultOf(() => revocation.assertNotDenied('AKIAANOTHERANOTHER00', alice))?.kind, 'login/denied')
  t.equal(revocation.findKeyDenial(KEY), undefined)
})

t.test('an expired rule closes its connections within a second', async t => {
  const { enter, faults, clock, rules } = create()
  enter({ match: { ...match, deleteAfterDate: new Date(10_000) } })
  clock.advance(9_500)
  t.equal(faults.length, 0)
  rules.decision = undefined
  for (let ms = 0; ms < 1_000; ms += 500) clock.advance(500)
  t.match(faults, [{ kind: 'login/revoked' }])
})

t.test('a fault of the rules closes a connection', async t => {
  const { revocation, enter, faults, rules } = create()
  enter()
  Object.defineProperty(rules, 'decision', {
    get: () => {
      throw new Fault('users/no-rule', 'x')
    },
  })
  t.equal((await revocation.reviewConnections()).length, 1)
  t.match(faults, [{ facts: { cause: 'users/no-rule' } }])
})

t.test('close stops the timer', async t => {
  const { revocation, clock } = create()
  revocation.close()
  t.equal(clock.waiting(), 0)
})

t.test('a review evaluates the rules once per principal and address, and the deny list per connection', async t => {
  const { revocation, enter, faults, rules } = create()
  for (let n = 0; n < 10; n++) enter({ accessKeyId: n === 7 ? 'ASIAIOSFODNN7EXAMPLE' : KEY })
  enter({ peer: '127.0.0.2:1' })
  enter({ identity: { ...alice, name: 'bob', canonical: 'arn:aws:iam::123456789012:user/bob' } })
  t.equal((await revocation.replaceFile([denialOf('ASIAIOSFODNN7EXAMPLE')])).length, 1)
  t.same(rules.evaluated, ['alice', 'alice', 'bob'])
  rules.decision = undefined
  t.equal((await revocation.reviewConnections()).length, 11, 'the next review evaluates again')
  t.equal(faults.length, 12)
})

t.test('two concurrent denials each report the connections that they closed', async t => {
  const { revocation, enter, rules, clock } = create()
  const identityOf = (n: number) => ({ ...alice, name: `n${n}`, canonical: `arn:aws:iam::123456789012:user/n${n}` })
  for (let n = 0; n < 6; n++) enter({ identity: identityOf(n), accessKeyId: n > 1 ? KEY : 'ASIAIOSFODNN7EXAMPLE' })
  rules.delayMS = 3
  const both = Promise.all([
    revocation.deny(denialOf('ASIAIOSFODNN7EXAMPLE')),
    revocation.deny(denialOf(identityOf(5).canonical)),
  ])
  for (let n = 0; n < 20; n++) {
    await new Promise(setImmediate)
    clock.advance(0)
  }
  t.same(await both, [2, 1])
})
