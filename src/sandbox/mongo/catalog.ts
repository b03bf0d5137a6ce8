/** Commands about collections and indexes: what there is, making and dropping them, how large they are. */
import { type Document, Int32, Long, serialize } from 'bson'
import { CommandError } from './commandError.js'
import { open, writable } from './crud.js'
import { indexOf } from './indexes.js'
import { matcher } from './match.js'
import { compare, isDocument } from './order.js'
import {
  type Answer,
  type Commands,
  collectionOf,
  type Need,
  numberOf,
  onCollection,
  onDatabase,
  privilegesOf,
  type Request,
} from './request.js'
import { allows } from './roles.js'
import { collectionStats, databaseSize, databaseStats, whole } from './statistics.js'
import type { Collection } from './store.js'
import { maySee } from './userCommands.js'

export const catalog: Commands = {
  create: { needs: onCollection('createCollection'), run: create },
  drop: { needs: onCollection('dropCollection'), run: drop },
  dropDatabase: { needs: onDatabase('dropDatabase'), run: dropDatabase },
  renameCollection: { needs: renameNeeds, run: rename },
  collMod: { needs: onCollection('collMod'), run: collMod },
  listCollections: { needs: listNeeds, run: listCollections },
  listDatabases: { needs: 'login', run: listDatabases },
  createIndexes: { needs: onCollection('createIndex'), run: createIndexes },
  dropIndexes: { needs: onCollection('dropIndex'), run: dropIndexes },
  listIndexes: { needs: onCollection('listIndexes'), run: listIndexes },
  collStats: { needs: onCollection('collStats'), run: request => collectionStats(request, collectionOf(request)) },
  dbStats: {
    needs: onDatabase('dbStats'),
    run: ({ db, body, instance }) => databaseStats(instance, db, numberOf(body, 'scale', 1) || 1),
  },
  dataSize: { needs: () => [], run: dataSize },
  validate: { needs: onCollection('validate'), run: validate },
}

/** Options of `create` that are kept and reported; those that would change what queries answer are refused. */
const unsupported = ['viewOn', 'timeseries', 'encryptedFields', 'clusteredIndex', 'validator']

/** The collection that the command names. Throws NamespaceNotFound. */
function existing(request: Request): Collection {
  const name = collectionOf(request)
  const found = request.instance.store.find(request.db, name)
  if (!found) throw new CommandError('NamespaceNotFound', `ns does not exist: ${request.db}.${name}`)
  return found
}

function create(request: Request): Document {
  const { body, db, instance } = request
  const name = collectionOf(request)
  const option = unsupported.find(one => body[one] !== undefined)
  if (option) throw new CommandError('IllegalOperation', `${option} is not part of this sandbox`)
  if (instance.store.find(db, name)) {
    throw new CommandError('NamespaceExists', `Collection ${db}.${name} already exists.`)
  }
  const names = ['capped', 'size', 'max']
  const options = Object.fromEntries(names.filter(one => body[one] !== undefined).map(one => [one, body[one]]))
  instance.store.open(db, name, options)
  return {}
}

function drop(request: Request): Document {
  const { db, instance } = request
  const name = collectionOf(request)
  writable(db, name)
  const collection = instance.store.find(db, name)
  if (!collection) return {}
  instance.store.drop(db, name)
  return { nIndexesWas: new Int32(collection.indexes.length), ns: collection.ns }
}

function dropDatabase({ db, instance }: Request): Document {
  if (db === 'admin') throw new CommandError('IllegalOperation', "Dropping the 'admin' database is prohibited.")
  return instance.store.databases.delete(db) ? { dropped: db } : {}
}

function namespaces({ body, name }: Request): [from: [string, string], to: [string, string]] {
  const split = (ns: unknown): [string, string] => {
    const [, db, collection] = /^([^.]+)\.(.+)$/s.exec(String(ns)) ?? []
    if (db === undefined || collection === undefined) {
      throw new CommandError('InvalidNamespace', `Invalid namespace: ${String(ns)}`)
    }
    return [db, collection]
  }
  return [split(body[name]), split(body.to)]
}

function renameNeeds(request: Request): Need[] {
  const [from, to] = namespaces(request)
  const at = ([db, collection]: [string, string]) => ({ db, collection })
  if (from[0] === to[0]) return [['renameCollectionSameDB', at(from)]]
  return [
    ['find', at(from)],
    ['dropCollection', at(from)],
    ['insert', at(to)],
    ['createIndex', at(to)],
  ]
}

function rename(request: Request): Document {
  const { body, instance } = request
  const [from, to] = namespaces(request)
  writable(...from)
  writable(...to)
  if (!instance.store.find(...from)) {
    throw new CommandError('NamespaceNotFound', `Source collection ${from.join('.')} does not exist`)
  }
  if (instance.store.find(...to)) {
    if (!body.dropTarget) throw new CommandError('NamespaceExists', 'target namespace exists')
    instance.store.drop(...to)
  }
  instance.store.rename(from, to)
  return {}
}

function collMod(request: Request): Document {
  existing(request)
  if (request.body.validator !== undefined) {
    throw new CommandError('IllegalOperation', 'validator is not part of this sandbox')
  }
  return {}
}

/** Names alone, of what one may read anyway, need no privilege. */
function listNeeds(request: Request): Need[] {
  const { nameOnly, authorizedCollections } = request.body
  return nameOnly && authorizedCollections ? [] : onDatabase('listCollections')(request)
}

function listCollections(request: Request): Answer {
  const { body, db, instance } = request
  const matches = matcher(body.filter ?? {})
  const privileges = privilegesOf(request)
  const list = [...(instance.store.databases.get(db) ?? [])]
    .filter(([name]) => !body.authorizedCollections || allows(privileges, 'find', { db, collection: name }))
    .map(([name, { options, uuid }]) => ({
      name,
      type: 'collection',
      ...(!body.nameOnly && {
        options,
        info: { readOnly: false, uuid },
        idIndex: { v: new Int32(2), key: { _id: new Int32(1) }, name: '_id_' },
      }),
    }))
    .filter(matches)
  const batchSize = numberOf(body.cursor ?? {}, 'batchSize', undefined)
  return open(request, { entries: list.map(one => serialize(one)) }, '$cmd.listCollections', { batchSize })
}

function listDatabases(request: Request): Document {
  const { body, db, instance } = request
  if (db !== 'admin') {
    throw new CommandError('Unauthorized', 'listDatabases may only be run against the admin database.')
  }
  const all = allows(privilegesOf(request), 'listDatabases', { cluster: true }) && !body.authorizedDatabases
  const matches = matcher(body.filter ?? {})
  const databases = [...instance.store.databases.keys()]
    .sort()
    .filter(name => all || maySee(request, name))
    .map(name => ({
      name,
      ...(!body.nameOnly && { sizeOnDisk: Long.fromNumber(databaseSize(instance, name)), empty: false }),
    }))
    .filter(matches)
  if (body.nameOnly) return { databases }
  const total = databases.reduce((sum, { name }) => sum + databaseSize(instance, name), 0)
  return { databases, totalSize: Long.fromNumber(total), totalSizeMb: Long.fromNumber(Math.floor(total / 2 ** 20)) }
}

function createIndexes(request: Request): Document {
  const { body, db, instance } = request
  const name = collectionOf(request)
  writable(db, name)
  if (!Array.isArray(body.indexes) || body.indexes.length === 0) {
    throw new CommandError('BadValue', 'Must specify at least one index to create')
  }
  const automatic = !instance.store.find(db, name)
  const collection = instance.store.open(db, name)
  const before = collection.indexes.length
  for (const asked of body.indexes as Document[]) addIndex(collection, asked)
  const after = collection.indexes.length
  return {
    numIndexesBefore: new Int32(before),
    numIndexesAfter: new Int32(after),
    createdCollectionAutomatically: automatic,
    ...(before === after && { note: 'all indexes already exist' }),
  }
}

function addIndex(collection: Collection, asked: Document): void {
  if (!isDocument(asked.key) || Object.keys(asked.key).length === 0) {
    throw new CommandError('FailedToParse', 'an index needs a key')
  }
  const name = asked.name ?? Object.entries(asked.key).flat().map(String).join('_')
  const same = collection.indexes.find(one => compare(one.key, asked.key) === 0)
  const named = collection.indexes.find(one => one.name === name)
  if (named && named !== same) {
    const message = `An existing index has the same name as the requested index: ${name}`
    throw new CommandError('IndexKeySpecsConflict', message)
  }
  if (same && same.name !== name && same.name !== '_id_') {
    throw new CommandError('IndexOptionsConflict', `Index already exists with a different name: ${same.name}`)
  }
  if (!same) collection.addIndex(indexOf({ ...asked, name }))
}

function dropIndexes(request: Request): Document {
  const { body } = request
  const collection = existing(request)
  const { indexes } = collection
  const was = indexes.length
  const asked: unknown[] = Array.isArray(body.index) ? body.index : [body.index]
  for (const one of asked) {
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

function listIndexes(request: Request): Answer {
  const { body } = request
  const list = existing(request).indexes.map(({ name, key, spec }) => ({ v: new Int32(2), key, name, ...spec }))
  const batchSize = numberOf(body.cursor ?? {}, 'batchSize', undefined)
  return open(request, { entries: list.map(one => serialize(one)) }, collectionOf(request), { batchSize })
}

function dataSize({ body, name, instance }: Request): Document {
  const [, db = '', collection = ''] = /^([^.]+)\.(.+)$/s.exec(String(body[name])) ?? []
  const found = instance.store.find(db, collection)
  return {
    estimate: false,
    size: whole(found?.size ?? 0),
    numObjects: whole(found?.entries.size ?? 0),
    millis: whole(0),
  }
}

function validate(request: Request): Document {
  const { ns, entries, indexes } = existing(request)
  return {
    ns,
    nInvalidDocuments: whole(0),
    nNonCompliantDocuments: whole(0),
    nrecords: whole(entries.size),
    nIndexes: whole(indexes.length),
    keysPerIndex: Object.fromEntries(indexes.map(({ name }) => [name, whole(entries.size)])),
    valid: true,
    warnings: [],
    errors: [],
  }
}
