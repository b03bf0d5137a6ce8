/** Finds the command of a request, checks the privileges of the user, runs it, and converts errors to replies. */
import type { Document } from 'bson'
import { aggregationCommands } from './aggregationCommands.js'
import { authenticationCommands } from './authenticationCommands.js'
import { catalogCommands } from './catalogCommands.js'
import { CommandError, toReply } from './commandError.js'
import { toText } from './commandText.js'
import { diagnosticCommands } from './diagnosticCommands.js'
import { explain, parseExplained } from './explain.js'
import { applyFailure, failPointCommands } from './failPointCommands.js'
import { handshakeCommands } from './handshake.js'
import { indexCommands } from './indexCommands.js'
import { addReplicaSetFields, runOnReplicaSetMember } from './memberCommands.js'
import { readCommands } from './readCommands.js'
import { replicationCommands } from './replicationCommands.js'
import type { CommandDefinition, CommandResult, Commands, Request, RequiredPrivilege } from './request.js'
import { roleCommands } from './roleCommands.js'
import { isAllowed } from './roles.js'
import { rejectTransactions, sessionCommands } from './sessionCommands.js'
import { userCommands } from './userCommands.js'
import { writeCommands } from './writeCommands.js'

const commands: Commands = {
  ...handshakeCommands,
  ...authenticationCommands,
  ...sessionCommands,
  ...readCommands,
  ...writeCommands,
  ...aggregationCommands,
  ...catalogCommands,
  ...indexCommands,
  ...userCommands,
  ...roleCommands,
  ...diagnosticCommands,
  ...replicationCommands,
  ...failPointCommands,
  explain: { requires: explainNeeds, run: explain },
  listCommands: { requires: 'authentication', run: () => ({ commands: Object.fromEntries(listCommands()) }) },
}

function* listCommands(): Generator<[string, Document]> {
  for (const [name, { requires, adminOnly = false }] of Object.entries(commands)) {
    yield [name, { help: '', requiresAuth: requires !== 'nothing', secondaryOk: false, adminOnly }]
  }
}

/** Explaining a command requires the privileges for running it. */
function explainNeeds(request: Request): RequiredPrivilege[] {
  const inner = parseExplained(request)
  const needs = commands[inner.name]?.requires
  return typeof needs === 'function' ? needs(inner) : []
}

const HELLO = new Set(['hello', 'isMaster', 'ismaster'])

/** Runs one command. Throws `connectionClosed` if the fail point closes the connection. */
export function runCommand(request: Request): CommandResult {
  const { name, body, session, instance } = request
  // The first hello of a connection brings the metadata itself. mongod 4.9 and later applies its fail point to that one, too.
  const metadata = session.metadata ?? (HELLO.has(name) ? body.client : undefined)
  const failure = instance.failPoint.enter(name, metadata?.application?.name)
  const answer = failure ? applyFailure(failure, request, () => execute(request)) : execute(request)
  return instance.replica ? addReplicaSetFields(request, answer, failure !== undefined) : answer
}

function execute(request: Request): CommandResult {
  const { name, session, instance } = request
  try {
    const row = Object.hasOwn(commands, name) ? commands[name] : undefined
    if (session.user && session.user.version !== instance.users.version) refresh(request)
    if (row?.requires !== 'nothing') authorize(request, row)
    if (!row) throw new CommandError('CommandNotFound', `no such command: '${name}'`)
    instance.commandCounts.set(name, (instance.commandCounts.get(name) ?? 0) + 1)
    rejectCollation(request.body)
    if (!instance.replica) rejectTransactions(request.body)
    const answer = instance.replica ? runOnReplicaSetMember(request, row.run) : row.run(request)
    if (!(answer instanceof Promise)) return answer
    session.running = { name, since: instance.now() }
    return answer.catch(toErrorReply).finally(() => {
      session.running = undefined
    })
  } catch (thrown) {
    return toErrorReply(thrown)
  }
}

const toErrorReply = (thrown: unknown): Document => toReply(CommandError.from(thrown))

/** Reloads the user after users or roles changed. If the user is gone, the connection is no longer authenticated. */
function refresh({ session, instance }: Request): void {
  const { user } = session
  if (!user) return
  const now = instance.users.find(user.name)
  // A user that was dropped and created again is a different user.
  if (now && String(now.document.userId) === String(user.user.document.userId)) {
    session.user = { ...user, user: now, version: instance.users.version, authorizationCache: new Map() }
  } else {
    delete session.user
  }
}

/** Strings compare by bytes. An error is better than a wrong order. Throws IllegalOperation. */
function rejectCollation({ collation }: Document): void {
  if (!collation || collation.locale === 'simple') return
  throw new CommandError('IllegalOperation', 'collations are not part of this sandbox')
}

/** Throws Unauthorized if nobody is authenticated or a privilege is missing. */
function authorize(request: Request, row: CommandDefinition | undefined): void {
  const { session, name, db, body } = request
  if (!session.user) throw new CommandError('Unauthorized', `Command ${name} requires authentication`)
  if (row?.adminOnly && db !== 'admin') {
    throw new CommandError('Unauthorized', `${name} may only be run against the admin database.`)
  }
  if (!row || typeof row.requires !== 'function') return
  for (const need of row.requires(request)) {
    if (!isGranted(session.user, need)) {
      const { lsid: _, $clusterTime: __, pwd: ___, ...printable } = body
      throw new CommandError('Unauthorized', `not authorized on ${db} to execute command ${toText(printable)}`)
    }
  }
}

function isGranted(
  { user, authorizationCache }: NonNullable<Request['session']['user']>,
  [action, resource]: RequiredPrivilege,
): boolean {
  const key = 'db' in resource ? `${action} ${resource.db}.${resource.collection}` : action
  const cached = authorizationCache.get(key)
  if (cached !== undefined) return cached
  const allowed = isAllowed(user.privileges, action, resource)
  if (authorizationCache.size < MAX_CACHED) authorizationCache.set(key, allowed)
  return allowed
}

const MAX_CACHED = 1000
