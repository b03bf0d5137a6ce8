import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { loadWithPolicy } from '../../src/app/policy.js'
import type { Finding } from '../../src/commands/findings.js'
import { pruneUsers } from '../../src/commands/prune.js'
import { Fault } from '../../src/errors.js'
import { prune } from '../../src/provisioning/prune.js'
import { parseAuditLines } from '../support/audit.js'
import { faultOfAsync } from '../support/faults.js'
import { arnOf, DATABASE, SECRET, startProvisioning } from '../support/provisioning.js'

const rule = (name: string, more: object = {}) => ({ arn: arnOf(name), roles: ['read@app'], ...more })
const reads = [{ role: 'read', db: 'app' }]

/** A MongoDB with provisioned users of these names, and configurations for `users prune`. */
async function startPruning(t: Test, names: readonly string[]) {
  const provisioning = await startProvisioning(t)
  const provisioner = provisioning.make()
  for (const name of names) await provisioner.ensureUser({ arn: arnOf(name), roles: reads })
  const config = (users: object[], more: object = {}) =>
    loadWithPolicy({
      file: 'proxy.yaml',
      args: {},
      env: {},
      readFile: path => ({
        bytes: Buffer.from(
          path === 'secret'
            ? SECRET.reveal()
            : JSON.stringify({
                upstream: {
                  uri: `mongodb://127.0.0.1:${provisioning.server.port}/`,
                  admin: { uri: provisioning.server.uri },
                },
                provision: { secretFile: 'secret' },
                audit: { to: '/dev/null' },
                users,
                ...more,
              }),
        ),
        mode: 0o600,
      }),
    })
  const listUsers = async () =>
    (await provisioning.client.db(DATABASE).command({ usersInfo: 1 })).users
      .map(({ user }: { user: string }) => user)
      .sort()
  return { ...provisioning, config, listUsers }
}
const format = (findings: Finding[]) => findings.map(({ level, text }) => `${level} ${text}`)

t.test('users that no rule needs are removed and named', async t => {
  const names = ['orders', 'other-scope', 'late', 'gone', 'now-with-password', 'app-7']
  const { config, listUsers, client } = await startPruning(t, names)
  await client.db(DATABASE).command({ createUser: 'by-hand', pwd: 'x', roles: [] })
  const rules = [
    rule('orders'),
    rule('other-scope', { scopes: ['elsewhere'] }),
    rule('late', { deleteAfterDate: '2020-01-01T00:00:00Z' }),
    { arn: arnOf('now-with-password'), user: 'app', passwordFile: 'secret' },
    rule('app-*'),
  ]
  t.same(format(await pruneUsers(config(rules), { all: false, user: 'dba' })).sort(), [
    `ok removed the user ${arnOf('gone')}@${DATABASE}`,
    `ok removed the user ${arnOf('late')}@${DATABASE}`,
    `ok removed the user ${arnOf('now-with-password')}@${DATABASE}`,
  ])
  t.same(await listUsers(), [arnOf('app-7'), arnOf('orders'), arnOf('other-scope'), 'by-hand'])
  t.same(format(await pruneUsers(config(rules), { all: false, user: 'dba' })), ['ok there was nothing to remove'])
  t.equal((await pruneUsers(config(rules), { all: true, user: 'dba' })).length, 3)
  t.same(await listUsers(), ['by-hand'])
})

t.test('a user of a principal in the directory is kept', async t => {
  const { config, listUsers, client } = await startPruning(t, ['orders', 'gone'])
  await client.db('$external').command({ createUser: arnOf('orders'), roles: reads })
  await pruneUsers(config([], { directory: { enabled: true } }), { all: false, user: 'dba' })
  t.same(await listUsers(), [arnOf('orders')])
})

t.test('while the directory is unreadable no user is removed', async t => {
  const { config, listUsers, server, client } = await startPruning(t, ['orders'])
  await client.db('admin').command({
    createRole: 'blind',
    roles: [],
    privileges: [{ resource: { db: DATABASE, collection: '' }, actions: ['viewUser', 'dropUser'] }],
  })
  server.createUser({ user: 'blind', password: 'pw', roles: ['blind'] })
  const uri = `mongodb://blind:pw@127.0.0.1:${server.port}/?authSource=admin`
  const upstream = { uri: `mongodb://127.0.0.1:${server.port}/`, admin: { uri } }
  const more = { upstream, directory: { enabled: true } }
  const findings = format(await pruneUsers(config([], more), { all: false, user: 'dba' }))
  t.match(findings, [/^failure .*lacks find on admin.system.users/])
  t.same(await listUsers(), [arnOf('orders')])
})

t.test('a principal with ambiguous directory users keeps its user', async t => {
  const { partsOf, listUsers } = await startPruning(t, ['orders'])
  await prune(partsOf(), arn => {
    throw new Fault('users/ambiguous', arn, { directoryUsers: [arn] })
  })
  t.same(await listUsers(), [arnOf('orders')])
})

t.test('the administrator and the master secret are required', async t => {
  const { config, server } = await startPruning(t, [])
  const uri = `mongodb://127.0.0.1:${server.port}/`
  const problem = async (more: object) =>
    (await faultOfAsync(() => pruneUsers(config([], more), { all: true, user: 'dba' })))?.facts.problems
  t.match(await problem({ upstream: { uri } }), [/^upstream.admin: /])
  t.match(await problem({ provision: {} }), [/^provision.secretFile: /])
})

t.test('a failure is reported', async t => {
  const { config, server } = await startPruning(t, [])
  await server.close()
  t.match(format(await pruneUsers(config([]), { all: true, user: 'dba' })), [
    /^failure the upstream MongoDB is unreachable/,
  ])
})

t.test('the audit trail has the command, and each removed user, with the user who ran it', async t => {
  const { config } = await startPruning(t, ['orders', 'gone'])
  const to = join(t.testdir(), 'audit.jsonl')
  await pruneUsers(config([rule('orders')], { audit: { to } }), { all: false, user: 'dba' })
  const actor = { kind: 'command', id: 'dba' }
  const gone = { user: `${arnOf('gone')}@${DATABASE}`, roles: ['read@app'] }
  t.match(parseAuditLines(readFileSync(to, 'utf8')), [
    { type: 'command', command: 'users prune', outcome: 'success', actor },
    { type: 'user.dropped', ...gone, reason: 'no rule and no directory user needs it', actor },
  ])
})

t.test('a failure of the command is recorded', async t => {
  const { config, server } = await startPruning(t, [])
  await server.close()
  const to = join(t.testdir(), 'audit.jsonl')
  await pruneUsers(config([], { audit: { to } }), { all: true, user: 'dba' })
  t.match(parseAuditLines(readFileSync(to, 'utf8')), [
    { type: 'command', command: 'users prune --all', outcome: 'success' },
    { type: 'command', outcome: 'failed', reason: /unreachable/ },
  ])
})

t.test('without a trail, users are removed with a warning, or not at all', async t => {
  const { config, listUsers } = await startPruning(t, ['gone'])
  const to = join(t.testdir(), 'missing', 'audit.jsonl')
  const refused = await pruneUsers(config([], { audit: { to, onFailure: 'refuse' } }), { all: true, user: 'dba' })
  t.match(format(refused)[0], /^failure .*audit\.to: cannot open .*ENOENT/)
  t.same(await listUsers(), [arnOf('gone')])
  const served = await pruneUsers(config([], { audit: { to } }), { all: true, user: 'dba' })
  t.match(format(served), [/^ok removed the user/, /^warning the audit trail is incomplete: .*ENOENT/])
  t.same(await listUsers(), [])
})
