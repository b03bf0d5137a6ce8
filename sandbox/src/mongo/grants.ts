/** Shared by the commands about users and roles: names, lists of roles, and the privileges to grant and revoke them. */
import type { Document } from 'bson'
import { CommandError } from './commandError.js'
import { checkCommandFields } from './fields.js'
import { onDatabase, type Request, type RequiredPrivilege } from './request.js'
import type { RoleName } from './roles.js'
import type { Entry } from './store.js'

/** Granting requires grantRole on the database of every role and privilege. Setting restrictions requires an action of its own. */
export function needsToGrant(action?: string): (request: Request) => RequiredPrivilege[] {
  return request => [
    ...(action ? onDatabase(action)(request) : []),
    ...parseRoles(request).map(({ db }): RequiredPrivilege => ['grantRole', { db, collection: '' }]),
    ...givenIn(request),
    ...(request.body.authenticationRestrictions === undefined
      ? []
      : onDatabase('setAuthenticationRestriction')(request)),
  ]
}

/** Replacing a list of roles may remove any role, so it requires revokeRole on all databases. */
export const REVOKE_ANY: RequiredPrivilege = ['revokeRole', { db: '', collection: '' }]

/** For the privileges in a command. Those for all databases or the cluster require grantRole on `admin`. */
function givenIn({ body: { privileges } }: Request): RequiredPrivilege[] {
  if (!Array.isArray(privileges)) return []
  return privileges.map(one => ['grantRole', { db: one?.resource?.db || 'admin', collection: '' }])
}

export function needsToRevoke(request: Request): RequiredPrivilege[] {
  return parseRoles(request).map(({ db }): RequiredPrivilege => ['revokeRole', { db, collection: '' }])
}

/** The names in usersInfo or rolesInfo. Without `user`: all of the database. `db: ''`: all databases. */
export function parseNames(value: unknown, db: string): { user?: string; db: string }[] {
  if (Array.isArray(value)) return value.flatMap(one => parseNames(one, db))
  if (typeof value === 'string') return [{ user: value, db }]
  const { user, role, db: named, forAllDBs } = (value ?? {}) as Document
  if (forAllDBs) return [{ db: '' }]
  const name = user ?? role
  return typeof name === 'string' ? [{ user: name, db: named ?? db }] : [{ db }]
}

export function parseName({ name, body }: Request): string {
  const value = body[name]
  if (typeof value !== 'string') {
    throw new CommandError('TypeMismatch', `BSON field '${name}.${name}' is the wrong type, expected type 'string'`)
  }
  if (value === '') throw new CommandError('BadValue', `"${name}" needs a name`)
  if (value.includes('\0')) throw new CommandError('BadValue', 'Names must not contain a null character')
  return value
}

export function parseRoles({ body, db, instance }: Request): RoleName[] {
  return body.roles === undefined ? [] : instance.users.parseRoles(body.roles, db)
}

export function changeRoles(
  request: Request,
  entry: Entry,
  change: (held: RoleName[], named: RoleName[]) => RoleName[],
): Document {
  const { users } = request.instance
  const isUser = 'user' in entry.document
  const collection = isUser ? users.users : users.roles
  checkCommandFields(request, { roles: 'array' })
  const named = parseRoles(request)
  if (named.length === 0) {
    throw new CommandError('BadValue', `${request.name} command requires a non-empty "roles" array`)
  }
  users.change(collection, entry, document => ({ ...document, roles: change(document.roles, named) }))
  return {}
}

export function withoutRoles(held: RoleName[], named: RoleName[]): RoleName[] {
  return held.filter(one => !named.some(({ role, db }) => role === one.role && db === one.db))
}
