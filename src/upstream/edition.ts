/** Recognizes the server product by its reply to buildInfo. */
import type { Document } from 'bson'

/** FerretDB 1 replies with `ferretdbVersion`, FerretDB 2 with `ferretdb: { version }`. */
export function isFerretdb(buildInfo: Document): boolean {
  return Object.keys(buildInfo).some(name => name.startsWith('ferretdb'))
}

/**
 * Whether admin.system.users contains the database users. FerretDB 1 stores its users there, as MongoDB does. FerretDB 2
 * treats it as an ordinary collection, so its content proves nothing.
 */
export function hasSystemUsers(buildInfo: Document): boolean {
  return !isFerretdb(buildInfo) || buildInfo.ferretdbVersion !== undefined
}
