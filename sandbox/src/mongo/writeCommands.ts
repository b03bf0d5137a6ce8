/** Commands that write documents. */
import { type Document, Double, Int32, ObjectId, serialize } from 'bson'
import { CommandError } from './commandError.js'
import { compileProjection } from './projection.js'
import { findMatching, sortBy } from './query.js'
import {
  type Commands,
  onCollection,
  parseCollection,
  type Reply,
  type Request,
  type RequiredPrivilege,
} from './request.js'
import { compileUpdate, createUpserted, isPipeline, type Update } from './update.js'

export const writeCommands: Commands = {
  insert: { requires: onCollection('insert'), run: insert },
  update: { requires: updateNeeds, run: update },
  delete: { requires: onCollection('remove'), run: remove },
  findAndModify: { requires: modifyNeeds, run: findAndModify },
  findandmodify: { requires: modifyNeeds, run: findAndModify },
}

/** Creates ObjectIds from the clock and the randomness of the instance. */
export function createIdFactory({ instance }: Request): () => ObjectId {
  return () => {
    const id = instance.random(12)
    id.writeUInt32BE(Math.floor(instance.now() / 1000), 0)
    return new ObjectId(id)
  }
}

function insert(request: Request): Reply {
  const { body, db, instance } = request
  const name = parseCollection(request)
  const { documents } = body
  if (!Array.isArray(documents) || documents.length === 0) {
    throw new CommandError('InvalidOptions', 'Write batch sizes must be between 1 and 100000. Got 0 operations.')
  }
  assertWritableNamespace(db, name)
  const collection = instance.store.open(db, name)
  const fresh = createIdFactory(request)
  const one = (bytes: Uint8Array) => {
    collection.insert(Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes), fresh)
    return 1
  }
  return many(request, documents as Uint8Array[], one, Number)
}

/**
 * Runs each write that has no earlier result. `n` is the sum of `count` over the results. Errors are reported by index.
 */
function many<W, R>(
  { body, statements }: Request,
  writes: readonly W[],
  run: (write: W) => R,
  count: (result: R, index: number) => number,
): Document {
  let n = 0
  const writeErrors: Document[] = []
  for (const [index, write] of writes.entries()) {
    try {
      n += count(statements ? statements.once(index, () => run(write)) : run(write), index)
    } catch (thrown) {
      const error = CommandError.from(thrown)
      writeErrors.push({
        index: new Int32(index),
        code: new Int32(error.code),
        errmsg: error.message,
        ...error.extra,
      })
      if (body.ordered !== false) break
    }
  }
  return {
    n: new Int32(n),
    ...(writeErrors.length > 0 && { writeErrors }),
    ...(statements?.retried.length && { retriedStmtIds: statements.retried.map(index => new Int32(index)) }),
  }
}

/** Users and roles can be changed by their commands only. */
export function assertWritableNamespace(db: string, name: string): void {
  if (db === 'admin' && (name === 'system.users' || name === 'system.roles')) {
    throw new CommandError('Unauthorized', `${db}.${name} is changed by commands such as createUser only`)
  }
}

function updateNeeds(request: Request): RequiredPrivilege[] {
  const { body } = request
  const upsert = Array.isArray(body.updates) && body.updates.some((one: Document) => one.upsert)
  return onCollection('update', ...(upsert ? ['insert'] : []))(request)
}

function update(request: Request): Reply {
  const { body, db } = request
  const name = parseCollection(request)
  assertWritableNamespace(db, name)
  if (!Array.isArray(body.updates)) throw new CommandError('FailedToParse', "BSON field 'update.updates' is missing")
  const created: Document[] = []
  let modified = 0
  const run = (one: Document): Outcome => {
    if (one.multi && !isPipeline(one.u) && !Object.keys(one.u)[0]?.startsWith('$')) {
      throw new CommandError('FailedToParse', 'multi update is not supported for replacement-style update')
    }
    const { matched, modified, upserted } = write(request, name, { ...one, let: body.let } as Update)
    return { matched, modified, ...(upserted && { upserted: { _id: upserted._id } }) }
  }
  const reply = many(request, body.updates as Document[], run, (outcome, index) => {
    modified += outcome.modified
    if (!outcome.upserted) return outcome.matched
    created.push({ index: new Int32(index), _id: outcome.upserted._id })
    return 1
  })
  return { ...reply, nModified: new Int32(modified), ...(created.length > 0 && { upserted: created }) }
}

type Outcome = { matched: number; modified: number; upserted?: Document; before?: Document; after?: Document }

/** One statement: `q` is the filter, `u` the update. */
function write(request: Request, name: string, one: Update): Outcome {
  const { db, instance } = request
  const collection = instance.store.find(db, name)
  const filter: Document = one.q ?? {}
  const change = compileUpdate(one, instance.now)
  const enough = one.multi || one.sort ? Number.POSITIVE_INFINITY : 1
  let entries = collection ? findMatching(collection, filter, { enough, variables: one.let }) : []
  if (one.sort) entries = sortBy(entries, one.sort, entry => entry.document).slice(0, one.multi ? undefined : 1)
  const outcome: Outcome = { matched: entries.length, modified: 0 }
  for (const entry of entries) {
    const after = change(entry.document)
    outcome.before = entry.document
    outcome.after = after
    const bytes = Buffer.from(serialize(after))
    if (bytes.equals(entry.bytes)) continue
    collection?.replace(entry, bytes, after)
    outcome.modified++
  }
  if (entries.length > 0 || !one.upsert) return outcome
  const document = createUpserted(one, instance.now, createIdFactory(request))
  instance.store.open(db, name).insert(Buffer.from(serialize(document)), createIdFactory(request))
  return { ...outcome, upserted: document, after: document }
}

function remove(request: Request): Reply {
  const { body, db, instance } = request
  const name = parseCollection(request)
  assertWritableNamespace(db, name)
  if (!Array.isArray(body.deletes)) throw new CommandError('FailedToParse', "BSON field 'delete.deletes' is missing")
  const collection = instance.store.find(db, name)
  const one = ({ q, limit }: Document) => {
    if (!collection) return 0
    const enough = Number(limit) === 1 ? 1 : Number.POSITIVE_INFINITY
    const entries = findMatching(collection, q ?? {}, { enough, variables: body.let })
    for (const entry of entries) collection.remove(entry)
    return entries.length
  }
  return many(request, body.deletes as Document[], one, Number)
}

function modifyNeeds(request: Request): RequiredPrivilege[] {
  const { remove: removes, upsert } = request.body
  return onCollection('find', removes ? 'remove' : 'update', ...(upsert ? ['insert'] : []))(request)
}

function findAndModify(request: Request): Reply {
  const { statements } = request
  if (!statements) return modify(request)
  const reply = statements.once(0, () => modify(request))
  return statements.retried.length > 0 ? { ...reply, retriedStmtId: new Int32(0) } : reply
}

function modify(request: Request): Document {
  const { body, db, instance } = request
  const name = parseCollection(request)
  assertWritableNamespace(db, name)
  const filter: Document = body.query ?? {}
  const project = body.fields ? compileProjection(body.fields, filter) : (document: Document) => document
  const shape = (document: Document | undefined) => (document ? project(document) : null)
  if (body.remove) {
    const collection = instance.store.find(db, name)
    const all = collection ? findMatching(collection, filter, { enough: body.sort ? Number.POSITIVE_INFINITY : 1 }) : []
    const [entry] = body.sort ? sortBy(all, body.sort, one => one.document) : all
    if (entry) collection?.remove(entry)
    return { lastErrorObject: { n: new Int32(entry ? 1 : 0) }, value: shape(entry?.document), ok: new Double(1) }
  }
  if (body.update === undefined) {
    throw new CommandError('FailedToParse', 'Either an update or remove=true must be specified')
  }
  const { arrayFilters, sort, upsert } = body
  const outcome = write(request, name, { q: filter, u: body.update, arrayFilters, sort, upsert, let: body.let })
  return {
    lastErrorObject: {
      n: new Int32(outcome.upserted ? 1 : outcome.matched),
      updatedExisting: outcome.matched > 0,
      ...(outcome.upserted && { upserted: outcome.upserted._id }),
    },
    value: shape(body.new ? outcome.after : outcome.before),
    ok: new Double(1),
  }
}
