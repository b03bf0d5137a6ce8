/** Sizes of collections and databases. */
import { type Document, Double, Int32, Long } from 'bson'
import type { Instance, Request } from './request.js'
import type { Collection } from './store.js'

/** A nominal size of one index. The sandbox has no pages. */
const INDEX_BYTES = 4096

export function collectionStats({ db, instance }: Pick<Request, 'db' | 'instance'>, name: string): Document {
  const collection = instance.store.find(db, name)
  const count = collection?.entries.size ?? 0
  const indexes = collection?.indexes ?? []
  return {
    ns: `${db}.${name}`,
    size: toInteger(collection?.size ?? 0),
    count: toInteger(count),
    ...(collection && count > 0 && { avgObjSize: toInteger(Math.floor(collection.size / count)) }),
    numOrphanDocs: toInteger(0),
    storageSize: toInteger(collection?.size ?? 0),
    freeStorageSize: toInteger(0),
    capped: collection?.options.capped === true,
    nindexes: toInteger(indexes.length),
    indexBuilds: [],
    totalIndexSize: toInteger(indexes.length * INDEX_BYTES),
    totalSize: toInteger((collection?.size ?? 0) + indexes.length * INDEX_BYTES),
    indexSizes: Object.fromEntries(indexes.map(({ name }) => [name, toInteger(INDEX_BYTES)])),
    scaleFactor: toInteger(1),
  }
}

export function databaseStats({ store }: Instance, db: string, scale: number): Document {
  const collections = [...(store.databases.get(db)?.values() ?? [])]
  const sum = (of: (collection: Collection) => number) => collections.reduce((total, one) => total + of(one), 0)
  const objects = sum(one => one.entries.size)
  const bytes = sum(one => one.size)
  const indexes = sum(one => one.indexes.length)
  return {
    db,
    collections: Long.fromNumber(collections.length),
    views: Long.ZERO,
    objects: Long.fromNumber(objects),
    avgObjSize: new Double(objects > 0 ? bytes / objects : 0),
    dataSize: new Double(bytes / scale),
    storageSize: new Double(bytes / scale),
    indexes: Long.fromNumber(indexes),
    indexSize: new Double((indexes * INDEX_BYTES) / scale),
    totalSize: new Double((bytes + indexes * INDEX_BYTES) / scale),
    scaleFactor: Long.fromNumber(scale),
    fsUsedSize: new Double(0),
    fsTotalSize: new Double(0),
  }
}

/** The size of a database in bytes. */
export function databaseSize({ store }: Instance, db: string): number {
  return [...(store.databases.get(db)?.values() ?? [])].reduce(
    (total, one) => total + one.size + one.indexes.length * INDEX_BYTES,
    0,
  )
}

/** An int32 if the value fits, else an int64. */
export function toInteger(value: number): Int32 | Long {
  return value === (value | 0) ? new Int32(value) : Long.fromNumber(value)
}
