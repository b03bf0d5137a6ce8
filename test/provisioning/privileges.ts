import type { Document } from 'bson'
import t from 'tap'
import { privileges as sandboxPrivileges } from '../../sandbox/src/administrator.js'
import { Secret } from '../../src/log.js'
import {
  formatCreateRoleScript,
  listFeatures,
  listPrivileges,
  type Privilege,
} from '../../src/provisioning/privileges.js'
import { createAdminClient } from '../../src/upstream/admin.js'
import { assertNeedsEachPrivilege, features } from '../support/privileges.js'
import { DATABASE, startProvisioning } from '../support/provisioning.js'

/** Starts a MongoDB with an administrator that has only these privileges. */
async function startWith(t: Parameters<typeof startProvisioning>[0], privileges: readonly Privilege[]) {
  const scene = await startProvisioning(t)
  const db = scene.client.db('admin')
  await db.command({ createRole: 'iamProxy', roles: [], privileges: privileges })
  await db.command({ createUser: 'iam-proxy', pwd: 'pw', roles: ['iamProxy'] })
  const { runCommand: run, close } = createAdminClient(
    new Secret(`mongodb://iam-proxy:pw@127.0.0.1:${scene.server.port}/?authSource=admin`),
  )
  t.teardown(close)
  return { scene, run }
}

t.test('with the documented role every feature works, and the role is not root', async t => {
  const { scene, run } = await startWith(t, listPrivileges(DATABASE))
  for (const [feature, work] of Object.entries(features)) {
    await t.resolves(work(scene, run), feature)
  }
  for (const [db, command] of [
    ['app', { find: 'c' }],
    ['app', { insert: 'c', documents: [{}] }],
    ['admin', { createUser: 'x', pwd: 'x', roles: [] }],
    ['$external', { createUser: 'x', roles: [] }],
    ['admin', { replSetGetConfig: 1 }],
  ] as const) {
    t.equal((await run(command, db)).code, 13, JSON.stringify(command))
  }
})

for (const [feature] of listFeatures(DATABASE)) {
  t.test(`${feature} needs each of its privileges, and at most those of provisioning besides`, async t => {
    const start = async (privileges: readonly Privilege[]) => {
      const { scene, run } = await startWith(t, privileges)
      return () => features[feature](scene, run)
    }
    await assertNeedsEachPrivilege(t, feature, start)
  })
}

t.test('the documented script creates that role', async t => {
  const text = formatCreateRoleScript(DATABASE)
  const created: Document[] = []
  const db = { getSiblingDB: () => ({ createRole: (role: Document) => created.push(role), createUser: () => {} }) }
  new Function('db', 'passwordPrompt', text)(db, () => '')
  t.same(created, [{ role: 'iamProxy', roles: [], privileges: listPrivileges(DATABASE) }])
})

t.test('the administrator of the sandbox has exactly the documented privileges', async t => {
  t.same(sandboxPrivileges, listPrivileges(DATABASE))
})
