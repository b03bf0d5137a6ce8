import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { startMongoServer } from '../../sandbox/src/mongo/server.js'
import { loadWithPolicy } from '../../src/app/policy.js'
import { explain } from '../../src/commands/explain.js'
import { Secret } from '../../src/log.js'
import { createAdminClient } from '../../src/upstream/admin.js'
import { faultOfAsync } from '../support/faults.js'

const A = '123456789012'
const B = '210987654321'
const NOON = Date.parse('2026-11-22T12:00:00Z')
const root = { name: 'root', password: 'of the server' }

/** Explains the principal under these settings. Runs of spaces in a line become one. */
async function explained(settings: object, arn: string) {
  const file = JSON.stringify({ upstream: { uri: 'mongodb://127.0.0.1:1/' }, ...settings })
  const readFile = (path: string) => ({
    bytes: Buffer.from(
      path === 'x'
        ? file
        : path === 'deny'
          ? `- account: "${B}"\n  why: sold\n...\n`
          : 'a master secret of 32 bytes or more',
    ),
    mode: 0o600,
  })
  const config = loadWithPolicy({ file: 'x', args: {}, env: { PASSWORD: 'hunter2' }, readFile })
  const { isComplete, lines } = await explain(config, arn, NOON)
  t.notMatch(lines.join(), 'hunter2')
  return { isComplete, lines: lines.map(line => line.replace(/ +/g, ' ')) }
}
const rule = (arn: string, more: object = {}) => ({ arn, user: 'orders@shop', passwordEnv: 'PASSWORD', ...more })

async function server(t: Test) {
  const mongo = await startMongoServer({ now: Date.now, random: randomBytes, root })
  t.teardown(() => mongo.close())
  const superuser = createAdminClient(new Secret(mongo.uri))
  t.teardown(() => superuser.close())
  return { mongo, superuser, upstream: { uri: `mongodb://127.0.0.1:${mongo.port}/`, admin: { uri: mongo.uri } } }
}

t.test('a rule is explained with its database user and its conditions', async t => {
  const folder = mkdtempSync(join(tmpdir(), 'explain-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const pins = { file: join(folder, 'pins.json') }
  const users = [
    rule(`arn:aws:iam::${A}:user/x`),
    rule(`arn:aws:iam::${A}:role/team/orders-*`.replace('team/', ''), {
      clientSource: ['10.0.0.0/8', '::1'],
      deleteAfterDate: '2026-12-24',
      principalId: 'firstUse',
      maxAge: '12h',
      maxSessions: 20,
    }),
  ]
  const session = `arn:aws:sts::${A}:assumed-role/orders-api/pod-7`
  t.same(await explained({ users, pins }, session), {
    isComplete: true,
    lines: [
      `principal arn:aws:iam::${A}:role/orders-api`,
      `decided by rule 2 of users, arn:aws:iam::${A}:role/orders-*`,
      'database user orders@shop',
      'roles unknown without upstream.admin',
      'client source 10.0.0.0/8, ::1',
      'expires 2026-12-24T00:00:00.000Z',
      'principal id the first login will pin it',
      'maximum age 12h',
      'sessions at most 20',
    ],
  })
  writeFileSync(pins.file, JSON.stringify({ [`arn:aws:iam::${A}:role/orders-api`]: 'AROACKCEVSQ6C2EXAMPLE' }))
  t.match(
    (await explained({ users, pins }, session)).lines.join('\n'),
    /principal id must be AROACKCEVSQ6C2EXAMPLE, pinned by the first login/,
  )
  const over = await explained(
    { users: [rule(session.replace(/pod-7$/, '*'), { deleteAfterDate: '2026-11-22' })] },
    session,
  )
  t.match(over.lines.join('\n'), /has passed: logins are refused/)
})

t.test('the roles of the database user are those in MongoDB', async t => {
  const { superuser, upstream } = await server(t)
  const users = [rule(`arn:aws:iam::${A}:user/x`)]
  const x = `arn:aws:iam::${A}:user/x`
  t.match((await explained({ users, upstream }, x)).lines.join('\n'), /none: this user does not exist/)
  const restrictions = [{ clientSource: ['10.0.0.1'] }]
  const made = { createUser: 'orders', pwd: 'hunter2', roles: ['read'], authenticationRestrictions: restrictions }
  await superuser.runCommand(made, 'shop')
  const { lines } = await explained({ users, upstream }, x)
  t.match(lines.join('\n'), /roles read@shop/)
  t.match(lines.join('\n'), /note MongoDB checks its restrictions against the address of the proxy/)
})

t.test('a directory user is explained, or the reason why it gives no match', async t => {
  const { superuser, upstream } = await server(t)
  const settings = { upstream, directory: { enabled: true }, provision: { secretFile: 'secret' } }
  const create = (name: string, more: object = {}) =>
    superuser.runCommand({ createUser: name, roles: [{ role: 'read', db: 'app' }], ...more }, '$external')
  await create(`arn:aws:iam::${A}:role/team/R`, { authenticationRestrictions: [{ clientSource: ['10.0.0.0/8'] }] })
  await create(`arn:aws:iam::${A}:role/S`)
  await create(`arn:aws:sts::${A}:assumed-role/S/*`)
  await create(`arn:aws:sts::${A}:assumed-role/T/admin`)
  t.same((await explained(settings, `arn:aws:sts::${A}:assumed-role/R/any`)).lines, [
    `principal arn:aws:iam::${A}:role/R`,
    `decided by the user arn:aws:iam::${A}:role/team/R of $external`,
    `database user arn:aws:iam::${A}:role/R@mongo_iam_proxy, provisioned by the proxy`,
    'roles read@app',
    'client source 10.0.0.0/8',
  ])
  t.match(
    (await explained(settings, `arn:aws:iam::${A}:role/S`)).lines.join('\n'),
    /refused several users of \$external are this principal; drop all but one of arn:/,
  )
  const unknown = await explained(settings, `arn:aws:iam::${B}:role/R`)
  t.match(unknown.lines.join('\n'), /refused no rule and no user of \$external names this principal/)
  t.match(unknown.lines.join('\n'), /nearest miss a user of \$external names role\/team\/R; .*, has another account/)
})

t.test('an unreadable directory makes the explanation incomplete', async t => {
  const { mongo, upstream } = await server(t)
  mongo.createUser({ user: 'nobody', password: 'x', roles: [] })
  const settings = {
    upstream: { ...upstream, admin: { uri: mongo.uri.replace(/root:[^@]*@/, 'nobody:x@') } },
    directory: { enabled: true },
    provision: { secretFile: 'secret' },
  }
  const { isComplete, lines } = await explained(settings, `arn:aws:iam::${A}:user/x`)
  t.equal(isComplete, false)
  t.match(lines.join('\n'), /directory cannot be read: the user of upstream.admin lacks find on admin.system.users/)
  t.match(lines.join('\n'), /refused no rule names this principal, and the directory is unreadable/)
})

t.test('a principal without a rule gets the nearest miss, and rules for another scope', async t => {
  const users = [rule(`arn:aws:iam::${B}:role/prod/app`), rule(`arn:aws:iam::${A}:role/app`, { scopes: ['prod'] })]
  const { isComplete, lines } = await explained({ users }, `arn:aws:iam::${A}:role/app`)
  t.equal(isComplete, true)
  t.match(lines.join('\n'), /refused no rule names this principal$/m)
  t.match(lines.join('\n'), /note rule 2 names it for prod; listen.scope is not set/)
  t.notMatch(lines.join('\n'), /nearest miss rule 2/)
  t.match(lines.join('\n'), /nearest miss rule 1 names role\/prod\/app; this principal, role\/app, has another account/)
})

t.test('a denial is explained even if a rule matches', async t => {
  const users = [rule(`arn:aws:iam::${B}:user/x`)]
  const { lines } = await explained({ users, deny: { file: 'deny' } }, `arn:aws:iam::${B}:user/x`)
  t.match(lines.join('\n'), new RegExp(`denied by account ${B}: sold`))
})

t.test('a text that is not the ARN of a principal is a usage fault', async t => {
  for (const arn of ['alice', `arn:aws:iam::${A}:role/*`, `arn:aws:iam::${A}:group/g`]) {
    t.equal((await faultOfAsync(() => explained({}, arn)))?.kind, 'usage')
  }
})

t.test('a principal of a partition that no STS host serves is refused', async t => {
  const { lines } = await explained({ users: [rule(`arn:aws:iam::${A}:role/R`)] }, `arn:aws-cn:iam::${A}:role/R`)
  t.match(lines.join('\n'), /refused the hosts of sts\.hosts name principals of aws only, not of aws-cn/)
  const sts = { hosts: ['sts.cn-north-1.amazonaws.com.cn'] }
  const served = await explained({ sts, users: [rule(`arn:aws-cn:iam::${A}:role/R`)] }, `arn:aws-cn:iam::${A}:role/R`)
  t.notMatch(served.lines.join('\n'), /refused/)
})

t.test('malformed names in the directory are noted for a principal without a match, the likely one first', async t => {
  const { superuser, upstream } = await server(t)
  const settings = { upstream, directory: { enabled: true }, provision: { secretFile: 'secret' } }
  const names = ['a', 'b', 'c', 'd', 'e', 'f'].map(name => `arn:aws:iam::${A}:roles/${name}x`)
  for (const name of [...names, `ARN:aws:iam::${A}:role/ORDERS`]) {
    await superuser.runCommand({ createUser: name, roles: [] }, '$external')
  }
  const notes = (await explained(settings, `arn:aws:iam::${A}:role/orders`)).lines.filter(line => /^note /.test(line))
  t.equal(notes.length, 6)
  t.match(
    notes[0],
    /^note the user "ARN:.*role\/ORDERS" is ignored: its name is not the ARN of a principal: it must begin with arn: in lower case/,
  )
  t.match(notes[5], /^note 2 more users/)
})
