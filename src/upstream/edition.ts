/** What the reply to buildInfo says about the kind of server. */
import type { Document } from 'bson'

/** FerretDB 1 replies with `ferretdbVersion`, FerretDB 2 with `ferretdb: { version }`. */
export function isFerretdb(buildInfo: Document): boolean {
  return Object.keys(buildInfo).some(name => name.startsWith('ferretdb'))
}
