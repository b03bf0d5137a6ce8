/** The address that clients of a replica set are told, by which they come back to the proxy (R6). */
import { X509Certificate } from 'node:crypto'
import { type Address, formatAddress } from './address.js'

export type AddressAdvertiserOptions = {
  /** `listen.advertise`. */
  advertise: Address | undefined
  /** What the listener is bound to; undefined for a wildcard, which is nobody's address. */
  host: string | undefined
  /** PEM. */
  cert: string | undefined
}

/** What is known of a client's socket: the name it asked for over TLS, and the address that it reached. */
export type ClientSocketInfo = { servername?: string | false | null; localAddress?: string; localPort?: number }

/**
 * The address for a client: a name that it asked for itself and our certificate covers, with the advertised port; else
 * what is advertised, else where we listen. Where neither is known it is the address that its connection came to.
 */
export function createAddressAdvertiser({
  advertise,
  host,
  cert,
}: AddressAdvertiserOptions): (client: ClientSocketInfo) => string {
  const certificate = cert === undefined ? undefined : new X509Certificate(cert)
  return ({ servername, localAddress = '', localPort = 0 }) => {
    const told = advertise ?? { host: (host ?? localAddress.replace(/^::ffff:/, '')).toLowerCase(), port: localPort }
    const name = servername ? servername.toLowerCase() : undefined
    return formatAddress(name !== undefined && certificate?.checkHost(name) ? { ...told, host: name } : told)
  }
}
