/**
 * The nearest miss: for a principal whom nothing names, what nearly does, and in what it differs.
 *
 * Whoever reads it may be the one who wrote the rule: it says what stands there, what came, and nothing else.
 */
import { nearestName } from '../config/nearest.js'
import { type Arn, canonicalizeArn } from '../identity/arn.js'

/**
 * What could have matched. `label` is `rule 3`, `written` what stands in it, `arn` the canonical spelling of that (or the
 * pattern); `names` says whether it means a principal.
 */
export type Candidate = { label: string; description: string; arn: string; matches(canonical: string): boolean }

/** From near to far: what a candidate would have to be given instead, and the sentence about it. */
const differences: readonly {
  /** The principal as it would have to be; undefined where this is not the difference. */
  instead(principal: Arn, of: Candidate): string | undefined
  says(principal: Arn, of: Candidate): string
}[] = [
  {
    instead: (principal, { arn }) => canonicalizeArn({ ...principal, account: accountOf(arn) }),
    says: ({ account }, { arn }) => `is of another account, ${account} and not ${accountOf(arn)}`,
  },
  {
    instead: (principal, { arn }) => canonicalizeArn({ ...principal, partition: partitionOf(arn) }),
    says: ({ partition }, { arn }) => `is of another partition, ${partition} and not ${partitionOf(arn)}`,
  },
  {
    instead: (principal, { arn }) =>
      canonicalizeArn({ ...principal, account: accountOf(arn), partition: partitionOf(arn) }),
    says: () => 'is of another account and partition',
  },
  {
    instead: (principal, { arn }) => (arn.toLowerCase() === canonicalizeArn(principal).toLowerCase() ? arn : undefined),
    says: () => 'is written in other letters, and case counts',
  },
  {
    instead: (principal, { arn }) =>
      principal.kind === 'user' &&
      arn.includes(':user/') &&
      samePlace(principal, arn) &&
      arn.endsWith(`/${principal.name}`)
        ? arn
        : undefined,
    says: () => 'has another path, which is part of the name of a user',
  },
  {
    instead: (principal, { arn }) =>
      samePlace(principal, arn) && SSO.test(principal.name) && SSO.test(arn) ? arn : undefined,
    says: ({ name }) => `is of another permission set, ${SSO.exec(name)?.[1]}`,
  },
  {
    instead: principal => {
      const kind = principal.kind === 'user' ? 'role' : 'user'
      return canonicalizeArn({ ...principal, kind, path: '/' })
    },
    says: ({ kind }) => `is a ${kind === 'assumed-role' ? 'role' : kind}`,
  },
  {
    instead: (principal, { arn }) =>
      samePlace(principal, arn) && nearestName(resourceOf(canonicalizeArn(principal)), [resourceOf(arn)])
        ? arn
        : undefined,
    says: () => 'has a name that is nearly the same',
  },
]

/** A sentence about the candidate that comes nearest; undefined where none does. */
export function findNearestMiss(principal: Arn, candidates: readonly Candidate[]): string | undefined {
  for (const { instead, says } of differences) {
    for (const candidate of candidates) {
      const other = instead(principal, candidate)
      if (other === undefined || !(other === candidate.arn || candidate.matches(other))) continue
      const { label, description } = candidate
      return `${label} names ${resourceOf(description)}, and this principal, ${resourceOf(canonicalizeArn(principal))}, ${says(principal, candidate)}`
    }
  }
  return undefined
}

/** The role of a permission set, or the pattern of such roles. */
const SSO = /AWSReservedSSO_(.+)_[0-9a-f?]{16}$/
const partitionOf = (arn: string) => arn.split(':')[1] as Arn['partition']
const accountOf = (arn: string) => arn.split(':')[4] ?? ''
/** `role/app`; what is no ARN stays as it is. */
const resourceOf = (arn: string) => /^arn:(?:[^:]*:){4}(.+)$/s.exec(arn)?.[1] ?? arn
const samePlace = ({ partition, account }: Arn, arn: string) =>
  partitionOf(arn) === partition && accountOf(arn) === account
