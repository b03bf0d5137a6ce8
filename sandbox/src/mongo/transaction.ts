/**
 * The view of one transaction: copies of the collections that it touched, with its own writes.
 *
 * A collection is copied when the transaction first touches it. If another client has changed a document since then, the
 * next statement or the commit fails with WriteConflict. Other clients never wait for a transaction.
 */
import { CommandError } from './commandError.js'
import { type Collection, type DocumentStore, Store } from './store.js'

type Copy = { db: string; name: string; copy: Collection; of: Collection | undefined }

export class Transaction implements DocumentStore {
  readonly #store: Store
  readonly #made: Store
  readonly #copies = new Map<string, Copy>()

  /** `random` is for the UUIDs of new collections. */
  constructor(store: Store, random: (size: number) => Buffer) {
    this.#store = store
    this.#made = new Store(random)
  }

  get databases(): Store['databases'] {
    return this.#store.databases
  }

  find(db: string, name: string): Collection | undefined {
    const known = this.#copies.get(`${db}.${name}`)
    if (known) return known.copy
    const of = this.#store.find(db, name)
    return of && this.#touch({ db, name, copy: of.copy(), of })
  }

  /** Throws InvalidNamespace. */
  open(db: string, name: string): Collection {
    return this.find(db, name) ?? this.#touch({ db, name, copy: this.#made.open(db, name).copy(), of: undefined })
  }

  drop(): never {
    throw new CommandError('OperationNotSupportedInTransaction', 'A transaction changes documents only.')
  }

  rename(): never {
    return this.drop()
  }

  /** Throws WriteConflict if another client changed a document that this transaction changed. */
  assertNoConflict(): void {
    for (const { db, name, copy, of } of this.#copies.values()) {
      const now = this.#store.find(db, name)
      if (of && of !== now && copy.before?.size) throw conflict()
      for (const [key, before] of copy.before ?? []) if (now?.entries.get(key) !== before) throw conflict()
    }
  }

  /** Applies all writes to the store, or none. Throws WriteConflict. */
  commit(): void {
    this.assertNoConflict()
    const undo: (() => void)[] = []
    try {
      for (const { db, name, copy } of this.#copies.values()) {
        const changes = [...(copy.before ?? [])].map(([key, from]) => ({ from, to: copy.entries.get(key) }))
        if (changes.length === 0) continue
        const collection = this.#store.open(db, name)
        collection.exchange(changes)
        undo.push(() => collection.exchange(changes.map(({ from, to }) => ({ from: to, to: from }))))
      }
    } catch {
      for (const back of undo.reverse()) back()
      throw conflict()
    }
  }

  #touch(copied: Copy): Collection {
    this.#copies.set(`${copied.db}.${copied.name}`, copied)
    return copied.copy
  }
}

function conflict(): CommandError {
  const message = 'WriteConflict error: this operation conflicted with another operation. Please retry your operation'
  return new CommandError('WriteConflict', message)
}
