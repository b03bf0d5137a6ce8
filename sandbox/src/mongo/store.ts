/**
 * Databases, collections and documents. The members of a replica set share a store.
 *
 * The store keeps the bytes that were sent and parses them on demand. It looks up `_id` and the keys of unique indexes;
 * every other query scans the collection.
 */
import { type Binary, type Document, Int32, type ObjectId } from 'bson'
import { createUuid, readDocument, withId } from './bytes.js'
import { CommandError } from './commandError.js'
import { toText } from './commandText.js'
import { type Index, toIndexKeys } from './indexes.js'

/** One stored document. It is replaced, never modified, so a reference to it is a snapshot. */
export class Entry {
  readonly bytes: Buffer
  readonly key: string
  #document: Document | undefined
  constructor(bytes: Buffer, key: string, document?: Document) {
    this.bytes = bytes
    this.key = key
    if (bytes.length <= MAX_PARSED) this.#document = document
  }
  /** Shared by all readers: copy it before a change. */
  get document(): Document {
    if (this.#document) return this.#document
    const document = readDocument(this.bytes)
    if (this.bytes.length <= MAX_PARSED) this.#document = document
    return document
  }
}

/** `from` is undefined for an insertion, `to` for a removal. */
export type Change = { from: Entry | undefined; to: Entry | undefined }

/** Larger documents are parsed on each access instead of being kept twice. */
const MAX_PARSED = 64 * 1024
/** The size limit of a document: 16 MiB and the allowance of mongod. */
const MAX_SIZE = 16 * 1024 * 1024

export class Collection {
  readonly ns: string
  readonly options: Document
  readonly uuid: Binary
  readonly entries = new Map<string, Entry>()
  readonly indexes: Index[] = [{ name: '_id_', key: { _id: new Int32(1) }, spec: {} }]
  /** The number of changes. Caches of the content depend on it. */
  version = 0
  size = 0
  /** In a copy: the original entry of each changed key. */
  readonly before: Map<string, Entry | undefined> | undefined

  constructor(ns: string, options: Document, uuid: Binary, before?: Map<string, Entry | undefined>) {
    this.ns = ns
    this.options = options
    this.uuid = uuid
    this.before = before
  }

  /** An independent copy. */
  copy(): Collection {
    const copy = new Collection(this.ns, this.options, this.uuid, new Map())
    for (const [key, entry] of this.entries) copy.entries.set(key, entry)
    const indexes = this.indexes.map(one => ({ ...one, ...(one.unique && { unique: new Map(one.unique) }) }))
    copy.indexes.splice(0, 1, ...indexes)
    copy.size = this.size
    return copy
  }

  /** Applies all changes or none. Throws DuplicateKey. */
  exchange(changes: readonly Change[]): void {
    const indexed: Entry[] = []
    for (const { from } of changes) if (from) this.#unindex(from)
    try {
      for (const { to } of changes) {
        if (!to) continue
        this.#index(to)
        indexed.push(to)
      }
    } catch (thrown) {
      for (const entry of indexed) this.#unindex(entry)
      for (const { from } of changes) if (from) this.#index(from)
      throw thrown
    }
    for (const { from, to } of changes) {
      if (to) this.entries.set(to.key, to)
      else if (from) this.entries.delete(from.key)
      this.#changed((to?.bytes.length ?? 0) - (from?.bytes.length ?? 0))
    }
  }

  /** Adds a document and returns its entry. Throws DuplicateKey, BSONObjectTooLarge, InvalidIdField. */
  insert(bytes: Buffer, fresh: () => ObjectId): Entry {
    assertSize(bytes)
    const { bytes: stored, key, id } = withId(bytes, fresh)
    if (key[0] === '[' || key[0] === 'r')
      throw new CommandError('InvalidIdField', "The '_id' value cannot be of type array or regex")
    if (this.entries.has(key)) throw duplicate(this.ns, '_id_', { _id: new Int32(1) }, { _id: id() })
    const entry = new Entry(stored, key)
    this.#index(entry)
    this.#note(key, undefined)
    this.entries.set(key, entry)
    this.#changed(stored.length)
    return entry
  }

  /** Replaces a document. `_id` stays the same. */
  replace(old: Entry, bytes: Buffer, document: Document): Entry {
    assertSize(bytes)
    const entry = new Entry(bytes, old.key, document)
    this.#unindex(old)
    try {
      this.#index(entry)
    } catch (thrown) {
      this.#index(old)
      throw thrown
    }
    this.#note(old.key, old)
    this.entries.set(old.key, entry)
    this.#changed(bytes.length - old.bytes.length)
    return entry
  }

  remove(entry: Entry): void {
    if (!this.entries.delete(entry.key)) return
    this.#unindex(entry)
    this.#note(entry.key, entry)
    this.#changed(-entry.bytes.length)
  }

  /** Adds an index. A unique index is built first, so a duplicate key changes nothing. */
  addIndex(index: Index): void {
    if (index.unique) {
      for (const entry of this.entries.values()) enter(index, this.ns, entry)
    }
    this.indexes.push(index)
  }

  #note(key: string, before: Entry | undefined): void {
    if (this.before && !this.before.has(key)) this.before.set(key, before)
  }

  #index(entry: Entry): void {
    for (const [at, index] of this.indexes.entries()) {
      if (!index.unique) continue
      try {
        enter(index, this.ns, entry)
      } catch (thrown) {
        for (const earlier of this.indexes.slice(0, at)) leave(earlier, entry)
        throw thrown
      }
    }
  }

  #unindex(entry: Entry): void {
    for (const index of this.indexes) leave(index, entry)
  }

  #changed(bytes: number): void {
    this.size += bytes
    this.version++
  }
}

/** The interface that commands use. A transaction implements it with its own view. */
export type DocumentStore = Pick<Store, keyof Store>

/** The databases by name. An insert creates its collection. */
export class Store {
  readonly databases = new Map<string, Map<string, Collection>>()
  readonly #random: (size: number) => Buffer

  constructor(random: (size: number) => Buffer) {
    this.#random = random
  }

  find(db: string, name: string): Collection | undefined {
    return this.databases.get(db)?.get(name)
  }

  /** The collection, which is created if it is missing. Throws InvalidNamespace. */
  open(db: string, name: string, options: Document = {}): Collection {
    const found = this.find(db, name)
    if (found) return found
    assertCollectionName(db, name)
    const collections = this.databases.get(db) ?? new Map<string, Collection>()
    const collection = new Collection(`${db}.${name}`, options, createUuid(this.#random))
    collections.set(name, collection)
    this.databases.set(db, collections)
    return collection
  }

  drop(db: string, name: string): boolean {
    const collections = this.databases.get(db)
    const dropped = collections?.delete(name) ?? false
    if (collections?.size === 0) this.databases.delete(db)
    return dropped
  }

  /** Renames a collection. The old object must no longer be used. */
  rename(from: [string, string], to: [string, string]): void {
    const old = this.find(...from)
    if (!old) throw new CommandError('NamespaceNotFound', `Source collection ${from.join('.')} does not exist`)
    this.drop(...from)
    const moved = this.open(...to, old.options)
    for (const entry of old.entries.values()) moved.insert(entry.bytes, unneeded)
    for (const index of old.indexes.slice(1)) moved.addIndex({ ...index, ...(index.unique && { unique: new Map() }) })
  }
}

function unneeded(): never {
  throw new CommandError('InternalError', 'a stored document has an _id')
}

function assertSize(bytes: Buffer): void {
  if (bytes.length > MAX_SIZE) {
    const message = `object to insert too large. size in bytes: ${bytes.length}, max size: ${MAX_SIZE}`
    throw new CommandError('BSONObjectTooLarge', message)
  }
}

/** Throws InvalidNamespace for an invalid name. */
export function assertCollectionName(db: string, name: string): void {
  if (!db || db.length > 63 || /[/\\. "\0]/.test(db)) {
    throw new CommandError('InvalidNamespace', `Invalid database name: '${db}'`)
  }
  if (!name || name.includes('$') || name.includes('\0') || name.startsWith('.')) {
    throw new CommandError('InvalidNamespace', `Invalid namespace specified '${db}.${name}'`)
  }
}

function enter(index: Index, ns: string, entry: Entry): void {
  if (!index.unique) return
  const keys = toIndexKeys(index, entry.document)
  for (const { key, values } of keys) {
    const holder = index.unique.get(key)
    if (holder !== undefined && holder !== entry.key) {
      throw duplicate(ns, index.name, index.key, values)
    }
  }
  for (const { key } of keys) index.unique.set(key, entry.key)
}

function leave(index: Index, entry: Entry): void {
  if (!index.unique) return
  for (const { key } of toIndexKeys(index, entry.document)) {
    if (index.unique.get(key) === entry.key) index.unique.delete(key)
  }
}

function duplicate(ns: string, index: string, keyPattern: Document, keyValue: Document): CommandError {
  const message = `E11000 duplicate key error collection: ${ns} index: ${index} dup key: ${toText(keyValue)}`
  return new CommandError('DuplicateKey', message, { keyPattern, keyValue })
}
