/** For `check`: whether users could be kept in this upstream, and who else could be one of them. Nothing is written. */
import type { Document } from 'bson'
import { Fault } from '../errors.js'
import type { AdminClient } from '../upstream/admin.js'
import { assertOk } from '../upstream/reply.js'
import { isCollectionRole } from '../users/collectionRole.js'
import type { Role } from '../users/match.js'
import { formatRole } from '../users/roles.js'
import { type Feature, listFeatures, listMissingPrivileges } from './privileges.js'
import { createUserReconciler, type ProvisioningOptions } from './reconciler.js'

/** `roles`: all that rules give. */
export type AuditOptions = { provisioning: ProvisioningOptions; roles: readonly Role[]; directory: boolean }

/** Roles by which a person can change any user of a database, and so become it. */
const OVER_USERS = {
  own: ['userAdmin', 'dbOwner'],
  all: ['userAdminAnyDatabase', 'root', 'restore', '__system'],
}

/** Sentences about what was found. Throws `provision/*`, `upstream/unreachable`. */
export async function auditUsers({ provisioning: parts, roles, directory }: AuditOptions): Promise<string[]> {
  const { run, database, clientSource } = parts
  const { ferretdbVersion } = await ask(run, { buildInfo: 1 })
  if (String(ferretdbVersion).startsWith('v1.')) throw new Fault('provision/unsupported')
  const needed: Record<Feature, boolean> = {
    'LDAP guard': false,
    directory,
    provisioning: true,
    'provision.clientSource': clientSource !== undefined,
    'roles for one collection': roles.some(isCollectionRole),
  }
  const { authInfo } = await ask(run, { connectionStatus: 1, showPrivileges: true })
  const held: Document[] = authInfo?.authenticatedUserPrivileges ?? []
  // Without access control nobody is logged in, and nobody needs privileges.
  const isOpen = !authInfo?.authenticatedUsers?.length
  const features = isOpen ? [] : listFeatures(database).filter(([feature]) => needed[feature])
  const missing = features.flatMap(([, privileges]) => listMissingPrivileges(held, privileges))
  if (missing.length > 0) {
    throw new Fault('provision/failed', `the user of upstream.admin lacks ${missing.join(', ')}`)
  }
  const { accounts, madeBy } = createUserReconciler(parts)
  const there = await accounts.readAll()
  const foreign = there.filter(account => !madeBy(account)).map(({ user }) => user)
  return [
    `${there.length - foreign.length} in ${database}, and the user of upstream.admin has the privileges for more`,
    ...foreign.map(user => `warning: ${user}@${database} was not made by this proxy: its principal could not log in`),
    ...(await unknown(run, roles)),
    ...(await holders(run, database)),
    ...(await restricted(run, roles)),
  ]
}

/** Roles that nobody has made: a login by them would fail. */
async function unknown(run: AdminClient['runCommand'], roles: readonly Role[]): Promise<string[]> {
  const wanted = roles.filter(one => !isCollectionRole(one))
  if (wanted.length === 0) return []
  const reply = await run({ rolesInfo: wanted.map(({ role, db }) => ({ role, db })) })
  if (Number(reply.ok) !== 1) return []
  const there = new Set((reply.roles as Role[]).map(({ role, db }) => formatRole({ role, db })))
  return [...new Set(wanted.map(formatRole))]
    .filter(name => !there.has(name))
    .map(name => `warning: there is no role ${name}, so logins by it fail`)
}

/** Who could set the password of such a user. */
async function holders(run: AdminClient['runCommand'], database: string): Promise<string[]> {
  const over = [
    ...OVER_USERS.own.map(role => ({ role, db: database })),
    ...OVER_USERS.all.map(role => ({ role, db: 'admin' })),
  ]
  const filter = { $or: over.map(one => ({ roles: { $elemMatch: one } })) }
  const found = await find(run, 'system.users', filter)
  if (!found) return [`who else may change users of ${database} is unknown, as admin.system.users may not be read`]
  return found.map(({ user, db, roles }) => {
    const by = roles.filter((one: Role) => over.some(({ role, db }) => role === one.role && db === one.db))
    return `note: ${user}@${db} may change users of ${database} and so be one of them, by its roles ${by.map(({ role, db }: Role) => `${role}@${db}`).join(', ')}`
  })
}

/** MongoDB judges restrictions of a role by the address of its client, which is the proxy (R19). */
async function restricted(run: AdminClient['runCommand'], roles: readonly Role[]): Promise<string[]> {
  const found = (await find(run, 'system.roles', { authenticationRestrictions: { $exists: true } })) ?? []
  return found
    .filter(({ authenticationRestrictions: list }) => Array.isArray(list) && list.length > 0)
    .filter(({ role, db }) => roles.some(one => !isCollectionRole(one) && one.role === role && one.db === db))
    .map(
      ({ role, db }) => `warning: ${role}@${db} has restrictions, which MongoDB will judge by the proxy's own address`,
    )
}

const UNAUTHORIZED = 13
const AT_MOST = 100

/** The documents, or undefined where they may not be read. */
async function find(
  run: AdminClient['runCommand'],
  collection: string,
  filter: Document,
): Promise<Document[] | undefined> {
  const command = { find: collection, filter, projection: { credentials: 0 }, limit: AT_MOST, singleBatch: true }
  const reply = await run(command)
  return Number(reply.code) === UNAUTHORIZED ? undefined : assertOk(reply, 'upstream.admin').cursor?.firstBatch
}

async function ask(run: AdminClient['runCommand'], command: Document): Promise<Document> {
  return assertOk(await run(command), 'upstream.admin')
}
