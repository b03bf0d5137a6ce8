/** Roles and database users as rules spell them: `readWrite@app`, `read@app.orders`, `alice@admin`. */
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

/** Parses `role@database[.collection]`. Returns a sentence about the problem if it is invalid. */
export function parseRole(text: string): Role | string {
  const at = text.indexOf('@')
  if (at < 0) return `role ${quote(text)} names no database; write ${quote(`${text}@database`)}`
  const role = text.slice(0, at)
  const namespace = text.slice(at + 1)
  const dot = namespace.indexOf('.')
  const db = dot < 0 ? namespace : namespace.slice(0, dot)
  if (!ROLE.test(role)) return `role ${quote(text)} has no valid name; write role@database`
  if (!DATABASE.test(db)) return `role ${quote(text)} has an invalid database name, ${quote(db)}`
  if (dot < 0) return { role, db }
  const collection = namespace.slice(dot + 1)
  if (!collectionRoles.has(role)) return `role ${quote(text)} names a collection; only read and readWrite can`
  if (!COLLECTION.test(collection)) return `role ${quote(text)} has an invalid collection name`
  return { role, db, collection }
}

/** The role as rules spell it. */
export function formatRole({ role, db, collection }: Role): string {
  return `${role}@${db}${collection === undefined ? '' : `.${collection}`}`
}

/** Parses `name[@database]`; the default is admin. Returns a sentence about the problem if it is invalid. */
export function parseDatabaseUser(text: string): DatabaseUser | string {
  const at = text.lastIndexOf('@')
  const name = at < 0 ? text : text.slice(0, at)
  const db = at < 0 ? 'admin' : text.slice(at + 1)
  if (name === '' || name.includes('\0')) return `user ${quote(text)} has no valid name; write name@database`
  if (db === '$external') return `user ${quote(text)} has no password; name a user of another database`
  if (DATABASE.test(db)) return { name, db }
  return `user ${quote(text)} has an invalid database name, ${quote(db)}; write name@database`
}

/** Quotes text of a configuration file for a message: at most 200 characters, on one line. */
export function quote(text: string): string {
  const shortened = text.length > 200 ? `${text.slice(0, 200)}…` : text
  return `"${shortened.replace(/\p{C}/gu, '?')}"`
}
