/** From a request to its answer: the row of the command, whether this user may, and every error as a reply. */
import type { Document } from 'bson'
import { aggregationCommands } from './aggregationCommands.js'
import { authenticationCommands } from './authenticationCommands.js'
import { catalogCommands } from './catalogCommands.js'
import { CommandError, toReply } from './commandError.js'
import { toText } from './commandText.js'
import { diagnosticCommands } from './diagnosticCommands.js'
import { explain, parseExplained } from './explain.js'
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
  explain: { requires: explainNeeds, run: explain },
  listCommands: { requires: 'login', run: () => ({ commands: Object.fromEntries(listed()) }) },
}

function* listed(): Generator<[string, Document]> {
  for (const [name, { requires, adminOnly = false }] of Object.entries(commands)) {
    yield [name, { help: '', requiresAuth: requires !== 'nobody', secondaryOk: false, adminOnly }]
  }
}

/** Explaining needs what running would. */
function explainNeeds(request: Request): RequiredPrivilege[] {
  const inner = parseExplained(request)
  const needs = commands[inner.name]?.requires
  return typeof needs === 'function' ? needs(inner) : []
}

/** Runs one command. Never throws. */
export function run(request: Request): CommandResult {
  const answer = answered(request)
  return request.instance.replica ? addReplicaSetFields(request, answer) : answer
}

function answered(request: Request): CommandResult {
  const { name, session, instance } = request
  try {
    const row = Object.hasOwn(commands, name) ? commands[name] : undefined
    if (session.user && session.user.version !== instance.users.version) refresh(request)
    if (row?.requires !== 'nobody') authorize(request, row)
    if (!row) throw new CommandError('CommandNotFound', `no such command: '${name}'`)
    instance.commandCounts.set(name, (instance.commandCounts.get(name) ?? 0) + 1)
    refuseCollation(request.body)
    if (!instance.replica) rejectTransactions(request.body)
    const answer = instance.replica ? runOnReplicaSetMember(request, row.run) : row.run(request)
    if (!(answer instanceof Promise)) return answer
    session.running = { name, since: instance.now() }
    return answer.catch(refused).finally(() => {
      session.running = undefined
    })
  } catch (thrown) {
    return refused(thrown)
  }
}

const refused = (thrown: unknown): Document => toReply(CommandError.from(thrown))

/** Users or roles have changed: the user is looked up again, and is nobody if it is gone. */
function refresh({ session, instance }: Request): void {
  const { user } = session
  if (!user) return
  const now = instance.users.find(user.name)
  // A user that was dropped and created again is another one.
  if (now && String(now.document.userId) === String(user.user.document.userId)) {
    session.user = { ...user, user: now, version: instance.users.version, authorizationCache: new Map() }
  } else {
    delete session.user
  }
}

/** Strings compare by their bytes here; a wrong order would be worse than none. Throws IllegalOperation. */
function refuseCollation({ collation }: Document): void {
  if (!collation || collation.locale === 'simple') return
  throw new CommandError('IllegalOperation', 'collations are not part of this sandbox')
}

/** Throws Unauthorized: nobody is logged in, or a privilege is missing. */
function authorize(request: Request, row: CommandDefinition | undefined): void {
  const { session, name, db, body } = request
  if (!session.user) throw new CommandError('Unauthorized', `Command ${name} requires authentication`)
  if (row?.adminOnly && db !== 'admin') {
    throw new CommandError('Unauthorized', `${name} may only be run against the admin database.`)
  }
  if (!row || typeof row.requires !== 'function') return
  for (const need of row.requires(request)) {
    if (!may(session.user, need)) {
      const { lsid: _, $clusterTime: __, pwd: ___, ...told } = body
      throw new CommandError('Unauthorized', `not authorized on ${db} to execute command ${toText(told)}`)
    }
  }
}

function may(
  { user, authorizationCache }: NonNullable<Request['session']['user']>,
  [action, resource]: RequiredPrivilege,
): boolean {
  const key = 'db' in resource ? `${action} ${resource.db}.${resource.collection}` : action
  const remembered = authorizationCache.get(key)
  if (remembered !== undefined) return remembered
  const allowed = isAllowed(user.privileges, action, resource)
  if (authorizationCache.size < REMEMBERED) authorizationCache.set(key, allowed)
  return allowed
}

const REMEMBERED = 1000
