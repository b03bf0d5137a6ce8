import type { Document } from 'bson'
import t from 'tap'
import { privileges as sandboxPrivileges } from '../../sandbox/src/administrator.js'
import { evaluateLdap, queryLdapSettings } from '../../src/ldap/ldap.js'
import { Secret } from '../../src/log.js'
import { getPeriod } from '../../src/provisioning/password.js'
import {
  type Feature,
  formatCreateRoleScript,
  listFeatures,
  listPrivileges,
  type Privilege,
} from '../../src/provisioning/privileges.js'
import { prune } from '../../src/provisioning/prune.js'
import { type AdminClient, createAdminClient } from '../../src/upstream/admin.js'
import { arnOf, DATABASE, DAY_MS, startProvisioning } from '../support/provisioning.js'

type Scene = Awaited<ReturnType<typeof startProvisioning>>

const orders = { arn: arnOf('orders'), roles: [{ role: 'read', db: 'app' }] }
const wider = [
  { role: 'readWrite', db: 'app' },
  { role: 'clusterMonitor', db: 'admin' },
]
const collectionRoles = [{ role: 'read', db: 'app', collection: 'orders' }]

/** Runs everything that a feature does, as the administrator `run`. */
const features: Record<Feature, (scene: Scene, run: AdminClient['runCommand']) => Promise<unknown>> = {
  'LDAP guard': async (_, run) => {
    const { state, why } = evaluateLdap({ ...(await queryLdapSettings(command => run(command))), buildInfo: undefined })
    if (state !== 'off') throw new Error(why)
  },
  directory: async (_, run) => {
    const filter = { db: '$external' }
    const found = await run({
      find: 'system.users',
      filter,
      projection: { credentials: 0 },
      readConcern: { level: 'majority' },
    })
    if (Number(found.ok) !== 1) throw new Error(found.errmsg)
  },
  provisioning: async ({ make, logIn, clock, stored, partsOf }, run) => {
    const one = make({ runCommand: run })
    await logIn(one, orders)
    await logIn(one, { ...orders, roles: wider })
    clock.now += DAY_MS
    await logIn(one, { ...orders, roles: wider })
    const { customData } = (await stored('orders')) ?? {}
    if (customData?.period !== getPeriod(clock.now, DAY_MS)) throw new Error('the period did not roll over')
    await one.syncRoles(() => undefined)
    await logIn(one, orders)
    const { users } = await prune(partsOf({ runCommand: run }), () => undefined)
    if (users.length !== 1) throw new Error('no user was removed')
  },
  'provision.clientSource': async ({ make, logIn }, run) => {
    await logIn(make({ runCommand: run, clientSource: ['127.0.0.1'] }), { ...orders, arn: arnOf('restricted') })
    await logIn(make({ runCommand: run }), { ...orders, arn: arnOf('restricted') })
  },
  'roles for one collection': async ({ make, logIn, partsOf }, run) => {
    const one = make({ runCommand: run })
    await logIn(one, { arn: arnOf('limited'), roles: collectionRoles })
    await logIn(one, { arn: arnOf('limited'), roles: wider })
    const { roles } = await prune(partsOf({ runCommand: run }), () => wider)
    if (roles.length !== 1) throw new Error('no role was removed')
  },
}

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

/** One privilege for each action. */
const splitActions = (privileges: readonly Privilege[]): Privilege[] =>
  privileges.flatMap(({ resource, actions }) => actions.map(action => ({ resource, actions: [action] })))

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

t.test('each feature needs each of its privileges, and at most those of provisioning besides', async t => {
  for (const [feature, own] of listFeatures(DATABASE)) {
    const base = feature === 'LDAP guard' || feature === 'directory' ? [] : provisioningOf()
    const others = feature === 'provisioning' ? [] : base
    const { scene, run } = await startWith(t, [...own, ...others])
    await t.resolves(features[feature](scene, run), feature)
    for (const missing of splitActions(own)) {
      const rest = splitActions(own).filter(one => JSON.stringify(one) !== JSON.stringify(missing))
      const { scene, run } = await startWith(t, [...rest, ...others])
      await t.rejects(features[feature](scene, run), `${feature} without ${missing.actions[0]}`)
    }
  }
})

const provisioningOf = () => listFeatures(DATABASE).find(([feature]) => feature === 'provisioning')?.[1] ?? []

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
