/**
 * The partitions of AWS, and the STS hosts of each. An STS host answers with ARNs of its own partition only.
 *
 * https://docs.aws.amazon.com/general/latest/gr/sts.html
 */
import leven from 'leven'

type PartitionDefinition = {
  partition: string
  /** The first one is for suggestions. */
  domains: readonly string[]
  regions: RegExp
  /** A region for suggestions. */
  example: string
}

/** The first match counts: GovCloud shares its domains with the `aws` partition and has regions of its own. */
const DEFINITIONS = [
  { partition: 'aws-us-gov', domains: ['amazonaws.com', 'api.aws'], regions: /^us-gov-/, example: 'us-gov-west-1' },
  {
    partition: 'aws',
    domains: ['amazonaws.com', 'api.aws'],
    regions: /^(?!cn-|us-iso|eu-iso|eusc-)/,
    example: 'eu-west-1',
  },
  {
    partition: 'aws-cn',
    domains: ['amazonaws.com.cn', 'api.amazonwebservices.com.cn'],
    regions: /^cn-/,
    example: 'cn-north-1',
  },
  { partition: 'aws-iso', domains: ['c2s.ic.gov'], regions: /^us-iso-/, example: 'us-iso-east-1' },
  { partition: 'aws-iso-b', domains: ['sc2s.sgov.gov'], regions: /^us-isob-/, example: 'us-isob-east-1' },
  { partition: 'aws-iso-e', domains: ['cloud.adc-e.uk'], regions: /^eu-isoe-/, example: 'eu-isoe-west-1' },
  { partition: 'aws-iso-f', domains: ['csp.hci.ic.gov'], regions: /^us-isof-/, example: 'us-isof-south-1' },
  {
    partition: 'aws-eusc',
    domains: ['amazonaws.eu', 'api.amazonwebservices.eu'],
    regions: /^eusc-/,
    example: 'eusc-de-east-1',
  },
] as const satisfies PartitionDefinition[]

export type Partition = (typeof DEFINITIONS)[number]['partition']

export const partitions: ReadonlySet<string> = new Set(DEFINITIONS.map(({ partition }) => partition))

const REGIONAL = /^sts(?:-fips)?\.(?<region>[a-z]+(?:-[a-z]+)+-\d{1,2})\.(?<domain>[a-z0-9.-]+)$/
/** The one global endpoint. */
const GLOBAL = 'sts.amazonaws.com'

/** The partition of an STS host; undefined if the host is not a public STS endpoint. */
export function findPartition(host: string): Partition | undefined {
  if (host === GLOBAL) return 'aws'
  const { region = '', domain = '' } = REGIONAL.exec(host)?.groups ?? {}
  const definition = DEFINITIONS.find(
    ({ domains, regions }) => (domains as readonly string[]).includes(domain) && regions.test(region),
  )
  return definition?.partition
}

/** The partition of a host of `sts.hosts`. A host that AWS does not operate stands in for one of the partition `aws`. */
export function partitionOfStsHost(host: string): Partition {
  return findPartition(host) ?? 'aws'
}

/** Matches only words that region names consist of, because a suggestion repeats the region. */
const REGION =
  /(?:^|[.-])((?:af|ap|ca|cn|eu|eusc-de|il|me|mx|sa|us|us-gov|us-isob?|us-isof|eu-isoe)-(?:north|south)?(?:east|west|central)?-\d)(?![0-9])/

/** The STS host of the region that a text names, if any: of `eu-west-1`, `sts.eu-west-1` and `cn-north-1a` alike. */
export function findRegionalHost(text: string): string | undefined {
  const region = REGION.exec(text.toLowerCase())?.[1]?.replace('--', '-')
  const definition = region === undefined ? undefined : DEFINITIONS.find(({ regions }) => regions.test(region))
  return definition && `sts.${region}.${definition.domains[0]}`
}

const MAX_DISTANCE = 2

/** The partition whose domain the host ends in, or nearly ends in. The longest such domain decides. */
function findDefinitionByDomain(host: string): (typeof DEFINITIONS)[number] | undefined {
  const candidates = DEFINITIONS.filter(({ partition }) => partition !== 'aws-us-gov').flatMap(definition =>
    definition.domains.map(domain => {
      const labels = host.split('.').slice(-domain.split('.').length).join('.')
      return { definition, domain, distance: leven(labels, domain) }
    }),
  )
  const [best] = candidates
    .filter(({ distance }) => distance <= MAX_DISTANCE)
    .sort((one, other) => one.distance - other.distance || other.domain.length - one.domain.length)
  return best?.definition
}

/**
 * STS hosts to use instead of a host that is not an STS endpoint: that of the region in its name, and one of the partition
 * whose domain it has, or nearly has. Empty if the host does not resemble a name of AWS.
 */
export function suggestStsHosts(host: string): string[] {
  const byDomain = findDefinitionByDomain(host)
  if (!byDomain) return []
  const regional = findRegionalHost(host)
  const hosts = regional === undefined ? [] : [regional]
  if (regional === undefined || findPartition(regional) !== byDomain.partition) {
    const { partition, domains, example } = byDomain
    const isOfRegion = regional !== undefined && partition === 'aws'
    // The domain of the partition aws is often written for hosts of other partitions.
    if (!isOfRegion) hosts.push(...(partition === 'aws' ? [GLOBAL] : []), `sts.${example}.${domains[0]}`)
  }
  return hosts
}

/** The regions of the partition `aws` that every account has enabled. AWS has made all later regions opt-in. */
const DEFAULT_REGIONS: ReadonlySet<string> = new Set([
  ...['ap-northeast-1', 'ap-northeast-2', 'ap-northeast-3', 'ap-south-1', 'ap-southeast-1', 'ap-southeast-2'],
  ...['ca-central-1', 'eu-central-1', 'eu-north-1', 'eu-west-1', 'eu-west-2', 'eu-west-3', 'sa-east-1'],
  ...['us-east-1', 'us-east-2', 'us-west-1', 'us-west-2'],
])

/** Whether an account has to enable the region of this STS host before it can be used. */
export function isOptInRegion(host: string, region: string): boolean {
  return findPartition(host) === 'aws' && !DEFAULT_REGIONS.has(region)
}
