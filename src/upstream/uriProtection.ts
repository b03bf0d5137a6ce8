/** How a connection string protects its connections, to compare it with another one. */
import { ConnectionString } from 'mongodb-connection-string-url'
import type { Secret } from '../log.js'

export type UriProtection = {
  tls: boolean
  verifies: { certificate: boolean; name: boolean }
  /** `tlsCAFile` names the only authorities that are trusted. */
  hasAuthority: boolean
}

/** Undefined if the text is not a connection string. */
export function readUriProtection(uri: Secret): UriProtection | undefined {
  const parsed = parse(uri)
  if (!parsed) return undefined
  const options = new Map([...parsed.searchParams].map(([name, value]) => [name.toLowerCase(), value]))
  const isTrue = (name: string) => options.get(name) === 'true'
  const isInsecure = isTrue('tlsinsecure')
  const certificate = !isInsecure && !isTrue('tlsallowinvalidcertificates')
  return {
    tls: (options.get('tls') ?? options.get('ssl') ?? String(parsed.isSRV)) === 'true',
    verifies: { certificate, name: certificate && !isTrue('tlsallowinvalidhostnames') },
    hasAuthority: options.has('tlscafile'),
  }
}

function parse(uri: Secret): ConnectionString | undefined {
  try {
    return new ConnectionString(uri.reveal())
  } catch {
    return undefined
  }
}
