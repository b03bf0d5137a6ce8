import { randomBytes } from 'node:crypto'
import type { Document } from 'bson'
import t, { type Test } from 'tap'
import { mongoServer } from '../../sandbox/src/mongo/server.js'
import { Fault, type FaultKind } from '../../src/errors.js'
import { canonicalizeArn, parseArn } from '../../src/identity/arn.js'
import { createLog, Secret } from '../../src/log.js'
import { listFeatures } from '../../src/provisioning/privileges.js'
import { createAdminClient } from '../../src/upstream/admin.js'
import { createDirectory } from '../../src/users/directory.js'
import { createManualClock } from '../support/clock.js'
import { faultOf, faultOfAsync } from '../support/faults.js'

const A = '123456789012'
const B = '210987654321'
const REFRESH = 2_000
const who = (said: string) => {
  const arn = parseArn(said)
  return { canonical: arn ? canonicalizeArn(arn) : said }
}
const alice = who(`arn:aws:iam::${A}:user/alice`)
const session = who(`arn:aws:sts::${A}:assumed-role/R/any`)
const user = (name: string, fields: Document = {}): Document => ({
  _id: `$external.${name}`,
  user: name,
  db: '$external',
  roles: [{ role: 'read', db: 'app' }],
  ...fields,
})

/** A directory before an upstream of which a test decides what it answers: users, or something to throw. */
function scripted(t: Test, ...users: Document[]) {
  const clock = createManualClock()
  const lines: { event: string; warning?: string }[] = []
  const asked: Document[] = []
  const answers = { users, wrong: undefined as Document | Fault | undefined, hold: Promise.resolve() }
  const one = createDirectory({
    runCommand: async command => {
      asked.push(command)
      const { users } = answers
      await answers.hold
      if (answers.wrong instanceof Fault) throw answers.wrong
      if (answers.wrong) return answers.wrong
      const { filter, limit } = command
      const names = filter.user?.$in ?? (typeof filter.user === 'string' ? [filter.user] : undefined)
      const fits = ({ user }: Document): boolean =>
        names
          ? names.some((name: string | RegExp) => (name instanceof RegExp ? name.test(user) : name === user))
          : filter.user === undefined || user > filter.user.$gt
      const batch = users.filter(fits).sort((a, b) => (a.user < b.user ? -1 : 1))
      return { cursor: { firstBatch: batch.slice(0, limit), id: 0, ns: 'admin.system.users' }, ok: 1 }
    },
    refreshMS: REFRESH,
    ...clock,
    log: createLog('info', { write: line => lines.push(JSON.parse(line)) }),
  })
  t.teardown(() => one.close())
  const settled = () => new Promise(resolve => setImmediate(resolve))
  return {
    ...one,
    clock,
    lines,
    asked,
    answers,
    settled,
    /** The next reading, after the refresh time. */
    async again() {
      clock.advance(REFRESH)
      await settled()
    },
    roles: async (identity = alice) => {
      const match = await one.match(identity, '10.0.0.1')
      return match && 'roles' in match.grant
        ? match.grant.roles.map(({ role, db }) => `${role}@${db}`).join()
        : undefined
    },
    fault: async (identity = alice): Promise<FaultKind | undefined> =>
      (await faultOfAsync(async () => one.match(identity, '10.0.0.1')))?.kind,
  }
}

t.test('the users of $external are asked for without their credentials, as the majority has them', async t => {
  const { start, asked } = scripted(t)
  await start()
  t.match(asked, [
    {
      find: 'system.users',
      filter: { db: '$external' },
      projection: { credentials: 0 },
      readConcern: { level: 'majority' },
    },
  ])
})

t.test('a principal has the roles of its entry, in whatever spelling', async t => {
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
      const read = scripted(t, user(entry))
      await read.start()
      t.match(
        read.match(who(said), ''),
        { decidedBy: { directoryUser: entry }, grant: { roles: [{ role: 'read', db: 'app' }] } },
        entry,
      )
      const late = scripted(t)
      await late.start()
      late.answers.users = [user(entry)]
      t.equal(await late.roles(who(said)), 'read@app', `${entry}, made after the reading`)
    }
  }
})

t.test(
  'somebody else is a stranger: of another account, partition, case, kind, path, or named like a session',
  async t => {
    const { start, roles } = scripted(
      t,
      user(`arn:aws:iam::${A}:role/R`),
      user(`arn:aws:iam::${A}:user/alice`),
      user(`arn:aws:iam::${A}:role/admin`),
      user(`arn:aws:iam::${A}:user/*`),
      user(`arn:aws:iam::${A}:role/a.c`),
    )
    await start()
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
      t.equal(await roles(who(said)), undefined, said)
    }
  },
)

t.test(
  'users that are no principals are passed over, and one that names a session decides nothing and is told',
  async t => {
    const { start, roles, lines, asked } = scripted(
      t,
      user('CN=alice,OU=people'),
      user(`arn:aws:sts::${A}:assumed-role/R/admin`),
      user(`arn:aws:iam::${A}:role/*`),
    )
    await start()
    t.equal(await roles(session), undefined)
    t.match(lines, [
      { event: 'directory entry invalid', warning: /names one session.*name arn:aws:iam::123456789012:role\/R$/ },
    ])
    t.equal(asked.length, 2)
  },
)

t.test('two entries that are the same principal refuse it, and it alone', async t => {
  const names = [`arn:aws:iam::${A}:role/a/R`, `arn:aws:iam::${A}:role/b/R`, `arn:aws:sts::${A}:assumed-role/R/*`]
  const one = scripted(t, user(alice.canonical), ...names.map(name => user(name)))
  await one.start()
  const fault = faultOf(() => one.match(session, ''))
  t.equal(fault?.kind, 'users/ambiguous')
  t.equal(fault?.definition.reply?.code, 262)
  t.same(fault?.facts.entries, names)
  t.equal(faultOf(() => one.matchLastRead(session))?.kind, 'users/ambiguous')
  t.equal(await one.roles(), 'read@app')
  t.match(one.lines, [{ event: 'directory entry invalid', warning: /role\/R is refused: it has several entries/ }])
  await one.again()
  t.equal(one.lines.length, 1, 'which is said once')
  const late = scripted(t)
  await late.start()
  late.answers.users = one.answers.users
  t.equal(await late.fault(session), 'users/ambiguous')
})

t.test('an entry that cannot be read refuses its principal, and it alone', async t => {
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
    const one = scripted(t, user(alice.canonical, fields), user(`arn:aws:iam::${A}:role/R`))
    await one.start()
    t.equal(await one.fault(), 'users/unreadable', JSON.stringify(fields))
    t.equal(await one.roles(session), 'read@app')
  }
})

t.test('restrictions: one of them has to be met, and that of a server address never is', async t => {
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
    const one = scripted(t, user(alice.canonical, { authenticationRestrictions: restrictions }))
    await one.start()
    const match = await one.match(alice, '')
    t.same(
      match?.clientSource?.map(list => list.map(({ address }) => address)),
      networks && [networks],
    )
    t.equal(one.lines.length, JSON.stringify(restrictions).includes('server') ? 1 : 0)
  }
})

t.test('a change is felt with the next reading, and told with who it is about', async t => {
  const one = scripted(t, user(alice.canonical), user(session.canonical))
  await one.start()
  const changes: string[][] = []
  const stop = one.onChange(arns => changes.push([...arns]))
  await one.again()
  t.same(changes, [], 'nothing changed')
  one.answers.users = [user(alice.canonical, { roles: [{ role: 'readWrite', db: 'app' }] }), user(session.canonical)]
  await one.again()
  t.same(changes, [[alice.canonical]])
  t.match(one.matchLastRead(alice), { grant: { roles: [{ role: 'readWrite' }] } })
  one.answers.users = [user(session.canonical)]
  await one.again()
  t.equal(one.matchLastRead(alice), undefined, 'dropped')
  t.equal(changes.length, 2)
  stop()
  one.answers.users = []
  await one.again()
  t.equal(changes.length, 2)
})

t.test('a user just made is found at once, and a reading that began before does not undo it', async t => {
  const one = scripted(t)
  await one.start()
  let release = () => {}
  one.answers.hold = new Promise(resolve => {
    release = resolve
  })
  await one.again()
  t.equal(one.asked.length, 2, 'a reading is underway')
  one.answers.hold = Promise.resolve()
  one.answers.users = [user(alice.canonical)]
  t.equal(await one.roles(), 'read@app')
  release()
  await one.settled()
  t.ok(one.matchLastRead(alice), 'after the older reading')
  await one.again()
  t.ok(one.matchLastRead(alice))
  one.answers.users = []
  await one.again()
  t.equal(one.matchLastRead(alice), undefined)
})

t.test('many who ask for one share an answer that is younger than their question', async t => {
  const one = scripted(t)
  await one.start()
  const early = one.roles()
  const late = [one.roles(), one.roles(), one.roles()]
  one.answers.users = [user(alice.canonical)]
  t.same(await Promise.all(late), ['read@app', 'read@app', 'read@app'])
  await early
  t.equal(one.asked.length, 3, 'a reading and two questions')
})

t.test('who asks too often waits for the next reading, and is answered by it', async t => {
  const one = scripted(t)
  await one.start()
  for (let n = 0; n < 10; n++) t.equal(await one.roles(who(`arn:aws:iam::${A}:user/n${n}`)), undefined)
  one.answers.users = [user(alice.canonical)]
  const waiting = one.roles()
  await one.settled()
  t.equal(one.asked.length, 11)
  t.equal(await one.match(who(`arn:aws:iam::${A}:user/x`), '10.0.0.2'), undefined, 'another source need not wait')
  await one.again()
  t.equal(await waiting, 'read@app')
  for (let n = 0; n < 4; n++) await one.roles(who(`arn:aws:iam::${A}:user/m${n}`))
  const refused = one.fault(who(`arn:aws:iam::${A}:user/y`))
  one.answers.wrong = new Fault('upstream/unreachable')
  await one.again()
  t.equal(await refused, 'users/unreadable')
})

t.test('strangers of many sources hold up no reading, and who comes after them waits for one', async t => {
  const one = scripted(t, user(session.canonical))
  await one.start()
  let release = () => {}
  one.answers.hold = new Promise(resolve => {
    release = resolve
  })
  const strangers = Array.from({ length: 100 }, (_, n) =>
    one.match(who(`arn:aws:iam::${B}:role/r${n}`), `2001:db8:${n}::1`),
  )
  const late = one.roles()
  await one.settled()
  t.equal(one.asked.length, 3, 'a reading and two questions')
  t.equal(await one.roles(session), 'read@app', 'who is known asks nothing')
  one.answers.hold = Promise.resolve()
  one.answers.users = [user(session.canonical), user(alice.canonical)]
  await one.again()
  t.equal(one.asked.length, 4)
  t.equal(await late, 'read@app', 'the reading answers those who were not asked about')
  release()
  t.same(new Set(await Promise.all(strangers)), new Set([undefined]))
})

t.test('the addresses of one /64 ask as one', async t => {
  const one = scripted(t)
  await one.start()
  const asks = (n: number) => one.match(who(`arn:aws:iam::${A}:user/n${n}`), `2001:db8::${n}`)
  for (let n = 0; n < 10; n++) await asks(n)
  const waiting = asks(10)
  await one.settled()
  t.equal(one.asked.length, 11)
  await one.again()
  await waiting
})

t.test('while it cannot be read nobody whom it would decide logs in, and live connections stay', async t => {
  for (const wrong of [
    new Fault('upstream/unreachable', undefined, { code: 'ECONNREFUSED' }),
    { ok: 0, code: 13, codeName: 'Unauthorized', errmsg: 'not authorized on admin' },
    { ok: 0, code: 18, codeName: 'AuthenticationFailed' },
    { ok: 1, cursor: {} },
    { ok: 1 },
    { ok: 1, cursor: { firstBatch: [{ user: 5, db: '$external' }] } },
    { ok: 1, cursor: { firstBatch: [{ user: 'x', db: 'admin' }] } },
  ]) {
    const one = scripted(t, user(alice.canonical))
    await one.start()
    let changes = 0
    one.onChange(() => changes++)
    one.answers.wrong = wrong
    t.equal(await one.fault(session), 'users/unreadable', 'a question by name')
    for (let n = 0; n < 3; n++) {
      await one.again()
      t.equal(await one.roles(), 'read@app', 'one failure is no outage')
    }
    await one.again()
    t.equal(await one.fault(), 'users/unreadable', 'after three refreshes')
    t.ok(one.matchLastRead(alice), 'for live connections the last reading holds')
    t.equal(changes, 0)
    t.equal(one.lines.length, 1, 'said once')
    one.answers.wrong = undefined
    await one.again()
    t.equal(await one.roles(), 'read@app')
    t.equal(one.lines.length, 2)
  }
})

t.test('what is wrong is said so that it can be mended', async t => {
  const one = scripted(t)
  one.answers.wrong = { ok: 0, code: 13, codeName: 'Unauthorized', errmsg: 'not authorized on admin' }
  await one.start()
  t.match(one.lines[0]?.warning, /the user of upstream.admin may not find in admin.system.users$/)
  one.answers.wrong = { ok: 0, code: 18, codeName: 'AuthenticationFailed', errmsg: 'Authentication failed.' }
  await one.again()
  t.match(one.lines[1]?.warning, /18 AuthenticationFailed/)
})

t.test('before the first reading a login waits for it; where it fails nobody is a stranger', async t => {
  const one = scripted(t, user(alice.canonical))
  t.equal(faultOf(() => one.matchLastRead(alice))?.kind, 'users/unreadable')
  const first = one.start()
  const match = one.roles()
  await first
  t.equal(await match, 'read@app')
  const other = scripted(t, user(alice.canonical))
  other.answers.wrong = new Fault('upstream/unreachable')
  await other.start()
  t.equal(await other.fault(), 'users/unreadable')
  t.equal(faultOf(() => other.matchLastRead(alice))?.kind, 'users/unreadable')
})

t.test('thousands of users are read page by page', async t => {
  const names = Array.from({ length: 2_500 }, (_, n) => user(`arn:aws:iam::${A}:user/u${n}`))
  const one = scripted(t, ...names)
  await one.start()
  t.equal(one.asked.length, 3)
  for (const n of [0, 999, 1000, 2499]) t.ok(one.matchLastRead(who(`arn:aws:iam::${A}:user/u${n}`)))
})

t.test('an upstream that has ever more to say is unreadable, before it fills our memory', async t => {
  const one = scripted(t)
  let asked = 0
  const endless = createDirectory({
    runCommand: async () => {
      const customData = Buffer.alloc(9_000_000)
      return { cursor: { firstBatch: [user(`arn:aws:iam::${A}:user/u${asked++}`, { customData })] }, ok: 1 }
    },
    refreshMS: REFRESH,
    ...one.clock,
    log: createLog('silent'),
  })
  t.teardown(() => endless.close())
  await endless.start()
  t.equal(asked, 8)
  t.match(faultOf(() => endless.matchLastRead(alice))?.facts.why, /more than 64000000 bytes/)
})

t.test('once closed it asks nothing', async t => {
  const one = scripted(t)
  await one.start()
  one.close()
  await one.again()
  t.equal(one.asked.length, 1)
})

t.test('a server serves it to a user with this one privilege', async t => {
  const root = { name: 'root', password: 'of the server' }
  const mongo = await mongoServer({ now: Date.now, random: randomBytes, root })
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
    const one = createDirectory({
      runCommand: own.runCommand,
      refreshMS: REFRESH,
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
  t.match(await reader.match(who(`arn:aws:sts::${A}:assumed-role/L/any`), ''), { grant: { roles: [] } })
  const nobody = as('nobody')
  await nobody.start()
  t.equal((await faultOfAsync(async () => nobody.match(alice, '')))?.kind, 'users/unreadable')
})
