/**
 * Commands about users and roles, each with the privilege that mongod asks for it.
 * https://www.mongodb.com/docs/manual/reference/command/nav-user-management/
 */
import { type Document, Int32, serialize } from 'bson'
import { CommandError } from './commandError.js'
import { matcher } from './match.js'
import { keyOf } from './order.js'
import { type Commands, type Need, onDatabase, privilegesOf, type Request } from './request.js'
import { allowsWithin, builtIn, builtInNames, privilegeDocument, type RoleName, readPrivilege } from './roles.js'
import { isMechanism, type Mechanism, mechanisms } from './scram.js'
import type { Entry } from './store.js'
import type { UserName } from './users.js'

export const userCommands: Commands = {
  createUser: { needs: granting('createUser'), run: createUser },
  updateUser: { needs: changing, run: updateUser },
  dropUser: {
    needs: onDatabase('dropUser'),
    run: request => {
      request.instance.users.users.remove(userOf(request))
      return {}
    },
  },
  dropAllUsersFromDatabase: {
    needs: onDatabase('dropUser'),
    run: ({ db, instance: { users } }) => {
      const gone = [...users.users.entries.values()].filter(({ document }) => document.db === db)
      for (const entry of gone) users.users.remove(entry)
      return { n: new Int32(gone.length) }
    },
  },
  usersInfo: { needs: viewing, run: usersInfo },
  grantRolesToUser: {
    needs: granting(),
    run: request => changeRoles(request, userOf(request), (held, named) => [...without(held, named), ...named]),
  },
  revokeRolesFromUser: {
    needs: revoking,
    run: request => changeRoles(request, userOf(request), without),
  },
  createRole: { needs: granting('createRole'), run: createRole },
  updateRole: { needs: granting('createRole'), run: updateRole },
  dropRole: {
    needs: onDatabase('dropRole'),
    run: request => {
      const { users } = request.instance
      const { document } = roleOf(request)
      users.roles.remove(roleOf(request))
      for (const entry of users.users.entries.values()) {
        const left = without(entry.document.roles, [{ role: document.role, db: document.db }])
        if (left.length < entry.document.roles.length)
          users.change(users.users, entry, one => ({ ...one, roles: left }))
      }
      return {}
    },
  },
  rolesInfo: { needs: onDatabase('viewRole'), run: rolesInfo },
  grantPrivilegesToRole: {
    needs: onDatabase('grantRole'),
    run: request => {
      const { users } = request.instance
      const added = privilegesIn(request)
      users.change(users.roles, roleOf(request), role => ({ ...role, privileges: [...role.privileges, ...added] }))
      return {}
    },
  },
  grantRolesToRole: {
    needs: granting(),
    run: request => changeRoles(request, roleOf(request), (held, named) => [...without(held, named), ...named]),
  },
  revokeRolesFromRole: { needs: revoking, run: request => changeRoles(request, roleOf(request), without) },
  invalidateUserCache: { needs: () => [['invalidateUserCache', { cluster: true }]], run: () => ({}) },
}

const EXTERNAL = '$external'

function granting(action?: string): (request: Request) => Need[] {
  return request => [
    ...(action ? onDatabase(action)(request) : []),
    ...rolesIn(request).map(({ db }): Need => ['grantRole', { db, collection: '' }]),
  ]
}

function revoking(request: Request): Need[] {
  return rolesIn(request).map(({ db }): Need => ['revokeRole', { db, collection: '' }])
}

/** One's own password needs `changeOwnPassword`, which custom roles alone can hold; others' need `changePassword`. */
function changing(request: Request): Need[] {
  const { body, db } = request
  const needs = granting()(request)
  if (body.pwd !== undefined) needs.push(['changePassword', { db, collection: '' }])
  if (body.customData !== undefined) needs.push(['changeCustomData', { db, collection: '' }])
  if (body.authenticationRestrictions !== undefined) {
    needs.push(['setAuthenticationRestriction', { db, collection: '' }])
  }
  if (body.roles !== undefined) needs.push(['revokeRole', { db, collection: '' }])
  return needs
}

/** Everybody may look at themselves. */
function viewing({ body, db, session }: Request): Need[] {
  const self = session.user?.name
  return wanted(body.usersInfo, db).flatMap((name): Need[] =>
    name.user !== undefined && self?.user === name.user && self.db === name.db
      ? []
      : [['viewUser', { db: name.db, collection: '' }]],
  )
}

/** The names of usersInfo or rolesInfo; without `user` all of that database, with db '' of all. */
function wanted(value: unknown, db: string): { user?: string; db: string }[] {
  if (Array.isArray(value)) return value.flatMap(one => wanted(one, db))
  if (typeof value === 'string') return [{ user: value, db }]
  const { user, role, db: named, forAllDBs } = (value ?? {}) as Document
  if (forAllDBs) return [{ db: '' }]
  const name = user ?? role
  return typeof name === 'string' ? [{ user: name, db: named ?? db }] : [{ db }]
}

function nameOf({ name, body }: Request): string {
  const value = body[name]
  if (typeof value !== 'string' || value === '') throw new CommandError('BadValue', `"${name}" needs a name`)
  if (value.includes('\0')) throw new CommandError('BadValue', 'Names must not contain a null character')
  return value
}

/** The stored user that the command names. Throws UserNotFound. */
function userOf(request: Request): Entry {
  const name: UserName = { user: nameOf(request), db: request.db }
  const entry = request.instance.users.entry(name)
  if (!entry) throw new CommandError('UserNotFound', `Could not find user "${name.user}" for db "${name.db}"`)
  return entry
}

function roleOf(request: Request): Entry {
  const name: RoleName = { role: nameOf(request), db: request.db }
  if (builtIn(name)) throw new CommandError('InvalidRoleModification', `${name.role} is a built-in role`)
  const entry = request.instance.users.role(name)
  if (!entry) throw new CommandError('RoleNotFound', `No role named ${name.role}@${name.db}`)
  return entry
}

function rolesIn({ body, db, instance }: Request): RoleName[] {
  return body.roles === undefined ? [] : instance.users.readRoles(body.roles, db)
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
  const user = nameOf(request)
  if (body.roles === undefined) throw new CommandError('BadValue', '"createUser" command requires a "roles" array')
  const roles = rolesIn(request)
  if (instance.users.entry({ user, db })) {
    throw new CommandError('Location51003', `User "${user}@${db}" already exists`)
  }
  const credentials = credentialsIn(request, user)
  if (!credentials) {
    const message = `Must provide a 'pwd' field for all user documents, except those with '${EXTERNAL}' as the user's source db`
    throw new CommandError('BadValue', message)
  }
  instance.users.add({ user, db }, { credentials, roles, ...kept(body) })
  return {}
}

/** What is stored as it was sent. */
function kept({ customData, authenticationRestrictions }: Document): Document {
  return {
    ...(customData !== undefined && { customData }),
    ...(authenticationRestrictions !== undefined && { authenticationRestrictions }),
  }
}

function updateUser(request: Request): Document {
  const { body, instance } = request
  const entry = userOf(request)
  const roles = body.roles === undefined ? undefined : rolesIn(request)
  const credentials = body.pwd === undefined ? undefined : credentialsIn(request, entry.document.user)
  const changes = { ...(credentials && { credentials }), ...(roles && { roles }), ...kept(body) }
  if (Object.keys(changes).length === 0) {
    throw new CommandError('BadValue', 'Must specify at least one field to update in updateUser')
  }
  instance.users.change(instance.users.users, entry, document => ({ ...document, ...changes }))
  return {}
}

function changeRoles(
  request: Request,
  entry: Entry,
  change: (held: RoleName[], named: RoleName[]) => RoleName[],
): Document {
  const { users } = request.instance
  const collection = 'user' in entry.document ? users.users : users.roles
  const named = rolesIn(request)
  users.change(collection, entry, document => ({ ...document, roles: change(document.roles, named) }))
  return {}
}

function without(held: RoleName[], named: RoleName[]): RoleName[] {
  return held.filter(one => !named.some(({ role, db }) => role === one.role && db === one.db))
}

function usersInfo({ body, db, instance, ...rest }: Request): Document {
  const names = wanted(body.usersInfo, db)
  const matches = matcher(body.filter ?? {})
  const shown = [...instance.users.users.entries.values()]
    .map(({ document }) => document)
    .filter(({ user, db }) => names.some(one => (!one.db || one.db === db) && (one.user ?? user) === user))
    .filter(document => matches(document))
    .map(document => shownUser({ ...rest, body, db, instance }, document))
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
      inheritedPrivileges: privileges.map(privilegeDocument),
      inheritedAuthenticationRestrictions: [],
    }),
    ...(!credentials?.external && { mechanisms: Object.keys(credentials ?? {}) }),
  }
}

function privilegesIn({ body, db }: Request): Document[] {
  if (!Array.isArray(body.privileges)) throw new CommandError('BadValue', '"privileges" needs to be an array')
  return body.privileges.map(({ resource, actions }: Document) => {
    if (typeof resource !== 'object' || !Array.isArray(actions)) {
      throw new CommandError('FailedToParse', 'a privilege needs "resource" and "actions"')
    }
    if (db !== 'admin' && ('cluster' in resource || 'anyResource' in resource || resource.db !== db)) {
      const message = 'Roles on the database of an application can only have privileges on that database'
      throw new CommandError('InvalidRoleModification', message)
    }
    return privilegeDocument(readPrivilege({ resource, actions }))
  })
}

function createRole(request: Request): Document {
  const { db, body, instance } = request
  const role = nameOf(request)
  const _id = `${db}.${role}`
  if (builtIn({ role, db }) || instance.users.roles.entries.has(keyOf(_id))) {
    throw new CommandError('Location51002', `Role "${role}@${db}" already exists`)
  }
  const { authenticationRestrictions } = body
  const document = {
    _id,
    role,
    db,
    privileges: privilegesIn(request),
    roles: rolesIn(request),
    ...(authenticationRestrictions !== undefined && { authenticationRestrictions }),
  }
  instance.users.roles.insert(Buffer.from(serialize(document)), neverMissing)
  return {}
}

function neverMissing(): never {
  throw new CommandError('InternalError', 'a role has an _id')
}

function updateRole(request: Request): Document {
  const { body, instance } = request
  const changes = {
    ...(body.privileges !== undefined && { privileges: privilegesIn(request) }),
    ...(body.roles !== undefined && { roles: rolesIn(request) }),
  }
  instance.users.change(instance.users.roles, roleOf(request), document => ({ ...document, ...changes }))
  return {}
}

function rolesInfo(request: Request): Document {
  const { body, db, instance } = request
  const names = wanted(body.rolesInfo, db)
  const stored = [...instance.users.roles.entries.values()].map(({ document }) => document)
  const found = names.flatMap(({ user: role, db }) => {
    if (role === undefined) {
      const builtIns = body.showBuiltinRoles ? builtInNames(db).map(role => ({ role, db })) : []
      return [...stored.filter(one => one.db === db).map(({ role, db }) => ({ role, db })), ...builtIns]
    }
    return builtIn({ role, db }) || instance.users.role({ role, db }) ? [{ role, db }] : []
  })
  return { roles: found.map(name => shownRole(request, name)) }
}

function shownRole({ body, instance: { users } }: Request, name: RoleName): Document {
  const document = users.role(name)?.document
  const all = users.resolve([name])
  const inherited = all.roles.filter(({ role, db }) => role !== name.role || db !== name.db)
  return {
    _id: `${name.db}.${name.role}`,
    ...name,
    roles: document?.roles ?? [],
    ...(body.showPrivileges && { privileges: document?.privileges ?? (builtIn(name) ?? []).map(privilegeDocument) }),
    inheritedRoles: inherited,
    ...(body.showPrivileges && { inheritedPrivileges: all.privileges.map(privilegeDocument) }),
    isBuiltin: document === undefined,
  }
}

/** Whether whoever asks may list what is in a database. */
export const maySee = (request: Request, db: string): boolean => allowsWithin(privilegesOf(request), 'find', db)
