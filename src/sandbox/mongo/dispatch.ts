/** From a request to its answer: the row of the command, whether this user may, and every error as a reply. */
import type { Document } from 'bson'
import { authentication } from './authentication.js'
import { catalog } from './catalog.js'
import { CommandError, toReply } from './commandError.js'
import { crud } from './crud.js'
import { diagnostics } from './diagnostics.js'
import { explain, explained } from './explain.js'
import { greeting } from './greeting.js'
import { pipelines } from './pipelines.js'
import type { Answer, Commands, Need, Request, Row } from './request.js'
import { allows } from './roles.js'
import { noTransactions, sessions } from './sessions.js'
import { shown } from './shown.js'
import { userCommands } from './userCommands.js'

const commands: Commands = {
  ...greeting,
  ...authentication,
  ...sessions,
  ...crud,
  ...pipelines,
  ...catalog,
  ...userCommands,
  ...diagnostics,
  explain: { needs: explainNeeds, run: explain },
  listCommands: { needs: 'login', run: () => ({ commands: Object.fromEntries(listed()) }) },
}

function* listed(): Generator<[string, Document]> {
  for (const [name, { needs }] of Object.entries(commands)) {
    yield [name, { help: '', requiresAuth: needs !== 'nobody', secondaryOk: false, adminOnly: false }]
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
  const { name, session, instance } = request
  instance.counted.set(name, (instance.counted.get(name) ?? 0) + 1)
  try {
    const row = Object.hasOwn(commands, name) ? commands[name] : undefined
    if (row?.needs !== 'nobody') authorize(request, row)
    if (!row) throw new CommandError('CommandNotFound', `no such command: '${name}'`)
    const { txnNumber, startTransaction, autocommit } = request.body
    if (txnNumber !== undefined || startTransaction !== undefined || autocommit !== undefined) noTransactions()
    const answer = row.run(request)
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

/** Throws Unauthorized: nobody is logged in, the user is gone, or a privilege is missing. */
function authorize(request: Request, row: Row | undefined): void {
  const { session, instance, name, db, body } = request
  const { user } = session
  if (user && user.version !== instance.users.version) {
    const now = instance.users.find(user.name)
    // A user that was dropped and created again is another one.
    if (now && String(now.document.userId) === String(user.user.document.userId)) {
      user.user = now
      user.known.clear()
    } else {
      delete session.user
    }
    user.version = instance.users.version
  }
  if (!session.user) throw new CommandError('Unauthorized', `Command ${name} requires authentication`)
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
