/** Where the upstream is: its addresses and how to reach them, read from a connection string. */
import { ConnectionString } from 'mongodb-connection-string-url'
import { Fault } from '../errors.js'
import type { Secret } from '../log.js'
import { type Address, formatAddress, parseAddress } from './address.js'
import { parseTlsOptions, parseUriOptions, type TlsOptions } from './uriOptions.js'

/** What a connection string says. */
export type UpstreamConfig = {
  /** How it is called in logs: its addresses, or the name that they are looked up by. */
  name: string
  /** The addresses to begin with; none where they are looked up. */
  seeds: readonly string[]
  /** The name of `mongodb+srv`. */
  srv: string | undefined
  /** `directConnection=true`: this address, whatever it is, and no other. */
  directConnection: boolean
  connectionOptions: ConnectionOptions
}

/** What every member is reached with. */
export type ConnectionOptions = {
  connectTimeoutMS: number
  /** The set that hello must name. */
  replicaSet: string | undefined
  tls: TlsOptions | undefined
}

/** One member. `address`: how it is named in logs and keys. */
export type Target = ConnectionOptions & Address & { address: string }

const CONNECT_TIMEOUT_MS = 10_000

/**
 * Reads a connection string. `readFile` gives the bytes of a certificate file and may throw.
 * Throws `config/invalid` with every problem, never quoting the connection string.
 */
export function parseUpstreamUri(uri: Secret, readFile: (path: string) => Buffer): UpstreamConfig {
  const problems: string[] = []
  const parsed = parse(uri)
  if (!parsed) throw invalid(['not a connection string: wanted mongodb://host:port/?options'])
  if (parsed.username || parsed.password) {
    problems.push('no user belongs here: database users come from `users`, the administrator goes to upstream.admin')
  }
  if (parsed.pathname !== '/' && parsed.pathname !== '') {
    problems.push('no database belongs here: clients name their own')
  }
  const options = parseUriOptions(parsed, problems)
  const srv = parsed.isSRV ? parsed.hosts[0]?.toLowerCase() : undefined
  const seeds = parsed.isSRV ? [] : readSeeds(parsed.hosts, problems)
  const direct = options.flag('directConnection') === true
  if (direct && (srv !== undefined || parsed.hosts.length > 1)) {
    problems.push('directConnection=true is for one address: take it out, or name one host')
  }
  const template: ConnectionOptions = {
    connectTimeoutMS: options.milliseconds('connectTimeoutMS') ?? CONNECT_TIMEOUT_MS,
    replicaSet: options.text('replicaSet'),
    tls: parseTlsOptions(options, srv !== undefined, readFile, problems),
  }
  if (problems.length > 0) throw invalid(problems)
  return { name: srv ?? seeds.join(','), seeds, srv, directConnection: direct, connectionOptions: template }
}

/** The member at an address, as `readAddress` understands it. Throws `upstream/protocol-error` for what is no address. */
export function createTarget(template: ConnectionOptions, text: string): Target {
  const address = parseAddress(text)
  if (!address)
    throw new Fault('upstream/protocol-error', undefined, { why: 'no address', address: text.slice(0, 200) })
  return { ...template, ...address, address: formatAddress(address) }
}

function parse(uri: Secret): ConnectionString | undefined {
  try {
    return new ConnectionString(uri.reveal())
  } catch {
    // The library's message may quote what it stumbled over, a password among it.
    return undefined
  }
}

function readSeeds(hosts: readonly string[], problems: string[]): string[] {
  const addresses = hosts.flatMap(host => parseAddress(host) ?? [])
  if (addresses.length < hosts.length || hosts.length === 0) {
    problems.push('the address must be host:port, with IPv6 in brackets')
  }
  return [...new Set(addresses.map(formatAddress))]
}

function invalid(problems: readonly string[]): Fault {
  return new Fault('config/invalid', problems.map(problem => `upstream.uri: ${problem}`).join('\n'), { problems })
}
