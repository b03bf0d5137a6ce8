/**
 * The addresses behind a `mongodb+srv` name.
 * https://github.com/mongodb/specifications/blob/master/source/initial-dns-seedlist-discovery/initial-dns-seedlist-discovery.md
 */
import { errorCode, Fault } from '../errors.js'
import { formatAddress, parseAddress } from './address.js'
import { sanitizeText } from './reply.js'

/** As `node:dns/promises` has them; they reject with a `code` where there is no answer. */
export type DnsResolver = {
  resolveSrv(name: string): Promise<{ name: string; port: number }[]>
  resolveTxt(name: string): Promise<string[][]>
}

export type Seedlist = { seeds: string[]; replicaSet: string | undefined }

/** A set has at most 50 members. */
const MOST = 50
/** What a TXT record may set, by lower-case name. */
const OPTIONS = new Set(['authsource', 'replicaset', 'loadbalanced'])

/**
 * Looks a name up. Throws `upstream/unreachable` where DNS does not answer or knows nothing, and `upstream/protocol-error` for
 * answers that are not to be followed: hosts of another domain, options that a TXT record may not set.
 */
export async function resolveSeedlist(srv: string, { resolveSrv, resolveTxt }: DnsResolver): Promise<Seedlist> {
  const records = await resolveSrv(`_mongodb._tcp.${srv}`).catch(thrown => {
    throw new Fault('upstream/unreachable', undefined, { srv, code: errorCode(thrown) ?? 'no code' }, thrown)
  })
  if (records.length === 0) throw new Fault('upstream/unreachable', undefined, { srv, code: 'ENODATA' })
  if (records.length > MOST) throw malformed(srv, `more than ${MOST} addresses`)
  const seeds = records.map(({ name, port }) => {
    const host = name.toLowerCase().replace(/\.$/, '')
    if (!isRelated(host, srv)) throw malformed(srv, `an address of another domain: ${sanitizeText(host)}`)
    const address = parseAddress(formatAddress({ host, port }))
    if (!address) throw malformed(srv, `no address: ${sanitizeText(host)}`)
    return formatAddress(address)
  })
  return { seeds: [...new Set(seeds)], replicaSet: await readTxt(srv, resolveTxt) }
}

/** Whether DNS may send us there: the parent domain must be the same, and below two labels one label must be added. */
function isRelated(host: string, srv: string): boolean {
  const labels = srv.split('.')
  const parent = labels.length < 3 ? srv : labels.slice(1).join('.')
  return host.endsWith(`.${parent}`) && (labels.length > 2 || host.split('.').length > labels.length)
}

async function readTxt(srv: string, resolveTxt: DnsResolver['resolveTxt']): Promise<string | undefined> {
  const records = await resolveTxt(srv).catch((thrown): string[][] => {
    const code = errorCode(thrown) ?? 'no code'
    if (code === 'ENODATA' || code === 'ENOTFOUND') return []
    throw new Fault('upstream/unreachable', undefined, { srv, code }, thrown)
  })
  if (records.length > 1) throw malformed(srv, 'more than one TXT record')
  const options = new URLSearchParams((records[0] ?? []).join(''))
  const odd = [...options.keys()].find(name => !OPTIONS.has(name.toLowerCase()))
  if (odd !== undefined) throw malformed(srv, `a TXT record may not set ${sanitizeText(odd)}`)
  const given = new Map([...options].map(([name, value]) => [name.toLowerCase(), value]))
  if (given.get('loadbalanced') === 'true') throw malformed(srv, 'loadBalanced, which is not for a set')
  return given.get('replicaset') || undefined
}

function malformed(srv: string, why: string): Fault {
  return new Fault('upstream/protocol-error', undefined, { srv, why })
}
