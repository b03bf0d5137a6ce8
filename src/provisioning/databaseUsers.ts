/** The provisioned users and roles in MongoDB, as commands of the administrator. Other files decide what they are for. */
import type { Document } from 'bson'
import { Fault, type FaultKind } from '../errors.js'
import type { AdminClient } from '../upstream/admin.js'
import { isFerretdb } from '../upstream/edition.js'
import { assertOk } from '../upstream/reply.js'
import {
  buildCreateRole,
  type CollectionRole,
  getRolePrefix,
  isFleetRole,
  type RoleName,
} from '../users/collectionRole.js'

/** A user as MongoDB stores it, without its credentials. */
export type StoredUser = { user: string; roles: readonly RoleName[]; customData: unknown }

/** `db`: the database of the users. */
export type DatabaseUsersOptions = { runCommand: AdminClient['runCommand']; db: string; fleet: string }

const ERROR_CODES = { userNotFound: 11, roleNotFound: 31, roleExists: 51002, userExists: 51003 } as const

/** Errors of a server without roles or without these commands. FerretDB 1.24 replies with the last one. */
const UNSUPPORTED_CODES = [59, 115, 238]

/** No login may rely on a user that a failover could roll back. A set without a majority replies after `wtimeout` ms. */
const DURABLE = { writeConcern: { w: 'majority', wtimeout: 4_000 } }

/**
 * More roles than a fleet ever creates. One batch has to hold them: a cursor belongs to one server, and the driver may
 * send getMore to another.
 */
const MAX_ROLES = 50_000

/**
 * Every method throws `upstream/unreachable`, `provision/unsupported`, and `provision/failed`, whose data have the code.
 */
export class DatabaseUsers {
  readonly #options: DatabaseUsersOptions

  constructor(options: DatabaseUsersOptions) {
    this.#options = options
  }

  /** Throws `provision/unsupported` for a server that is known not to enforce roles. */
  async assertSupported(): Promise<void> {
    // If the server refuses buildInfo, creating a user will show whether it is supported.
    const reply = await this.#options.runCommand({ buildInfo: 1 })
    if (isFerretdb(reply)) {
      throw new Fault('provision/unsupported', undefined, { why: 'FerretDB does not enforce roles' })
    }
  }

  /** The user with this name; undefined if there is none. */
  async read(user: string): Promise<StoredUser | undefined> {
    return (await this.#usersInfo({ user, db: this.#options.db }))[0]
  }

  readAll(): Promise<StoredUser[]> {
    return this.#usersInfo(1)
  }

  /** Resolves to false if the user exists, because another process was faster. */
  create(user: string, fields: Document): Promise<boolean> {
    return this.#write({ createUser: user, ...fields }, this.#options.db, ERROR_CODES.userExists)
  }

  /** Replaces these fields. Resolves to false if the user does not exist. */
  update(user: string, fields: Document): Promise<boolean> {
    return this.#write({ updateUser: user, ...fields }, this.#options.db, ERROR_CODES.userNotFound)
  }

  /** Resolves to false if the user does not exist. */
  drop(user: string): Promise<boolean> {
    return this.#write({ dropUser: user }, this.#options.db, ERROR_CODES.userNotFound)
  }

  /**
   * Creates the role with `create`, which resolves to whether `run` has created it, unless it exists. Throws
   * `provision/conflict` if another role has its name.
   */
  async ensureRole(
    role: CollectionRole,
    create: (name: RoleName, run: () => Promise<boolean>) => Promise<boolean>,
  ): Promise<void> {
    const command = buildCreateRole(this.#options.fleet, role)
    const filter = { role: command.createRole, db: role.db }
    const [existing] = await this.#findRoles(filter)
    const run = () => this.#write(command, role.db, ERROR_CODES.roleExists)
    if (!existing && (await create(filter, run))) return
    const stored = existing ?? (await this.#findRoles(filter))[0]
    if (!stored || !isFleetRole(this.#options.fleet, stored)) throw new Fault('provision/conflict', undefined, filter)
  }

  /** All roles that this fleet created and nobody has changed since. */
  async readRoles(): Promise<RoleName[]> {
    const { fleet } = this.#options
    const prefix = getRolePrefix(fleet).replace(/[^\w/-]/g, '\\$&')
    const roles = await this.#findRoles({ role: { $regex: `^${prefix}` } })
    return roles.filter(role => isFleetRole(fleet, role)).map(({ role, db }) => ({ role, db }))
  }

  /** Resolves to false if the role does not exist. */
  dropRole({ role, db }: RoleName): Promise<boolean> {
    return this.#write({ dropRole: role }, db, ERROR_CODES.roleNotFound)
  }

  async #usersInfo(usersInfo: unknown): Promise<StoredUser[]> {
    const users = (await this.#run({ usersInfo }, this.#options.db))?.users
    return Array.isArray(users) ? users.map(({ user, roles, customData }) => ({ user, roles, customData })) : []
  }

  async #findRoles(filter: Document): Promise<Document[]> {
    const command = { find: 'system.roles', filter, singleBatch: true, batchSize: MAX_ROLES }
    return (await this.#run(command, 'admin'))?.cursor?.firstBatch ?? []
  }

  /** Resolves to false if the command fails with the tolerated code. */
  async #write(command: Document, db: string, toleratedCode: number): Promise<boolean> {
    return (await this.#run({ ...command, ...DURABLE }, db, toleratedCode)) !== undefined
  }

  /** The reply; undefined if the command fails with the tolerated code. */
  async #run(command: Document, db: string, toleratedCode?: number): Promise<Document | undefined> {
    const reply = await this.#options.runCommand(command, db)
    if (Number(reply.ok) !== 1 && Number(reply.code) === toleratedCode) return undefined
    try {
      return assertOk(reply, 'upstream.admin')
    } catch (thrown) {
      throw toProvisioningFault(Fault.from(thrown), command)
    }
  }
}

/** A refused command of the administrator is not a refused login of a database user. */
function toProvisioningFault(fault: Fault, command: Document): Fault {
  const refusal = fault.data('upstream/authentication-failed')
  if (!refusal) return fault
  const { code, codeName, errmsg } = refusal
  const kind: FaultKind = UNSUPPORTED_CODES.includes(Number(code)) ? 'provision/unsupported' : 'provision/failed'
  const [name] = Object.keys(command)
  // A server may quote the command with its password.
  const quotesPassword = typeof command.pwd === 'string' && errmsg?.includes(command.pwd)
  return new Fault(kind, undefined, { command: name, code, codeName, ...(!quotesPassword && { errmsg }) })
}
