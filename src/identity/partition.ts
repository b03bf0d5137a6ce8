/**
 * The partitions of AWS, and the STS hosts of each. An STS host answers with ARNs of its own partition only.
 *
 * https://docs.aws.amazon.com/general/latest/gr/sts.html
 */

type PartitionDefinition = { partition: string; domains: readonly string[]; regions: RegExp }

/** The first match counts: GovCloud shares its domains with the `aws` partition and has regions of its own. */
const DEFINITIONS = [
  { partition: 'aws-us-gov', domains: ['amazonaws.com', 'api.aws'], regions: /^us-gov-/ },
  { partition: 'aws', domains: ['amazonaws.com', 'api.aws'], regions: /^(?!cn-|us-iso|eu-iso|eusc-)/ },
  { partition: 'aws-cn', domains: ['amazonaws.com.cn', 'api.amazonwebservices.com.cn'], regions: /^cn-/ },
  { partition: 'aws-iso', domains: ['c2s.ic.gov'], regions: /^us-iso-/ },
  { partition: 'aws-iso-b', domains: ['sc2s.sgov.gov'], regions: /^us-isob-/ },
  { partition: 'aws-iso-e', domains: ['cloud.adc-e.uk'], regions: /^eu-isoe-/ },
  { partition: 'aws-iso-f', domains: ['csp.hci.ic.gov'], regions: /^us-isof-/ },
  { partition: 'aws-eusc', domains: ['amazonaws.eu', 'api.amazonwebservices.eu'], regions: /^eusc-/ },
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
