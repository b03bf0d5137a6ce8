/** The command explain. The sandbox has two plans: a lookup by `_id`, and a collection scan. */
import { type Document, Int32 } from 'bson'
import { CommandError } from './commandError.js'
import { VERSION } from './handshake.js'
import { findMatching } from './query.js'
import type { Request } from './request.js'
import { toInteger } from './statistics.js'

/** The filter of each command that can be explained. */
const filters: Record<string, (body: Document) => Document | undefined> = {
  find: body => body.filter,
  count: body => body.query,
  distinct: body => body.query,
  aggregate: body => body.pipeline?.[0]?.$match,
  update: body => body.updates?.[0]?.q,
  delete: body => body.deletes?.[0]?.q,
  findAndModify: body => body.query,
}

/** The explained command as a request of its own. */
export function parseExplained(request: Request): Request {
  const { body } = request
  const inner: unknown = body.explain
  if (typeof inner !== 'object' || inner === null) throw new CommandError('TypeMismatch', 'explain needs a command')
  const [name = ''] = Object.keys(inner)
  if (!Object.hasOwn(filters, name)) throw new CommandError('IllegalOperation', `Cannot explain '${name}'`)
  return { ...request, name, body: inner }
}

export function explain(request: Request): Document {
  const { name, body, db, instance } = parseExplained(request)
  const collection = instance.store.find(db, String(body[name]))
  const filter = filters[name]?.(body) ?? {}
  const byId = filter._id !== undefined
  const found = collection ? findMatching(collection, filter).length : 0
  const stage = !collection ? 'EOF' : byId ? 'IDHACK' : 'COLLSCAN'
  const plan = { stage, ...(stage === 'COLLSCAN' && { filter, direction: 'forward' }) }
  const examined = byId ? found : (collection?.entries.size ?? 0)
  return {
    explainVersion: '1',
    queryPlanner: {
      namespace: `${db}.${String(body[name])}`,
      parsedQuery: filter,
      indexFilterSet: false,
      winningPlan: plan,
      rejectedPlans: [],
    },
    ...(request.body.verbosity !== 'queryPlanner' && {
      executionStats: {
        executionSuccess: true,
        nReturned: toInteger(found),
        executionTimeMillis: new Int32(0),
        totalKeysExamined: toInteger(byId ? found : 0),
        totalDocsExamined: toInteger(examined),
        executionStages: { ...plan, nReturned: toInteger(found), docsExamined: toInteger(examined) },
      },
    }),
    command: body,
    serverInfo: { host: instance.host(), version: VERSION, gitVersion: 'sandbox' },
  }
}
