/**
 * The address that clients of a replica set get in hello. Drivers connect to the addresses in hello, so it must lead back to
 * the proxy.
 */
import { X509Certificate } from 'node:crypto'
import { type Address, formatAddress } from './address.js'

export type AddressAdvertiserOptions = {
  /** `listen.advertise`. */
  advertise: Address | undefined
  /** The address that the listener is bound to; undefined for a wildcard, which no client can connect to. */
  host: string | undefined
  /** The certificate of the listener, in PEM. */
  cert: string | undefined
}

/** `servername`: the SNI of the client's TLS handshake. `localAddress` and `localPort`: the address that it connected to. */
export type ClientSocketInfo = { servername?: string | false | null; localAddress?: string; localPort?: number }

/**
 * Creates a function that gives the address for one client: `listen.advertise`, otherwise the bound address, otherwise the
 * address that the client connected to. An SNI that the certificate covers replaces the host name.
 */
export function createAddressAdvertiser({
  advertise,
  host: boundHost,
  cert,
}: AddressAdvertiserOptions): (client: ClientSocketInfo) => string {
  const certificate = cert === undefined ? undefined : new X509Certificate(cert)
  return ({ servername, localAddress = '', localPort = 0 }) => {
    const reachedHost = localAddress.replace(/^::ffff:/, '')
    const address = advertise ?? { host: (boundHost ?? reachedHost).toLowerCase(), port: localPort }
    const name = servername ? servername.toLowerCase() : undefined
    const isCovered = name !== undefined && certificate?.checkHost(name) !== undefined
    return formatAddress(isCovered ? { ...address, host: name } : address)
  }
}
