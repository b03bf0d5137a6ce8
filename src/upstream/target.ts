/** The connection string of the upstream, and the target that each of its members is connected to with. */
import { ConnectionString } from 'mongodb-connection-string-url'
import { Fault } from '../errors.js'
import type { Secret } from '../log.js'
import { type Address, formatAddress, parseAddress } from './address.js'
import { parseTlsOptions, parseUriOptions, type TlsOptions } from './uriOptions.js'

/** A parsed connection string. */
export type UpstreamConfig = {
  /** Identifies the upstream in the log: its addresses, or its `mongodb+srv` name. */
  name: string
  /** Addresses; empty if DNS gives them. */
  seeds: readonly string[]
  /** The name in a `mongodb+srv` string. */
  srv: string | undefined
  /** Uses the one address whatever it is. */
  directConnection: boolean
  connectionOptions: ConnectionOptions
}

/** How to connect to any member. */
export type ConnectionOptions = {
  connectTimeoutMS: number
  /** The set name that hello must report. */
  replicaSet: string | undefined
  tls: TlsOptions | undefined
}

/** One member. `address` is its host:port. */
export type Target = ConnectionOptions & Address & { address: string }

const DEFAULT_CONNECT_TIMEOUT_MS = 10_000

/**
 * Parses a connection string. `readFile` returns the bytes of a certificate file, and may throw.
 * Throws `config/invalid` with every problem. Its texts never contain the connection string.
 */
export function parseUpstreamUri(uri: Secret, readFile: (path: string) => Buffer): UpstreamConfig {
  const problems: string[] = []
  const parsed = parse(uri)
  if (!parsed) throw invalid(['not a connection string: expected mongodb://host:port/?options'])
  if (parsed.username || parsed.password) {
    problems.push('must not name a user: database users come from `users`, the administrator from upstream.admin')
  }
  if (parsed.pathname !== '/' && parsed.pathname !== '') {
    problems.push('must not name a database: clients name their own')
  }
  const options = parseUriOptions(parsed, problems)
  const srv = parsed.isSRV ? parsed.hosts[0]?.toLowerCase() : undefined
  const seeds = parsed.isSRV ? [] : parseSeeds(parsed.hosts, problems)
  const directConnection = options.flag('directConnection') === true
  if (directConnection && (srv !== undefined || parsed.hosts.length > 1)) {
    problems.push('directConnection=true is for one address: remove it, or name one host')
  }
  const connectionOptions: ConnectionOptions = {
    connectTimeoutMS: options.milliseconds('connectTimeoutMS') ?? DEFAULT_CONNECT_TIMEOUT_MS,
    replicaSet: options.text('replicaSet'),
    tls: parseTlsOptions(options, { byDefault: srv !== undefined, readFile, problems }),
  }
  if (problems.length > 0) throw invalid(problems)
  return { name: srv ?? seeds.join(','), seeds, srv, directConnection, connectionOptions }
}

/** The target for one address. Throws `upstream/protocol-error` if `parseAddress` rejects it. */
export function createTarget(connectionOptions: ConnectionOptions, text: string): Target {
  const address = parseAddress(text)
  if (!address) {
    throw new Fault('upstream/protocol-error', undefined, { why: 'not an address', address: text.slice(0, 200) })
  }
  return { ...connectionOptions, ...address, address: formatAddress(address) }
}

function parse(uri: Secret): ConnectionString | undefined {
  try {
    return new ConnectionString(uri.reveal())
  } catch {
    // The message of the library may contain parts of the string, such as a password.
    return undefined
  }
}

function parseSeeds(hosts: readonly string[], problems: string[]): string[] {
  const addresses = hosts.flatMap(host => parseAddress(host) ?? [])
  if (addresses.length < hosts.length || hosts.length === 0) {
    problems.push('each address must be host:port, with IPv6 in brackets')
  }
  return [...new Set(addresses.map(formatAddress))]
}

function invalid(problems: readonly string[]): Fault {
  return new Fault('config/invalid', problems.map(problem => `upstream.uri: ${problem}`).join('\n'), { problems })
}
