/** Roles and database users as rules spell them: `readWrite@app`, `read@app.orders`, `alice@admin`. */
import { didYouMean } from '../config/nearest.js'
import { describeText } from '../redaction.js'
import { COLLECTION_ROLE_NAMES } from './collectionRole.js'
import type { DatabaseUser, Role } from './match.js'

/** A database name, as MongoDB restricts it. `$external` is excluded: it holds no passwords. */
const DATABASE = /^[^/\\. "$*<>:|?\0@]{1,63}$/
/** User-defined roles may have nearly any name. Control characters and the separator @ are excluded. */
const ROLE = /^[^@\p{C}]{1,128}$/u
/** System collections are excluded. */
const COLLECTION = /^(?!system\.)[^$\0]{1,190}$/

/** Other roles have privileges beyond collections, so they cannot be limited to one. */
const collectionRoles: ReadonlySet<string> = new Set(COLLECTION_ROLE_NAMES)

/** The roles of every MongoDB, to suggest one for a misspelled name. */
const BUILT_IN_ROLES = [
  ...['read', 'readWrite', 'dbAdmin', 'dbOwner', 'userAdmin', 'clusterAdmin', 'clusterManager', 'clusterMonitor'],
  ...['hostManager', 'backup', 'restore', 'readAnyDatabase', 'readWriteAnyDatabase', 'userAdminAnyDatabase'],
  ...['dbAdminAnyDatabase', 'root'],
]

/** A connection string in the wrong place would be a valid name, and names reach the log. */
const hasScheme = (text: string) => text.includes('://')

/** Parses `role@database[.collection]`. Returns a sentence about the problem, without the text, if it is invalid. */
export function parseRole(text: string): Role | string {
  const at = text.indexOf('@')
  if (at < 0) return `${describeText(text)} names no database; write role@database${didYouMean(text, BUILT_IN_ROLES)}`
  const role = text.slice(0, at)
  const namespace = text.slice(at + 1)
  const dot = namespace.indexOf('.')
  const db = dot < 0 ? namespace : namespace.slice(0, dot)
  if (!ROLE.test(role) || hasScheme(role)) return `${describeText(text)} has no valid name; write role@database`
  if (!DATABASE.test(db)) return `${describeText(text)} has an invalid database name; write role@database`
  if (dot < 0) return { role, db }
  const collection = namespace.slice(dot + 1)
  if (!collectionRoles.has(role)) {
    return `${describeText(text)} names a collection; only read and readWrite can${didYouMean(role, COLLECTION_ROLE_NAMES)}`
  }
  if (!COLLECTION.test(collection)) return `${describeText(text)} has an invalid collection name`
  return { role, db, collection }
}

/** The role as rules spell it. */
export function formatRole({ role, db, collection }: Role): string {
  return `${role}@${db}${collection === undefined ? '' : `.${collection}`}`
}

/** Parses `name[@database]`; the default is admin. Returns a sentence about the problem, without the text. */
export function parseDatabaseUser(text: string): DatabaseUser | string {
  const at = text.lastIndexOf('@')
  const name = at < 0 ? text : text.slice(0, at)
  const db = at < 0 ? 'admin' : text.slice(at + 1)
  if (hasScheme(name)) return `${describeText(text)} is a URI; write name@database`
  if (name === '' || name.includes('\0')) return `${describeText(text)} has no valid name; write name@database`
  if (db === '$external')
    return `${describeText(text)} is a user of $external, which has no password; name a user of another database`
  if (DATABASE.test(db)) return { name, db }
  return `${describeText(text)} has an invalid database name; write name@database`
}
