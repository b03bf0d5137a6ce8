/** Commands about roles of one's own: privileges under a name. */
import type { Document } from 'bson'
import { CommandError } from './commandError.js'
import { changeRoles, granting, nameOf, REVOKE_ANY, revoking, rolesIn, wanted, without } from './grants.js'
import { type Commands, type Need, onDatabase, type Request } from './request.js'
import { builtIn, builtInNames, privilegeDocument, type RoleName, readPrivilege } from './roles.js'
import type { Entry } from './store.js'

export const roleCommands: Commands = {
  createRole: { needs: granting('createRole'), run: createRole },
  updateRole: { needs: request => [...granting()(request), REVOKE_ANY], run: updateRole },
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
  rolesInfo: { needs: viewing, run: rolesInfo },
  grantPrivilegesToRole: {
    needs: granting(),
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
}

/** Everybody may look at the roles that they have. */
function viewing({ body, db, session }: Request): Need[] {
  return wanted(body.rolesInfo, db).flatMap(({ user: role, db }): Need[] =>
    session.user?.user.roles.some(held => held.role === role && held.db === db)
      ? []
      : [['viewRole', { db, collection: '' }]],
  )
}

function roleOf(request: Request): Entry {
  const name: RoleName = { role: nameOf(request), db: request.db }
  if (builtIn(name)) throw new CommandError('InvalidRoleModification', `${name.role} is a built-in role`)
  const entry = request.instance.users.role(name)
  if (!entry) throw new CommandError('RoleNotFound', `No role named ${name.role}@${name.db}`)
  return entry
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
  const { authenticationRestrictions } = body
  instance.users.addRole({
    role: nameOf(request),
    db,
    privileges: privilegesIn(request),
    roles: rolesIn(request),
    ...(authenticationRestrictions !== undefined && { authenticationRestrictions }),
  })
  return {}
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
