/** Database users and roles of the proxy, as commands of the administrator; what they are for is known elsewhere. */
import type { Document } from 'bson'
import { Fault, type FaultKind } from '../errors.js'
import type { AdminClient } from '../upstream/admin.js'
import { assertOk } from '../upstream/reply.js'
import {
  buildCreateRole,
  type CollectionRole,
  getRolePrefix,
  isFleetRole,
  type RoleName,
} from '../users/collectionRole.js'

/** A user as it is stored, without its credentials. */
export type StoredUser = { user: string; roles: readonly RoleName[]; customData: unknown }

export type DatabaseUsers = {
  /** The user of that name; undefined where there is none. */
  read(user: string): Promise<StoredUser | undefined>
  /** All users of the database. */
  readAll(): Promise<StoredUser[]>
  /** False where there is one already: somebody was quicker. */
  create(user: string, fields: Document): Promise<boolean>
  /** Replaces these fields. False where the user is gone. */
  update(user: string, fields: Document): Promise<boolean>
  /** False where the user is gone already. */
  drop(user: string): Promise<boolean>
  /** Sees to it that this role is there. Throws `provision/conflict` where one of its name is not ours. */
  ensureRole(cut: CollectionRole): Promise<void>
  /** All roles whose names say that this fleet made them and that are what it made. */
  readRoles(): Promise<RoleName[]>
  dropRole(role: RoleName): Promise<boolean>
}

const CODE = { userNotFound: 11, roleNotFound: 31, roleExists: 51002, userExists: 51003 } as const

/** What a server answers that knows no roles, or not these commands. FerretDB 1.24 answers with the last. */
const UNSUPPORTED = [59, 115, 238]

/** Durable before anybody relies on it; a set without a majority answers after these milliseconds. */
const SAFELY = { writeConcern: { w: 'majority', wtimeout: 4_000 } }

const SYSTEM_ROLES = 'system.roles'

/** More than a fleet ever makes. One batch, as a cursor belongs to one server and the driver may choose another. */
const AT_ONCE = 50_000

/**
 * `db`: the database of the users. Every function throws `upstream/unreachable`, `provision/unsupported`, and
 * `provision/failed`, whose data have the code.
 */
export function createDatabaseUsers(
  run: AdminClient['runCommand'],
  { db, fleet }: { db: string; fleet: string },
): DatabaseUsers {
  /** The reply, or undefined for the one code that is no failure. */
  const ask = async (command: Document, on: string, tolerated?: number): Promise<Document | undefined> => {
    const reply = await run(command, on)
    if (Number(reply.ok) !== 1 && Number(reply.code) === tolerated) return undefined
    try {
      return assertOk(reply, 'upstream.admin')
    } catch (thrown) {
      throw asOurs(thrown, command)
    }
  }
  const did = async (command: Document, on: string, tolerated: number) =>
    (await ask({ ...command, ...SAFELY }, on, tolerated)) !== undefined

  const users = async (usersInfo: unknown): Promise<StoredUser[]> => {
    const found = (await ask({ usersInfo }, db))?.users
    return Array.isArray(found) ? found.map(({ user, roles, customData }) => ({ user, roles, customData })) : []
  }
  const roles = async (filter: Document): Promise<Document[]> => {
    const found = await ask({ find: SYSTEM_ROLES, filter, singleBatch: true, batchSize: AT_ONCE }, 'admin')
    return found?.cursor?.firstBatch ?? []
  }

  return {
    read: async user => (await users({ user, db }))[0],
    readAll: () => users(1),
    create: (user, fields) => did({ createUser: user, ...fields }, db, CODE.userExists),
    update: (user, fields) => did({ updateUser: user, ...fields }, db, CODE.userNotFound),
    drop: user => did({ dropUser: user }, db, CODE.userNotFound),
    ensureRole: async cut => {
      const command = buildCreateRole(fleet, cut)
      const [there] = await roles({ role: command.createRole, db: cut.db })
      if (!there && (await did(command, cut.db, CODE.roleExists))) return
      const [stored] = there ? [there] : await roles({ role: command.createRole, db: cut.db })
      if (!stored || !isFleetRole(fleet, stored)) {
        throw new Fault('provision/conflict', undefined, { role: command.createRole, db: cut.db })
      }
    },
    readRoles: async () => {
      const prefix = getRolePrefix(fleet).replace(/[^\w/-]/g, '\\$&')
      const found = await roles({ role: { $regex: `^${prefix}` } })
      return found.filter(role => isFleetRole(fleet, role)).map(({ role, db }) => ({ role, db }))
    },
    dropRole: ({ role, db }) => did({ dropRole: role }, db, CODE.roleNotFound),
  }
}

/** A refusal of the administrator's commands concerns no user of the upstream, as `upstream/authentication-failed` would say. */
function asOurs(thrown: unknown, command: Document): Fault {
  const fault = Fault.from(thrown)
  const refusal = fault.data('upstream/authentication-failed')
  if (!refusal) return fault
  const { code, codeName, errmsg } = refusal
  const ours: FaultKind = UNSUPPORTED.includes(Number(code)) ? 'provision/unsupported' : 'provision/failed'
  const [name] = Object.keys(command)
  // Servers may quote the command.
  const quoted = typeof command.pwd === 'string' && errmsg?.includes(command.pwd)
  return new Fault(ours, undefined, { command: name, code, codeName, ...(!quoted && { errmsg }) })
}
