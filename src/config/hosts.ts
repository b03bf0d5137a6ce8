/**
 * Settings that are addresses, and the STS hosts that are offered to clients. A client signs for the STS host that it is
 * offered and takes the region from the second label of its name. A name from which drivers would read different regions
 * is refused here.
 */
import { z } from 'zod'
import { findPartition, findRegionalHost, partitionOfStsHost, suggestStsHosts } from '../identity/partition.js'
import { type IPAddress, parseIPAddress } from '../ipAddress.js'
import { describeText } from '../redaction.js'
import { hostOf, kind, listOf, textOf } from './definition.js'

export type Address = { host: string; port: number }

/** `host` is offered to clients and verified in TLS; `connect` is the address to dial instead. */
export type StsHost = { host: string; connect: Address | undefined }

/**
 * Whether a host is on this machine. Names other than `localhost` are not looked up. An invalid setting has no value, so
 * `host` may be undefined while a configuration has problems.
 */
export function isLoopback(host: string | undefined): boolean {
  return host === 'localhost' || parseHost(host)?.range() === 'loopback'
}

/** Whether a listener on this address accepts connections to every address of the machine. `host`: as in `isLoopback`. */
export function isWildcard(host: string | undefined): boolean {
  return ['0.0.0.0', '::'].includes(parseHost(host)?.toString() ?? '')
}

/** An address, with or without brackets. Short forms such as `127.1` are names. */
function parseHost(host: string | undefined): IPAddress | undefined {
  return host === undefined ? undefined : parseIPAddress(host.replace(/^\[(.*)\]$/, '$1'))
}

/** The host of a setting for a message: an address as it is, a name by its length. */
export function describeHost(host: string): string {
  return parseHost(host) ? host : describeText(host)
}

/** The address to listen on, for a message: `127.0.0.1:27017`. */
export function describeListenAddress({ host, port }: Address): string {
  return parseHost(host) ? `${host.includes(':') ? `[${host}]` : host}:${port}` : `${describeText(host)}, port ${port}`
}

const LABELS = /^(?=.{1,255}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/

const VPC_ENDPOINT = /\.vpce\./
const ONE_LABEL = /^[^.]*$/
const EXPECTED_HOST = 'expected a lower-case host name without scheme, port or path'

/** What is wrong with the name of an STS host; undefined if clients can sign for it. */
function describeStsHostProblem(host: string): string | undefined {
  if (findPartition(host) !== undefined) return undefined
  const regional = findRegionalHost(host)
  if (regional !== undefined && (ONE_LABEL.test(host) || /^sts\.[^.]*$/.test(host))) {
    return `this is a region and not a host: write ${regional}`
  }
  const [first, ...more] = suggestStsHosts(host)
  if (first === undefined) return undefined
  return VPC_ENDPOINT.test(host)
    ? `clients cannot sign for the name of a VPC endpoint: set host to the regional host, ${regional ?? first}, and connect to this name`
    : `clients cannot sign for this host: use ${[first, ...more].join(' or ')}`
}

const stsHostName = textOf(EXPECTED_HOST).superRefine((host, context) => {
  const isHost = LABELS.test(host.toLowerCase())
  const problem = isHost ? describeStsHostProblem(host.toLowerCase()) : undefined
  if (problem === undefined && LABELS.test(host)) return
  context.addIssue({ code: 'custom', message: problem ?? EXPECTED_HOST, input: host })
})

const HOST_AND_PORT = /^(?:\[([0-9A-Fa-f.]*:[0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]{1,255})):(\d{1,5})$/
const expectedAddress = 'expected host:port'
const address = textOf(expectedAddress, HOST_AND_PORT)
  .transform((text): Address => {
    const [, ipv6, name, port] = HOST_AND_PORT.exec(text) ?? []
    return { host: ipv6 ?? name ?? '', port: Number(port) }
  })
  .refine(
    ({ host, port }) => port >= 1 && port <= 65535 && (!host.includes(':') || parseIPAddress(host) !== undefined),
    {
      error: expectedAddress,
    },
  )

/** The address that hello reports. Lower case, because drivers compare it as text. */
export const advertised = kind(
  address
    .transform(({ host, port }): Address => ({ host: host.toLowerCase(), port }))
    .refine(({ host }) => !isWildcard(host), { error: 'expected the host:port by which clients reach the proxy' }),
  {},
)

/** Names or addresses without a port, in lower case for comparison. */
export const hostNames = kind(
  listOf(
    hostOf('expected a name or an address without a port').transform(host => host.toLowerCase()),
    'expected a list of names',
  )
    .refine(names => names.length <= 64, { error: 'expected at most 64 names' })
    .meta({ maxItems: 64 }),
  {},
)

const stsHostMapping = z.strictObject(
  { host: stsHostName, connect: address.optional() },
  {
    error: issue => (issue.code === 'invalid_type' ? 'expected a host, or a mapping of host and connect' : undefined),
  },
)

export const STS_HOST_KEYS: readonly string[] = Object.keys(stsHostMapping.shape)

const stsHost = z.preprocess(
  value => (typeof value === 'string' ? { host: value } : value),
  stsHostMapping.transform(({ host, connect }): StsHost => ({ host, connect })),
)

/** All hosts belong to one partition, and each is listed once. */
export const stsHosts = kind(
  listOf(stsHost, 'expected a list of hosts')
    .superRefine((hosts, context) => {
      const refuse = (message: string): void => context.addIssue({ code: 'custom', message, input: hosts })
      if (hosts.length === 0) return refuse('expected at least one host')
      if (hosts.length > 64) return refuse('expected at most 64 hosts')
      const partitions = new Set(hosts.map(({ host }) => findPartition(host) ?? 'none of AWS'))
      if (partitions.size > 1) refuse(`hosts of several partitions: ${[...partitions].join(', ')}`)
      const firstIndexes = hosts.map(({ host }) => hosts.findIndex(other => other.host === host))
      const repeated = firstIndexes.findIndex((first, index) => first < index)
      if (repeated >= 0) refuse(`entry ${repeated + 1} has the host of entry ${(firstIndexes[repeated] ?? 0) + 1}`)
    })
    .meta({ minItems: 1, maxItems: 64, uniqueItems: true }),
  {},
)

/** The partition of the principals that can log in. The hosts of a valid configuration have only one. */
export function servedPartition(hosts: readonly StsHost[]): string {
  return partitionOfStsHost(hosts[0]?.host ?? '')
}
