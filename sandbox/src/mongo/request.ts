/** The context of a command, and the types of the table of commands. */
import type { Document } from 'bson'
import { CommandError } from './commandError.js'
import type { Cursors } from './cursors.js'
import type { FailPoint } from './failPoint.js'
import type { Member } from './hello.js'
import type { Statements } from './logicalSessions.js'
import { toNumber } from './order.js'
import type { Replication } from './replication.js'
import type { Privilege, Resource } from './roles.js'
import type { Challenge } from './scram.js'
import type { Collection, DocumentStore } from './store.js'
import type { User, UserName, Users } from './users.js'

/** The product as which the server reports LDAP authorization. */
export type LdapProduct = 'off' | 'enterprise' | 'percona'

/** The state that the connections of one server share. */
export type Instance = {
  /** In a transaction: its own view. */
  store: DocumentStore
  users: Users
  cursors: Cursors
  member: Member
  failPoint: FailPoint
  /** The replica set and the id of this member. */
  replica?: { set: Replication; id: number }
  host: () => string
  tls: boolean
  now: () => number
  random: (size: number) => Buffer
  started: number
  ldap: LdapProduct
  sessions: Set<ConnectionState>
  /** The number of runs of each command. */
  commandCounts: Map<string, number>
  acceptedCount: () => number
}

/** One connection. It authenticates as at most one user. */
export type ConnectionState = {
  id: number
  /** The address of the client without and with its port. */
  address: string
  peer: string
  closed: AbortSignal
  metadata?: Document
  user?: AuthenticatedUser
  conversation?: Conversation
  running?: { name: string; since: number } | undefined
}

/** `authorizationCache` is dropped when users or roles change. */
export type AuthenticatedUser = {
  name: UserName
  owner: string
  user: User
  version: number
  authorizationCache: Map<string, boolean>
}
export type Conversation = { challenge: Challenge; name: UserName; skipEmpty: boolean; proven: boolean }

export type Request = {
  name: string
  db: string
  body: Document
  /** The client accepts several replies to this request (exhaustAllowed). */
  exhaust: boolean
  /** For a retryable write: the earlier results of its statements. */
  statements?: Statements
  session: ConnectionState
  instance: Instance
}

/** One of several replies. `next` computes the following one. */
export class StreamedReply {
  readonly reply: Reply
  readonly next: () => CommandResult
  constructor(reply: Reply, next: () => CommandResult) {
    this.reply = reply
    this.next = next
  }
}
export type Reply = Document | Uint8Array
export type CommandResult = Reply | StreamedReply | Promise<Reply | StreamedReply>

export type RequiredPrivilege = readonly [action: string, resource: Resource]
/**
 * `requires`: `nothing` is allowed before authentication, and a function returns the required privileges. `adminOnly`: the command runs on the database `admin` only.
 */
export type CommandDefinition = {
  requires: 'nothing' | 'authentication' | ((request: Request) => RequiredPrivilege[])
  adminOnly?: true
  run(request: Request): CommandResult
}
export type Commands = Record<string, CommandDefinition>

/** The name of the collection of a command. Throws InvalidNamespace. */
export function parseCollection({ name, body }: Request): string {
  const value = body[name]
  if (typeof value !== 'string' || value === '') {
    throw new CommandError('InvalidNamespace', 'collection name has invalid type or is empty')
  }
  return value
}

export const onCollection =
  (...actions: string[]) =>
  (request: Request): RequiredPrivilege[] => {
    const resource = { db: request.db, collection: parseCollection(request) }
    return actions.map(action => [action, resource])
  }
export const onDatabase =
  (...actions: string[]) =>
  ({ db }: Request): RequiredPrivilege[] =>
    actions.map(action => [action, { db, collection: '' }])
export const onCluster =
  (...actions: string[]) =>
  (): RequiredPrivilege[] =>
    actions.map(action => [action, { cluster: true }])

/** A number in a command, or `fallback` if it is missing. Throws TypeMismatch. */
export function parseNumber<T>(body: Document, field: string, fallback: T): number | T {
  const value = body[field]
  if (value === undefined || value === null) return fallback
  const number = toNumber(value)
  if (Number.isNaN(number)) throw new CommandError('TypeMismatch', `BSON field '${field}' is the wrong type`)
  return number
}

/** The privileges of the authenticated user. */
export const privilegesOf = ({ session }: Request): readonly Privilege[] => session.user?.user.privileges ?? []

/** The collection of a command. Throws NamespaceNotFound. */
export function findCollection(request: Request): Collection {
  const name = parseCollection(request)
  const found = request.instance.store.find(request.db, name)
  if (!found) throw new CommandError('NamespaceNotFound', `ns does not exist: ${request.db}.${name}`)
  return found
}
