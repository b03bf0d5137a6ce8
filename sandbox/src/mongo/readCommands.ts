/** Commands that read documents, by filter or by cursor. */
import { type Document, Int32, Long, serialize } from 'bson'
import { encodeCursorReply } from './bytes.js'
import { CommandError } from './commandError.js'
import type { Cursor, CursorSource } from './cursors.js'
import { compileProjection } from './projection.js'
import { findMatching, sortBy } from './query.js'
import {
  type CommandResult,
  type Commands,
  onCollection,
  parseCollection,
  parseNumber,
  type Reply,
  type Request,
  StreamedReply,
} from './request.js'
import type { Entry } from './store.js'

/** The first batch of a find without a batch size. */
const FIRST_BATCH = 101

export const readCommands: Commands = {
  find: { requires: onCollection('find'), run: find },
  getMore: { requires: 'authentication', run: getMore },
  killCursors: { requires: 'authentication', run: killCursors },
  count: { requires: onCollection('find'), run: count },
}

function find(request: Request): CommandResult {
  const { body, db, instance } = request
  const name = parseCollection(request)
  const collection = instance.store.find(db, name)
  const filter: Document = body.filter ?? {}
  let limit = parseNumber(body, 'limit', 0)
  const single = body.singleBatch === true || limit < 0
  limit = Math.abs(limit)
  const skip = parseNumber(body, 'skip', 0)
  const ordered = body.sort && Object.keys(body.sort).length > 0
  const enough = ordered || limit === 0 ? Number.POSITIVE_INFINITY : limit + skip
  let entries = collection ? findMatching(collection, filter, { enough, variables: body.let }) : []
  if (ordered) entries = sortBy(entries, body.sort, entry => entry.document)
  if (skip > 0 || limit > 0) entries = entries.slice(skip, limit > 0 ? skip + limit : undefined)
  const project =
    body.projection && Object.keys(body.projection).length > 0 && compileProjection(body.projection, filter)
  const render = project ? (entry: Entry) => serialize(project(entry.document)) : undefined
  return openCursor(request, { entries, render }, name, {
    batchSize: parseNumber(body, 'batchSize', undefined),
    single,
  })
}

/** The first reply of a result. Without `batchSize`: 101 documents first, then as many as fit. */
export function openCursor(
  request: Request,
  result: CursorSource,
  name: string,
  { batchSize, single = false }: { batchSize: number | undefined; single?: boolean },
): CommandResult {
  const { instance, session, db } = request
  const cursor = instance.cursors.begin(result, `${db}.${name}`, session.user?.owner ?? '', batchSize)
  const batch = instance.cursors.next(cursor, batchSize ?? FIRST_BATCH, !single)
  return more(request, cursor, encodeCursorReply('firstBatch', batch, cursor.id, cursor.ns))
}

/** Streams the following batches if the client permits it (exhaustAllowed). */
function more(request: Request, cursor: Cursor, reply: Reply): CommandResult {
  if (!request.exhaust || cursor.id === 0n) return reply
  return new StreamedReply(reply, () => {
    const batch = request.instance.cursors.next(cursor)
    return more(request, cursor, encodeCursorReply('nextBatch', batch, cursor.id, cursor.ns))
  })
}

function getMore(request: Request): CommandResult {
  const { body, db, instance, session } = request
  const id: unknown = body.getMore
  if (!Long.isLong(id)) throw new CommandError('TypeMismatch', "BSON field 'getMore.getMore' is the wrong type")
  const cursor = instance.cursors.find(id.toBigInt(), session.user?.owner ?? '')
  if (cursor.ns !== `${db}.${body.collection}`) {
    const message = `Requested getMore on namespace '${db}.${body.collection}', but cursor belongs to ${cursor.ns}`
    throw new CommandError('Unauthorized', message)
  }
  cursor.batchSize = parseNumber(body, 'batchSize', 0) || undefined
  const batch = instance.cursors.next(cursor)
  return more(request, cursor, encodeCursorReply('nextBatch', batch, cursor.id, cursor.ns))
}

function killCursors({ body, instance, session }: Request): Reply {
  const killed: Long[] = []
  const unknown: Long[] = []
  if (!Array.isArray(body.cursors) || !body.cursors.every(id => Long.isLong(id))) {
    throw new CommandError('TypeMismatch', "BSON field 'killCursors.cursors' is the wrong type")
  }
  for (const id of body.cursors as Long[]) {
    const key = id.toBigInt()
    const mine = instance.cursors.open.get(key)?.owner === (session.user?.owner ?? '')
    if (mine) instance.cursors.open.delete(key)
    ;(mine ? killed : unknown).push(id)
  }
  return { cursorsKilled: killed, cursorsNotFound: unknown, cursorsAlive: [], cursorsUnknown: [] }
}

function count(request: Request): Reply {
  const { body, db, instance } = request
  const collection = instance.store.find(db, parseCollection(request))
  const filter: Document = body.query ?? {}
  const all = !collection
    ? 0
    : Object.keys(filter).length === 0
      ? collection.entries.size
      : findMatching(collection, filter).length
  const left = Math.max(0, all - parseNumber(body, 'skip', 0))
  const limit = Math.abs(parseNumber(body, 'limit', 0))
  return { n: new Int32(limit > 0 ? Math.min(limit, left) : left) }
}
