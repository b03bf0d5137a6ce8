/**
 * Users and roles. As in mongod, they are documents of admin.system.users and admin.system.roles, so `find` can read them
 * with the privilege. A change takes effect on open connections with their next command.
 */
import { type Document, type ObjectId, serialize } from 'bson'
import { createUuid } from './bytes.js'
import { CommandError } from './commandError.js'
import { checkFields } from './fields.js'
import { isDocument } from './order.js'
import { findBuiltInRole, type Privilege, parsePrivilege, type RoleName } from './roles.js'
import { createCredentials, type Mechanism } from './scram.js'
import type { Collection, Entry, Store } from './store.js'

export type UserName = { user: string; db: string }
/** A user with its resolved roles and privileges. */
export type User = { name: UserName; document: Document; roles: RoleName[]; privileges: Privilege[] }

export const toUserKey = ({ db }: { db: string }, name: string): string => `${db}.${name}`

export class Users {
  readonly users: Collection
  readonly roles: Collection
  readonly #random: (size: number) => Buffer
  readonly #cache = new Map<string, User>()
  #cachedVersion = 0

  constructor(store: Store, random: (size: number) => Buffer) {
    this.users = store.open('admin', 'system.users')
    this.roles = store.open('admin', 'system.roles')
    this.#random = random
  }

  /** Increases with every change of a user or role. */
  get version(): number {
    return this.users.version + this.roles.version
  }

  find(name: UserName): User | undefined {
    if (this.#cachedVersion !== this.version) {
      this.#cache.clear()
      this.#cachedVersion = this.version
    }
    const key = toUserKey(name, name.user)
    const cached = this.#cache.get(key)
    if (cached) return cached
    const document = this.entry(name)?.document
    if (!document) return undefined
    const user = { name, document, ...this.resolve(document.roles) }
    this.#cache.set(key, user)
    return user
  }

  entry(name: UserName): Entry | undefined {
    return this.users.entries.get(`s${toUserKey(name, name.user)}`)
  }

  role({ role, db }: RoleName): Entry | undefined {
    return this.roles.entries.get(`s${db}.${role}`)
  }

  /** These roles and all inherited ones, without duplicates, and their privileges. */
  resolve(names: readonly RoleName[]): { roles: RoleName[]; privileges: Privilege[] } {
    const roles = new Map<string, RoleName>()
    const privileges: Privilege[] = []
    const queue = [...names]
    for (const name of queue) {
      const key = toUserKey(name, name.role)
      if (roles.has(key)) continue
      roles.set(key, { role: name.role, db: name.db })
      const stored = this.role(name)?.document
      if (stored) {
        privileges.push(...stored.privileges.map(parsePrivilege))
        queue.push(...stored.roles)
      } else {
        privileges.push(...(findBuiltInRole(name) ?? []))
      }
    }
    return { roles: [...roles.values()], privileges }
  }

  /** The roles of a command, `'read'` or `{role, db}`. Throws RoleNotFound, BadValue, and as `checkFields`. */
  parseRoles(roles: unknown, db: string): RoleName[] {
    if (!Array.isArray(roles)) throw new CommandError('TypeMismatch', "BSON field 'roles' needs to be an array")
    return roles.map((entry: unknown) => {
      if (typeof entry !== 'string') {
        if (!isDocument(entry)) throw new CommandError('BadValue', 'Role names must be either strings or objects')
        checkFields('roles', entry, { role: 'string', db: 'string' })
      }
      const name = typeof entry === 'string' ? { role: entry, db } : (entry as RoleName)
      if (!findBuiltInRole(name) && !this.role(name)) {
        throw new CommandError('RoleNotFound', `Could not find role: ${name.role}@${name.db}`)
      }
      return name
    })
  }

  /** The credentials of a password for each mechanism. */
  credentials(user: string, password: string, mechanisms: readonly Mechanism[]): Document {
    return Object.fromEntries(mechanisms.map(name => [name, createCredentials(name, user, password, this.#random)]))
  }

  add(name: UserName, fields: Document): void {
    const _id = toUserKey(name, name.user)
    if (this.entry(name)) throw new CommandError('Location51003', `User "${name.user}@${name.db}" already exists`)
    const userId = createUuid(this.#random)
    this.users.insert(Buffer.from(serialize({ _id, userId, ...name, ...fields })), unneeded)
  }

  addRole(fields: RoleName & Document): void {
    const _id = toUserKey(fields, fields.role)
    if (this.role(fields)) {
      throw new CommandError('Location51002', `Role "${fields.role}@${fields.db}" already exists`)
    }
    this.roles.insert(Buffer.from(serialize({ _id, ...fields })), unneeded)
  }

  /** Replaces the stored document by the result of `change`. */
  change(collection: Collection, entry: Entry, change: (document: Document) => Document): void {
    const document = change({ ...entry.document })
    collection.replace(entry, Buffer.from(serialize(document)), document)
  }
}

function unneeded(): ObjectId {
  throw new CommandError('InternalError', 'users and roles have an _id')
}
