import type { Document } from 'bson'
import t from 'tap'
import { Secret } from '../../src/log.js'
import { auditUsers } from '../../src/provisioning/audit.js'
import { listFeatures, type Privilege } from '../../src/provisioning/privileges.js'
import { type AdminClient, createAdminClient } from '../../src/upstream/admin.js'
import { faultOfAsync } from '../support/faults.js'
import { arnOf, DATABASE, startProvisioning } from '../support/provisioning.js'

const roles = [{ role: 'read', db: 'app' }]
const cut = [{ role: 'read', db: 'app', collection: 'orders' }]

/** A MongoDB, and an administrator of it who has the privileges of these features. */
async function audited(t: Parameters<typeof startProvisioning>[0], features: readonly string[]) {
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
  return { ...scene, parts: scene.partsOf({ run }) }
}

t.test('who else may change the users, whose role is restricted, and who is not ours', async t => {
  const { parts, client, make } = await audited(t, ['provisioning', 'directory', 'roles for one collection'])
  await make().ensureUser({ arn: arnOf('orders'), roles })
  await client.db(DATABASE).command({ createUser: arnOf('foreign'), pwd: 'x', roles: [] })
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
    `warning: ${arnOf('foreign')}@${DATABASE} was not made by this proxy: its principal could not log in`,
    `note: root@admin may change users of ${DATABASE} and so be one of them, by its roles root@admin`,
    `note: dba@admin may change users of ${DATABASE} and so be one of them, by its roles dbOwner@${DATABASE}`,
    "warning: here@app has restrictions, which MongoDB will judge by the proxy's own address",
  ])
})

t.test('what the administrator lacks is told by name', async t => {
  const { parts } = await audited(t, ['provisioning'])
  t.match(await auditUsers({ provisioning: parts, roles, directory: false }), [/^0 in /, /^who else .* is unknown/])
  const lacks = async (more: object) =>
    (await faultOfAsync(() => auditUsers({ provisioning: parts, roles, directory: false, ...more })))?.detail
  t.match(await lacks({ directory: true }), "lacks find on { db: 'admin', collection: 'system.users' }")
  t.match(await lacks({ roles: cut }), "createRole on { db: '', collection: '' }, dropRole on")
  t.match(await lacks({ provisioning: { ...parts, clientSource: ['10.0.0.1'] } }), 'setAuthenticationRestriction')
})

t.test('root has them all, and FerretDB 1 has no roles', async t => {
  const { partsOf, administrator } = await startProvisioning(t)
  const asked = { roles: [...roles, ...cut], directory: true }
  t.match(await auditUsers({ ...asked, provisioning: partsOf({ clientSource: ['10.0.0.1'] }) }), [
    /^0 in /,
    /root@admin/,
  ])
  const run = administrator()
  const ferret = async (command: Document) =>
    'buildInfo' in command ? { ok: 1, version: '7.0.42', ferretdbVersion: 'v1.24.2' } : run(command)
  const fault = await faultOfAsync(() => auditUsers({ ...asked, provisioning: partsOf({ run: ferret }) }))
  t.equal(fault?.kind, 'provision/unsupported')
})

t.test('without access control nobody needs privileges', async t => {
  const { parts } = await audited(t, ['provisioning'])
  const run: AdminClient['runCommand'] = async (command, db) =>
    'connectionStatus' in command
      ? { ok: 1, authInfo: { authenticatedUsers: [], authenticatedUserPrivileges: [] } }
      : parts.run(command, db)
  t.match(await auditUsers({ provisioning: { ...parts, run }, roles: cut, directory: true }), [/^0 in /])
})
