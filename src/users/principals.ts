/**
 * The principals that a rule names: a single one, in any of the spellings that AWS has for it, or a pattern.
 *
 *     arn:aws:iam::123456789012:role/orders-*      * stands for any part of a name; it crosses neither / nor :
 *     arn:aws:iam::123456789012:user/team/*        users with that path, but not with a longer one
 *     sso: { permissionSet: Admin, account: … }    AWSReservedSSO_Admin_ followed by exactly 16 hex digits
 *
 * - Account and partition are always written out: anyone can own an account.
 * - The kind (user, role, …) is part of the match.
 * - The session name never is: the caller of AssumeRole chooses it.
 * - STS does not report the path of a role, so a pattern of roles has none.
 * - A pattern of roles matches either every role (`role/*`) or none of a permission set.
 */
import { didYouMean } from '../config/nearest.js'
import { type Arn, canonicalizeArn, parseArn } from '../identity/arn.js'
import { partitions } from '../identity/partition.js'
import { describeText } from '../redaction.js'
import { describeArnProblem } from './arnProblems.js'
import { matchesPermissionSets } from './permissionSets.js'

export type PrincipalPattern = {
  /** The canonical spelling of the principal or of the pattern. */
  arn: string
  /** Whether it is exactly one principal. */
  exact: boolean
  kind: 'user' | 'role' | 'federated-user' | 'root'
  matches: MatchesArn
}

/** Whether a canonical ARN is one of the principals. */
type MatchesArn = (canonical: string) => boolean

type PermissionSet = { permissionSet: string; account: string; partition?: string | undefined }

/**
 * Parses the `arn` of a rule. Returns a sentence about the problem if it is invalid. The sentence begins with the key and
 * does not repeat the text.
 */
export function parsePrincipal(text: string): PrincipalPattern | string {
  const arn = parseArn(text)
  // IAM allows a literal * in a path. In a rule it is always a wildcard.
  if (text.replace(/(:assumed-role\/[^/]*\/)\*$/, '$1').includes('*')) return parsePattern(text)
  if (!arn) return describeInvalidArn(text)
  return findSessionProblem(arn) ?? createExactPattern(arn)
}

/** Matches the role that AWS creates for a permission set in an account. Its name ends in a random suffix. */
export function parsePermissionSet({
  permissionSet,
  account,
  partition = 'aws',
}: PermissionSet): PrincipalPattern | string {
  if (!/^\d{12}$/.test(account)) return `sso.account: ${describeText(account)} must have 12 digits`
  if (!/^[\w+=,.@-]{1,32}$/.test(permissionSet)) {
    return `sso.permissionSet: ${describeText(permissionSet)} must have 1 to 32 letters, digits or +=,.@_-`
  }
  if (!partitions.has(partition))
    return `sso.partition: ${describeText(partition)} does not exist${didYouMean(partition, [...partitions])}`
  const prefix = `arn:${partition}:iam::${account}:role/AWSReservedSSO_${permissionSet}_`
  const matches: MatchesArn = canonical =>
    canonical.startsWith(prefix) && /^[0-9a-f]{16}$/.test(canonical.slice(prefix.length))
  return { arn: `${prefix}${'?'.repeat(16)}`, exact: false, kind: 'role', matches }
}

function createExactPattern(parsed: Arn): PrincipalPattern {
  const arn = canonicalizeArn(parsed)
  const kind = parsed.kind === 'assumed-role' ? 'role' : parsed.kind
  return { arn, exact: true, kind, matches: canonical => canonical === arn }
}

/** Rejects an ARN with a session name: the rule would look as if the name decided something. */
function findSessionProblem({ kind, session, partition, account, name }: Arn): string | undefined {
  if (kind !== 'assumed-role' || session === undefined) return undefined
  const role = `arn:${partition}:iam::${account}:role/${name}`
  return `arn: the session name never decides, because the caller of AssumeRole chooses it; write ${role}`
}

function describeInvalidArn(text: string): string {
  return `arn: ${describeText(text)} ${describeArnProblem(text)}`
}

/** Problems of patterns, each with the form of the text that has it. The first form that fits is reported. */
const PATTERN_PROBLEMS: readonly (readonly [form: RegExp, problem: string])[] = [
  [/^(?!arn:)/, 'has a wildcard outside a name; write arn:PARTITION:iam::ACCOUNT:role/NAME with the * in NAME'],
  [/^arn:[^:]*\*/, 'has a wildcard in its partition; write the partition out'],
  [
    /^arn:[^:]*:[^:]*:[^:]*:(?!\d{12}:)/,
    'has a wildcard in its account, or an account without 12 digits; write the account out, since anyone can own one',
  ],
  [
    /^[^/]*:role\/.*\//,
    'is a pattern with a path, and AWS STS does not report the path of a role; write only the name',
  ],
  [
    /^[^/]*:assumed-role\/[^/]*\/(?!\*$)/,
    'is a pattern of session names, and the caller of AssumeRole chooses them; write the role',
  ],
  [/^[^/]*:(federated-user|root)/, 'has a wildcard; name federated users and root one by one'],
  [/\?/, 'contains ?; the only wildcard is *'],
]

/** Patterns of users, with the path that STS reports, and of roles by name, in both spellings. */
const PATTERN_FORMS: readonly (readonly [form: RegExp, kind: 'user' | 'role'])[] = [
  [/^iam::(?<account>\d{12}):user(?<path>\/(?:[\x21-\x39\x3b-\x7e]{1,510}\/)?)(?<name>[\w+=,.@*-]{1,64})$/, 'user'],
  [/^iam::(?<account>\d{12}):role(?<path>\/)(?<name>[\w+=,.@*-]{1,64})$/, 'role'],
  [/^sts::(?<account>\d{12}):assumed-role(?<path>\/)(?<name>[\w+=,.@*-]{1,64})(?:\/\*)?$/, 'role'],
]

const MATCHES_PERMISSION_SETS =
  'would also match the roles of permission sets (AWSReservedSSO_…), some of them with longer names; write sso: { permissionSet, account } for each permission set, and begin the pattern of other roles with more of their names'

/** A single * plainly names every role of the account, those of permission sets among them. */
const isEveryRole = (name: string): boolean => /^\*+$/.test(name)

function parsePattern(text: string): PrincipalPattern | string {
  const problem = PATTERN_PROBLEMS.find(([form]) => form.test(text))?.[1]
  if (problem !== undefined) return `arn: ${describeText(text)} ${problem}`
  const [, partition = '', rest = ''] = /^arn:([a-z-]+):(.*)$/s.exec(text) ?? []
  for (const [form, kind] of PATTERN_FORMS) {
    const { account, path, name = '' } = form.exec(rest)?.groups ?? {}
    if (account === undefined || !partitions.has(partition)) continue
    if (kind === 'role' && !isEveryRole(name) && matchesPermissionSets(name)) {
      return `arn: ${describeText(text)} ${MATCHES_PERMISSION_SETS}`
    }
    const arn = `arn:${partition}:iam::${account}:${kind}${path}${name}`
    return { arn, exact: false, kind, matches: compileGlob(arn) }
  }
  return `arn: ${describeText(text)} is not a pattern of users or roles`
}

/** A * matches any characters except / and :. Each literal is searched once, so no name makes a match slow. */
function compileGlob(pattern: string): MatchesArn {
  const segments = pattern.split('/').map(segment => segment.split('*'))
  // Most names differ from most patterns before the first *.
  const [prefix = ''] = pattern.split('*', 1)
  return canonical => {
    if (!canonical.startsWith(prefix)) return false
    const parts = canonical.split('/')
    return parts.length === segments.length && segments.every((literals, at) => matchesGlob(parts[at] ?? '', literals))
  }
}

/** `literals`: the texts around each *. */
function matchesGlob(text: string, [start = '', ...rest]: readonly string[]): boolean {
  const end = rest.pop()
  if (end === undefined) return text === start
  if (text.length < start.length + end.length || !text.startsWith(start) || !text.endsWith(end)) return false
  let position = start.length
  for (const literal of rest) {
    const found = text.indexOf(literal, position)
    if (found < 0) return false
    position = found + literal.length
  }
  return position <= text.length - end.length && !text.slice(start.length).includes(':')
}
