import { randomBytes } from 'node:crypto'
import type { Document } from 'bson'
import t, { type Test } from 'tap'
import { startMongoServer } from '../../sandbox/src/mongo/server.js'
import { Fault, type FaultKind } from '../../src/errors.js'
import { canonicalizeArn, parseArn } from '../../src/identity/arn.js'
import { createLog, Secret } from '../../src/log.js'
import { listFeatures } from '../../src/provisioning/privileges.js'
import { createAdminClient } from '../../src/upstream/admin.js'
import { Directory } from '../../src/users/directory.js'
import { createManualClock } from '../support/clock.js'
import { faultOf, faultOfAsync } from '../support/faults.js'

const A = '123456789012'
const B = '210987654321'
const REFRESH_MS = 2_000
const principalOf = (text: string) => {
  const arn = parseArn(text)
  return { canonical: arn ? canonicalizeArn(arn) : text }
}
const alice = principalOf(`arn:aws:iam::${A}:user/alice`)
const session = principalOf(`arn:aws:sts::${A}:assumed-role/R/any`)
const user = (name: string, fields: Document = {}): Document => ({
  _id: `$external.${name}`,
  user: name,
  db: '$external',
  roles: [{ role: 'read', db: 'app' }],
  ...fields,
})

/** A directory in front of a scripted upstream, which answers with `users` or with `failure`. */
function createScripted(t: Test, ...users: Document[]) {
  const clock = createManualClock()
  const lines: { event: string; warning?: string; why?: string }[] = []
  const commands: Document[] = []
  const upstream = {
    users,
    failure: undefined as Document | Fault | undefined,
    hold: Promise.resolve(),
    buildInfo: { version: '8.0.0' } as Document,
  }
  const counts: number[] = []
  const entries: (string[] | undefined)[][] = []
  const directory = new Directory({
    onEntries: (before, after) => void entries.push([before && [...before.keys()], [...after.keys()]]),
    onInvalidCount: count => counts.push(count),
    partition: 'aws',
    runCommand: async command => {
      if ('buildInfo' in command) return { ok: 1, ...upstream.buildInfo }
      commands.push(command)
      const { users } = upstream
      await upstream.hold
      if (upstream.failure instanceof Fault) throw upstream.failure
      if (upstream.failure) return upstream.failure
      const { filter, limit } = command
      const names = filter.user?.$in ?? (typeof filter.user === 'string' ? [filter.user] : undefined)
      const fits = ({ user }: Document): boolean =>
        names
          ? names.some((name: string | RegExp) => (name instanceof RegExp ? name.test(user) : name === user))
          : filter.user === undefined || user > filter.user.$gt
      const batch = users.filter(fits).sort((a, b) => (a.user < b.user ? -1 : 1))
      return { cursor: { firstBatch: batch.slice(0, limit), id: 0, ns: 'admin.system.users' }, ok: 1 }
    },
    refreshMS: REFRESH_MS,
    ...clock,
    log: createLog('info', { write: line => lines.push(JSON.parse(line)) }),
  })
  t.teardown(() => directory.close())
  const settle = () => new Promise(resolve => setImmediate(resolve))
  return {
    counts,
    entries,
    directory,
    clock,
    lines,
    commands,
    upstream,
    settle,
    /** Runs the next read, after the refresh time. */
    async refresh() {
      clock.advance(REFRESH_MS)
      await settle()
    },
    /** The roles of a login. */
    roles: async (identity = alice) => {
      const match = await directory.match(identity, '10.0.0.1')
      return match && 'roles' in match.grant
        ? match.grant.roles.map(({ role, db }) => `${role}@${db}`).join()
        : undefined
    },
    /** The fault of a login. */
    faultKind: async (identity = alice): Promise<FaultKind | undefined> =>
      (await faultOfAsync(async () => directory.match(identity, '10.0.0.1')))?.kind,
  }
}

t.test('the users of $external are read with read concern majority and without their credentials', async t => {
  const { directory, commands } = createScripted(t)
  await directory.start()
  t.match(commands, [
    {
      find: 'system.users',
      filter: { db: '$external' },
      projection: { credentials: 0 },
      readConcern: { level: 'majority' },
    },
  ])
})

t.test('each read that differs is reported with the users of the one before', async t => {
  const { directory, upstream, entries, refresh } = createScripted(t, user(alice.canonical))
  await directory.start()
  await refresh()
  upstream.failure = { ok: 0, errmsg: 'no', code: 1 }
  await refresh()
  upstream.failure = undefined
  upstream.users = [user('CN=app')]
  await refresh()
  t.same(entries, [
    [undefined, [alice.canonical]],
    [[alice.canonical], ['CN=app']],
  ])
})

t.test('the directory of FerretDB 2 is unreadable, whatever its collection contains', async t => {
  const { directory, upstream, faultKind, lines, refresh, roles } = createScripted(t, user(alice.canonical))
  upstream.buildInfo = { version: '7.0.77', ferretdb: { version: 'v2.5.0' } }
  await directory.start()
  t.equal(await faultKind(), 'users/unreadable')
  t.match(lines, [{ event: 'directory unreadable', why: 'the upstream is FerretDB 2, which has no $external users' }])
  upstream.buildInfo = { version: '8.0.0' }
  await refresh()
  t.equal(await roles(), 'read@app', 'another server may answer at this address later')
})

t.test('a principal has the roles of its directory user in every spelling', async t => {
  for (const p of ['aws', 'aws-cn', 'aws-us-gov']) {
    for (const [entry, said] of [
      [`arn:${p}:iam::${A}:user/alice`, `arn:${p}:iam::${A}:user/alice`],
      [`arn:${p}:iam::${A}:user/team/alice`, `arn:${p}:iam::${A}:user/team/alice`],
      [`arn:${p}:iam::${A}:role/R`, `arn:${p}:sts::${A}:assumed-role/R/any`],
      [`arn:${p}:iam::${A}:role/a/path/R`, `arn:${p}:sts::${A}:assumed-role/R/any`],
      [`arn:${p}:sts::${A}:assumed-role/R/*`, `arn:${p}:sts::${A}:assumed-role/R/any`],
      [`arn:${p}:sts::${A}:assumed-role/R`, `arn:${p}:sts::${A}:assumed-role/R/any`],
      [`arn:${p}:sts::${A}:federated-user/carol`, `arn:${p}:sts::${A}:federated-user/carol`],
    ] as const) {
      const read = createScripted(t, user(entry))
      await read.directory.start()
      t.match(
        read.directory.match(principalOf(said), ''),
        { decidedBy: { directoryUser: entry }, grant: { roles: [{ role: 'read', db: 'app' }] } },
        entry,
      )
      const late = createScripted(t)
      await late.directory.start()
      late.upstream.users = [user(entry)]
      t.equal(await late.roles(principalOf(said)), 'read@app', `${entry}, created after the read`)
    }
  }
})

t.test('a principal that differs in account, partition, case, kind, path or session name has no match', async t => {
  const { directory, roles } = createScripted(
    t,
    user(`arn:aws:iam::${A}:role/R`),
    user(`arn:aws:iam::${A}:user/alice`),
    user(`arn:aws:iam::${A}:role/admin`),
    user(`arn:aws:iam::${A}:user/*`),
    user(`arn:aws:iam::${A}:role/a.c`),
  )
  await directory.start()
  for (const said of [
    `arn:aws:sts::${B}:assumed-role/R/any`,
    `arn:aws-cn:sts::${A}:assumed-role/R/any`,
    `arn:aws:sts::${A}:assumed-role/r/any`,
    `arn:aws:iam::${A}:user/R`,
    `arn:aws:iam::${A}:user/x/alice`,
    `arn:aws:sts::${A}:assumed-role/reader/admin`,
    `arn:aws:sts::${A}:assumed-role/reader/alice`,
    `arn:aws:sts::${A}:assumed-role/abc/any`,
    `arn:aws:iam::${A}:root`,
  ]) {
    t.equal(await roles(principalOf(said)), undefined, said)
  }
})

t.test('users that are not principals are skipped, and a user that names a session causes a warning', async t => {
  const { directory, roles, lines, commands } = createScripted(
    t,
    user('CN=alice,OU=people'),
    user(`arn:aws:sts::${A}:assumed-role/R/admin`),
    user(`arn:aws:iam::${A}:role/*`),
  )
  await directory.start()
  t.equal(await roles(session), undefined)
  t.match(lines, [
    { event: 'directory entry invalid', warning: /role\/\*" is ignored: its name contains \*/ },
    { event: 'directory entry invalid', warning: /names a session.*name arn:aws:iam::123456789012:role\/R instead$/ },
  ])
  t.equal(commands.length, 2)
})

t.test('two users for one principal refuse that principal and no other', async t => {
  const names = [`arn:aws:iam::${A}:role/a/R`, `arn:aws:iam::${A}:role/b/R`, `arn:aws:sts::${A}:assumed-role/R/*`]
  const one = createScripted(t, user(alice.canonical), ...names.map(name => user(name)))
  await one.directory.start()
  const fault = faultOf(() => one.directory.match(session, ''))
  t.equal(fault?.kind, 'users/ambiguous')
  t.equal(fault?.definition.reply?.code, 262)
  t.same(fault?.facts.directoryUsers, names)
  t.equal(faultOf(() => one.directory.matchLastRead(session))?.kind, 'users/ambiguous')
  t.equal(await one.roles(), 'read@app')
  t.match(one.lines, [
    { event: 'directory entry invalid', warning: /role\/R is refused: several users of \$external are this principal/ },
  ])
  await one.refresh()
  t.equal(one.lines.length, 1, 'the warning is logged once')
  const late = createScripted(t)
  await late.directory.start()
  late.upstream.users = one.upstream.users
  t.equal(await late.faultKind(session), 'users/ambiguous')
})

t.test('an unreadable user refuses its principal and no other', async t => {
  const restricted = (authenticationRestrictions: unknown) => ({ authenticationRestrictions })
  for (const fields of [
    { roles: 'read' },
    { roles: [{ role: 'read' }] },
    { roles: undefined },
    restricted('10.0.0.0/8'),
    restricted(['10.0.0.0/8']),
    restricted([{ clientSource: '10.0.0.0/8' }]),
    restricted([{ clientSource: ['home'] }]),
    restricted([{ clientSource: ['10.0.0.0/8'], another: 1 }]),
    restricted([[]]),
    restricted([new Date(0)]),
    restricted([{ clientSource: ['10.0.0.0/8'] }, []]),
  ]) {
    const one = createScripted(t, user(alice.canonical, fields), user(`arn:aws:iam::${A}:role/R`))
    await one.directory.start()
    t.equal(await one.faultKind(), 'users/unreadable', JSON.stringify(fields))
    t.equal(await one.roles(session), 'read@app')
  }
})

t.test('one restriction has to be met, and a restriction by server address never is', async t => {
  for (const [restrictions, networks] of [
    [[], undefined],
    [[{ clientSource: ['10.0.0.0/8', '::1'] }], ['10.0.0.0', '::1']],
    [
      [{ clientSource: ['10.0.0.0/8'] }, { clientSource: ['192.168.0.1'] }],
      ['10.0.0.0', '192.168.0.1'],
    ],
    [[{ clientSource: ['10.0.0.0/8'] }, {}], undefined],
    [[{ clientSource: ['10.0.0.0/8'], serverAddress: ['10.9.9.9'] }], []],
    [[{ serverAddress: ['10.9.9.9'] }, { clientSource: ['10.0.0.0/8'] }], ['10.0.0.0']],
  ] as const) {
    const one = createScripted(t, user(alice.canonical, { authenticationRestrictions: restrictions }))
    await one.directory.start()
    const match = await one.directory.match(alice, '')
    t.same(
      match?.clientSource?.map(list => list.map(({ address }) => address)),
      networks && [networks],
    )
    t.equal(one.lines.length, JSON.stringify(restrictions).includes('server') ? 1 : 0)
  }
})

t.test('a change takes effect with the next read and is announced with the principals concerned', async t => {
  const one = createScripted(t, user(alice.canonical), user(session.canonical))
  await one.directory.start()
  const changes: string[][] = []
  const stop = one.directory.onChange(arns => changes.push([...arns]))
  await one.refresh()
  t.same(changes, [], 'nothing changed')
  one.upstream.users = [user(alice.canonical, { roles: [{ role: 'readWrite', db: 'app' }] }), user(session.canonical)]
  await one.refresh()
  t.same(changes, [[alice.canonical]])
  t.match(one.directory.matchLastRead(alice), { grant: { roles: [{ role: 'readWrite' }] } })
  one.upstream.users = [user(session.canonical)]
  await one.refresh()
  t.equal(one.directory.matchLastRead(alice), undefined, 'dropped')
  t.equal(changes.length, 2)
  stop()
  one.upstream.users = []
  await one.refresh()
  t.equal(changes.length, 2)
})

t.test('a new user is found at once, and a read that began before does not undo it', async t => {
  const one = createScripted(t)
  await one.directory.start()
  let release = () => {}
  one.upstream.hold = new Promise(resolve => {
    release = resolve
  })
  await one.refresh()
  t.equal(one.commands.length, 2, 'a read is in progress')
  one.upstream.hold = Promise.resolve()
  one.upstream.users = [user(alice.canonical)]
  t.equal(await one.roles(), 'read@app')
  release()
  await one.settle()
  t.ok(one.directory.matchLastRead(alice), 'after the older read')
  await one.refresh()
  t.ok(one.directory.matchLastRead(alice))
  one.upstream.users = []
  await one.refresh()
  t.equal(one.directory.matchLastRead(alice), undefined)
})

t.test('concurrent logins of one principal share a lookup that began after their call', async t => {
  const one = createScripted(t)
  await one.directory.start()
  const early = one.roles()
  const late = [one.roles(), one.roles(), one.roles()]
  one.upstream.users = [user(alice.canonical)]
  t.same(await Promise.all(late), ['read@app', 'read@app', 'read@app'])
  await early
  t.equal(one.commands.length, 3, 'a read and two lookups')
})

t.test('a source over the lookup limit waits for the next read', async t => {
  const one = createScripted(t)
  await one.directory.start()
  for (let n = 0; n < 10; n++) t.equal(await one.roles(principalOf(`arn:aws:iam::${A}:user/n${n}`)), undefined)
  one.upstream.users = [user(alice.canonical)]
  const waiting = one.roles()
  await one.settle()
  t.equal(one.commands.length, 11)
  t.equal(
    await one.directory.match(principalOf(`arn:aws:iam::${A}:user/x`), '10.0.0.2'),
    undefined,
    'another source does not wait',
  )
  await one.refresh()
  t.equal(await waiting, 'read@app')
  for (let n = 0; n < 4; n++) await one.roles(principalOf(`arn:aws:iam::${A}:user/m${n}`))
  const refused = one.faultKind(principalOf(`arn:aws:iam::${A}:user/y`))
  one.upstream.failure = new Fault('upstream/unreachable')
  await one.refresh()
  t.equal(await refused, 'users/unreadable')
})

t.test('lookups from many sources do not delay a read, and a login over the total limit waits for it', async t => {
  const one = createScripted(t, user(session.canonical))
  await one.directory.start()
  let release = () => {}
  one.upstream.hold = new Promise(resolve => {
    release = resolve
  })
  const logins = Array.from({ length: 100 }, (_, n) =>
    one.directory.match(principalOf(`arn:aws:iam::${B}:role/r${n}`), `2001:db8:${n}::1`),
  )
  const late = one.roles()
  await one.settle()
  t.equal(one.commands.length, 3, 'a read and two lookups')
  t.equal(await one.roles(session), 'read@app', 'a known principal needs no lookup')
  one.upstream.hold = Promise.resolve()
  one.upstream.users = [user(session.canonical), user(alice.canonical)]
  await one.refresh()
  t.equal(one.commands.length, 4)
  t.equal(await late, 'read@app', 'the read answers principals that were not looked up')
  release()
  t.same(new Set(await Promise.all(logins)), new Set([undefined]))
})

t.test('the addresses of one /64 share a lookup limit', async t => {
  const one = createScripted(t)
  await one.directory.start()
  const login = (n: number) => one.directory.match(principalOf(`arn:aws:iam::${A}:user/n${n}`), `2001:db8::${n}`)
  for (let n = 0; n < 10; n++) await login(n)
  const waiting = login(10)
  await one.settle()
  t.equal(one.commands.length, 11)
  await one.refresh()
  await waiting
})

t.test('a failed read is a problem, which grows when logins are refused for it', async t => {
  const one = createScripted(t, user(alice.canonical))
  t.equal(one.directory.findProblem(), undefined, 'it has not been read yet')
  await one.directory.start()
  t.equal(one.directory.findProblem(), undefined)
  one.upstream.failure = { ok: 0, code: 13, codeName: 'Unauthorized', errmsg: 'no' }
  await one.refresh()
  t.match(one.directory.findProblem(), { why: /./, isStale: false })
  for (let count = 0; count < 3; count += 1) await one.refresh()
  t.match(one.directory.findProblem(), { isStale: true })
  one.upstream.failure = undefined
  await one.refresh()
  t.equal(one.directory.findProblem(), undefined)
})

t.test('while the directory is unreadable new logins fail and open connections keep the last read', async t => {
  for (const failure of [
    new Fault('upstream/unreachable', undefined, { code: 'ECONNREFUSED' }),
    { ok: 0, code: 13, codeName: 'Unauthorized', errmsg: 'not authorized on admin' },
    { ok: 0, code: 18, codeName: 'AuthenticationFailed' },
    { ok: 1, cursor: {} },
    { ok: 1 },
    { ok: 1, cursor: { firstBatch: [{ user: 5, db: '$external' }] } },
    { ok: 1, cursor: { firstBatch: [{ user: 'x', db: 'admin' }] } },
  ]) {
    const one = createScripted(t, user(alice.canonical))
    await one.directory.start()
    let changes = 0
    one.directory.onChange(() => changes++)
    one.upstream.failure = failure
    t.equal(await one.faultKind(session), 'users/unreadable', 'a lookup by name')
    for (let n = 0; n < 3; n++) {
      await one.refresh()
      t.equal(await one.roles(), 'read@app', 'a single failure is not an outage')
    }
    await one.refresh()
    t.equal(await one.faultKind(), 'users/unreadable', 'after three refreshes')
    t.ok(one.directory.matchLastRead(alice), 'the last read stays valid for open connections')
    t.equal(changes, 0)
    t.equal(one.lines.length, 1, 'logged once')
    one.upstream.failure = undefined
    await one.refresh()
    t.equal(await one.roles(), 'read@app')
    t.equal(one.lines.length, 2)
  }
})

t.test('the log tells the missing privilege or the error of the server', async t => {
  const one = createScripted(t)
  one.upstream.failure = { ok: 0, code: 13, codeName: 'Unauthorized', errmsg: 'not authorized on admin' }
  await one.directory.start()
  t.match(one.lines[0]?.why, /the user of upstream.admin lacks find on admin.system.users$/)
  one.upstream.failure = { ok: 0, code: 18, codeName: 'AuthenticationFailed', errmsg: 'Authentication failed.' }
  await one.refresh()
  t.match(one.lines[1]?.why, /18 AuthenticationFailed/)
})

t.test('a login waits for the first read, and fails as unreadable if that read fails', async t => {
  const one = createScripted(t, user(alice.canonical))
  t.equal(faultOf(() => one.directory.matchLastRead(alice))?.kind, 'users/unreadable')
  const first = one.directory.start()
  const match = one.roles()
  await first
  t.equal(await match, 'read@app')
  const other = createScripted(t, user(alice.canonical))
  other.upstream.failure = new Fault('upstream/unreachable')
  await other.directory.start()
  t.equal(await other.faultKind(), 'users/unreadable')
  t.equal(faultOf(() => other.directory.matchLastRead(alice))?.kind, 'users/unreadable')
})

t.test('thousands of users are read page by page', async t => {
  const names = Array.from({ length: 2_500 }, (_, n) => user(`arn:aws:iam::${A}:user/u${n}`))
  const one = createScripted(t, ...names)
  await one.directory.start()
  t.equal(one.commands.length, 3)
  for (const n of [0, 999, 1000, 2499]) t.ok(one.directory.matchLastRead(principalOf(`arn:aws:iam::${A}:user/u${n}`)))
})

t.test('a directory of more than 64 MB is unreadable', async t => {
  const one = createScripted(t)
  let asked = 0
  const endless = new Directory({
    runCommand: async command => {
      if ('buildInfo' in command) return { ok: 1 }
      const customData = Buffer.alloc(9_000_000)
      return { cursor: { firstBatch: [user(`arn:aws:iam::${A}:user/u${asked++}`, { customData })] }, ok: 1 }
    },
    refreshMS: REFRESH_MS,
    ...one.clock,
    log: createLog('silent'),
  })
  t.teardown(() => endless.close())
  await endless.start()
  t.equal(asked, 8)
  t.match(faultOf(() => endless.matchLastRead(alice))?.facts.why, /more than 64000000 bytes/)
})

t.test('a closed directory runs no commands', async t => {
  const one = createScripted(t)
  await one.directory.start()
  one.directory.close()
  await one.refresh()
  t.equal(one.commands.length, 1)
})

t.test('a user with only the privilege of the directory can read it', async t => {
  const root = { name: 'root', password: 'of the server' }
  const mongo = await startMongoServer({ now: Date.now, random: randomBytes, root })
  t.teardown(() => mongo.close())
  const superuser = createAdminClient(new Secret(mongo.uri))
  t.teardown(() => superuser.close())
  const [, privileges] = listFeatures('any').find(([feature]) => feature === 'directory') ?? []
  await superuser.runCommand({ createRole: 'reader', privileges, roles: [] })
  await superuser.runCommand({ createUser: 'reader', pwd: 'of the reader', roles: ['reader'] })
  await superuser.runCommand({ createUser: 'nobody', pwd: 'of the reader', roles: [] })
  const made = `arn:aws:iam::${A}:role/team/R`
  await superuser.runCommand({ createUser: made, roles: [{ role: 'read', db: 'app' }] }, '$external')
  const as = (name: string) => {
    const own = createAdminClient(new Secret(mongo.uri.replace(/root:[^@]*@/, `${name}:of%20the%20reader@`)))
    const one = new Directory({
      runCommand: own.runCommand,
      refreshMS: REFRESH_MS,
      ...createManualClock(),
      log: createLog('silent'),
    })
    t.teardown(async () => {
      one.close()
      await own.close()
    })
    return one
  }
  const reader = as('reader')
  await reader.start()
  t.match(reader.matchLastRead(session), {
    decidedBy: { directoryUser: made },
    grant: { roles: [{ role: 'read', db: 'app' }] },
  })
  t.equal(await reader.match(alice, ''), undefined)
  await superuser.runCommand({ createUser: alice.canonical, roles: [] }, '$external')
  await superuser.runCommand({ createUser: `arn:aws:iam::${A}:role/late/L`, roles: [] }, '$external')
  t.match(await reader.match(alice, ''), { grant: { roles: [] } })
  t.match(await reader.match(principalOf(`arn:aws:sts::${A}:assumed-role/L/any`), ''), { grant: { roles: [] } })
  const unauthorized = as('nobody')
  await unauthorized.start()
  t.equal((await faultOfAsync(async () => unauthorized.match(alice, '')))?.kind, 'users/unreadable')
})

t.test('a name that was meant as an ARN is reported once until it changes', async t => {
  const wrong = `arn:aws:iam::${A}:roles/app`
  const { directory, lines, upstream, refresh, counts } = createScripted(t, user(wrong), user('CN=alice'))
  await directory.start()
  t.match(lines, [
    {
      event: 'directory entry invalid',
      warning: /^the user "arn:.*:roles\/app" is ignored: its name is not the ARN of a principal: it says roles/,
    },
  ])
  await refresh()
  upstream.users = [user(wrong), user(alice.canonical)]
  await refresh()
  t.equal(lines.length, 1, 'other users may change')
  upstream.users = [user(`arn:aws:sts::${A}:role/app`)]
  await refresh()
  t.match(lines[1], {
    warning:
      /:role\/app" is ignored: its name is not the ARN of a principal: it is a role of sts; write arn:PARTITION:iam/,
  })
  upstream.users = [user(wrong)]
  await refresh()
  t.equal(lines.length, 3, 'a name that comes back is reported again')
  upstream.users = []
  await refresh()
  t.same(counts, [1, 1, 1, 1, 0])
})

t.test('ten thousand malformed names give a bounded number of lines', async t => {
  const names = Array.from({ length: 10_000 }, (_, index) => `arn:aws:iam::${A}:roles/app-${index}`)
  const { directory, lines, refresh, upstream, counts } = createScripted(t, ...names.map(name => user(name)))
  await directory.start()
  t.equal(lines.length, 51)
  t.match(lines.at(-1), { warning: '9950 more users of $external do not do what their names suggest' })
  t.same(counts, [10_000])
  upstream.users = [...upstream.users, user(alice.canonical)]
  await refresh()
  t.equal(lines.length, 51)
})

t.test('a user of another partition is reported, because no STS host names such a principal', async t => {
  const { directory, lines } = createScripted(
    t,
    user(`arn:aws-cn:iam::${A}:role/R`),
    user(`arn:aws:iam::${A}:user/a*/b`),
  )
  await directory.start()
  t.match(lines, [
    { warning: /role\/R is of the partition aws-cn, and the hosts of sts\.hosts name principals of aws only/ },
    { warning: /user\/a\*\/b contains \*, which stands for itself/ },
  ])
})
