import type { Document } from 'bson'
import t, { type Test } from 'tap'
import { Fault, type FaultKind } from '../../src/errors.js'
import { type Log, Secret } from '../../src/log.js'
import { createMark, derivePassword, getPeriod } from '../../src/provisioning/password.js'
import type { RoleLookup } from '../../src/provisioning/provisioner.js'
import { prune } from '../../src/provisioning/prune.js'
import type { AdminClient } from '../../src/upstream/admin.js'
import type { Role } from '../../src/users/match.js'
import { faultOfAsync } from '../support/faults.js'
import { errorCodeOf } from '../support/mongo.js'
import { arnOf, DATABASE, DAY_MS, SECRET, startProvisioning } from '../support/provisioning.js'

const reads = [{ role: 'read', db: 'app' }]
const writes = [{ role: 'readWrite', db: 'app' }]
const orders = { arn: arnOf('orders'), roles: reads }

t.test('a principal with roles gets a database user and logs in as that user', async t => {
  const { make, logIn, stored, client } = await startProvisioning(t)
  t.equal(await logIn(make(), orders), 1)
  t.match(await stored('orders'), {
    user: arnOf('orders'),
    db: DATABASE,
    roles: reads,
    mechanisms: ['SCRAM-SHA-256'],
    customData: { fleet: 'default', period: Date.UTC(2026, 10, 22) / 1000, mac: /^[\w-]{43}$/ },
  })
  const [raw] = await client.db('admin').collection('system.users').find({ db: DATABASE }).toArray()
  t.same(Object.keys(raw?.credentials), ['SCRAM-SHA-256'])
  t.equal(raw?.authenticationRestrictions, undefined)
})

t.test('a login of a cached principal runs no command of the administrator', async t => {
  const { make, logIn, ran } = await startProvisioning(t)
  const provisioner = make()
  await logIn(provisioner, orders)
  t.same(ran.splice(0), ['usersInfo', 'buildInfo', 'createUser', 'usersInfo'])
  for (let login = 0; login < 5; login++) await logIn(provisioner, { ...orders, roles: [{ role: 'read', db: 'app' }] })
  t.same(ran, [])
  await logIn(make(), orders)
  t.same(ran, ['usersInfo'], 'another replica reads once')
})

t.test('a thousand logins of a new principal through two replicas create one user, and none fails', async t => {
  const { make, client, ran } = await startProvisioning(t)
  const replicas = [make(), make()]
  const all = Array.from({ length: 1000 }, (_, at) => replicas[at % 2]?.ensureUser(orders))
  const passwords = new Set((await Promise.all(all)).map(access => access?.passwords[0]?.reveal()))
  t.equal(passwords.size, 1)
  t.equal((await client.db(DATABASE).command({ usersInfo: 1 })).users.length, 1)
  t.ok(ran.length <= 9, ran.join())
})

t.test('a thousand replicas can race for one user', async t => {
  const { make, client, ran, administrator, logIn } = await startProvisioning(t)
  const run = administrator()
  const all = Array.from({ length: 1000 }, () => make({ runCommand: run, maxPrincipals: 2 }).ensureUser(orders))
  t.equal(new Set((await Promise.all(all)).map(access => access.passwords[0]?.reveal())).size, 1)
  t.equal((await client.db(DATABASE).command({ usersInfo: 1 })).users.length, 1)
  t.ok(ran.filter(name => name === 'createUser').length > 1, 'some lost the race')
  await logIn(make(), orders)
})

t.test('logins succeed while the period changes, on one replica before the other', async t => {
  const { make, logIn, stored, clock } = await startProvisioning(t)
  let late = 0
  const [ahead, behind] = [make(), make({ now: () => clock.now - late })]
  late = 5 * 60_000
  await Promise.all([logIn(ahead, orders), logIn(behind, orders)])
  const before = (await stored('orders'))?.customData.period
  clock.now = Date.UTC(2026, 10, 23, 0, 1)
  const tries = await Promise.all(Array.from({ length: 40 }, (_, at) => logIn(at % 2 ? ahead : behind, orders)))
  t.ok(tries.every(count => count <= 2))
  t.equal((await stored('orders'))?.customData.period, before + DAY_MS / 1000)
  t.equal(await logIn(behind, orders), 2, 'its clock is behind, so it tries the next period second')
  t.equal((await stored('orders'))?.customData.period, before + DAY_MS / 1000, 'periods only move forward')
  clock.now += late
  t.equal(await logIn(behind, orders), 1)
})

t.test('the previous password is tried on a server that has not replicated the new one', async t => {
  const { make, clock } = await startProvisioning(t)
  const provisioner = make()
  const [old] = (await provisioner.ensureUser(orders)).passwords
  clock.now += 3 * DAY_MS
  const { passwords } = await provisioner.ensureUser(orders)
  const [now, next, before] = passwords.map(password => password.reveal())
  t.equal(now, derivePassword(SECRET, orders.arn, getPeriod(clock.now, DAY_MS)).reveal())
  t.equal(next, derivePassword(SECRET, orders.arn, getPeriod(clock.now + DAY_MS, DAY_MS)).reveal())
  t.equal(before, old?.reveal())
})

t.test('while the administrator is unreachable cached principals log in, even in the next period', async t => {
  const { partsOf, make, clock, logIn } = await startProvisioning(t)
  const { runCommand: run } = partsOf()
  let isUnreachable = false
  const provisioner = make({
    runCommand: async (command, db) => {
      if (isUnreachable) throw new Fault('upstream/unreachable')
      return run(command, db)
    },
  })
  await logIn(provisioner, orders)
  isUnreachable = true
  clock.now += DAY_MS
  t.equal(await logIn(provisioner, orders), 1)
  t.equal(
    (await faultOfAsync(() => provisioner.ensureUser({ ...orders, roles: writes })))?.kind,
    'upstream/unreachable',
  )
  isUnreachable = false
  t.equal(await logIn(provisioner, { ...orders, roles: writes }), 1)
})

t.test('the master secret can be replaced in steps without a failed login', async t => {
  const { make, logIn, stored, clock, partsOf } = await startProvisioning(t)
  const next = new Secret('the next master secret, and as long as that')
  const old = make()
  await logIn(old, orders)
  const both = make({ secrets: [SECRET, next] })
  t.equal(await logIn(both, orders), 1)
  const signing = make({ secrets: [next, SECRET] })
  t.equal(await logIn(signing, orders), 1, 'passwords are not replaced at once, so replicas do not compete')
  t.equal(await logIn(both, orders), 1)
  const mac = (await stored('orders'))?.customData.mac
  clock.now += DAY_MS
  t.equal(await logIn(signing, orders), 1)
  t.not((await stored('orders'))?.customData.mac, mac)
  for (const provisioner of [both, make({ secrets: [SECRET, next] })]) t.ok((await logIn(provisioner, orders)) <= 4)
  const quiet = { arn: arnOf('quiet'), roles: reads }
  await logIn(both, quiet)
  const parts = partsOf({ secrets: [next, SECRET] })
  t.same(
    (await prune(parts, () => reads)).rekeyed,
    [quiet.arn],
    'prune replaces the passwords of principals that did not log in',
  )
  t.equal(await logIn(make({ secrets: [next] }), quiet), 1)
  t.ok((await logIn(both, quiet)) >= 2)
})

t.test('changed roles reach the user at the next login or by sync', async t => {
  const { make, logIn, stored, as, client } = await startProvisioning(t)
  const provisioner = make()
  const { user, passwords } = await provisioner.ensureUser(orders)
  const live = await as(user.name, passwords[0]?.reveal() ?? '', DATABASE)
  const write = () => errorCodeOf(live.db('app').collection('c').insertOne({}))
  t.equal(await write(), 13)
  await provisioner.syncRoles(() => writes)
  t.equal(await write(), undefined)
  t.same((await stored('orders'))?.roles, writes)
  await logIn(provisioner, orders)
  t.equal(await write(), 13)
  t.equal((await provisioner.ensureUser(orders)).passwords[0]?.reveal(), passwords[0]?.reveal(), 'its password stayed')
  await provisioner.syncRoles(() => undefined)
  t.equal(await errorCodeOf(live.db('app').collection('c').findOne({})), 13)
  t.equal(await stored('orders'), undefined)
  t.equal((await client.db(DATABASE).command({ usersInfo: 1 })).users.length, 0)
  t.equal(await logIn(provisioner, orders), 1, 'the user is created again when it is needed')
})

t.test('sync does nothing without a new decision, whatever other processes did', async t => {
  const { make, logIn, ran, client, stored } = await startProvisioning(t)
  const provisioner = make()
  await logIn(provisioner, orders)
  await client.db(DATABASE).command({ updateUser: orders.arn, roles: writes })
  ran.length = 0
  for (let round = 0; round < 3; round++) await provisioner.syncRoles(() => [...reads])
  t.same(ran, [])
  await make().syncRoles(() => undefined)
  t.same((await stored('orders'))?.roles, writes, 'a replica that has never provisioned the principal does not drop it')
  await logIn(make(), orders)
  t.same((await stored('orders'))?.roles, reads, 'a replica that provisions it for the first time applies its decision')
})

t.test(
  'a user that another fleet or a person created is never changed, and its principal is refused with an error line',
  async t => {
    const other = new Secret('a secret of somebody else, long enough too')
    const owned = { db: DATABASE, user: orders.arn, fleet: 'default' }
    for (const [what, customData] of [
      ['unmarked', undefined],
      ['made by hand', { team: 'x' }],
      ['of another fleet', createMark(SECRET, { ...owned, fleet: 'other' }, 5)],
      ['with a mark taken from another user', createMark(SECRET, { ...owned, user: arnOf('admin') }, 5)],
      ['signed by a secret that is unknown here', createMark(other, owned, 5)],
    ] as const) {
      const { make, client, partsOf, clock, ran } = await startProvisioning(t)
      const lines: unknown[][] = []
      const log: Log = (...line) => void lines.push(line)
      await client
        .db(DATABASE)
        .command({ createUser: orders.arn, pwd: 'x', roles: [], ...(customData && { customData }) })
      const find = () => client.db('admin').collection('system.users').find({ db: DATABASE }).toArray()
      const before = await find()
      const provisioner = make({ log })
      const fault = await faultOfAsync(() => provisioner.ensureUser(orders))
      t.match(fault, { kind: 'provision/conflict', definition: { reply: { code: 262 } } }, what)
      t.match(lines, [
        ['error', 'provisioning failed', { fault: 'provision/conflict', user: orders.arn, db: DATABASE }],
      ])
      ran.length = 0
      await faultOfAsync(() => provisioner.ensureUser(orders))
      t.same([ran, lines.length], [[], 1], 'logged once, and not retried at once')
      clock.now += 60_000
      await faultOfAsync(() => provisioner.ensureUser(orders))
      t.same(ran, ['usersInfo', 'buildInfo'])
      await provisioner.syncRoles(() => undefined)
      t.same((await prune(partsOf(), () => undefined)).users, [])
      t.same(await find(), before, 'the user is unchanged')
    }
  },
)

t.test('a password that another process changed is set again, once', async t => {
  const { make, logIn, client, clock, ran } = await startProvisioning(t)
  const provisioner = make()
  await logIn(provisioner, orders)
  const change = () => client.db(DATABASE).command({ updateUser: orders.arn, pwd: 'another' })
  await change()
  t.match(await faultOfAsync(() => logIn(provisioner, orders)), {
    kind: 'upstream/authentication-failed',
    facts: { why: /a moment ago/ },
  })
  clock.now += 60_000
  ran.length = 0
  t.ok((await logIn(provisioner, orders)) > 1)
  t.same(ran, ['usersInfo', 'updateUser'])
  t.equal(await logIn(provisioner, orders), 1)
  await client.db(DATABASE).command({ dropUser: orders.arn })
  t.ok((await logIn(provisioner, orders)) > 1, 'a dropped user is created again')
})

t.test('concurrent refused passwords cost one command', async t => {
  const { make, logIn, client, clock, ran } = await startProvisioning(t)
  const provisioner = make()
  await logIn(provisioner, orders)
  await client.db(DATABASE).command({ updateUser: orders.arn, pwd: 'another' })
  clock.now += 60_000
  ran.length = 0
  await Promise.all(Array.from({ length: 20 }, () => logIn(provisioner, orders)))
  t.same(ran, ['usersInfo', 'updateUser'])
})

t.test('a user may log in only from the networks of the proxies', async t => {
  const { make, logIn, stored, client } = await startProvisioning(t)
  const restrictions = async () =>
    (await client.db('admin').collection<Document>('system.users').findOne({ user: orders.arn }))
      ?.authenticationRestrictions
  const here = ['127.0.0.0/8', '::1/128']
  t.equal(await logIn(make({ clientSource: here }), orders), 1)
  t.same(await restrictions(), [{ clientSource: here }])
  const there = make({ clientSource: ['192.0.2.0/24'] })
  const fault = await faultOfAsync(() => logIn(there, orders))
  t.match(fault, { kind: 'upstream/authentication-failed', definition: { reply: { code: 262 } } }, 'not 18')
  t.same(await restrictions(), [{ clientSource: ['192.0.2.0/24'] }])
  t.equal(await logIn(make(), orders), 1)
  t.same(await restrictions(), [])
  t.equal((await stored('orders'))?.customData.clientSource, undefined)
})

t.test('a role for one collection is created and granted, and another role with its name is never changed', async t => {
  const { make, as, client, partsOf } = await startProvisioning(t)
  const roles = [{ role: 'readWrite', db: 'app', collection: 'orders' }, ...reads.map(role => ({ ...role, db: 'b' }))]
  const provisioner = make()
  const { user, passwords } = await provisioner.ensureUser({ ...orders, roles })
  const live = (await as(user.name, passwords[0]?.reveal() ?? '', DATABASE)).db('app')
  t.equal(await errorCodeOf(live.collection('orders').insertOne({})), undefined)
  t.equal(await errorCodeOf(live.collection('people').findOne({})), 13)
  await make().ensureUser({ arn: arnOf('second'), roles })
  const role = 'mongo-iam-proxy/default/read/people'
  await client.db('app').command({ createRole: role, privileges: [], roles: ['dbOwner'] })
  const fault = await faultOfAsync(() =>
    provisioner.ensureUser({ ...orders, roles: [{ role: 'read', db: 'app', collection: 'people' }] }),
  )
  t.match(fault, { kind: 'provision/conflict', facts: { role, db: 'app' } })
  await provisioner.ensureUser(orders)
  t.same((await prune(partsOf(), arn => (arn === orders.arn ? reads : undefined))).roles, [
    { role: 'mongo-iam-proxy/default/readWrite/orders', db: 'app' },
  ])
  t.equal((await client.db('app').command({ rolesInfo: role })).roles.length, 1)
})

t.test('an upstream without roles gets no provisioned users', async t => {
  const { partsOf, make } = await startProvisioning(t)
  const { runCommand: run } = partsOf()
  // What FerretDB 1.24 answers.
  const without: AdminClient['runCommand'] = async (command, db) =>
    'createUser' in command
      ? { ok: 0, code: 238, codeName: 'NotImplemented', errmsg: `createUser: support for field "roles"` }
      : run(command, db)
  const fault = await faultOfAsync(() => make({ runCommand: without }).ensureUser(orders))
  t.match(fault, { kind: 'provision/unsupported', facts: { command: 'createUser', code: 238 } })
})

t.test('a server that does not keep customData gets no provisioned users, and keeps none', async t => {
  const { partsOf, make, client, ran, clock } = await startProvisioning(t)
  const { runCommand: run } = partsOf()
  const lossyServers: Record<string, (mark: Document) => Document | undefined> = {
    nothing: () => undefined,
    'an empty document': () => ({}),
    'other fields': () => ({ note: 'custom data is not supported' }),
    'a mark without its period': ({ period: _, ...rest }) => rest,
    'a mark with another seal': mark => ({ ...mark, seal: 'x' }),
  }
  for (const [what, keep] of Object.entries(lossyServers)) {
    const lossy: AdminClient['runCommand'] = async ({ customData, ...command }, db) => {
      const stored = customData && keep(customData)
      return run({ ...command, ...(stored && { customData: stored }) }, db)
    }
    const provisioner = make({ runCommand: lossy })
    const attempt = () => faultOfAsync(() => provisioner.ensureUser(orders))
    t.match(await attempt(), { kind: 'provision/unsupported', facts: { why: /customData/ } }, what)
    t.same((await client.db(DATABASE).command({ usersInfo: 1 })).users, [], what)
    ran.length = 0
    clock.now += 30_000
    t.equal((await attempt())?.kind, 'provision/unsupported')
    t.same(ran, [], 'it is not tried again at once')
    clock.now += 60_000
    t.equal((await attempt())?.kind, 'provision/unsupported', 'nor is a foreign user reported later')
  }
})

t.test('a user without a mark is dropped only by the process that has just created it', async t => {
  const { partsOf, make, client, clock } = await startProvisioning(t)
  const { runCommand: run } = partsOf()
  const names = async () =>
    (await client.db(DATABASE).command({ usersInfo: 1 })).users.map(({ user }: Document) => user)
  /** Loses customData, and is unreachable just after createUser. */
  const startLossy = () => {
    let isUnreachable = false
    const lossy: AdminClient['runCommand'] = async ({ customData: _, ...command }, db) => {
      if (isUnreachable) {
        isUnreachable = false
        throw new Fault('upstream/unreachable')
      }
      isUnreachable = 'createUser' in command
      return run(command, db)
    }
    return make({ runCommand: lossy })
  }
  const kindOf = async (provisioner: ReturnType<typeof make>) =>
    (await faultOfAsync(() => provisioner.ensureUser(orders)))?.kind
  const provisioner = startLossy()
  t.equal(await kindOf(provisioner), 'upstream/unreachable')
  t.equal(await kindOf(make()), 'provision/conflict', 'another process does not know that user')
  t.same(await names(), [orders.arn])
  t.equal(await kindOf(provisioner), 'provision/unsupported')
  t.same(await names(), [])

  const late = startLossy()
  t.equal(await kindOf(late), 'upstream/unreachable')
  clock.now += 3_600_000
  t.equal(await kindOf(late), 'provision/conflict', 'an hour later somebody else may have created it')
  t.same(await names(), [orders.arn])
})

t.test('FerretDB gets no provisioned users, whatever it says to createUser', async t => {
  const { partsOf, make, client } = await startProvisioning(t)
  const { runCommand: run } = partsOf()
  for (const info of [
    { version: '7.0.77', ferretdb: { version: 'v2.5.0', package: 'unknown' } },
    { version: '7.0.42', ferretdbVersion: 'v1.24.2' },
  ]) {
    const ferret: AdminClient['runCommand'] = async (command, db) =>
      'buildInfo' in command ? { ok: 1, ...info } : run(command, db)
    const fault = await faultOfAsync(() => make({ runCommand: ferret }).ensureUser(orders))
    t.match(fault, { kind: 'provision/unsupported', facts: { why: /FerretDB/ } })
    await client.db(DATABASE).command({ createUser: orders.arn, pwd: 'x', roles: [] })
    const again = await faultOfAsync(() => make({ runCommand: ferret }).ensureUser(orders))
    t.equal(again?.kind, 'provision/unsupported', 'a user without a mark is not a foreign one there')
    await client.db(DATABASE).command({ dropUser: orders.arn })
  }
  const refusing: AdminClient['runCommand'] = async (command, db) =>
    'buildInfo' in command ? { ok: 0, code: 13 } : run(command, db)
  await make({ runCommand: refusing }).ensureUser(orders)
  t.equal(
    (await client.db(DATABASE).command({ usersInfo: 1 })).users.length,
    1,
    'a server that refuses buildInfo may do',
  )
})

t.test('a mark of release 0.1.0 is rewritten with the period of the clock, whatever its period was', async t => {
  const { make, logIn, stored, client, clock } = await startProvisioning(t)
  const period = getPeriod(clock.now, DAY_MS)
  const owned = { db: DATABASE, user: orders.arn, fleet: 'default' }
  for (const old of [period, period - 86_400, period + 86_400, 4_000_000_000]) {
    const { seal: _, ...customData } = createMark(SECRET, owned, old)
    const pwd = derivePassword(SECRET, orders.arn, old).reveal()
    await client.db(DATABASE).command({ dropAllUsersFromDatabase: 1 })
    await client.db(DATABASE).command({ createUser: orders.arn, pwd, roles: reads, customData })
    t.equal(await logIn(make(), orders), 1)
    t.match((await stored('orders'))?.customData, { period, seal: /^[\w-]{43}$/ }, `period ${old}`)
  }
})

t.test('a mark that was changed, or that is of a period to come, is not valid', async t => {
  const { make, logIn, stored, client, clock } = await startProvisioning(t)
  const owned = { db: DATABASE, user: orders.arn, fleet: 'default' }
  const period = getPeriod(clock.now, DAY_MS)
  await logIn(make(), orders)
  const { customData } = (await stored('orders')) ?? {}
  const change = (changes: object) =>
    client.db(DATABASE).command({ updateUser: orders.arn, customData: { ...customData, ...changes } })
  const refusal = () => faultOfAsync(() => make().ensureUser(orders))
  await change({ period: 4_000_000_000 })
  t.match(await refusal(), { kind: 'provision/conflict', facts: { why: undefined } })
  await change(createMark(SECRET, owned, period + 2 * 86_400))
  t.match(await refusal(), { kind: 'provision/conflict', facts: { why: /period.*clock/ } })
  await change(createMark(SECRET, owned, period + 86_400))
  await client
    .db(DATABASE)
    .command({ updateUser: orders.arn, pwd: derivePassword(SECRET, orders.arn, period + 86_400).reveal() })
  t.equal(await logIn(make(), orders), 1, 'the next period is fine: the clock of another replica is ahead')
  t.equal((await stored('orders'))?.customData.period, period + 86_400)
})

t.test('a refusal by the upstream is reported with its code and never with the password', async t => {
  const { partsOf, make } = await startProvisioning(t)
  const { runCommand: run } = partsOf()
  t.match(await faultOfAsync(() => make().ensureUser({ ...orders, roles: [{ role: 'nonsense', db: 'app' }] })), {
    kind: 'provision/failed',
    facts: { code: 31, errmsg: /nonsense@app/ },
  })
  const quoting: AdminClient['runCommand'] = async (command, db) =>
    'createUser' in command ? { ok: 0, code: 13, errmsg: `no: ${command.pwd}` } : run(command, db)
  t.match(await faultOfAsync(() => make({ runCommand: quoting }).ensureUser(orders)), {
    kind: 'provision/failed',
    facts: { code: 13, errmsg: undefined },
  })
  const stopping: AdminClient['runCommand'] = async () => ({ ok: 0, code: 11600, errmsg: 'interrupted at shutdown' })
  t.equal((await faultOfAsync(() => make({ runCommand: stopping }).ensureUser(orders)))?.kind, 'upstream/unreachable')
})

t.test('the cache of principals is bounded', async t => {
  const { make, ran } = await startProvisioning(t)
  const provisioner = make({ maxPrincipals: 2 })
  for (const name of ['a', 'b', 'c']) await provisioner.ensureUser({ arn: arnOf(name), roles: reads })
  ran.length = 0
  await provisioner.ensureUser({ arn: arnOf('c'), roles: reads })
  t.same(ran, [])
  await provisioner.ensureUser({ arn: arnOf('a'), roles: reads })
  t.same(ran, ['usersInfo'])
})

const GRACE_MS = 6_000

/** Provisions the principal with these roles, then makes every command of the administrator fail as `failure` says. */
async function startFailing(t: Test, roles = writes) {
  const scene = await startProvisioning(t)
  const { runCommand: run } = scene.partsOf()
  const upstream = { failure: undefined as Document | Fault | undefined, losesReplies: false }
  const lines: unknown[][] = []
  const failures: FaultKind[] = []
  const provisioner = scene.make({
    runCommand: async (command, db) => {
      if (upstream.failure instanceof Fault) throw upstream.failure
      if (upstream.failure && !('usersInfo' in command)) return upstream.failure
      const reply = await run(command, db)
      if (upstream.losesReplies && 'updateUser' in command) throw new Fault('upstream/unreachable')
      return reply
    },
    log: (...line: unknown[]) => void lines.push(line),
    onSyncFailure: kind => failures.push(kind),
  })
  await provisioner.ensureUser({ ...orders, roles })
  lines.length = 0
  /** Whether the principal is overdue at this time. */
  const note = (getRoles: RoleLookup, now: number): boolean => {
    provisioner.noteReductions(getRoles, { now, graceMS: GRACE_MS })
    return provisioner.isOverdue(orders.arn)
  }
  return { ...scene, provisioner, upstream, lines, failures, note }
}

const refusal = { ok: 0, code: 13, codeName: 'Unauthorized', errmsg: 'not authorized to execute command' }

t.test('roles that MongoDB does not take away in time are overdue until it does', async t => {
  for (const [what, failure] of [
    ['a lost privilege', refusal],
    ['an unreachable administrator', new Fault('upstream/unreachable')],
  ] as const) {
    const { provisioner, upstream, lines, failures, note, clock, stored } = await startFailing(t)
    const getRoles = () => reads
    upstream.failure = failure
    t.equal(note(getRoles, 0), false)
    t.equal(provisioner.unrevokedCount, 1)
    for (const now of [0, 2_000, 4_000]) {
      clock.now += 2_000
      await provisioner.syncRoles(getRoles)
      t.equal(note(getRoles, now), false, what)
    }
    const kind = failure instanceof Fault ? failure.kind : 'provision/failed'
    t.same(failures, [kind, kind, kind], 'each failed sync is counted')
    t.match(lines, [['error', 'provisioning failed', { fault: kind, arn: orders.arn }]], 'and logged once')
    t.equal(provisioner.findOverdue(orders.arn), undefined)
    t.equal(note(getRoles, GRACE_MS), true)
    t.equal(provisioner.findOverdue(orders.arn)?.kind, 'provision/overdue')
    t.match(lines[1], ['error', 'roles not revoked', { fault: 'provision/overdue', roles: ['readWrite@app'] }])
    t.equal(note(getRoles, GRACE_MS + 1), true)
    t.equal(lines.length, 2, 'logged once')
    t.same(failures.slice(3), ['provision/overdue'])
    upstream.failure = undefined
    clock.now += 2_000
    await provisioner.syncRoles(getRoles)
    t.same((await stored('orders'))?.roles, reads)
    t.equal(provisioner.findOverdue(orders.arn), undefined)
    t.equal(note(getRoles, 20_000), false)
    t.equal(provisioner.unrevokedCount, 0)
  }
})

t.test('roles of a change whose reply was lost are taken away again', async t => {
  for (const hasReturned of ['by sync', 'at a login', 'never'] as const) {
    const { provisioner, upstream, note, clock, stored } = await startFailing(t, reads)
    upstream.losesReplies = true
    await provisioner.syncRoles(() => writes)
    t.same((await stored('orders'))?.roles, writes, 'MongoDB has applied the change')
    const getRoles = () => [...reads]
    clock.now += 2_000
    upstream.losesReplies = false
    if (hasReturned === 'never') {
      upstream.failure = new Fault('upstream/unreachable')
      await provisioner.syncRoles(getRoles)
      t.equal(note(getRoles, 0), false)
      t.equal(note(getRoles, GRACE_MS), true, 'the user may still write')
      continue
    }
    if (hasReturned === 'by sync') await provisioner.syncRoles(getRoles)
    else await provisioner.ensureUser(orders)
    t.same((await stored('orders'))?.roles, reads, hasReturned)
    t.equal(note(getRoles, GRACE_MS), false)
    t.equal(provisioner.unrevokedCount, 0)
  }
})

t.test('a change that MongoDB refused leaves nothing to take away', async t => {
  const { provisioner, upstream, note, clock } = await startFailing(t, reads)
  upstream.failure = refusal
  await provisioner.syncRoles(() => writes)
  clock.now += 2_000
  const getRoles = () => [...reads]
  await provisioner.syncRoles(getRoles) // reads the user, which has these roles
  t.equal(note(getRoles, 0), false)
  t.equal(note(getRoles, GRACE_MS), false)
  t.equal(provisioner.unrevokedCount, 0)
})

t.test('only a loss of roles becomes overdue', async t => {
  const { provisioner, upstream, note } = await startFailing(t, reads)
  upstream.failure = refusal
  const decisions: (readonly Role[])[] = [
    writes,
    [...reads],
    [...reads, { role: 'read', db: 'other' }],
    [{ role: 'readAnyDatabase', db: 'admin' }],
  ]
  for (const roles of decisions) {
    t.equal(
      note(() => roles, 0),
      false,
    )
    t.equal(
      note(() => roles, GRACE_MS),
      false,
    )
    t.equal(provisioner.unrevokedCount, 0)
  }
  const unknown = () => {
    throw new Fault('users/unreadable', undefined, { why: 'x' })
  }
  t.equal(note(unknown, 0), false, 'roles that cannot be known are not lost')
  t.equal(note(unknown, GRACE_MS), false)
})

t.test('another change does not extend the time, and roles that are granted again end it', async t => {
  const { provisioner, upstream, note } = await startFailing(t)
  upstream.failure = refusal
  note(() => reads, 0)
  t.equal(
    note(() => [{ role: 'read', db: 'app', collection: 'c' }], GRACE_MS),
    true,
  )
  t.equal(
    note(() => [...writes], GRACE_MS + 1),
    false,
  )
  t.equal(provisioner.findOverdue(orders.arn), undefined)
  note(() => reads, GRACE_MS + 2)
  t.equal(
    note(() => reads, GRACE_MS + 3),
    false,
    'a later loss has its own time',
  )
})

t.test('a user whose mark was changed keeps its roles, which is reported', async t => {
  for (const getRoles of [() => reads, () => undefined]) {
    const { provisioner, failures, lines, note, client, stored, clock } = await startFailing(t)
    await client.db(DATABASE).command({ updateUser: orders.arn, customData: { note: 'mine' } })
    note(getRoles, 0)
    for (let round = 0; round < 2; round++) {
      clock.now += 2_000
      await provisioner.syncRoles(getRoles)
    }
    t.same(failures, ['provision/conflict', 'provision/conflict'])
    t.match(lines, [['error', 'provisioning failed', { fault: 'provision/conflict', user: orders.arn }]])
    t.equal(note(getRoles, GRACE_MS), true)
    t.same((await stored('orders'))?.roles, writes)
    await client.db(DATABASE).command({ dropUser: orders.arn })
    clock.now += 2_000
    await provisioner.syncRoles(getRoles)
    t.equal(provisioner.unrevokedCount, 0, 'the DBA has dropped it')
  }
})

t.test('sync takes roles away first, and stops at an administrator that is unreachable', async t => {
  const { provisioner, upstream, failures, note, clock } = await startFailing(t)
  const names = ['a', 'b', 'c', 'd', 'e']
  for (const name of names) await provisioner.ensureUser({ arn: arnOf(name), roles: reads })
  const getRoles = (arn: string) => (arn === orders.arn ? reads : writes)
  note(getRoles, 0)
  upstream.failure = new Fault('upstream/unreachable')
  await provisioner.syncRoles(getRoles)
  t.ok(failures.length <= 2, 'the others would only wait for the same timeout')
  upstream.failure = refusal
  clock.now += 2_000
  failures.length = 0
  await provisioner.syncRoles(getRoles)
  t.equal(failures.length, 6)
})

t.test('principals with sessions stay in the cache', async t => {
  const { make, stored } = await startProvisioning(t)
  const provisioner = make({ maxPrincipals: 2 })
  await provisioner.ensureUser({ ...orders, roles: writes })
  for (const name of ['a', 'b', 'c']) {
    await provisioner.ensureUser({ arn: arnOf(name), roles: reads })
    await provisioner.syncRoles(arn => (arn === orders.arn ? writes : reads), [orders.arn])
  }
  await provisioner.syncRoles(() => reads)
  t.same((await stored('orders'))?.roles, reads)
})

t.test('a decision that changes while MongoDB is being changed takes effect after that', async t => {
  const { make, partsOf, stored } = await startProvisioning(t)
  const { runCommand: run } = partsOf()
  let release = (): void => {}
  let begun = (): void => {}
  const began = new Promise<void>(resolve => {
    begun = resolve
  })
  const provisioner = make({
    runCommand: async (command, db) => {
      if ('updateUser' in command && command.roles[0].role === 'dbAdmin') {
        begun()
        await new Promise<void>(resolve => {
          release = resolve
        })
      }
      return run(command, db)
    },
  })
  await provisioner.ensureUser({ ...orders, roles: writes })
  let roles: readonly Role[] = [{ role: 'dbAdmin', db: 'app' }]
  const first = provisioner.syncRoles(() => roles)
  await began
  roles = reads
  const second = provisioner.syncRoles(() => roles)
  release()
  await Promise.all([first, second])
  t.same((await stored('orders'))?.roles, reads)
})

t.test('a user is not dropped if it is needed again meanwhile', async t => {
  const { provisioner, stored } = await startFailing(t)
  let roles: readonly Role[] | undefined
  let isFirst = true
  const getRoles = () => {
    const now = roles
    if (isFirst) roles = writes // while the task waits
    isFirst = false
    return now
  }
  await provisioner.syncRoles(getRoles)
  t.same((await stored('orders'))?.roles, writes)
})
