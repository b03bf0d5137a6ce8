/** The commands aggregate and distinct, and the list of operations for $currentOp. */
import { type Document, Int32, Long, serialize } from 'bson'
import { parseStage, runPipeline } from './aggregation.js'
import { CommandError } from './commandError.js'
import { equal } from './order.js'
import { valuesAt } from './paths.js'
import { findMatching } from './query.js'
import { openCursor } from './readCommands.js'
import {
  type CommandResult,
  type Commands,
  onCollection,
  parseCollection,
  parseNumber,
  type Request,
  type RequiredPrivilege,
} from './request.js'
import { collectionStats } from './statistics.js'

export const aggregationCommands: Commands = {
  aggregate: { requires: aggregateNeeds, run: runAggregate },
  distinct: { requires: onCollection('find'), run: distinct },
  createSearchIndexes: { requires: onCollection('createSearchIndexes'), run: refuseSearch },
  updateSearchIndex: { requires: onCollection('updateSearchIndex'), run: refuseSearch },
  dropSearchIndex: { requires: onCollection('dropSearchIndex'), run: refuseSearch },
}

/** Tools conclude from this code that the server has no Atlas Search. */
function refuseSearch(): never {
  const message =
    'Using Atlas Search Database Commands and the $listSearchIndexes aggregation stage requires additional ' +
    'configuration. Please connect to Atlas or an AtlasCLI local deployment to enable.'
  throw new CommandError('SearchNotEnabled', message)
}

/**
 * First stages that do not read the documents of the collection. `action` is the privilege that they require, on the
 * collection or the cluster. A specification that is `free` requires none.
 */
const sources: Record<
  string,
  {
    action?: string
    cluster?: true
    free?: (spec: Document) => boolean
    documents: (request: Request, spec: Document) => Document[]
  }
> = {
  $collStats: {
    action: 'collStats',
    documents: (request, spec) => {
      const stats = collectionStats(request, parseCollection(request))
      return [
        {
          ns: `${request.db}.${parseCollection(request)}`,
          host: request.instance.host(),
          localTime: new Date(request.instance.now()),
          ...(spec.storageStats && { storageStats: stats }),
          ...(spec.count && { count: stats.count }),
          ...(spec.latencyStats && { latencyStats: latencies() }),
        },
      ]
    },
  },
  $indexStats: {
    action: 'indexStats',
    documents: request => {
      const collection = request.instance.store.find(request.db, parseCollection(request))
      return (collection?.indexes ?? []).map(({ name, key, spec }) => ({
        name,
        key,
        host: request.instance.host(),
        accesses: { ops: Long.ZERO, since: new Date(request.instance.started) },
        spec: { v: new Int32(2), key, name, ...spec },
      }))
    },
  },
  $currentOp: {
    action: 'inprog',
    cluster: true,
    free: spec => !spec.allUsers,
    documents: (request, spec) => listOperations(request, spec.idleConnections === true, Boolean(spec.allUsers)),
  },
  $listSearchIndexes: { action: 'listSearchIndexes', documents: refuseSearch },
  $search: { action: 'find', documents: refuseSearch },
  $searchMeta: { action: 'find', documents: refuseSearch },
  $vectorSearch: { action: 'find', documents: refuseSearch },
  $listLocalSessions: { documents: () => [] },
  $listSessions: { documents: () => [] },
  $documents: { documents: (_, spec) => spec as Document[] },
}

function latencies(): Document {
  const none = { latency: Long.ZERO, ops: Long.ZERO }
  return { reads: none, writes: none, commands: none, transactions: none }
}

/**
 * The current operations, as currentOp shows them. `idle`: include connections that run nothing. `allUsers`: include the
 * operations of other users.
 */
export function listOperations(
  { instance, session, db, name, body }: Request,
  idle: boolean,
  allUsers: boolean,
): Document[] {
  const shown = [...instance.sessions].filter(
    one => (idle || one === session || one.running) && (allUsers || one.user?.owner === session.user?.owner),
  )
  return shown.map(one => {
    const mine = one === session
    const { lsid: _, $clusterTime: __, ...printable } = body
    const running = mine ? { name, since: instance.now() } : one.running
    return {
      type: 'op',
      host: instance.host(),
      desc: `conn${one.id}`,
      connectionId: new Int32(one.id),
      client: one.peer,
      ...(one.metadata?.application && { appName: one.metadata.application.name }),
      clientMetadata: one.metadata ?? {},
      active: running !== undefined,
      currentOpTime: new Date(instance.now()).toISOString(),
      ...(one.user && { effectiveUsers: [one.user.name] }),
      opid: new Int32(one.id),
      op: running ? 'command' : 'none',
      ns: mine ? `${db}.$cmd` : '',
      ...(running && {
        secs_running: Long.fromNumber(Math.floor((instance.now() - running.since) / 1000)),
        microsecs_running: Long.fromNumber((instance.now() - running.since) * 1000),
        command: mine ? printable : { [running.name]: new Int32(1) },
      }),
    }
  })
}

function aggregateNeeds(request: Request): RequiredPrivilege[] {
  const { body, db } = request
  if (!Array.isArray(body.pipeline))
    throw new CommandError('TypeMismatch', "'pipeline' option must be specified as an array")
  const [name = '', spec] = body.pipeline.length > 0 ? parseStage(body.pipeline[0]) : []
  const source = Object.hasOwn(sources, name) ? sources[name] : undefined
  const others = foreign(body.pipeline).map((collection): RequiredPrivilege => ['find', { db, collection }])
  if (!source) return isCollectionless(body) ? others : [...onCollection('find')(request), ...others]
  if (!source.action || source.free?.((spec ?? {}) as Document)) return others
  return [[source.action, source.cluster ? { cluster: true } : { db, collection: parseCollection(request) }], ...others]
}

/** The other collections that a pipeline reads, at any depth. */
function foreign(value: unknown): string[] {
  if (Array.isArray(value)) return value.flatMap(foreign)
  if (typeof value !== 'object' || value === null || '_bsontype' in value || value instanceof Date) return []
  return Object.entries(value).flatMap(([name, spec]) => {
    if (name === '$unionWith' && typeof spec === 'string') return [spec]
    const named =
      name === '$unionWith' ? spec?.coll : name === '$lookup' || name === '$graphLookup' ? spec?.from : undefined
    return [...(typeof named === 'string' ? [named] : []), ...foreign(spec)]
  })
}

const isCollectionless = (body: Document): boolean => typeof body.aggregate !== 'string'

function runAggregate(request: Request): CommandResult {
  const { body, db, instance } = request
  if (body.cursor === undefined && !body.explain) {
    throw new CommandError(
      'FailedToParse',
      "The 'cursor' option is required, except for aggregate with the explain argument",
    )
  }
  const pipeline = body.pipeline as Document[]
  const name = isCollectionless(body) ? '$cmd.aggregate' : parseCollection(request)
  const batchSize = parseNumber(body.cursor ?? {}, 'batchSize', undefined)
  const scope = { collection: (other: string) => documentsOf(request, other), variables: body.let }
  const [first = '', spec] = pipeline.length > 0 ? parseStage(pipeline[0]) : []
  if (first === '$changeStream' && instance.replica) {
    throw new CommandError('IllegalOperation', 'change streams are not part of this sandbox')
  }
  const source = Object.hasOwn(sources, first) ? sources[first] : undefined
  let documents: Document[]
  if (source) {
    documents = runPipeline(source.documents(request, (spec ?? {}) as Document), pipeline.slice(1), scope)
  } else if (isCollectionless(body)) {
    const message = `{aggregate: 1} is not valid for '${first}'; a collection is required.`
    throw new CommandError('InvalidNamespace', message)
  } else {
    const collection = instance.store.find(db, name)
    const filtered = first === '$match'
    const entries = collection
      ? findMatching(collection, filtered ? (spec as Document) : {}, { variables: body.let })
      : []
    const rest = filtered ? pipeline.slice(1) : pipeline
    if (rest.length === 0) return openCursor(request, { entries }, name, { batchSize })
    documents = runPipeline(
      entries.map(entry => entry.document),
      rest,
      scope,
    )
  }
  return openCursor(request, { entries: documents.map(document => serialize(document)) }, name, { batchSize })
}

function documentsOf({ instance, db }: Request, name: string): Document[] {
  return [...(instance.store.find(db, name)?.entries.values() ?? [])].map(entry => entry.document)
}

function distinct(request: Request): CommandResult {
  const { body, db, instance } = request
  if (typeof body.key !== 'string')
    throw new CommandError('TypeMismatch', "BSON field 'distinct.key' is the wrong type")
  const collection = instance.store.find(db, parseCollection(request))
  const path = body.key.split('.')
  const found: unknown[] = []
  for (const { document } of collection ? findMatching(collection, body.query ?? {}) : []) {
    for (const value of valuesAt(document, path)) {
      if (value !== undefined && !found.some(one => equal(one, value))) found.push(value)
    }
  }
  return { values: found }
}
