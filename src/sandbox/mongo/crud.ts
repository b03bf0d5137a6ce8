/** Commands that read and write documents, by filter or by cursor. */
import { type Document, Double, Int32, Long, ObjectId, serialize } from 'bson'
import { cursorReply } from './bytes.js'
import { CommandError } from './commandError.js'
import type { Cursor, Result } from './cursors.js'
import { projector } from './projection.js'
import { matching, sorted } from './query.js'
import {
  type Answer,
  type Commands,
  collectionOf,
  type Need,
  numberOf,
  onCollection,
  type Reply,
  type Request,
  Streamed,
} from './request.js'
import type { Entry } from './store.js'
import { isPipeline, type Update, updater, upserted } from './update.js'

/** The first batch of a find whose client named no size. */
const FIRST_BATCH = 101

export const crud: Commands = {
  insert: { needs: onCollection('insert'), run: insert },
  find: { needs: onCollection('find'), run: find },
  getMore: { needs: 'login', run: getMore },
  killCursors: { needs: 'login', run: killCursors },
  count: { needs: onCollection('find'), run: count },
  update: { needs: updateNeeds, run: update },
  delete: { needs: onCollection('remove'), run: remove },
  findAndModify: { needs: modifyNeeds, run: findAndModify },
  findandmodify: { needs: modifyNeeds, run: findAndModify },
}

/** An ObjectId of our own clock and randomness. */
export function freshId({ instance }: Request): () => ObjectId {
  return () => {
    const id = instance.random(12)
    id.writeUInt32BE(Math.floor(instance.now() / 1000), 0)
    return new ObjectId(id)
  }
}

function insert(request: Request): Reply {
  const { body, db, instance } = request
  const name = collectionOf(request)
  const { documents } = body
  if (!Array.isArray(documents) || documents.length === 0) {
    throw new CommandError('InvalidOptions', 'Write batch sizes must be between 1 and 100000. Got 0 operations.')
  }
  writable(db, name)
  const collection = instance.store.open(db, name)
  const fresh = freshId(request)
  return many(documents as Uint8Array[], body.ordered !== false, bytes => {
    collection.insert(Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes), fresh)
    return 1
  })
}

/** Runs each write; `n` is the sum of what they return, and what is refused is reported by its index. */
function many<T>(writes: readonly T[], ordered: boolean, run: (write: T, index: number) => number): Document {
  let n = 0
  const writeErrors: Document[] = []
  for (const [index, write] of writes.entries()) {
    try {
      n += run(write, index)
    } catch (thrown) {
      const error = CommandError.from(thrown)
      writeErrors.push({
        index: new Int32(index),
        code: new Int32(error.code),
        errmsg: error.message,
        ...error.extra,
      })
      if (ordered) break
    }
  }
  return { n: new Int32(n), ...(writeErrors.length > 0 && { writeErrors }) }
}

/** Users and roles change by their commands only. */
export function writable(db: string, name: string): void {
  if (db === 'admin' && (name === 'system.users' || name === 'system.roles')) {
    throw new CommandError('Unauthorized', `${db}.${name} is changed by commands such as createUser only`)
  }
}

function find(request: Request): Answer {
  const { body, db, instance } = request
  const name = collectionOf(request)
  const collection = instance.store.find(db, name)
  const filter: Document = body.filter ?? {}
  let limit = numberOf(body, 'limit', 0)
  const single = body.singleBatch === true || limit < 0
  limit = Math.abs(limit)
  const skip = numberOf(body, 'skip', 0)
  const ordered = body.sort && Object.keys(body.sort).length > 0
  const enough = ordered || limit === 0 ? Number.POSITIVE_INFINITY : limit + skip
  let entries = collection ? matching(collection, filter, { enough, variables: body.let }) : []
  if (ordered) entries = sorted(entries, body.sort, entry => entry.document)
  if (skip > 0 || limit > 0) entries = entries.slice(skip, limit > 0 ? skip + limit : undefined)
  const project = body.projection && Object.keys(body.projection).length > 0 && projector(body.projection, filter)
  const render = project ? (entry: Entry) => serialize(project(entry.document)) : undefined
  return open(request, { entries, render }, name, { batchSize: numberOf(body, 'batchSize', undefined), single })
}

/** The first reply of a result. `batchSize` undefined: 101 documents first, then as many as fit. */
export function open(
  request: Request,
  result: Result,
  name: string,
  { batchSize, single = false }: { batchSize: number | undefined; single?: boolean },
): Answer {
  const { instance, session, db } = request
  const cursor = instance.cursors.begin(result, `${db}.${name}`, session.user?.owner ?? '', batchSize)
  const batch = instance.cursors.next(cursor, batchSize ?? FIRST_BATCH, !single)
  return more(request, cursor, cursorReply('firstBatch', batch, cursor.id, cursor.ns))
}

/** Goes on by itself where the client said that it takes a stream. */
function more(request: Request, cursor: Cursor, reply: Reply): Answer {
  if (!request.exhaust || cursor.id === 0n) return reply
  return new Streamed(reply, () => {
    const batch = request.instance.cursors.next(cursor)
    return more(request, cursor, cursorReply('nextBatch', batch, cursor.id, cursor.ns))
  })
}

function getMore(request: Request): Answer {
  const { body, db, instance, session } = request
  const id: unknown = body.getMore
  if (!Long.isLong(id)) throw new CommandError('TypeMismatch', "BSON field 'getMore.getMore' is the wrong type")
  const cursor = instance.cursors.find(id.toBigInt(), session.user?.owner ?? '')
  if (cursor.ns !== `${db}.${body.collection}`) {
    const message = `Requested getMore on namespace '${db}.${body.collection}', but cursor belongs to ${cursor.ns}`
    throw new CommandError('Unauthorized', message)
  }
  cursor.batchSize = numberOf(body, 'batchSize', 0) || undefined
  const batch = instance.cursors.next(cursor)
  return more(request, cursor, cursorReply('nextBatch', batch, cursor.id, cursor.ns))
}

function killCursors({ body, instance, session }: Request): Reply {
  const killed: Long[] = []
  const unknown: Long[] = []
  for (const id of (body.cursors ?? []) as Long[]) {
    const key = Long.isLong(id) ? id.toBigInt() : BigInt(Number(id))
    const mine = instance.cursors.open.get(key)?.owner === (session.user?.owner ?? '')
    if (mine) instance.cursors.open.delete(key)
    ;(mine ? killed : unknown).push(id)
  }
  return { cursorsKilled: killed, cursorsNotFound: unknown, cursorsAlive: [], cursorsUnknown: [] }
}

function count(request: Request): Reply {
  const { body, db, instance } = request
  const collection = instance.store.find(db, collectionOf(request))
  const filter: Document = body.query ?? {}
  const all = !collection
    ? 0
    : Object.keys(filter).length === 0
      ? collection.entries.size
      : matching(collection, filter).length
  const left = Math.max(0, all - numberOf(body, 'skip', 0))
  const limit = Math.abs(numberOf(body, 'limit', 0))
  return { n: new Int32(limit > 0 ? Math.min(limit, left) : left) }
}

function updateNeeds(request: Request): Need[] {
  const { body } = request
  const upsert = Array.isArray(body.updates) && body.updates.some((one: Document) => one.upsert)
  return onCollection('update', ...(upsert ? ['insert'] : []))(request)
}

function update(request: Request): Reply {
  const { body, db } = request
  const name = collectionOf(request)
  writable(db, name)
  if (!Array.isArray(body.updates)) throw new CommandError('FailedToParse', "BSON field 'update.updates' is missing")
  const created: Document[] = []
  let modified = 0
  const reply = many(body.updates as Document[], body.ordered !== false, (one, index) => {
    if (one.multi && !isPipeline(one.u) && !Object.keys(one.u)[0]?.startsWith('$')) {
      throw new CommandError('FailedToParse', 'multi update is not supported for replacement-style update')
    }
    const outcome = write(request, name, { ...one, let: body.let } as Update)
    modified += outcome.modified
    if (!outcome.upserted) return outcome.matched
    created.push({ index: new Int32(index), _id: outcome.upserted._id })
    return 1
  })
  return { ...reply, nModified: new Int32(modified), ...(created.length > 0 && { upserted: created }) }
}

type Outcome = { matched: number; modified: number; upserted?: Document; before?: Document; after?: Document }

/** One update: `q` chooses, `u` says what becomes of each. */
function write(request: Request, name: string, one: Update): Outcome {
  const { db, instance } = request
  const collection = instance.store.find(db, name)
  const filter: Document = one.q ?? {}
  const change = updater(one, instance.now)
  const enough = one.multi || one.sort ? Number.POSITIVE_INFINITY : 1
  let entries = collection ? matching(collection, filter, { enough, variables: one.let }) : []
  if (one.sort) entries = sorted(entries, one.sort, entry => entry.document).slice(0, one.multi ? undefined : 1)
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
  const document = upserted(one, instance.now, freshId(request))
  instance.store.open(db, name).insert(Buffer.from(serialize(document)), freshId(request))
  return { ...outcome, upserted: document, after: document }
}

function remove(request: Request): Reply {
  const { body, db, instance } = request
  const name = collectionOf(request)
  writable(db, name)
  if (!Array.isArray(body.deletes)) throw new CommandError('FailedToParse', "BSON field 'delete.deletes' is missing")
  const collection = instance.store.find(db, name)
  return many(body.deletes as Document[], body.ordered !== false, ({ q, limit }) => {
    if (!collection) return 0
    const enough = Number(limit) === 1 ? 1 : Number.POSITIVE_INFINITY
    const entries = matching(collection, q ?? {}, { enough, variables: body.let })
    for (const entry of entries) collection.remove(entry)
    return entries.length
  })
}

function modifyNeeds(request: Request): Need[] {
  const { remove: removes, upsert } = request.body
  return onCollection('find', removes ? 'remove' : 'update', ...(upsert ? ['insert'] : []))(request)
}

function findAndModify(request: Request): Reply {
  const { body, db, instance } = request
  const name = collectionOf(request)
  writable(db, name)
  const filter: Document = body.query ?? {}
  const project = body.fields ? projector(body.fields, filter) : (document: Document) => document
  const shape = (document: Document | undefined) => (document ? project(document) : null)
  if (body.remove) {
    const collection = instance.store.find(db, name)
    const all = collection ? matching(collection, filter, { enough: body.sort ? Number.POSITIVE_INFINITY : 1 }) : []
    const [entry] = body.sort ? sorted(all, body.sort, one => one.document) : all
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
