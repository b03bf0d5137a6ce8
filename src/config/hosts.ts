/**
 * The STS hosts that are offered to clients. A client signs for the name that it is offered and takes the region from
 * the second label, so a name is refused here if drivers would read different regions out of it.
 */
import { z } from 'zod'
import { findPartition } from '../identity/partition.js'
import { kind, textOf } from './definition.js'

export type Address = { host: string; port: number }

/** `host` is offered to clients and verified in TLS; `connect` is dialled in its place (R12). */
export type StsHost = { host: string; connect: Address | undefined }

/** Whether an address never leaves the machine. Names other than localhost are not looked up. */
export function isLoopback(host: string): boolean {
  return /^(127(\.\d{1,3}){3}|::1|\[::1\]|localhost)$/.test(host)
}

/** Whether a listener on this address takes what comes to any address of the machine. */
export function isWildcard(host: string): boolean {
  return /^(0\.0\.0\.0|::|\[::\])$/.test(host)
}

const LABELS = /^(?=.{1,255}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/

const OF_AWS = /(^|\.)(amazonaws|amazonwebservices|api\.aws)(\.|$)/

const name = textOf('wanted a lower-case host name without scheme, port or path', LABELS).superRefine(
  (host, context) => {
    if (findPartition(host) !== undefined || !OF_AWS.test(host)) return
    const message = host.includes('.vpce.')
      ? 'clients cannot sign for the name of a VPC endpoint: offer the regional host and put this one into connect'
      : `clients cannot sign for ${host}: offer sts.amazonaws.com or one like sts.eu-west-1.amazonaws.com`
    context.addIssue({ code: 'custom', message })
  },
)

const ADDRESS = /^(?:\[([0-9a-f:]+)\]|([a-z0-9.-]{1,255})):(\d{1,5})$/i
const wantedAddress = 'wanted host:port'
const address = textOf(wantedAddress, ADDRESS)
  .transform((text): Address => {
    const [, six, host, port] = ADDRESS.exec(text) ?? []
    return { host: six ?? host ?? '', port: Number(port) }
  })
  .refine(({ port }) => port >= 1 && port <= 65535, { error: wantedAddress })

/** Where clients are told to come back to. Lower case, since drivers compare it as text. */
export const advertised = kind(
  address
    .transform(({ host, port }): Address => ({ host: host.toLowerCase(), port }))
    .refine(({ host }) => !isWildcard(host), { error: 'wanted host:port by which clients reach the proxy' }),
  {},
)

/** Names or addresses without a port, comma separated outside of the file. Lower case, as they are compared. */
export const hostNames = kind(
  z.preprocess(
    value => (typeof value === 'string' ? value.split(',').map(part => part.trim()) : value),
    z
      .array(
        textOf('wanted a name or an address without a port', /^[0-9A-Za-z._:-]{1,255}$/).transform(host =>
          host.toLowerCase(),
        ),
        { error: 'wanted a list of names' },
      )
      .max(64, { error: 'wanted at most 64 names' }),
  ),
  {},
)

const entry = z.preprocess(
  value => (typeof value === 'string' ? { host: value } : value),
  z
    .strictObject(
      { host: name, connect: address.optional() },
      {
        error: issue => (issue.code === 'invalid_type' ? 'wanted a host, or a mapping of host and connect' : undefined),
      },
    )
    .transform(({ host, connect }): StsHost => ({ host, connect })),
)

/** A list in the file, comma separated elsewhere. All of one partition, each named once. */
export const stsHosts = kind(
  z.preprocess(
    value => (typeof value === 'string' ? value.split(',').map(part => part.trim()) : value),
    z
      .array(entry, { error: 'wanted a list of hosts' })
      .min(1, { error: 'wanted at least one host' })
      .max(64, { error: 'wanted at most 64 hosts' })
      .superRefine((hosts, context) => {
        const partitions = new Set(hosts.map(({ host }) => findPartition(host) ?? 'none of AWS'))
        if (partitions.size > 1) {
          context.addIssue({ code: 'custom', message: `hosts of several partitions: ${[...partitions].join(', ')}` })
        }
        const twice = hosts.find(({ host }, index) => hosts.findIndex(other => other.host === host) < index)
        if (twice) context.addIssue({ code: 'custom', message: `${twice.host} stands twice` })
      }),
  ),
  {},
)
