/** Commands about the indexes of a collection. */
import { type Document, Int32, serialize } from 'bson'
import { CommandError } from './commandError.js'
import { parseIndex } from './indexes.js'
import { compare, isDocument } from './order.js'
import { openCursor } from './readCommands.js'
import {
  type CommandResult,
  type Commands,
  findCollection,
  onCollection,
  parseCollection,
  parseNumber,
  type Request,
} from './request.js'
import type { Collection } from './store.js'
import { assertWritableNamespace } from './writeCommands.js'

export const indexCommands: Commands = {
  createIndexes: { requires: onCollection('createIndex'), run: createIndexes },
  dropIndexes: { requires: onCollection('dropIndex'), run: dropIndexes },
  listIndexes: { requires: onCollection('listIndexes'), run: listIndexes },
}

function createIndexes(request: Request): Document {
  const { body, db, instance } = request
  const name = parseCollection(request)
  assertWritableNamespace(db, name)
  if (!Array.isArray(body.indexes) || body.indexes.length === 0) {
    throw new CommandError('BadValue', 'Must specify at least one index to create')
  }
  const automatic = !instance.store.find(db, name)
  const collection = instance.store.open(db, name)
  const before = collection.indexes.length
  for (const requested of body.indexes as Document[]) addIndex(collection, requested)
  const after = collection.indexes.length
  return {
    numIndexesBefore: new Int32(before),
    numIndexesAfter: new Int32(after),
    createdCollectionAutomatically: automatic,
    ...(before === after && { note: 'all indexes already exist' }),
  }
}

function addIndex(collection: Collection, requested: Document): void {
  if (!isDocument(requested.key) || Object.keys(requested.key).length === 0) {
    throw new CommandError('FailedToParse', 'an index needs a key')
  }
  const name = requested.name ?? Object.entries(requested.key).flat().map(String).join('_')
  const same = collection.indexes.find(one => compare(one.key, requested.key) === 0)
  const named = collection.indexes.find(one => one.name === name)
  if (named && named !== same) {
    const message = `An existing index has the same name as the requested index: ${name}`
    throw new CommandError('IndexKeySpecsConflict', message)
  }
  if (same && same.name !== name && same.name !== '_id_') {
    throw new CommandError('IndexOptionsConflict', `Index already exists with a different name: ${same.name}`)
  }
  if (!same) collection.addIndex(parseIndex({ ...requested, name }))
}

function dropIndexes(request: Request): Document {
  const { body } = request
  const collection = findCollection(request)
  const { indexes } = collection
  const was = indexes.length
  const requested: unknown[] = Array.isArray(body.index) ? body.index : [body.index]
  for (const one of requested) {
    if (one === '*') {
      indexes.length = 1
      continue
    }
    const at = indexes.findIndex(({ name, key }) => (isDocument(one) ? compare(key, one) === 0 : name === one))
    if (at < 0) throw new CommandError('IndexNotFound', `index not found with name [${String(one)}]`)
    if (at === 0) throw new CommandError('InvalidOptions', 'cannot drop _id index')
    indexes.splice(at, 1)
  }
  return { nIndexesWas: new Int32(was) }
}

function listIndexes(request: Request): CommandResult {
  const { body } = request
  const list = findCollection(request).indexes.map(({ name, key, spec }) => ({ v: new Int32(2), key, name, ...spec }))
  const batchSize = parseNumber(body.cursor ?? {}, 'batchSize', undefined)
  return openCursor(request, { entries: list.map(one => serialize(one)) }, parseCollection(request), { batchSize })
}
