/**
 * Roles cut down to one collection: `read@db.collection` is a role in `db` that the proxy makes (R22).
 *
 * Roles have no customData on most servers, so the name says who made it: `mongo-iam-proxy/FLEET/ROLE/COLLECTION`. A name
 * can be chosen by anybody who may create roles in that database; so one of ours is one that has exactly the privileges
 * of its name and inherits nothing. Any other of such a name is not ours, and is neither granted nor dropped.
 */
import type { Document } from 'bson'
import type { Role } from './match.js'

export type CollectionRole = Role & { collection: string }
export type RoleName = { role: string; db: string }

const READ = ['changeStream', 'collStats', 'find', 'killCursors', 'listIndexes']
const WRITE = ['createCollection', 'createIndex', 'dropCollection', 'dropIndex', 'insert', 'remove', 'update']

/** The actions of the built-in role that mean something on one collection, and that every server version knows. */
const ACTIONS: Record<string, readonly string[]> = {
  read: READ,
  readWrite: [...READ, 'convertToCapped', ...WRITE],
}

export const isCollectionRole = (role: Role): role is CollectionRole => role.collection !== undefined

/** The roles that can be cut. */
export const COLLECTION_ROLE_NAMES = Object.keys(ACTIONS)

/** Under what name a role is granted: a cut one under the name that the proxy gives it. */
export function toRoleName(fleet: string, role: Role): RoleName {
  return {
    role: isCollectionRole(role) ? `${getRolePrefix(fleet)}${role.role}/${role.collection}` : role.role,
    db: role.db,
  }
}

/** How the names of all roles begin that this fleet makes. A fleet's name has no slash. */
export function getRolePrefix(fleet: string): string {
  return `mongo-iam-proxy/${fleet}/`
}

/** The command that makes it, for the database of the role. */
export function buildCreateRole(fleet: string, cut: CollectionRole): Document {
  return { createRole: toRoleName(fleet, cut).role, privileges: [privilegeOf(cut)], roles: [] }
}

/** Whether a document of admin.system.roles is a role that this fleet made, and still is what it was made. */
export function isFleetRole(fleet: string, { role, db, privileges, roles }: Document): boolean {
  const prefix = getRolePrefix(fleet)
  if (typeof role !== 'string' || !role.startsWith(prefix) || typeof db !== 'string') return false
  const [, name = '', collection = ''] = /^(\w+)\/(.+)$/s.exec(role.slice(prefix.length)) ?? []
  if (!Object.hasOwn(ACTIONS, name) || !Array.isArray(roles) || roles.length > 0) return false
  if (!Array.isArray(privileges) || privileges.length !== 1) return false
  const wanted = privilegeOf({ role: name, db, collection })
  const { resource, actions } = (privileges[0] ?? {}) as Document
  return (
    resource?.db === db &&
    resource.collection === collection &&
    Array.isArray(actions) &&
    [...actions].sort().join() === [...wanted.actions].sort().join()
  )
}

function privilegeOf({ role, db, collection }: CollectionRole) {
  return { resource: { db, collection }, actions: ACTIONS[role] ?? [] }
}
