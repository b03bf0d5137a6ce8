/**
 * Resolves a `mongodb+srv` name to a seedlist.
 * https://github.com/mongodb/specifications/blob/master/source/initial-dns-seedlist-discovery/initial-dns-seedlist-discovery.md
 */
import { errorCode, Fault } from '../errors.js'
import { formatAddress, parseAddress } from './address.js'
import { sanitizeText } from './reply.js'

/** The functions of `node:dns/promises`. They reject with an error that has a `code`. */
export type DnsResolver = {
  resolveSrv(name: string): Promise<{ name: string; port: number }[]>
  resolveTxt(name: string): Promise<string[][]>
}

/** `seeds`: addresses. `replicaSet`: the name in the TXT record. */
export type Seedlist = { seeds: string[]; replicaSet: string | undefined }

/** A replica set has at most 50 members. */
const MAX_SEEDS = 50
/** Options that a TXT record may set, in lower case. */
const TXT_OPTIONS = new Set(['authsource', 'replicaset', 'loadbalanced'])

/**
 * Throws `upstream/unreachable` if DNS does not answer or has no records, and `upstream/protocol-error` if the records are
 * not allowed: hosts of another domain, options that a TXT record may not set.
 */
export async function resolveSeedlist(srv: string, { resolveSrv, resolveTxt }: DnsResolver): Promise<Seedlist> {
  const records = await resolveSrv(`_mongodb._tcp.${srv}`).catch(thrown => {
    throw new Fault('upstream/unreachable', undefined, { srv, code: errorCode(thrown) ?? 'no code' }, thrown)
  })
  if (records.length === 0) throw new Fault('upstream/unreachable', undefined, { srv, code: 'ENODATA' })
  if (records.length > MAX_SEEDS) throw protocolError(srv, `more than ${MAX_SEEDS} addresses`)
  const seeds = records.map(({ name, port }) => {
    const host = name.toLowerCase().replace(/\.$/, '')
    if (!isAllowedHost(host, srv)) throw protocolError(srv, `a host of another domain: ${sanitizeText(host)}`)
    const address = parseAddress(formatAddress({ host, port }))
    if (!address) throw protocolError(srv, `not an address: ${sanitizeText(host)}`)
    return formatAddress(address)
  })
  return { seeds: [...new Set(seeds)], replicaSet: await readReplicaSet(srv, resolveTxt) }
}

/** The host must be in the parent domain of the name. If the name has fewer than three labels, the host must have more. */
function isAllowedHost(host: string, srv: string): boolean {
  const labels = srv.split('.')
  const parent = labels.length < 3 ? srv : labels.slice(1).join('.')
  return host.endsWith(`.${parent}`) && (labels.length > 2 || host.split('.').length > labels.length)
}

async function readReplicaSet(srv: string, resolveTxt: DnsResolver['resolveTxt']): Promise<string | undefined> {
  const records = await resolveTxt(srv).catch((thrown): string[][] => {
    const code = errorCode(thrown) ?? 'no code'
    if (code === 'ENODATA' || code === 'ENOTFOUND') return []
    throw new Fault('upstream/unreachable', undefined, { srv, code }, thrown)
  })
  if (records.length > 1) throw protocolError(srv, 'more than one TXT record')
  const params = new URLSearchParams((records[0] ?? []).join(''))
  const forbidden = [...params.keys()].find(name => !TXT_OPTIONS.has(name.toLowerCase()))
  if (forbidden !== undefined) throw protocolError(srv, `a TXT record may not set ${sanitizeText(forbidden)}`)
  const options = new Map([...params].map(([name, value]) => [name.toLowerCase(), value]))
  if (options.get('loadbalanced') === 'true') throw protocolError(srv, 'loadBalanced=true is not supported')
  return options.get('replicaset') || undefined
}

function protocolError(srv: string, why: string): Fault {
  return new Fault('upstream/protocol-error', undefined, { srv, why })
}
