/** Commands that list, create, rename and drop databases and collections, or report their sizes. */
import { type Document, Int32, Long, serialize } from 'bson'
import { CommandError } from './commandError.js'
import { compileMatcher } from './match.js'
import { openCursor } from './readCommands.js'
import {
  type CommandResult,
  type Commands,
  findCollection,
  onCollection,
  onDatabase,
  parseCollection,
  parseNumber,
  privilegesOf,
  type Request,
  type RequiredPrivilege,
} from './request.js'
import { isAllowed, isAllowedInDatabase } from './roles.js'
import { collectionStats, databaseSize, databaseStats, toInteger } from './statistics.js'
import { assertWritableNamespace } from './writeCommands.js'

export const catalogCommands: Commands = {
  create: { requires: onCollection('createCollection'), run: create },
  drop: { requires: onCollection('dropCollection'), run: drop },
  dropDatabase: { requires: onDatabase('dropDatabase'), run: dropDatabase },
  renameCollection: { adminOnly: true, requires: renameNeeds, run: rename },
  collMod: { requires: onCollection('collMod'), run: collMod },
  listCollections: { requires: listNeeds, run: listCollections },
  listDatabases: { adminOnly: true, requires: 'authentication', run: listDatabases },
  collStats: {
    requires: onCollection('collStats'),
    run: request => collectionStats(request, parseCollection(request)),
  },
  dbStats: {
    requires: onDatabase('dbStats'),
    run: ({ db, body, instance }) => databaseStats(instance, db, parseNumber(body, 'scale', 1) || 1),
  },
  dataSize: { requires: () => [], run: dataSize },
  validate: { requires: onCollection('validate'), run: validate },
}

/** Options of `create` that are stored and reported. Options that would change query results are rejected. */
const unsupported = ['viewOn', 'timeseries', 'encryptedFields', 'clusteredIndex', 'validator']

function create(request: Request): Document {
  const { body, db, instance } = request
  const name = parseCollection(request)
  const option = unsupported.find(one => body[one] !== undefined)
  if (option) throw new CommandError('IllegalOperation', `${option} is not part of this sandbox`)
  const names = ['capped', 'size', 'max']
  const options = Object.fromEntries(names.filter(one => body[one] !== undefined).map(one => [one, body[one]]))
  const there = instance.store.find(db, name)
  if (there) {
    // Since 7.0, creating an identical collection again is not an error.
    if (Buffer.compare(serialize(there.options), serialize(options)) === 0) return {}
    throw new CommandError('NamespaceExists', `Collection ${db}.${name} already exists.`)
  }
  instance.store.open(db, name, options)
  return {}
}

function drop(request: Request): Document {
  const { db, instance } = request
  const name = parseCollection(request)
  assertWritableNamespace(db, name)
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

function renameNeeds(request: Request): RequiredPrivilege[] {
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
  assertWritableNamespace(...from)
  assertWritableNamespace(...to)
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
  findCollection(request)
  if (request.body.validator !== undefined) {
    throw new CommandError('IllegalOperation', 'validator is not part of this sandbox')
  }
  return {}
}

/** Listing only names, and only of readable collections, requires no privilege. */
function listNeeds(request: Request): RequiredPrivilege[] {
  const { nameOnly, authorizedCollections } = request.body
  return nameOnly && authorizedCollections ? [] : onDatabase('listCollections')(request)
}

function listCollections(request: Request): CommandResult {
  const { body, db, instance } = request
  const matches = compileMatcher(body.filter ?? {})
  const privileges = privilegesOf(request)
  const list = [...(instance.store.databases.get(db) ?? [])]
    .filter(([name]) => !body.authorizedCollections || isAllowed(privileges, 'find', { db, collection: name }))
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
  const batchSize = parseNumber(body.cursor ?? {}, 'batchSize', undefined)
  return openCursor(request, { entries: list.map(one => serialize(one)) }, '$cmd.listCollections', { batchSize })
}

function listDatabases(request: Request): Document {
  const { body, instance } = request
  const privileges = privilegesOf(request)
  const all = isAllowed(privileges, 'listDatabases', { cluster: true }) && !body.authorizedDatabases
  const matches = compileMatcher(body.filter ?? {})
  const databases = [...instance.store.databases.keys()]
    .sort()
    .filter(name => all || isAllowedInDatabase(privileges, 'find', name))
    .map(name => ({
      name,
      ...(!body.nameOnly && { sizeOnDisk: Long.fromNumber(databaseSize(instance, name)), empty: false }),
    }))
    .filter(matches)
  if (body.nameOnly) return { databases }
  const total = databases.reduce((sum, { name }) => sum + databaseSize(instance, name), 0)
  return { databases, totalSize: Long.fromNumber(total), totalSizeMb: Long.fromNumber(Math.floor(total / 2 ** 20)) }
}

function dataSize({ body, name, instance }: Request): Document {
  const [, db = '', collection = ''] = /^([^.]+)\.(.+)$/s.exec(String(body[name])) ?? []
  const found = instance.store.find(db, collection)
  return {
    estimate: false,
    size: toInteger(found?.size ?? 0),
    numObjects: toInteger(found?.entries.size ?? 0),
    millis: toInteger(0),
  }
}

function validate(request: Request): Document {
  const { ns, entries, indexes } = findCollection(request)
  return {
    ns,
    nInvalidDocuments: toInteger(0),
    nNonCompliantDocuments: toInteger(0),
    nrecords: toInteger(entries.size),
    nIndexes: toInteger(indexes.length),
    keysPerIndex: Object.fromEntries(indexes.map(({ name }) => [name, toInteger(entries.size)])),
    valid: true,
    warnings: [],
    errors: [],
  }
}
