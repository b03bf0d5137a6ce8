import t from 'tap'
import { Activity } from '../../src/app/activity.js'
import type { ClientInfo } from '../../src/client/handshake.js'
import { Fault } from '../../src/errors.js'
import { silentAudit } from '../support/audit.js'
import { createManualClock } from '../support/clock.js'
import { ARN, identity, match, metadata } from '../support/login.js'

const BOOT = '0123456789ab'
const info = { metadata: { ...metadata, application: { name: 'orders' } } } as unknown as ClientInfo
const upstream = { address: 'db1:27017', localPort: 40_000, connectionId: 4711 }
const end = { by: 'client', durationMS: 1, bytes: { fromClient: 0, toClient: 0 } } as const
const FIRST_PAGE = { limit: 100, after: 0 }

function createActivity() {
  const clock = createManualClock()
  const activity = new Activity({ audit: silentAudit, boot: BOOT, wallClock: clock.now })
  const client = (id: number) => ({ id, peer: `192.0.2.10:${50_000 + id}` })
  const logIn = (id: number, arn = ARN, kind: 'first' | 'reauthentication' = 'first') => {
    const record = {
      accessKeyId: 'AKIASP2TPHJSQH3FJXYZ',
      identity: { ...identity, arn, canonical: arn },
      match,
      by: match.decidedBy,
      user: 'alice@admin',
      ms: {},
    }
    void activity.recordLogin(client(id), { record, info, upstream, kind })
    return record
  }
  return { activity, clock, client, logIn }
}

t.test('a session is listed from its login to its end', async t => {
  const { activity, clock, client, logIn } = createActivity()
  const record = logIn(7)
  clock.advance(1_000)
  logIn(7, ARN, 'reauthentication')
  t.match(activity.listSessions(FIRST_PAGE), {
    next: null,
    items: [
      {
        id: `${BOOT}-7`,
        since: '1970-01-01T00:00:00.000Z',
        lastLogin: '1970-01-01T00:00:01.000Z',
        address: '192.0.2.10:50007',
        arn: ARN,
        databaseUser: 'alice@admin',
        rule: 1,
        directoryUser: null,
        appName: 'orders',
        driver: 'nodejs 7',
        upstream,
      },
    ],
  })
  activity.recordSessionEnd(client(7), { ...end, record })
  t.same(activity.listSessions(FIRST_PAGE), { items: [], next: null })
  t.match(activity.listPrincipals(FIRST_PAGE).items, [{ principal: ARN, sessions: 0, logins: 2, lastArn: ARN }])
})

t.test('pages continue behind the last session, even if it has ended meanwhile', async t => {
  const { activity, client, logIn } = createActivity()
  for (const id of [3, 1, 2, 5, 4]) logIn(id)
  const page = (after: number) => {
    const { items, next } = activity.listSessions({ limit: 2, after })
    return [items.map(({ id }) => id.slice(BOOT.length + 1)), next]
  }
  t.same(page(0), [['1', '2'], 2])
  activity.recordSessionEnd(client(2), { ...end, record: logIn(2) })
  t.same(page(2), [['3', '4'], 4])
  t.same(page(4), [['5'], null])
})

t.test('a session is closed by its id, and by no other', async t => {
  const { activity, client, logIn } = createActivity()
  const faults: string[] = []
  const one = client(7)
  activity.track(one, { destroy: fault => faults.push(fault.kind) })
  const { record } = { record: logIn(8) }
  void activity.recordLogin(one, { record, info, upstream, kind: 'first' })
  for (const id of ['7', `${BOOT}-`, `${BOOT}-8`, `${BOOT}-9`, 'ba9876543210-7', `${BOOT}-7 `]) {
    t.equal(activity.closeSession(id), false, id)
  }
  t.equal(activity.closeSession(`${BOOT}-7`), true)
  t.same(faults, ['connection/closed-by-admin'])
})

t.test('principals are bounded, and those with the latest logins stay', async t => {
  const { activity, logIn } = createActivity()
  for (let number = 0; number < 10_100; number++) logIn(1, `arn:aws:iam::123456789012:user/u${number}`)
  const { items, next } = activity.listPrincipals({ limit: 1_000, after: 9_500 })
  t.equal(items.length, 500)
  t.equal(next, null)
  const all = activity.listPrincipals({ limit: 20_000, after: 0 }).items.map(({ principal }) => principal)
  t.notOk(all.includes('arn:aws:iam::123456789012:user/u99'))
  t.ok(all.includes('arn:aws:iam::123456789012:user/u100'))
})

t.test('refusals are bounded, the newest one first, and equal ones in a row are one', async t => {
  const { activity, client } = createActivity()
  const refuse = (id: number, kind: 'users/no-rule' | 'login/timeout', times = 1) => {
    const fault = new Fault(kind)
    for (let time = 0; time < times; time++) {
      activity.recordLoginRefused(client(id), { record: { identity, ms: {} }, info, fault, kind: 'first' })
    }
  }
  refuse(1, 'users/no-rule', 1_000)
  refuse(1, 'login/timeout')
  t.match(activity.listRefusals(), [
    { fault: 'login/timeout', count: 1, arn: ARN, address: '192.0.2.10' },
    { fault: 'users/no-rule', count: 1_000, remedy: /rule/i },
  ])
  for (let number = 0; number < 500; number++) refuse(1, number % 2 ? 'users/no-rule' : 'login/timeout')
  t.equal(activity.listRefusals().length, 200)
})

t.test('the principals with the most sessions come first, then those with the latest logins', async t => {
  const { activity, client, logIn } = createActivity()
  const arn = (name: string) => `arn:aws:iam::123456789012:user/${name}`
  for (const [id, name] of [...'abbcccd'].entries()) logIn(id, arn(name))
  activity.recordSessionEnd(client(0), { ...end, record: logIn(0, arn('a')) })
  activity.recordSessionEnd(client(6), { ...end, record: logIn(6, arn('d')) })
  const list = (limit: number) =>
    activity.listLargestPrincipals(limit).map(({ principal, sessions }) => [principal.at(-1), sessions])
  t.same(list(1), [['c', 3]])
  t.same(list(10), [
    ['c', 3],
    ['b', 2],
    ['d', 0],
    ['a', 0],
  ])
})
