/** What each feature does as the administrator of the proxy, to see which privileges it needs. */
import type { Test } from 'tap'
import { evaluateLdap, queryLdapSettings } from '../../src/ldap/ldap.js'
import { getPeriod } from '../../src/provisioning/password.js'
import { type Feature, listFeatures, type Privilege } from '../../src/provisioning/privileges.js'
import { prune } from '../../src/provisioning/prune.js'
import type { AdminClient } from '../../src/upstream/admin.js'
import { arnOf, DATABASE, DAY_MS, type provisionAt } from './provisioning.js'

export type Scene = ReturnType<typeof provisionAt>

const orders = { arn: arnOf('orders'), roles: [{ role: 'read', db: 'app' }] }
const wider = [
  { role: 'readWrite', db: 'app' },
  { role: 'clusterMonitor', db: 'admin' },
]
const collectionRoles = [{ role: 'read', db: 'app', collection: 'orders' }]

/** Runs everything that a feature does, as the administrator `run`. */
export const features: Record<Feature, (scene: Scene, run: AdminClient['runCommand']) => Promise<unknown>> = {
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

/** One privilege for each action. */
const splitActions = (privileges: readonly Privilege[]): Privilege[] =>
  privileges.flatMap(({ resource, actions }) => actions.map(action => ({ resource, actions: [action] })))

const provisioning = listFeatures(DATABASE).find(([feature]) => feature === 'provisioning')?.[1] ?? []

/** `start` gives an administrator these privileges, and returns the work of the feature. */
export async function assertNeedsEachPrivilege(
  t: Test,
  feature: Feature,
  start: (privileges: readonly Privilege[]) => Promise<() => Promise<unknown>>,
): Promise<void> {
  const own = listFeatures(DATABASE).find(([name]) => name === feature)?.[1] ?? []
  const others = ['LDAP guard', 'directory', 'provisioning'].includes(feature) ? [] : provisioning
  await t.resolves((await start([...own, ...others]))(), feature)
  for (const missing of splitActions(own)) {
    const rest = splitActions(own).filter(one => JSON.stringify(one) !== JSON.stringify(missing))
    const work = await start([...rest, ...others])
    await t.rejects(work(), `${feature} without ${missing.actions[0]}`)
  }
}
