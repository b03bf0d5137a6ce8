import t from 'tap'
import { Fault } from '../../src/errors.js'
import type { Identity } from '../../src/identity/reply.js'
import { Secret } from '../../src/log.js'
import { type LiveConnection, LiveConnections } from '../../src/revocation/liveConnections.js'
import type { Match } from '../../src/users/match.js'
import { createManualClock } from '../support/clock.js'
import { createFault } from '../support/faults.js'

const identityOf = (name: string): Identity => ({
  arn: `arn:aws:iam::123456789012:user/${name}`,
  canonical: `arn:aws:iam::123456789012:user/${name}`,
  kind: 'user',
  partition: 'aws',
  account: '123456789012',
  name,
  userId: 'AIDAIOSFODNN7EXAMPLE',
  principalId: 'AIDAIOSFODNN7EXAMPLE',
  session: undefined,
})
const userMatch = (name: string, db = 'admin', password = 'x'): Match => ({
  decidedBy: { rule: 1 },
  arn: '',
  grant: { user: { name, db }, password: new Secret(password) },
})
const roles = (role: string): Match => ({
  decidedBy: { directoryUser: 'x' },
  arn: '',
  grant: { roles: [{ role, db: 'app' }] },
})

function entered(...matches: (Match | undefined)[]) {
  const clock = createManualClock()
  const all = new LiveConnections({
    now: clock.now,
    yieldToEventLoop: () => new Promise(resolve => clock.after(0, resolve)),
  })
  const faults: (Fault | undefined)[] = matches.map(() => undefined)
  const entries = matches.map(
    (match, index): LiveConnection => ({
      identity: identityOf(`n${index}`),
      accessKeyId: `AKIA${index}`,
      peer: '127.0.0.1:1',
      match,
      destroy: fault => {
        faults[index] = fault
      },
    }),
  )
  const leave = entries.map(entry => all.add(entry))
  return { all, faults, entries, leave, clock }
}

t.test('an added connection stays until it is removed', async t => {
  const { all, leave, entries } = entered(undefined, userMatch('a'))
  t.equal(all.size, 2)
  leave[0]?.()
  leave[0]?.()
  const visited: LiveConnection[] = []
  t.notOk(all.some(entry => visited.push(entry) === 0))
  t.same(visited, [entries[1]])
})

t.test('a review closes on another database user, no match or a fault, and keeps an unchanged decision', async t => {
  for (const [was, is, why] of [
    [userMatch('a'), userMatch('a'), undefined],
    [userMatch('a'), userMatch('a', 'admin', 'another password'), undefined],
    [userMatch('a'), userMatch('b'), 'the principal has another database user now'],
    [userMatch('a'), userMatch('a', 'app'), 'the principal has another database user now'],
    [userMatch('a'), roles('read'), 'the principal has another database user now'],
    [roles('read'), roles('readWrite'), undefined],
    [userMatch('a'), { ...userMatch('a'), maxAgeMS: 5 }, 'the maximum age of the login is shorter now'],
    [
      { ...userMatch('a'), maxAgeMS: 9 },
      { ...userMatch('a'), maxAgeMS: 5 },
      'the maximum age of the login is shorter now',
    ],
    [{ ...userMatch('a'), maxAgeMS: 5 }, { ...userMatch('a'), maxAgeMS: 9 }, undefined],
    [{ ...userMatch('a'), maxAgeMS: 5 }, userMatch('a'), undefined],
    [userMatch('a'), undefined, 'no rule or directory user names this principal any more'],
    [
      userMatch('a'),
      new Fault('login/denied', undefined, { denial: 'account 1' }),
      'this principal is on the deny list',
    ],
    [undefined, undefined, undefined],
    [undefined, userMatch('a'), undefined],
    [undefined, createFault('login/denied'), 'this principal is on the deny list'],
  ] as const) {
    const { all, faults, entries } = entered(was)
    t.equal((await all.review(() => is)).length, why ? 1 : 0)
    t.equal(all.size, why ? 0 : 1)
    t.equal(faults[0]?.facts.why, why)
    if (why) t.equal(faults[0]?.kind, 'login/revoked')
    else if (was) t.equal(entries[0]?.match, is, 'the next review compares with the new decision')
    else t.equal(entries[0]?.match, undefined)
  }
})

t.test('the fault names the denial', async t => {
  const { all, faults } = entered(userMatch('a'))
  await all.review(() => new Fault('login/denied', undefined, { denial: 'account 123456789012' }))
  t.match(faults[0]?.facts, { cause: 'login/denied', denial: 'account 123456789012' })
})

t.test('a review closes only the revoked connections, though closing one removes others', async t => {
  const { all, faults, leave } = entered(userMatch('a'), userMatch('b'), userMatch('c'))
  const closed = await all.review(({ identity, match }) => {
    if (identity.name === 'n0') leave[2]?.()
    return identity.name === 'n1' ? undefined : match
  })
  t.equal(closed.length, 1)
  t.same(
    faults.map(fault => fault?.kind),
    [undefined, 'login/revoked', undefined],
  )
})

t.test('a review yields every few milliseconds and skips connections added or removed meanwhile', async t => {
  const { all, leave, entries, clock } = entered(...Array.from({ length: 10 }, () => userMatch('a')))
  const asked: string[] = []
  const decide = ({ identity: { name }, match }: LiveConnection) => {
    asked.push(name)
    clock.advance(3)
    return match
  }
  const review = all.review(decide)
  t.same(asked, ['n0', 'n1'], 'the slice of five milliseconds is over')
  leave[2]?.()
  leave[3]?.()
  all.add({ ...(entries[0] as LiveConnection), identity: identityOf('late') })
  while (asked.length < 8) {
    clock.advance(0)
    await new Promise(setImmediate)
  }
  t.same(await review, [])
  t.same(asked, ['n0', 'n1', 'n4', 'n5', 'n6', 'n7', 'n8', 'n9'])
})

t.test('a review yields if the clock is set back', async t => {
  const { all, clock } = entered(...Array.from({ length: 4 }, () => userMatch('a')))
  const decide = ({ match }: LiveConnection) => {
    clock.advance(-3)
    return match
  }
  void all.review(decide)
  t.equal(clock.waiting(), 1)
})

t.test('a review that is overtaken ends with the newer one, and both report all closed connections', async t => {
  const { all, faults, clock } = entered(...Array.from({ length: 6 }, () => userMatch('a')))
  const deny = (denied: string) => {
    return ({ identity: { name }, match }: LiveConnection) => {
      clock.advance(3)
      return name === denied ? new Fault('login/denied', undefined, { denial: name }) : match
    }
  }
  const first = all.review(deny('n1'))
  const second = all.review(deny('n0'))
  t.equal(all.size, 5, 'n1 is closed at once')
  for (let n = 0; n < 10; n++) {
    clock.advance(0)
    await new Promise(setImmediate)
  }
  t.match(await first, [{ facts: { denial: 'n1' } }, { facts: { denial: 'n0' } }])
  t.equal(await first, await second)
  t.same(
    faults.map(fault => fault?.facts.denial),
    ['n0', 'n1', undefined, undefined, undefined, undefined],
  )
  t.equal(clock.waiting(), 0)
})
