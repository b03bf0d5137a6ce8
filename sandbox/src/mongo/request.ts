/** What a command is run with, and what the table of commands is made of. */
import type { Document } from 'bson'
import { CommandError } from './commandError.js'
import type { Cursors } from './cursors.js'
import type { Member } from './hello.js'
import type { Statements } from './logicalSessions.js'
import { toNumber } from './order.js'
import type { Replication } from './replication.js'
import type { Privilege, Resource } from './roles.js'
import type { Challenge } from './scram.js'
import type { Collection, Stored } from './store.js'
import type { User, UserName, Users } from './users.js'

/** Whether, and as whose product, the server reports LDAP authorization. */
export type Ldap = 'off' | 'enterprise' | 'percona'

/** One server: what its connections share. */
export type Instance = {
  /** Of a transaction, inside of one. */
  store: Stored
  users: Users
  cursors: Cursors
  member: Member
  /** Its place in a set. */
  replica?: { set: Replication; id: number }
  host: () => string
  tls: boolean
  now: () => number
  random: (size: number) => Buffer
  started: number
  ldap: Ldap
  sessions: Set<Session>
  /** How often each command was run. */
  counted: Map<string, number>
  opened: () => number
}

/** One connection. It is one user at most, for life. */
export type Session = {
  id: number
  /** Address of the peer, without and with its port. */
  address: string
  peer: string
  closed: AbortSignal
  metadata?: Document
  user?: LoggedIn
  conversation?: Conversation
  running?: { name: string; since: number } | undefined
}

/** `known` remembers what was allowed, until users or roles change. */
export type LoggedIn = { name: UserName; owner: string; user: User; version: number; known: Map<string, boolean> }
export type Conversation = { challenge: Challenge; name: UserName; skipEmpty: boolean; proven: boolean }

export type Request = {
  name: string
  db: string
  body: Document
  /** The client takes several replies to one request. */
  exhaust: boolean
  /** Of a retryable write: what its statements returned before. */
  statements?: Statements
  session: Session
  instance: Instance
}

/** One reply of several; `next` makes the following one. */
export class Streamed {
  readonly reply: Reply
  readonly next: () => Answer
  constructor(reply: Reply, next: () => Answer) {
    this.reply = reply
    this.next = next
  }
}
export type Reply = Document | Uint8Array
export type Answer = Reply | Streamed | Promise<Reply | Streamed>

export type Need = readonly [action: string, resource: Resource]
/**
 * A row of the table. `needs`: `nobody` is answered before login, `login` to whoever is logged in, and a function gives
 * all that must be allowed. `adminOnly`: the command runs on the database `admin` alone.
 */
export type Row = {
  needs: 'nobody' | 'login' | ((request: Request) => Need[])
  adminOnly?: true
  run(request: Request): Answer
}
export type Commands = Record<string, Row>

/** The collection that the command names. Throws InvalidNamespace. */
export function collectionOf({ name, body }: Request): string {
  const value = body[name]
  if (typeof value !== 'string' || value === '') {
    throw new CommandError('InvalidNamespace', 'collection name has invalid type or is empty')
  }
  return value
}

export const onCollection =
  (...actions: string[]) =>
  (request: Request): Need[] => {
    const resource = { db: request.db, collection: collectionOf(request) }
    return actions.map(action => [action, resource])
  }
export const onDatabase =
  (...actions: string[]) =>
  ({ db }: Request): Need[] =>
    actions.map(action => [action, { db, collection: '' }])
export const onCluster =
  (...actions: string[]) =>
  (): Need[] =>
    actions.map(action => [action, { cluster: true }])

/** A number of a command, or `fallback` where it is missing. Throws TypeMismatch. */
export function numberOf<T>(body: Document, field: string, fallback: T): number | T {
  const value = body[field]
  if (value === undefined || value === null) return fallback
  const number = toNumber(value)
  if (Number.isNaN(number)) throw new CommandError('TypeMismatch', `BSON field '${field}' is the wrong type`)
  return number
}

/** The privileges of whoever is logged in. */
export const privilegesOf = ({ session }: Request): readonly Privilege[] => session.user?.user.privileges ?? []

/** The collection that the command names. Throws NamespaceNotFound. */
export function existing(request: Request): Collection {
  const name = collectionOf(request)
  const found = request.instance.store.find(request.db, name)
  if (!found) throw new CommandError('NamespaceNotFound', `ns does not exist: ${request.db}.${name}`)
  return found
}
