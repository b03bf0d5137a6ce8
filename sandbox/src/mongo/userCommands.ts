/**
 * Commands about users, with the privileges that mongod requires.
 * https://www.mongodb.com/docs/manual/reference/command/nav-user-management/
 */
import { type Document, Int32 } from 'bson'
import { CommandError } from './commandError.js'
import { checkCommandFields, type Fields } from './fields.js'
import {
  changeRoles,
  needsToGrant,
  needsToRevoke,
  parseName,
  parseNames,
  parseRoles,
  REVOKE_ANY,
  withoutRoles,
} from './grants.js'
import { compileMatcher } from './match.js'
import { type Commands, onDatabase, privilegesOf, type Request, type RequiredPrivilege } from './request.js'
import { readRestrictions } from './restrictions.js'
import { isAllowed, toPrivilegeDocument } from './roles.js'
import { isMechanism, type Mechanism, mechanisms } from './scram.js'
import type { Entry } from './store.js'
import type { UserName } from './users.js'

export const userCommands: Commands = {
  createUser: { requires: needsToGrant('createUser'), run: createUser },
  updateUser: { requires: changing, run: updateUser },
  dropUser: {
    requires: onDatabase('dropUser'),
    run: request => {
      checkCommandFields(request, {})
      request.instance.users.users.remove(userOf(request))
      return {}
    },
  },
  dropAllUsersFromDatabase: {
    requires: onDatabase('dropUser'),
    run: request => {
      checkCommandFields(request, {})
      const { db, instance } = request
      const { users } = instance
      const gone = [...users.users.entries.values()].filter(({ document }) => document.db === db)
      for (const entry of gone) users.users.remove(entry)
      return { n: new Int32(gone.length) }
    },
  },
  usersInfo: { requires: viewing, run: usersInfo },
  grantRolesToUser: {
    requires: needsToGrant(),
    run: request => changeRoles(request, userOf(request), (held, named) => [...withoutRoles(held, named), ...named]),
  },
  revokeRolesFromUser: {
    requires: needsToRevoke,
    run: request => changeRoles(request, userOf(request), withoutRoles),
  },
  invalidateUserCache: {
    adminOnly: true,
    requires: () => [['invalidateUserCache', { cluster: true }]],
    run: () => ({}),
  },
}

const EXTERNAL = '$external'

/** Each changed field requires its own action. Users need a lesser action for their own password and custom data. */
function changing(request: Request): RequiredPrivilege[] {
  const { body, db } = request
  const needs = needsToGrant()(request)
  const own = isSelf(request, { user: parseName(request), db }) ? 'Own' : ''
  for (const [field, action] of [
    ['pwd', 'Password'],
    ['customData', 'CustomData'],
  ] as const) {
    if (body[field] === undefined) continue
    const resource = { db, collection: '' }
    const mayOwn = own && isAllowed(privilegesOf(request), `changeOwn${action}`, resource)
    needs.push([mayOwn ? `changeOwn${action}` : `change${action}`, resource])
  }
  if (body.roles !== undefined) needs.push(REVOKE_ANY)
  return needs
}

/** Users can view themselves. Viewing all databases requires viewUser on the cluster. */
function viewing(request: Request): RequiredPrivilege[] {
  const { body, db } = request
  return parseNames(body.usersInfo, db).flatMap((name): RequiredPrivilege[] => {
    if (name.user !== undefined && isSelf(request, { user: name.user, db: name.db })) return []
    return [['viewUser', name.db === '' ? { cluster: true } : { db: name.db, collection: '' }]]
  })
}

function isSelf({ session }: Request, { user, db }: UserName): boolean {
  return session.user?.name.user === user && session.user.name.db === db
}

/** The stored user of a command. Throws UserNotFound. */
function userOf(request: Request): Entry {
  const name: UserName = { user: parseName(request), db: request.db }
  const entry = request.instance.users.entry(name)
  if (!entry) throw new CommandError('UserNotFound', `Could not find user "${name.user}" for db "${name.db}"`)
  return entry
}

function credentialsIn({ body, db, instance }: Request, user: string): Document | undefined {
  if (db === EXTERNAL) {
    if (body.pwd !== undefined || body.mechanisms !== undefined) {
      throw new CommandError('BadValue', `Cannot set the password for users defined on the '${EXTERNAL}' database`)
    }
    return { external: true }
  }
  if (body.pwd === undefined) return undefined
  if (typeof body.pwd !== 'string' || body.pwd === '') {
    throw new CommandError('BadValue', 'Password cannot be empty and must be a string')
  }
  const names: unknown[] = body.mechanisms ?? Object.keys(mechanisms)
  if (!names.every(isMechanism) || names.length === 0) {
    throw new CommandError('BadValue', 'mechanisms must name SCRAM-SHA-1, SCRAM-SHA-256 or both')
  }
  if (body.digestPassword === false) {
    throw new CommandError('BadValue', 'the sandbox digests passwords itself: leave digestPassword out')
  }
  return instance.users.credentials(user, body.pwd, names as Mechanism[])
}

function createUser(request: Request): Document {
  const { body, db, instance } = request
  const user = parseName(request)
  checkCommandFields(request, { ...USER_FIELDS, roles: 'array' })
  if (db === 'local') throw new CommandError('BadValue', 'Cannot create users in the local database')
  const roles = parseRoles(request)
  if (instance.users.entry({ user, db })) {
    throw new CommandError('Location51003', `User "${user}@${db}" already exists`)
  }
  const credentials = credentialsIn(request, user)
  if (!credentials) {
    const message = `Must provide a 'pwd' field for all user documents, except those with '${EXTERNAL}' as the user's source db`
    throw new CommandError('BadValue', message)
  }
  instance.users.add({ user, db }, { credentials, roles, ...storedFields(body) })
  return {}
}

const USER_FIELDS: Fields = {
  pwd: 'string?',
  customData: 'object?',
  roles: 'array?',
  authenticationRestrictions: 'array?',
  mechanisms: 'array?',
  digestPassword: 'bool?',
}

/** The fields that are stored as they were sent. */
function storedFields({ customData, authenticationRestrictions }: Document): Document {
  return {
    ...(customData !== undefined && { customData }),
    ...(authenticationRestrictions !== undefined && {
      authenticationRestrictions: readRestrictions(authenticationRestrictions),
    }),
  }
}

function updateUser(request: Request): Document {
  const { body, instance } = request
  checkCommandFields(request, USER_FIELDS)
  const entry = userOf(request)
  const roles = body.roles === undefined ? undefined : parseRoles(request)
  const credentials = body.pwd === undefined ? undefined : credentialsIn(request, entry.document.user)
  const changes = { ...(credentials && { credentials }), ...(roles && { roles }), ...storedFields(body) }
  if (Object.keys(changes).length === 0) {
    throw new CommandError('BadValue', 'Must specify at least one field to update in updateUser')
  }
  instance.users.change(instance.users.users, entry, document => ({ ...document, ...changes }))
  return {}
}

const USERS_INFO_FIELDS: Fields = {
  showCredentials: 'bool?',
  showCustomData: 'bool?',
  showPrivileges: 'bool?',
  showAuthenticationRestrictions: 'bool?',
  filter: 'object?',
}

function usersInfo(request: Request): Document {
  const { body, db, instance } = request
  checkCommandFields(request, USERS_INFO_FIELDS)
  const names = parseNames(body.usersInfo, db)
  const isExact = names.every(({ user }) => user !== undefined)
  if ((body.showPrivileges || body.showAuthenticationRestrictions) && (!isExact || body.filter !== undefined)) {
    const message = 'Privilege or restriction details require exact-match usersInfo queries'
    throw new CommandError('IllegalOperation', message)
  }
  const matches = compileMatcher(body.filter ?? {})
  const shown = [...instance.users.users.entries.values()]
    .map(({ document }) => document)
    .filter(({ user, db }) => names.some(one => (!one.db || one.db === db) && (one.user ?? user) === user))
    .filter(document => matches(document))
    .map(document => shownUser(request, document))
  return { users: shown }
}

function shownUser({ body, instance }: Request, document: Document): Document {
  const { credentials, customData, authenticationRestrictions, ...plain } = document
  const { roles, privileges } = instance.users.resolve(document.roles)
  return {
    ...plain,
    ...(body.showCredentials && { credentials }),
    ...(customData !== undefined && body.showCustomData !== false && { customData }),
    ...(body.showAuthenticationRestrictions && { authenticationRestrictions: authenticationRestrictions ?? [] }),
    ...(body.showPrivileges && {
      inheritedRoles: roles,
      inheritedPrivileges: privileges.map(toPrivilegeDocument),
      inheritedAuthenticationRestrictions: [],
    }),
    ...(!credentials?.external && { mechanisms: Object.keys(credentials ?? {}) }),
  }
}
