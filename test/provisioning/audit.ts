import type { Document } from 'bson'
import t from 'tap'
import { Secret } from '../../src/log.js'
import { auditUsers } from '../../src/provisioning/audit.js'
import { createMark } from '../../src/provisioning/password.js'
import { listFeatures, type Privilege } from '../../src/provisioning/privileges.js'
import { type AdminClient, createAdminClient } from '../../src/upstream/admin.js'
import { faultOfAsync } from '../support/faults.js'
import { arnOf, DATABASE, SECRET, startProvisioning } from '../support/provisioning.js'

const roles = [{ role: 'read', db: 'app' }]
const collectionRoles = [{ role: 'read', db: 'app', collection: 'orders' }]

/** Starts a MongoDB with an administrator that has the privileges of these features. */
async function startAudited(t: Parameters<typeof startProvisioning>[0], features: readonly string[]) {
  const scene = await startProvisioning(t)
  const db = scene.client.db('admin')
  const privileges = listFeatures(DATABASE).flatMap(([name, list]): Privilege[] =>
    features.includes(name) ? list : [],
  )
  await db.command({ createRole: 'iamProxy', roles: [], privileges })
  await db.command({ createUser: 'iam-proxy', pwd: 'pw', roles: ['iamProxy'] })
  const { runCommand: run, close } = createAdminClient(
    new Secret(`mongodb://iam-proxy:pw@127.0.0.1:${scene.server.port}/?authSource=admin`),
  )
  t.teardown(close)
  return { ...scene, parts: scene.partsOf({ runCommand: run }) }
}

t.test('the audit reports foreign users, user administrators and restricted roles', async t => {
  const { parts, client, make } = await startAudited(t, ['provisioning', 'directory', 'roles for one collection'])
  await make().ensureUser({ arn: arnOf('orders'), roles })
  await client.db(DATABASE).command({ createUser: arnOf('foreign'), pwd: 'x', roles: [] })
  const ahead = { db: DATABASE, user: arnOf('ahead'), fleet: 'default' }
  const customData = createMark(SECRET, ahead, Date.UTC(2027, 0, 1) / 1000)
  await client.db(DATABASE).command({ createUser: ahead.user, pwd: 'x', roles: [], customData })
  await client
    .db('admin')
    .command({ createUser: 'dba', pwd: 'x', roles: [{ role: 'dbOwner', db: DATABASE }, 'backup'] })
  await client.db('admin').command({ createUser: 'reader', pwd: 'x', roles })
  const authenticationRestrictions = [{ clientSource: ['10.0.0.1'] }]
  for (const createRole of ['here', 'unused']) {
    await client.db('app').command({ createRole, privileges: [], roles: [], authenticationRestrictions })
  }
  const asked = { provisioning: parts, roles: [...roles, { role: 'here', db: 'app' }], directory: true }
  t.same(await auditUsers(asked), [
    `1 in ${DATABASE}, and the user of upstream.admin has the privileges for more`,
    `warning: ${arnOf('foreign')}@${DATABASE} was not created by this proxy, so its principal cannot log in`,
    `warning: ${ahead.user}@${DATABASE} has a password of a period more than one ahead of the clock of this proxy, so its principal cannot log in`,
    `note: root@admin can change users of ${DATABASE} and so log in as one of them, by its roles root@admin`,
    `note: dba@admin can change users of ${DATABASE} and so log in as one of them, by its roles dbOwner@${DATABASE}`,
    "warning: here@app has restrictions, which MongoDB checks against the proxy's address",
  ])
})

t.test('the missing privileges of the administrator are named', async t => {
  const { parts } = await startAudited(t, ['provisioning'])
  t.match(await auditUsers({ provisioning: parts, roles, directory: false }), [
    /^0 in /,
    /^cannot tell who else may change users/,
  ])
  const lacks = async (more: object) =>
    (await faultOfAsync(() => auditUsers({ provisioning: parts, roles, directory: false, ...more })))?.detail
  t.match(await lacks({ directory: true }), "lacks find on { db: 'admin', collection: 'system.users' }")
  t.match(await lacks({ roles: collectionRoles }), "createRole on { db: '', collection: '' }, dropRole on")
  t.match(await lacks({ provisioning: { ...parts, clientSource: ['10.0.0.1'] } }), 'setAuthenticationRestriction')
})

t.test('root has all privileges, and FerretDB 1 has no roles', async t => {
  const { partsOf, administrator } = await startProvisioning(t)
  const asked = { roles: [...roles, ...collectionRoles], directory: true }
  t.match(await auditUsers({ ...asked, provisioning: partsOf({ clientSource: ['10.0.0.1'] }) }), [
    /^0 in /,
    /root@admin/,
  ])
  const run = administrator()
  const ferret = async (command: Document) =>
    'buildInfo' in command ? { ok: 1, version: '7.0.42', ferretdbVersion: 'v1.24.2' } : run(command)
  const fault = await faultOfAsync(() => auditUsers({ ...asked, provisioning: partsOf({ runCommand: ferret }) }))
  t.equal(fault?.kind, 'provision/unsupported')
})

t.test('without access control no privileges are needed', async t => {
  const { parts } = await startAudited(t, ['provisioning'])
  const run: AdminClient['runCommand'] = async (command, db) =>
    'connectionStatus' in command
      ? { ok: 1, authInfo: { authenticatedUsers: [], authenticatedUserPrivileges: [] } }
      : parts.runCommand(command, db)
  t.match(await auditUsers({ provisioning: { ...parts, runCommand: run }, roles: collectionRoles, directory: true }), [
    /^0 in /,
  ])
})

t.test('a server that lists no privileges leaves them unknown, which is no failure', async t => {
  const { parts } = await startAudited(t, ['provisioning'])
  for (const authenticatedUserPrivileges of [undefined, [], null]) {
    const run: AdminClient['runCommand'] = async (command, db) =>
      'connectionStatus' in command
        ? { ok: 1, authInfo: { authenticatedUsers: [{ user: 'iam-proxy' }], authenticatedUserPrivileges } }
        : parts.runCommand(command, db)
    const [summary] = await auditUsers({ provisioning: { ...parts, runCommand: run }, roles, directory: true })
    t.match(summary, /^0 in .*does not list the privileges of the user of upstream\.admin, so they are unknown/)
  }
})
