/**
 * Databases, collections, documents: everything that the members of a deployment would share, and nothing of a server.
 *
 * A document is the bytes that were sent; it is read once somebody asks what is in it. `_id` is found by its key, and
 * so are the keys of unique indexes; any other query looks at every document. It is long because all that changes what
 * is kept is here.
 */
import { type Binary, type Document, Int32, type ObjectId } from 'bson'
import { createUuid, readDocument, withId } from './bytes.js'
import { CommandError } from './commandError.js'
import { toText } from './commandText.js'
import { type Index, toIndexKeys } from './indexes.js'

/** One stored document. It is replaced, never changed, so whoever holds it has a snapshot. */
export class Entry {
  readonly bytes: Buffer
  readonly key: string
  #document: Document | undefined
  constructor(bytes: Buffer, key: string, document?: Document) {
    this.bytes = bytes
    this.key = key
    if (bytes.length <= KEPT) this.#document = document
  }
  /** Shared by everybody who reads it: copy before changing. */
  get document(): Document {
    if (this.#document) return this.#document
    const document = readDocument(this.bytes)
    if (this.bytes.length <= KEPT) this.#document = document
    return document
  }
}

/** One of the two may be missing: an insertion, a removal. */
export type Change = { from: Entry | undefined; to: Entry | undefined }

/** Larger documents are read again each time instead of being held twice. */
const KEPT = 64 * 1024
/** What a document may measure; updates of 16 MiB documents have the server's own slack. */
const LONGEST = 16 * 1024 * 1024

export class Collection {
  readonly ns: string
  readonly options: Document
  readonly uuid: Binary
  readonly entries = new Map<string, Entry>()
  readonly indexes: Index[] = [{ name: '_id_', key: { _id: new Int32(1) }, spec: {} }]
  /** Counts changes, so that what was computed from the content can be dropped. */
  version = 0
  size = 0
  /** Of a copy: what each changed key held when the copy was made. */
  readonly before: Map<string, Entry | undefined> | undefined

  constructor(ns: string, options: Document, uuid: Binary, before?: Map<string, Entry | undefined>) {
    this.ns = ns
    this.options = options
    this.uuid = uuid
    this.before = before
  }

  /** The same content, apart from this one. */
  copy(): Collection {
    const copy = new Collection(this.ns, this.options, this.uuid, new Map())
    for (const [key, entry] of this.entries) copy.entries.set(key, entry)
    const indexes = this.indexes.map(one => ({ ...one, ...(one.unique && { unique: new Map(one.unique) }) }))
    copy.indexes.splice(0, 1, ...indexes)
    copy.size = this.size
    return copy
  }

  /** Puts `to` in the place of `from`, all of them or none. Throws DuplicateKey. */
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
    judgeSize(bytes)
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

  /** Puts a changed document in the place of `old`; `_id` is the same. */
  replace(old: Entry, bytes: Buffer, document: Document): Entry {
    judgeSize(bytes)
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

  /** Adds an index; a unique one is filled first, so a duplicate leaves everything as it was. */
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

/** What commands use of a store; a transaction has one of its own. */
export type DocumentStore = Pick<Store, keyof Store>

/** Every database by name; a collection begins to exist when something is put into it. */
export class Store {
  readonly databases = new Map<string, Map<string, Collection>>()
  readonly #random: (size: number) => Buffer

  constructor(random: (size: number) => Buffer) {
    this.#random = random
  }

  find(db: string, name: string): Collection | undefined {
    return this.databases.get(db)?.get(name)
  }

  /** The collection, made where it is missing. Throws InvalidNamespace. */
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

  /** Moves a collection to another name. The old object must no longer be used. */
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

function judgeSize(bytes: Buffer): void {
  if (bytes.length > LONGEST) {
    const message = `object to insert too large. size in bytes: ${bytes.length}, max size: ${LONGEST}`
    throw new CommandError('BSONObjectTooLarge', message)
  }
}

/** Throws InvalidNamespace for names that the server does not take. */
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
