/** Commands about user-defined roles. https://www.mongodb.com/docs/manual/reference/command/nav-role-management/ */
import type { Document } from 'bson'
import { CommandError } from './commandError.js'
import { checkCommandFields, checkFields } from './fields.js'
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
import { isDocument } from './order.js'
import { type Commands, onDatabase, type Request, type RequiredPrivilege } from './request.js'
import { readRestrictions } from './restrictions.js'
import { findBuiltInRole, listBuiltInRoles, parsePrivilege, type RoleName, toPrivilegeDocument } from './roles.js'
import type { Entry } from './store.js'

export const roleCommands: Commands = {
  createRole: { requires: needsToGrant('createRole'), run: createRole },
  updateRole: { requires: request => [...needsToGrant()(request), REVOKE_ANY], run: updateRole },
  dropRole: {
    requires: onDatabase('dropRole'),
    run: request => {
      checkCommandFields(request, {})
      const { users } = request.instance
      const { document } = roleOf(request)
      users.roles.remove(roleOf(request))
      for (const entry of users.users.entries.values()) {
        const left = withoutRoles(entry.document.roles, [{ role: document.role, db: document.db }])
        if (left.length < entry.document.roles.length)
          users.change(users.users, entry, one => ({ ...one, roles: left }))
      }
      return {}
    },
  },
  rolesInfo: { requires: viewing, run: rolesInfo },
  grantPrivilegesToRole: {
    requires: needsToGrant(),
    run: request => {
      checkCommandFields(request, { privileges: 'array' })
      const { users } = request.instance
      const added = privilegesIn(request)
      if (added.length === 0) {
        throw new CommandError('BadValue', 'grantPrivilegesToRole command requires a non-empty "privileges" array')
      }
      users.change(users.roles, roleOf(request), role => ({ ...role, privileges: [...role.privileges, ...added] }))
      return {}
    },
  },
  grantRolesToRole: {
    requires: needsToGrant(),
    run: request => {
      const entry = roleOf(request)
      checkInheritance(request, parseRoles(request))
      return changeRoles(request, entry, (held, named) => [...withoutRoles(held, named), ...named])
    },
  },
  revokeRolesFromRole: { requires: needsToRevoke, run: request => changeRoles(request, roleOf(request), withoutRoles) },
}

/** Users can view their own roles. */
function viewing({ body, db, session }: Request): RequiredPrivilege[] {
  return parseNames(body.rolesInfo, db).flatMap(({ user: role, db }): RequiredPrivilege[] =>
    session.user?.user.roles.some(held => held.role === role && held.db === db)
      ? []
      : [['viewRole', { db, collection: '' }]],
  )
}

function roleOf(request: Request): Entry {
  const name: RoleName = { role: parseName(request), db: request.db }
  if (findBuiltInRole(name)) {
    throw new CommandError('BadValue', `${name.role}@${name.db} is a built-in role and cannot be modified`)
  }
  const entry = request.instance.users.role(name)
  if (!entry) throw new CommandError('RoleNotFound', `No role named ${name.role}@${name.db}`)
  return entry
}

/** Throws InvalidRoleModification for a privilege outside the database of the role, unless that is `admin`. */
function privilegesIn({ name, body, db }: Request): Document[] {
  return body.privileges.map((privilege: unknown) => {
    if (!isDocument(privilege)) throw new CommandError('TypeMismatch', '"privileges" needs to contain objects')
    checkFields(`${name}.privileges`, privilege, { resource: 'object', actions: 'array' })
    const { resource, actions } = privilege as { resource: Document; actions: unknown[] }
    if (actions.length === 0 || !actions.every(action => typeof action === 'string')) {
      throw new CommandError('BadValue', '"actions" needs to contain at least one action, each a string')
    }
    if (db !== 'admin' && ('cluster' in resource || 'anyResource' in resource || resource.db !== db)) {
      const message = `Roles on the '${db}' database cannot be granted privileges that target other databases or the cluster`
      throw new CommandError('InvalidRoleModification', message)
    }
    return toPrivilegeDocument(parsePrivilege({ resource, actions }))
  })
}

/** Throws InvalidRoleModification if a role would inherit itself, directly or not, or a role of another database. */
function checkInheritance(request: Request, inherited: readonly RoleName[]): void {
  const { db, instance } = request
  const own = parseName(request)
  const refuse = (why: string) => new CommandError('InvalidRoleModification', why)
  for (const { role, db: roleDb } of inherited) {
    if (role === own && roleDb === db) throw refuse(`Cannot grant role ${own}@${db} to itself.`)
    if (db !== 'admin' && roleDb !== db) {
      throw refuse(`Roles on the '${db}' database cannot be granted roles from other databases`)
    }
    if (instance.users.resolve([{ role, db: roleDb }]).roles.some(one => one.role === own && one.db === db)) {
      throw refuse(`Granting ${role}@${roleDb} to ${own}@${db} would introduce a cycle in the role graph.`)
    }
  }
}

function createRole(request: Request): Document {
  const { db, body, instance } = request
  const role = parseName(request)
  checkCommandFields(request, { privileges: 'array', roles: 'array', authenticationRestrictions: 'array?' })
  if (db === 'local' || db === '$external') {
    throw new CommandError('BadValue', `Cannot create roles in the ${db} database`)
  }
  if (findBuiltInRole({ role, db })) {
    throw new CommandError('BadValue', 'Cannot create roles with the same name as a built-in role')
  }
  const roles = parseRoles(request)
  checkInheritance(request, roles)
  instance.users.addRole({ role, db, privileges: privilegesIn(request), roles, ...restrictionsIn(body) })
  return {}
}

function restrictionsIn({ authenticationRestrictions: sent }: Document): Document {
  return sent === undefined ? {} : { authenticationRestrictions: readRestrictions(sent) }
}

function updateRole(request: Request): Document {
  const { body, instance } = request
  checkCommandFields(request, { privileges: 'array?', roles: 'array?', authenticationRestrictions: 'array?' })
  const entry = roleOf(request)
  const roles = body.roles === undefined ? undefined : parseRoles(request)
  if (roles) checkInheritance(request, roles)
  const changes = {
    ...(body.privileges !== undefined && { privileges: privilegesIn(request) }),
    ...(roles && { roles }),
    ...restrictionsIn(body),
  }
  if (Object.keys(changes).length === 0) {
    throw new CommandError('BadValue', 'Must specify at least one field to update in updateRole')
  }
  instance.users.change(instance.users.roles, entry, document => ({ ...document, ...changes }))
  return {}
}

function rolesInfo(request: Request): Document {
  const { body, db, instance } = request
  checkCommandFields(request, {
    showPrivileges: 'bool?',
    showAuthenticationRestrictions: 'bool?',
    showBuiltinRoles: 'bool?',
  })
  const names = parseNames(body.rolesInfo, db)
  const stored = [...instance.users.roles.entries.values()].map(({ document }) => document)
  const found = names.flatMap(({ user: role, db }) => {
    if (role === undefined) {
      const builtIns = body.showBuiltinRoles ? listBuiltInRoles(db).map(role => ({ role, db })) : []
      return [...stored.filter(one => one.db === db).map(({ role, db }) => ({ role, db })), ...builtIns]
    }
    return findBuiltInRole({ role, db }) || instance.users.role({ role, db }) ? [{ role, db }] : []
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
    ...(body.showPrivileges && {
      privileges: document?.privileges ?? (findBuiltInRole(name) ?? []).map(toPrivilegeDocument),
    }),
    inheritedRoles: inherited,
    ...(body.showPrivileges && { inheritedPrivileges: all.privileges.map(toPrivilegeDocument) }),
    isBuiltin: document === undefined,
  }
}
