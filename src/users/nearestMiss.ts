/**
 * The nearest miss: for a principal without a match, the rule or `$external` user that nearly matches, and the difference.
 *
 * The reader may be the author of the rule. A sentence therefore says what the rule names, what the principal is, and
 * nothing else.
 */
import { nearestName } from '../config/nearest.js'
import { type Arn, canonicalizeArn } from '../identity/arn.js'

/** A rule or a `$external` user. */
export type Candidate = {
  /** Such as `rule 3`. */
  label: string
  /** What it names, as written. */
  description: string
  /** The canonical spelling of the principal or of the pattern. */
  arn: string
  matches(canonical: string): boolean
}

/** The possible differences, from near to far. */
const differences: readonly {
  /** The ARN of the principal without this difference; undefined if it cannot be the difference. */
  without(principal: Arn, candidate: Candidate): string | undefined
  /** The end of a sentence whose subject is the principal. */
  describe(principal: Arn, candidate: Candidate): string
}[] = [
  {
    without: (principal, { arn }) => canonicalizeArn({ ...principal, account: accountOf(arn) }),
    describe: ({ account }, { arn }) => `has another account, ${account} instead of ${accountOf(arn)}`,
  },
  {
    without: (principal, { arn }) => canonicalizeArn({ ...principal, partition: partitionOf(arn) }),
    describe: ({ partition }, { arn }) => `has another partition, ${partition} instead of ${partitionOf(arn)}`,
  },
  {
    without: (principal, { arn }) =>
      canonicalizeArn({ ...principal, account: accountOf(arn), partition: partitionOf(arn) }),
    describe: () => 'has another account and partition',
  },
  {
    without: (principal, { arn }) => (arn.toLowerCase() === canonicalizeArn(principal).toLowerCase() ? arn : undefined),
    describe: () => 'differs in upper and lower case, which count',
  },
  {
    without: (principal, { arn }) =>
      principal.kind === 'user' &&
      arn.includes(':user/') &&
      hasSameAccount(principal, arn) &&
      arn.endsWith(`/${principal.name}`)
        ? arn
        : undefined,
    describe: () => 'has another path, which is part of the name of a user',
  },
  {
    without: (principal, { arn }) =>
      hasSameAccount(principal, arn) && PERMISSION_SET.test(principal.name) && PERMISSION_SET.test(arn)
        ? arn
        : undefined,
    describe: ({ name }) => `has another permission set, ${PERMISSION_SET.exec(name)?.[1]}`,
  },
  {
    without: principal => {
      const kind = principal.kind === 'user' ? 'role' : 'user'
      return canonicalizeArn({ ...principal, kind, path: '/' })
    },
    describe: ({ kind }) => `is a ${kind === 'assumed-role' ? 'role' : kind}`,
  },
  {
    without: (principal, { arn }) =>
      hasSameAccount(principal, arn) && nearestName(resourceOf(canonicalizeArn(principal)), [resourceOf(arn)])
        ? arn
        : undefined,
    describe: () => 'has a similar name',
  },
]

/** A sentence about the candidate with the smallest difference; undefined if none is near. */
export function findNearestMiss(principal: Arn, candidates: readonly Candidate[]): string | undefined {
  for (const { without, describe } of differences) {
    for (const candidate of candidates) {
      const arn = without(principal, candidate)
      if (arn === undefined || !(arn === candidate.arn || candidate.matches(arn))) continue
      const { label, description } = candidate
      const resource = resourceOf(canonicalizeArn(principal))
      return `${label} names ${resourceOf(description)}; this principal, ${resource}, ${describe(principal, candidate)}`
    }
  }
  return undefined
}

/** The role of a permission set, or the pattern of such roles. */
const PERMISSION_SET = /AWSReservedSSO_(.+)_[0-9a-f?]{16}$/
const partitionOf = (arn: string) => arn.split(':')[1] as Arn['partition']
const accountOf = (arn: string) => arn.split(':')[4] ?? ''
/** `role/app`. A text that is not an ARN stays as it is. */
const resourceOf = (arn: string) => /^arn:(?:[^:]*:){4}(.+)$/s.exec(arn)?.[1] ?? arn
const hasSameAccount = ({ partition, account }: Arn, arn: string) =>
  partitionOf(arn) === partition && accountOf(arn) === account
