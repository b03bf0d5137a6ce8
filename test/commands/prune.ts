import t, { type Test } from 'tap'
import { loadWithPolicy } from '../../src/app/policy.js'
import type { Finding } from '../../src/commands/findings.js'
import { pruneUsers } from '../../src/commands/prune.js'
import { Fault } from '../../src/errors.js'
import { prune } from '../../src/provisioning/prune.js'
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
  t.same(format(await pruneUsers(config(rules), { all: false })).sort(), [
    `ok removed the user ${arnOf('gone')}@${DATABASE}`,
    `ok removed the user ${arnOf('late')}@${DATABASE}`,
    `ok removed the user ${arnOf('now-with-password')}@${DATABASE}`,
  ])
  t.same(await listUsers(), [arnOf('app-7'), arnOf('orders'), arnOf('other-scope'), 'by-hand'])
  t.same(format(await pruneUsers(config(rules), { all: false })), ['ok there was nothing to remove'])
  t.equal((await pruneUsers(config(rules), { all: true })).length, 3)
  t.same(await listUsers(), ['by-hand'])
})

t.test('a user of a principal in the directory is kept', async t => {
  const { config, listUsers, client } = await startPruning(t, ['orders', 'gone'])
  await client.db('$external').command({ createUser: arnOf('orders'), roles: reads })
  await pruneUsers(config([], { directory: { enabled: true } }), { all: false })
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
  const findings = format(await pruneUsers(config([], more), { all: false }))
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
    (await faultOfAsync(() => pruneUsers(config([], more), { all: true })))?.facts.problems
  t.match(await problem({ upstream: { uri } }), [/^upstream.admin: /])
  t.match(await problem({ provision: {} }), [/^provision.secretFile: /])
})

t.test('a failure is reported', async t => {
  const { config, server } = await startPruning(t, [])
  await server.close()
  t.match(format(await pruneUsers(config([]), { all: true })), [/^failure the upstream MongoDB is unreachable/])
})
