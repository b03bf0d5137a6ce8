/**
 * For `check`: whether this upstream can hold provisioned users, and who else could log in as one of them. Writes nothing.
 */
import type { Document } from 'bson'
import { Fault } from '../errors.js'
import type { AdminClient } from '../upstream/admin.js'
import { assertOk } from '../upstream/reply.js'
import { isCollectionRole } from '../users/collectionRole.js'
import type { Role } from '../users/match.js'
import { formatRole } from '../users/roles.js'
import { type Feature, listFeatures, listMissingPrivileges } from './privileges.js'
import { type ProvisioningOptions, UserReconciler } from './reconciler.js'

/** `roles`: all roles of the rules. `directory`: whether the directory is enabled. */
export type AuditOptions = { provisioning: ProvisioningOptions; roles: readonly Role[]; directory: boolean }

type RunCommand = AdminClient['runCommand']

/** Roles that can change users of a database, and so log in as them: roles of that database, and of admin. */
const USER_ADMIN_ROLES = {
  ofDatabase: ['userAdmin', 'dbOwner'],
  ofAdmin: ['userAdminAnyDatabase', 'root', 'restore', '__system'],
}

const UNAUTHORIZED = 13
const MAX_DOCUMENTS = 100

/** Returns sentences about the findings. Throws `provision/*` and `upstream/unreachable`. */
export async function auditUsers({ provisioning, roles, directory }: AuditOptions): Promise<string[]> {
  const { runCommand, database, clientSource } = provisioning
  const reconciler = new UserReconciler(provisioning)
  await reconciler.users.assertSupported()
  const privileges = await reviewPrivileges(runCommand, database, {
    'LDAP guard': false,
    directory,
    provisioning: true,
    'provision.clientSource': clientSource !== undefined,
    'roles for one collection': roles.some(isCollectionRole),
  })
  const users = await reconciler.users.readAll()
  const foreign = users.filter(user => !reconciler.verifyMark(user))
  return [
    `${users.length - foreign.length} in ${database}, and ${PRIVILEGES[privileges]}`,
    ...foreign.map(
      user => `warning: ${user.user}@${database} ${reconciler.describeForeign(user)}, so its principal cannot log in`,
    ),
    ...(await findMissingRoles(runCommand, roles)),
    ...(await findUserAdmins(runCommand, database)),
    ...(await findRestrictedRoles(runCommand, roles)),
  ]
}

const PRIVILEGES = {
  held: 'the user of upstream.admin has the privileges for more',
  unknown: 'the server does not list the privileges of the user of upstream.admin, so they are unknown',
}

/**
 * Whether the user of upstream.admin holds the privileges of these features. Some servers list none for any user, so
 * they are unknown there. Throws `provision/failed` with every privilege that is missing.
 */
async function reviewPrivileges(
  runCommand: RunCommand,
  database: string,
  isNeeded: Record<Feature, boolean>,
): Promise<keyof typeof PRIVILEGES> {
  const { authInfo } = await run(runCommand, { connectionStatus: 1, showPrivileges: true })
  // Without access control nobody is logged in, and no privileges are needed.
  if (!authInfo?.authenticatedUsers?.length) return 'held'
  const held: unknown = authInfo.authenticatedUserPrivileges
  if (!Array.isArray(held) || held.length === 0) return 'unknown'
  const features = listFeatures(database).filter(([feature]) => isNeeded[feature])
  const missing = features.flatMap(([, privileges]) => listMissingPrivileges(held, privileges))
  if (missing.length === 0) return 'held'
  throw new Fault('provision/failed', `the user of upstream.admin lacks ${missing.join(', ')}`)
}

/** Roles of rules that do not exist in MongoDB. */
async function findMissingRoles(runCommand: RunCommand, roles: readonly Role[]): Promise<string[]> {
  const wanted = roles.filter(role => !isCollectionRole(role))
  if (wanted.length === 0) return []
  const reply = await runCommand({ rolesInfo: wanted.map(({ role, db }) => ({ role, db })) })
  if (Number(reply.ok) !== 1) return []
  const existing = new Set((reply.roles as Role[]).map(({ role, db }) => formatRole({ role, db })))
  return [...new Set(wanted.map(formatRole))]
    .filter(name => !existing.has(name))
    .map(name => `warning: role ${name} does not exist, so logins that need it fail`)
}

/** Users who can set the password of a provisioned user. */
async function findUserAdmins(runCommand: RunCommand, database: string): Promise<string[]> {
  const adminRoles = [
    ...USER_ADMIN_ROLES.ofDatabase.map(role => ({ role, db: database })),
    ...USER_ADMIN_ROLES.ofAdmin.map(role => ({ role, db: 'admin' })),
  ]
  const filter = { $or: adminRoles.map(role => ({ roles: { $elemMatch: role } })) }
  const users = await find(runCommand, 'system.users', filter)
  if (!users) return [`cannot tell who else may change users of ${database}: admin.system.users is not readable`]
  return users.map(({ user, db, roles }) => {
    const held = roles.filter((one: Role) => adminRoles.some(({ role, db }) => role === one.role && db === one.db))
    const names = held.map(({ role, db }: Role) => formatRole({ role, db })).join(', ')
    return `note: ${user}@${db} can change users of ${database} and so log in as one of them, by its roles ${names}`
  })
}

/** MongoDB checks the restrictions of a role against the address of its client, which is the proxy. */
async function findRestrictedRoles(runCommand: RunCommand, roles: readonly Role[]): Promise<string[]> {
  const filter = { authenticationRestrictions: { $exists: true } }
  const restricted = (await find(runCommand, 'system.roles', filter)) ?? []
  return restricted
    .filter(({ authenticationRestrictions: list }) => Array.isArray(list) && list.length > 0)
    .filter(({ role, db }) => roles.some(one => !isCollectionRole(one) && one.role === role && one.db === db))
    .map(({ role, db }) => `warning: ${role}@${db} has restrictions, which MongoDB checks against the proxy's address`)
}

/** The documents; undefined if the collection may not be read. */
async function find(runCommand: RunCommand, collection: string, filter: Document): Promise<Document[] | undefined> {
  const projection = { credentials: 0 }
  const reply = await runCommand({ find: collection, filter, projection, limit: MAX_DOCUMENTS, singleBatch: true })
  return Number(reply.code) === UNAUTHORIZED ? undefined : assertOk(reply, 'upstream.admin').cursor?.firstBatch
}

async function run(runCommand: RunCommand, command: Document): Promise<Document> {
  return assertOk(await runCommand(command), 'upstream.admin')
}
