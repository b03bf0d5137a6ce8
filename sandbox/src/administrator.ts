/**
 * The user of `upstream.admin` in the sandbox. It has the privileges that the proxy documents and no more, so that
 * nothing of the proxy runs as root. The table repeats that of the proxy on purpose: a test compares the two, so neither
 * can grow unnoticed.
 */
import type { RoleDefinition, UserDefinition } from './mongo/server.js'

const USER = 'iam-proxy'
const ROLE = 'iamProxy'
/** The default of `provision.database`. */
const PROVISIONED = 'mongo_iam_proxy'

const cluster = { cluster: true }
/** All databases and collections except system collections. */
const anywhere = { db: '', collection: '' }
const provisioned = { db: PROVISIONED, collection: '' }

export const privileges = [
  { resource: cluster, actions: ['getCmdLineOpts', 'getParameter'] },
  { resource: { db: 'admin', collection: 'system.users' }, actions: ['find'] },
  { resource: provisioned, actions: ['viewUser', 'createUser', 'changePassword', 'changeCustomData', 'dropUser'] },
  { resource: anywhere, actions: ['grantRole', 'revokeRole'] },
  { resource: provisioned, actions: ['setAuthenticationRestriction'] },
  { resource: { db: 'admin', collection: 'system.roles' }, actions: ['find'] },
  { resource: anywhere, actions: ['createRole', 'dropRole'] },
]

/** Creates the user. Returns `user:password`, escaped for a connection string; the database is `admin`. */
export function createAdministrator(
  mongo: { createRole(role: RoleDefinition): void; createUser(user: UserDefinition): void },
  password: string,
): string {
  mongo.createRole({ role: ROLE, privileges })
  mongo.createUser({ user: USER, password, roles: [ROLE] })
  return `${USER}:${encodeURIComponent(password)}`
}
