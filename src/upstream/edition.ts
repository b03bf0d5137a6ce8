/** What the reply to buildInfo says about the kind of server. */
import type { Document } from 'bson'

/** FerretDB 1 replies with `ferretdbVersion`, FerretDB 2 with `ferretdb: { version }`. */
export function isFerretdb(buildInfo: Document): boolean {
  return Object.keys(buildInfo).some(name => name.startsWith('ferretdb'))
}

/**
 * Whether admin.system.users contains the users, as far as buildInfo tells. FerretDB 1 stores its users there, as MongoDB
 * does. To FerretDB 2 it is a collection like any other: it is empty, or has what any writer has put there.
 */
export function hasSystemUsers(buildInfo: Document): boolean {
  return !isFerretdb(buildInfo) || buildInfo.ferretdbVersion !== undefined
}
