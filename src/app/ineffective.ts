/** Rules, denials and settings without effect, because of another setting. */
import { servedPartition } from '../config/hosts.js'
import type { Config } from '../config/load.js'
import { type Denial, formatDenial } from '../revocation/denials.js'
import type { Rules } from '../users/rules.js'

/** An STS host names principals of its own partition only, so no login matches a rule for another one. */
export function findUnservedRules({ sts }: Pick<Config, 'sts'>, { all }: Pick<Rules, 'all'>): string[] {
  // Invalid hosts have no value.
  if (sts.hosts === undefined) return []
  const served = servedPartition(sts.hosts)
  return all
    .filter(({ arn }) => partitionOf(arn) !== served)
    .map(
      ({ arn, decidedBy: { rule } }) =>
        `users, rule ${rule}: is for the partition ${partitionOf(arn)}, and the hosts of sts.hosts name principals of ${served} only, so it admits no login; set sts.hosts of that partition, or remove the rule`,
    )
}

/** Denials may come from a list that proxies of several partitions share, so these are warnings. */
export function findUnservedDenials({ sts }: Pick<Config, 'sts'>, denials: readonly Denial[]): string[] {
  const served = servedPartition(sts.hosts)
  const unserved = denials.filter(
    ({ kind, value }) => (kind === 'arn' || kind === 'session') && partitionOf(value) !== served,
  )
  const why = `has no effect: the hosts of sts.hosts name principals of ${served} only`
  const more = unserved.length - MAX_DENIALS
  return [
    ...unserved.slice(0, MAX_DENIALS).map(denial => `the denial of ${formatDenial(denial)} ${why}`),
    ...(more > 0 ? [`each of ${more} more denials of other partitions ${why}`] : []),
  ]
}

/** Denials that are named one by one. */
const MAX_DENIALS = 20

type Entries = { rules: Pick<Rules, 'all' | 'outOfScope'>; denials: readonly Denial[] }

/** Sentences for the log and for `check`. */
export function listIneffectiveEntries(config: Config, { rules, denials }: Entries): string[] {
  const { all, outOfScope } = rules
  const warnings = findUnservedDenials(config, denials).map(warning => `deny.file: ${warning}`)
  const { scope, reauthenticate } = config.listen
  if (all.length === 0 && outOfScope.length > 0 && !config.directory.enabled) {
    warnings.push(`users: no rule is for the scope ${scope ?? 'of this listener'}, so no client can log in`)
  }
  const pinned = [...all, ...outOfScope].some(({ principalId }) => principalId === 'firstUse')
  if (config.pins.file !== undefined && !pinned) {
    warnings.push('pins.file: has no effect, because no rule has principalId: firstUse')
  }
  const isProvisioning = config.directory.enabled || [...all, ...outOfScope].some(({ grant }) => 'roles' in grant)
  if (config.provision.secrets.length > 0 && !isProvisioning) {
    warnings.push('provision: has no effect, because no rule has roles and directory.enabled is false')
  }
  if (reauthenticate === 'close' && all.every(({ maxAgeMS }) => maxAgeMS === undefined)) {
    warnings.push('listen.reauthenticate: has no effect, because no rule has maxAge')
  }
  return warnings
}

const partitionOf = (arn: string) => arn.split(':')[1] ?? ''
