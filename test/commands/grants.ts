import { readFileSync, writeFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { runInNewContext } from 'node:vm'
import type { Document } from 'bson'
import t, { type Test } from 'tap'
import { type AuditLine, parseAuditLines } from '../support/audit.js'
import { startCommandRunner } from '../support/commands.js'
import { program } from '../support/demo.js'
import { startMongo } from '../support/mongo.js'
import { createTempFolder, runNode } from '../support/program.js'

const run = startCommandRunner(t)
const A = '123456789012'
const ORDERS = `arn:aws:iam::${A}:role/orders-api`
const PASSWORD = 'hunter2-hunter2'
const page = readFileSync(new URL('../../docs/directory.md', import.meta.url), 'utf8')

type RoleDocument = { role: string; privileges: { resource: { db: string; collection: string }; actions: string[] }[] }

/** The role that the page tells an administrator to create. */
function readDocumentedRole(): RoleDocument {
  const [, script = ''] = /<!-- grants -->\n```js\n([\s\S]*?)```/.exec(page) ?? []
  const created: RoleDocument[] = []
  const admin = { createRole: (role: RoleDocument) => created.push(role), createUser() {} }
  runInNewContext(script, { db: { getSiblingDB: () => admin }, passwordPrompt: () => '' })
  const [role] = created
  if (!role) throw new Error('the page creates no role')
  return role
}

/** A MongoDB whose user has the privileges of the page and no more, and the commands with its connection string. */
async function startGrants(t: Test) {
  const { server, client } = await startMongo(t)
  const { role, privileges } = readDocumentedRole()
  await client.db('admin').command({ createRole: role, privileges, roles: [] })
  server.createUser({ user: 'grants', password: PASSWORD, roles: [role] })
  const folder = createTempFolder(t)
  const file = (name: string, text: string, mode = 0o600) => {
    writeFileSync(join(folder, name), text, { mode })
    return join(folder, name)
  }
  const uriFile = file('admin-uri', `mongodb://grants:${PASSWORD}@127.0.0.1:${server.port}/\n`)
  const users = async () =>
    Object.fromEntries(
      (await client.db('$external').command({ usersInfo: 1 })).users.map(({ user, roles }: Document) => [
        user,
        roles.map(({ role, db }: Document) => `${role}@${db}`).sort(),
      ]),
    )
  const create = (createUser: string, more: object = {}) =>
    client.db('$external').command({ createUser, roles: [{ role: 'read', db: 'orders' }], ...more })
  const trail = join(folder, 'audit.jsonl')
  const writeConfig = (more: object = {}) =>
    file(
      'proxy.yaml',
      JSON.stringify({
        upstream: { uri: `mongodb://127.0.0.1:${server.port}/`, admin: { uri: server.uri } },
        directory: { enabled: true },
        provision: { secretFile: file('secret', 'a master secret of 32 bytes or more') },
        audit: { to: trail },
        ...more,
      }),
    )
  const command = async (...args: string[]) => {
    const result = await run(['users', ...args, '--admin-uri-file', uriFile])
    t.notMatch(result.stdout + result.stderr, PASSWORD)
    return result
  }
  const events = (): AuditLine[] =>
    parseAuditLines(readFileSync(trail, 'utf8')).filter(({ type }) => type === 'command')
  return { server, client, file, uriFile, users, create, writeConfig, command, events }
}

t.test('a grant creates a user, and a second one adds to it', async t => {
  const { command, users, writeConfig, events } = await startGrants(t)
  const config = writeConfig()
  const first = await command('grant', ORDERS, 'read@orders', '--config', config)
  t.match(first, { code: 0, stderr: '' })
  t.equal(
    first.stdout,
    [
      `ok    principal ${ORDERS}`,
      'ok    before: no user of $external',
      `ok    after:  ${ORDERS} has read@orders`,
      `ok    created ${ORDERS}\n`,
    ].join('\n'),
  )
  await command('grant', ORDERS, 'readWrite@orders', 'read@orders', 'read@stock', '--config', config)
  t.same(await users(), { [ORDERS]: ['read@orders', 'read@stock', 'readWrite@orders'] })
  t.match((await command('grant', ORDERS, 'read@orders', '--config', config)).stdout, /note: nothing to change/)
  t.match(events(), [
    {
      outcome: 'success',
      actor: { kind: 'command', id: userInfo().username },
      command: 'users grant',
      change: 'added',
      arn: ORDERS,
      user: `${ORDERS}@$external`,
      rolesBefore: [],
      roles: ['read@orders'],
    },
    { change: 'changed', rolesBefore: ['read@orders'], roles: ['read@orders', 'readWrite@orders', 'read@stock'] },
  ])
  t.equal(events().length, 2)
})

t.test('a user is changed in the spelling that it has', async t => {
  const { command, users, create } = await startGrants(t)
  const spelling = `arn:aws:iam::${A}:role/team/orders-api`
  await create(spelling, { authenticationRestrictions: [{ clientSource: ['10.0.0.0/8'] }] })
  const { stdout } = await command('grant', `arn:aws:sts::${A}:assumed-role/orders-api/alice`, 'read@stock')
  t.match(stdout, 'note: the session name is left out')
  t.match(stdout, 'note: its authenticationRestrictions stay: it can log in from 10.0.0.0/8')
  t.same(await users(), { [spelling]: ['read@orders', 'read@stock'] })
  t.equal((await command('revoke', ORDERS, 'read@orders')).code, 0)
  t.same(await users(), { [spelling]: ['read@stock'] })
  t.match(
    (await command('revoke', ORDERS, 'read@stock')).stdout,
    /can still log in, without roles; --all drops the user/,
  )
  t.match((await command('revoke', ORDERS, '--all')).stdout, `before: ${spelling} has no roles`)
  t.same(await users(), {})
})

t.test('a revocation of everything has to be asked for', async t => {
  const { command, users, create, writeConfig, events } = await startGrants(t)
  await create(ORDERS)
  const without = await command('revoke', ORDERS)
  t.match(without, { code: 64, stderr: /users revoke needs roles, as role@database, or --all to drop the user/ })
  t.match(await command('revoke', ORDERS, 'read@orders', '--all'), { code: 64, stderr: /--all drops the user/ })
  t.match(await command('grant', ORDERS, '--all'), { code: 64, stderr: /--all is for users revoke/ })
  t.same(await users(), { [ORDERS]: ['read@orders'] })
  const { code, stdout } = await command('revoke', ORDERS, '--all', '--config', writeConfig())
  t.equal(code, 0)
  t.match(stdout, `before: ${ORDERS} has read@orders\nok    after:  no user of $external\nok    dropped ${ORDERS}`)
  t.same(await users(), {})
  t.match(events(), [{ command: 'users revoke', change: 'removed', rolesBefore: ['read@orders'], roles: [] }])
})

t.test('a dry run shows the change and makes none', async t => {
  const { command, users, create } = await startGrants(t)
  await create(ORDERS)
  for (const args of [
    ['grant', ORDERS, 'read@stock'],
    ['revoke', ORDERS, 'read@orders'],
    ['revoke', ORDERS, '--all'],
  ]) {
    t.match(await command(...args, '--dry-run'), { code: 0, stderr: '', stdout: /note: dry run: nothing was changed/ })
  }
  t.match(await command('grant', ORDERS, 'nope@stock', '--dry-run'), { code: 78, stdout: /does not know nope@stock/ })
  t.same(await users(), { [ORDERS]: ['read@orders'] })
})

t.test('ambiguous and malformed users are refused, and no second user is created', async t => {
  const { command, users, create } = await startGrants(t)
  await create(ORDERS)
  await create(`arn:aws:sts::${A}:assumed-role/orders-api/*`)
  await create(`arn:aws:iam::${A}:roles/stock`)
  const before = await users()
  for (const args of [
    ['grant', ORDERS, 'read@stock'],
    ['revoke', ORDERS, 'read@orders'],
    ['revoke', ORDERS, '--all'],
  ]) {
    t.match(await command(...args), { code: 78, stdout: /FAIL {2}nothing was changed: several users/ })
  }
  t.match(await command('grant', `arn:aws:iam::${A}:role/stock`, 'read@stock'), {
    code: 78,
    stdout: /FAIL {2}nothing was changed: the user .*roles\/stock.* says roles; write role\/NAME; drop that user/,
  })
  t.same(await users(), before)
})

t.test('roles that MongoDB does not know, or that the user does not have, are refused', async t => {
  const { command, users, create, client } = await startGrants(t)
  await create(ORDERS)
  t.match(await command('grant', ORDERS, 'read@stock', 'reed@stock', 'root@stock'), {
    code: 78,
    stdout: /MongoDB does not know reed@stock, root@stock; create the role/,
  })
  t.match(await command('revoke', ORDERS, 'readWrite@orders'), {
    code: 78,
    stdout: /does not have readWrite@orders; it has read@orders/,
  })
  t.match(await command('grant', ORDERS, 'read@orders.lines'), { code: 64, stderr: /names a collection/ })
  t.match(await command('grant', ORDERS, 'read'), { code: 64, stderr: /names no database; write role@database/ })
  t.same(await users(), { [ORDERS]: ['read@orders'] })
  // Without viewRole, MongoDB decides with the change itself.
  const privileges = readDocumentedRole().privileges.map(({ resource, actions }) => ({
    resource,
    actions: actions.filter(action => action !== 'viewRole'),
  }))
  await client.db('admin').command({ updateRole: readDocumentedRole().role, privileges })
  const { code, stdout } = await command('grant', ORDERS, 'reed@stock')
  t.equal(code, 78)
  t.match(stdout, /note: the user of --admin-uri-file lacks viewRole/)
  t.match(stdout, /MongoDB may not have changed .*: MongoDB does not know a role: .*reed@stock/)
})

t.test('a text that is not the ARN of a principal is a wrong command line', async t => {
  const { command } = await startGrants(t)
  for (const text of ['alice', `arn:aws:iam::${A}:role/*`, `arn:aws:iam::${A}:role/*/x`, `arn:aws:iam::${A}:group/g`]) {
    const { code, stderr } = await command('grant', text, 'read@orders')
    t.equal(code, 64, text)
    t.notMatch(stderr, text)
  }
})

t.test('the rule or denial that already decides is shown', async t => {
  const { command, writeConfig, file, server } = await startGrants(t)
  const config = writeConfig({
    users: [{ arn: `arn:aws:iam::${A}:role/orders-*`, roles: ['read@orders'] }],
    deny: { file: file('deny.yaml', `- account: "${A}"\n...\n`) },
    directory: { enabled: false },
  })
  const granted = await command('grant', ORDERS, 'read@stock', '--config', config)
  t.equal(granted.code, 0)
  t.match(granted.stdout, /warning: rule 1 of users decides, .*: a user of \$external has no effect/)
  t.match(granted.stdout, /warning: denied by account/)
  t.match(granted.stdout, /warning: directory.enabled is false/)
  t.match((await command('list', '--config', config)).stdout, /warning: .*orders-api: rule 1 of users decides/)
  const chinese = await command('grant', `arn:aws-cn:iam::${A}:role/x`, 'read@stock', '--config', config)
  t.match(chinese.stdout, /warning: the hosts of sts.hosts name principals of aws only/)
  const shared = await run([
    ...['users', 'grant', ORDERS, 'read@stock', '--dry-run', '--config', config],
    ...['--admin-uri-file', file('same', server.uri)],
  ])
  t.match(shared.stdout, /warning: upstream.admin is the same user/)
})

t.test('the list has every principal, its roles and what is malformed', async t => {
  const { command, create } = await startGrants(t)
  t.match(await command('list'), { code: 0, stdout: /note: no user of \$external is a principal/ })
  await create(ORDERS, { authenticationRestrictions: [{ clientSource: ['10.0.0.0/8'] }] })
  await create('CN=backup,O=Example')
  await create(`arn:aws:iam::${A}:roles/stock`)
  const { stdout } = await command('list')
  t.equal(stdout.split('\n').length, 3)
  t.match(stdout, `ok    ${ORDERS}: read@orders, from 10.0.0.0/8\nok    warning: the user`)
  const lines = (await command('list', '--json')).stdout
    .trim()
    .split('\n')
    .map(line => JSON.parse(line))
  t.match(lines.at(-1), {
    type: 'summary',
    ok: true,
    users: [{ name: ORDERS, principal: ORDERS, roles: ['read@orders'], clientSource: ['10.0.0.0/8'], problem: null }],
  })
})

t.test('with --json every line is JSON, also for a wrong command line', async t => {
  const { command } = await startGrants(t)
  const { stdout } = await command('grant', ORDERS, 'read@orders', '--json', '--dry-run')
  const lines = stdout
    .trim()
    .split('\n')
    .map(line => JSON.parse(line))
  t.match(lines.at(-1), {
    version: 1,
    type: 'summary',
    ok: true,
    dryRun: true,
    changed: false,
    principal: ORDERS,
    user: ORDERS,
    before: null,
    after: ['read@orders'],
  })
  t.match(JSON.parse((await command('revoke', ORDERS, '--json')).stdout), { type: 'fault', kind: 'usage' })
})

t.test('without --config the audit event goes to stderr', async t => {
  const { uriFile } = await startGrants(t)
  const args = [program, 'users', 'grant', ORDERS, 'read@orders', '--admin-uri-file', uriFile]
  const { code, stdout, stderr } = await runNode(t, args)
  t.equal(code, 0)
  t.match(stdout, /^ok {4}created/m)
  t.match(parseAuditLines(stderr), [{ type: 'audit.opened' }, { type: 'command', roles: ['read@orders'] }])
})

t.test('a trail that cannot be opened ends the command before the change', async t => {
  const { command, writeConfig, users } = await startGrants(t)
  const config = writeConfig({ audit: { to: '/nonexistent/audit.jsonl' } })
  t.match(await command('grant', ORDERS, 'read@orders', '--config', config), {
    code: 78,
    stderr: /audit.to: cannot open \/nonexistent\/audit.jsonl/,
  })
  const full = writeConfig({ audit: { to: '/dev/full', onFailure: 'refuse' } })
  t.match(await command('grant', ORDERS, 'read@orders', '--config', full), {
    code: 78,
    stderr: /audit.to: cannot be written, and audit.onFailure is refuse/,
  })
  t.same(await users(), {})
})

t.test('a change whose event cannot be written is a failure', async t => {
  const { command, writeConfig, users } = await startGrants(t)
  const config = writeConfig({ audit: { to: '/dev/full', onFailure: 'serve' } })
  t.match(await command('grant', ORDERS, 'read@orders', '--config', config), {
    code: 78,
    stdout: /ok {4}created .*\nFAIL {2}the audit event of this change could not be written/,
  })
  t.same(await users(), { [ORDERS]: ['read@orders'] })
})

t.test('the connection string is required, and never shown', async t => {
  const { file, server } = await startGrants(t)
  const grant = (...args: string[]) => run(['users', 'grant', ORDERS, 'read@orders', ...args])
  t.match(await grant(), { code: 64, stderr: /--admin-uri-file is required/ })
  t.match(await grant('--admin-uri-file', '/nonexistent/uri'), { code: 78, stderr: /cannot read \/nonexistent\/uri/ })
  for (const text of [`grants:${PASSWORD}@db`, `mongodb://grants:${PASSWORD}@127.0.0.1:1/?tls=${PASSWORD}`]) {
    const { code, stdout, stderr } = await grant('--admin-uri-file', file('bad', text))
    t.equal(code, 78)
    t.match(stderr, /--admin-uri-file: /)
    t.notMatch(stdout + stderr, PASSWORD)
  }
  const wrong = file('wrong', `mongodb://grants:not-${PASSWORD}@127.0.0.1:${server.port}/`, 0o644)
  const { code, stdout } = await grant('--admin-uri-file', wrong)
  t.equal(code, 78)
  t.match(stdout, /warning: --admin-uri-file: every user of this machine can read/)
  t.match(stdout, /FAIL {2}nothing was changed: /)
  t.notMatch(stdout, PASSWORD)
  const unreachable = await grant('--admin-uri-file', file('gone', 'mongodb://127.0.0.1:1/'))
  t.match(await run(['users', 'list', '--admin-uri-file', file('gone', 'mongodb://127.0.0.1:1/')]), {
    code: 78,
    stdout: /the users cannot be listed: /,
  })
  t.match(unreachable, { code: 78, stdout: /nothing was changed: the upstream MongoDB is unreachable/ })
})

t.test('the commands of the page work in their order', async t => {
  const { uriFile, writeConfig, users } = await startGrants(t)
  const config = writeConfig()
  const lines = [...page.matchAll(/```sh\n([\s\S]*?)```/g)]
    .flatMap(([, block = '']) =>
      block
        .replace(/\\\n\s*/g, '')
        .trim()
        .split('\n'),
    )
    .filter(line => line.startsWith('mongo-iam-proxy users '))
  t.ok(lines.length >= 4)
  for (const line of lines) {
    const args = line
      .split(/\s+/)
      .slice(1)
      .map(word => (word === 'proxy.yaml' ? config : word === '/root/admin-uri' ? uriFile : word))
    t.match(await run(args), { code: 0, stderr: '' }, line)
  }
  t.same(await users(), {})
})
