/**
 * Roles for one collection: `read@db.collection` is a role in `db` that the proxy creates.
 *
 * Most servers store no customData in roles, so the name tells the creator: `mongo-iam-proxy/FLEET/ROLE/COLLECTION`.
 * Anyone who may create roles in that database can choose such a name. A role therefore belongs to this fleet only if it
 * has exactly the privileges of its name and inherits no role. The proxy neither grants nor drops any other role.
 */
import type { Document } from 'bson'
import type { Role } from './match.js'

/** A built-in role limited to one collection of its database. */
export type CollectionRole = Role & { collection: string }

/** A role as MongoDB commands name it. */
export type RoleName = { role: string; db: string }

const READ = ['changeStream', 'collStats', 'find', 'killCursors', 'listIndexes']
const WRITE = ['createCollection', 'createIndex', 'dropCollection', 'dropIndex', 'insert', 'remove', 'update']

/** The actions of each built-in role that apply to a single collection and that every server version knows. */
const ACTIONS: Record<string, readonly string[]> = {
  read: READ,
  readWrite: [...READ, 'convertToCapped', ...WRITE],
}

export const isCollectionRole = (role: Role): role is CollectionRole => role.collection !== undefined

/** The built-in roles that can be limited to one collection. */
export const COLLECTION_ROLE_NAMES = Object.keys(ACTIONS)

/** The name to grant a role by. A role for one collection has the name under which the proxy creates it. */
export function toRoleName(fleet: string, role: Role): RoleName {
  const name = isCollectionRole(role) ? `${getRolePrefix(fleet)}${role.role}/${role.collection}` : role.role
  return { role: name, db: role.db }
}

/** The prefix of all roles that this fleet creates. The name of a fleet contains no slash. */
export function getRolePrefix(fleet: string): string {
  return `mongo-iam-proxy/${fleet}/`
}

/** The `createRole` command, to run on the database of the role. */
export function buildCreateRole(fleet: string, role: CollectionRole): Document {
  return { createRole: toRoleName(fleet, role).role, privileges: [buildPrivilege(role)], roles: [] }
}

/** Whether a document of admin.system.roles is a role that this fleet created, unchanged since. */
export function isFleetRole(fleet: string, { role, db, privileges, roles }: Document): boolean {
  const prefix = getRolePrefix(fleet)
  if (typeof role !== 'string' || !role.startsWith(prefix) || typeof db !== 'string') return false
  const [, name = '', collection = ''] = /^(\w+)\/(.+)$/s.exec(role.slice(prefix.length)) ?? []
  if (!Object.hasOwn(ACTIONS, name) || !Array.isArray(roles) || roles.length > 0) return false
  if (!Array.isArray(privileges) || privileges.length !== 1) return false
  const expected = buildPrivilege({ role: name, db, collection })
  const { resource, actions } = (privileges[0] ?? {}) as Document
  return (
    resource?.db === db &&
    resource.collection === collection &&
    Array.isArray(actions) &&
    [...actions].sort().join() === [...expected.actions].sort().join()
  )
}

function buildPrivilege({ role, db, collection }: CollectionRole) {
  return { resource: { db, collection }, actions: ACTIONS[role] ?? [] }
}
