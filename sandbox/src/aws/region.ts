/** Regions, their partitions, and the host names of their STS endpoints. */

/** The patterns do not overlap. */
const partitions = [
  { name: 'aws', regions: /^(us|eu|ap|sa|ca|me|af|il|mx)-[a-z]+-\d$/, domains: ['amazonaws.com', 'api.aws'] },
  { name: 'aws-us-gov', regions: /^us-gov-[a-z]+-\d$/, domains: ['amazonaws.com', 'api.aws'] },
  { name: 'aws-cn', regions: /^cn-[a-z]+-\d$/, domains: ['amazonaws.com.cn', 'api.amazonwebservices.com.cn'] },
  { name: 'aws-iso', regions: /^us-iso-[a-z]+-\d$/, domains: ['c2s.ic.gov'] },
  { name: 'aws-iso-b', regions: /^us-isob-[a-z]+-\d$/, domains: ['sc2s.sgov.gov'] },
  { name: 'aws-iso-e', regions: /^eu-isoe-[a-z]+-\d$/, domains: ['cloud.adc-e.uk'] },
  { name: 'aws-iso-f', regions: /^us-isof-[a-z]+-\d$/, domains: ['csp.hci.ic.gov'] },
  { name: 'aws-eusc', regions: /^eusc-[a-z]+-[a-z]+-\d$/, domains: ['amazonaws.eu', 'api.amazonwebservices.eu'] },
] as const

export type Partition = (typeof partitions)[number]['name']

/** The global endpoint accepts signatures for us-east-1 only and has its own quota. */
const GLOBAL = 'sts.amazonaws.com'
/** A loopback name implies no region, so the region of the signature's scope is used. */
const LOOPBACK = new Set(['localhost', '127.0.0.1'])

/** The partition of a region; undefined if AWS has no such region. */
export function findPartition(region: string): Partition | undefined {
  return partitions.find(({ regions }) => regions.test(region))?.name
}

/**
 * The endpoint, a region or `global`, of a request to `host` with a signature for `region`; undefined if the host does not
 * serve that region. `names` maps further host names to the region that each stands for.
 */
export function findEndpointRegion(
  host: string,
  region: string,
  names: ReadonlyMap<string, string>,
): string | undefined {
  const name = host.toLowerCase().replace(/:\d{1,5}$/, '')
  const partition = partitions.find(({ regions }) => regions.test(region))
  if (!partition) return undefined
  if (LOOPBACK.has(name) || names.get(name) === region) return region
  if (name === GLOBAL) return region === 'us-east-1' ? 'global' : undefined
  return partition.domains.some(domain => name === `sts.${region}.${domain}` || name === `sts-fips.${region}.${domain}`)
    ? region
    : undefined
}
