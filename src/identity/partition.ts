/** Partitions: the separate clouds of AWS, the hosts of their STS, and the ARNs they may speak of. */

type Row = { partition: string; domains: readonly string[]; regions: RegExp }

/** The first row that fits decides: GovCloud shares its domain with the rest and has regions of its own. */
const rows = [
  { partition: 'aws-us-gov', domains: ['amazonaws.com', 'api.aws'], regions: /^us-gov-/ },
  { partition: 'aws', domains: ['amazonaws.com', 'api.aws'], regions: /^(?!cn-|us-iso|eu-iso|eusc-)/ },
  { partition: 'aws-cn', domains: ['amazonaws.com.cn', 'api.amazonwebservices.com.cn'], regions: /^cn-/ },
  { partition: 'aws-iso', domains: ['c2s.ic.gov'], regions: /^us-iso-/ },
  { partition: 'aws-iso-b', domains: ['sc2s.sgov.gov'], regions: /^us-isob-/ },
  { partition: 'aws-iso-e', domains: ['cloud.adc-e.uk'], regions: /^eu-isoe-/ },
  { partition: 'aws-iso-f', domains: ['csp.hci.ic.gov'], regions: /^us-isof-/ },
  { partition: 'aws-eusc', domains: ['amazonaws.eu', 'api.amazonwebservices.eu'], regions: /^eusc-/ },
] as const satisfies Row[]

export type Partition = (typeof rows)[number]['partition']

export const partitions: ReadonlySet<string> = new Set(rows.map(row => row.partition))

const REGIONAL = /^sts(?:-fips)?\.(?<region>[a-z]+(?:-[a-z]+)+-\d{1,2})\.(?<domain>[a-z0-9.-]+)$/
/** There is one global endpoint, in one partition. */
const GLOBAL = 'sts.amazonaws.com'

/** The partition whose STS answers at this host; undefined where the host is no public name of STS. */
export function findPartition(host: string): Partition | undefined {
  if (host === GLOBAL) return 'aws'
  const { region = '', domain = '' } = REGIONAL.exec(host)?.groups ?? {}
  return rows.find(row => (row.domains as readonly string[]).includes(domain) && row.regions.test(region))?.partition
}
