/** From a request to its answer: the row of the command, whether this user may, and every error as a reply. */
import type { Document } from 'bson'
import { authentication } from './authentication.js'
import { catalog } from './catalog.js'
import { CommandError, toReply } from './commandError.js'
import { diagnostics } from './diagnostics.js'
import { explain, explained } from './explain.js'
import { greeting } from './greeting.js'
import { indexCommands } from './indexCommands.js'
import { pipelines } from './pipelines.js'
import { reading } from './reading.js'
import { fromMember, runOnMember } from './replica.js'
import { replicationCommands } from './replicationCommands.js'
import type { Answer, Commands, Need, Request, Row } from './request.js'
import { roleCommands } from './roleCommands.js'
import { allows } from './roles.js'
import { refuseTransactions, sessions } from './sessions.js'
import { shown } from './shown.js'
import { userCommands } from './userCommands.js'
import { writing } from './writing.js'

const commands: Commands = {
  ...greeting,
  ...authentication,
  ...sessions,
  ...reading,
  ...writing,
  ...pipelines,
  ...catalog,
  ...indexCommands,
  ...userCommands,
  ...roleCommands,
  ...diagnostics,
  ...replicationCommands,
  explain: { needs: explainNeeds, run: explain },
  listCommands: { needs: 'login', run: () => ({ commands: Object.fromEntries(listed()) }) },
}

function* listed(): Generator<[string, Document]> {
  for (const [name, { needs, adminOnly = false }] of Object.entries(commands)) {
    yield [name, { help: '', requiresAuth: needs !== 'nobody', secondaryOk: false, adminOnly }]
  }
}

/** Explaining needs what running would. */
function explainNeeds(request: Request): Need[] {
  const inner = explained(request)
  const needs = commands[inner.name]?.needs
  return typeof needs === 'function' ? needs(inner) : []
}

/** Runs one command. Never throws. */
export function run(request: Request): Answer {
  const answer = answered(request)
  return request.instance.replica ? fromMember(request, answer) : answer
}

function answered(request: Request): Answer {
  const { name, session, instance } = request
  try {
    const row = Object.hasOwn(commands, name) ? commands[name] : undefined
    if (session.user && session.user.version !== instance.users.version) refresh(request)
    if (row?.needs !== 'nobody') authorize(request, row)
    if (!row) throw new CommandError('CommandNotFound', `no such command: '${name}'`)
    instance.counted.set(name, (instance.counted.get(name) ?? 0) + 1)
    refuseCollation(request.body)
    if (!instance.replica) refuseTransactions(request.body)
    const answer = instance.replica ? runOnMember(request, row.run) : row.run(request)
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
    session.user = { ...user, user: now, version: instance.users.version, known: new Map() }
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
function authorize(request: Request, row: Row | undefined): void {
  const { session, name, db, body } = request
  if (!session.user) throw new CommandError('Unauthorized', `Command ${name} requires authentication`)
  if (row?.adminOnly && db !== 'admin') {
    throw new CommandError('Unauthorized', `${name} may only be run against the admin database.`)
  }
  if (!row || typeof row.needs !== 'function') return
  for (const need of row.needs(request)) {
    if (!may(session.user, need)) {
      const { lsid: _, $clusterTime: __, pwd: ___, ...told } = body
      throw new CommandError('Unauthorized', `not authorized on ${db} to execute command ${shown(told)}`)
    }
  }
}

function may({ user, known }: NonNullable<Request['session']['user']>, [action, resource]: Need): boolean {
  const key = 'db' in resource ? `${action} ${resource.db}.${resource.collection}` : action
  const remembered = known.get(key)
  if (remembered !== undefined) return remembered
  const allowed = allows(user.privileges, action, resource)
  if (known.size < REMEMBERED) known.set(key, allowed)
  return allowed
}

const REMEMBERED = 1000
