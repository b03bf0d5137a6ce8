/**
 * Whom a rule names: one principal, in any of the spellings that AWS has for it, or many by a pattern.
 *
 *     arn:aws:iam::123456789012:role/orders-*      one * stands for any part of a name, and crosses no / and no :
 *     arn:aws:iam::123456789012:user/team/*        users of that path, not of those below it
 *     sso: { permissionSet: Admin, account: … }    AWSReservedSSO_Admin_ and exactly 16 hex digits (D12)
 *
 * Account and partition are written out always (D14), the kind is part of the match, and the session name, which its
 * bearer chose, never is (D10). STS does not tell the path of a role, so a pattern cannot have one (D13).
 */
import { type Arn, canonicalizeArn, parseArn } from '../identity/arn.js'
import { partitions } from '../identity/partition.js'
import { quote } from './roles.js'

/** `arn`: the canonical spelling of the principal, or of the pattern. `one`: it is exactly one principal. */
export type PrincipalPattern = {
  arn: string
  exact: boolean
  kind: 'user' | 'role' | 'federated-user' | 'root'
  matches: Test
}
/** Whether a canonical ARN is meant. */
type Test = (canonical: string) => boolean
type SSO = { permissionSet: string; account: string; partition?: string | undefined }

/** Whom an ARN of a rule names, or the sentence about what is wrong with it. */
export function parsePrincipal(text: string): PrincipalPattern | string {
  const arn = parseArn(text)
  // IAM allows a * in a path; here it is always a wildcard.
  if (text.replace(/(:assumed-role\/[^/]*\/)\*$/, '$1').includes('*')) return readPattern(text)
  return arn ? (whyNotThis(arn) ?? one(arn)) : whyNoArn(text)
}

/** The role that AWS makes for a permission set in an account, whatever its random suffix. */
export function parsePermissionSet({ permissionSet, account, partition = 'aws' }: SSO): PrincipalPattern | string {
  if (!/^\d{12}$/.test(account)) return `the account ${quote(account)} of sso is not 12 digits`
  if (!/^[\w+=,.@-]{1,32}$/.test(permissionSet)) {
    return `the permissionSet ${quote(permissionSet)} is not the name of one: 1 to 32 letters, digits and +=,.@_-`
  }
  if (!partitions.has(partition)) return `there is no partition ${quote(partition)}`
  const start = `arn:${partition}:iam::${account}:role/AWSReservedSSO_${permissionSet}_`
  const matches: Test = said => said.startsWith(start) && /^[0-9a-f]{16}$/.test(said.slice(start.length))
  return { arn: `${start}${'?'.repeat(16)}`, exact: false, kind: 'role', matches }
}

function one(arn: Arn): PrincipalPattern {
  const spelled = canonicalizeArn(arn)
  const kind = arn.kind === 'assumed-role' ? 'role' : arn.kind
  return { arn: spelled, exact: true, kind, matches: said => said === spelled }
}

/** What is wrong with an ARN that is one: a session name would look as if it decided something (D10). */
function whyNotThis({ kind, session, partition, account, name }: Arn): string | undefined {
  if (kind !== 'assumed-role' || session === undefined) return undefined
  const whole = `arn:${partition}:iam::${account}:role/${name}`
  return `whoever assumes a role chooses the session name ("${session}"), so it never decides; write ${whole}`
}

/** Each complaint, and what a text looks like that earns it. The first that fits is told. */
const complaints: readonly (readonly [fits: RegExp, complaint: string])[] = [
  [/^\d/, 'is not an ARN; write the whole of it, as `aws sts get-caller-identity` tells it'],
  [/\?/, 'holds a ?; the only wildcard is *, and it stands inside of a name'],
  [/^arn:[^:]*:(?:iam|sts)::(?!\d{12}:)/, 'needs an account of 12 digits, all of them written out'],
  [/:group\//, 'is a group, and groups sign nothing; name its users, or a role'],
  [/:instance-profile\//, 'is an instance profile; name the role in it'],
  [/^/, 'is not the ARN of a user, role, assumed-role, federated-user or root'],
]

function whyNoArn(text: string): string {
  return `${quote(text)} ${complaints.find(([fits]) => fits.test(text))?.[1]}`
}

/** The same about what holds a *; each says what to do instead. */
const complaintsAboutPatterns: readonly (readonly [fits: RegExp, complaint: string])[] = [
  [/^(?!arn:)/, 'holds a wildcard outside of a name; write arn:PARTITION:iam::ACCOUNT:role/NAME with the * in NAME'],
  [/^arn:[^:]*\*/, 'holds a wildcard in its partition, which is written out always'],
  [
    /^arn:[^:]*:[^:]*:[^:]*:(?!\d{12}:)/,
    'holds a wildcard in its account, or none of 12 digits: anybody has an account',
  ],
  [/^[^/]*:role\/.*\//, 'is a pattern with a path, and AWS STS does not tell the path of a role: write the name alone'],
  [/^[^/]*:assumed-role\/[^/]*\/(?!\*$)/, 'is a pattern of session names, and whoever assumes a role chooses them'],
  [/^[^/]*:(federated-user|root)/, 'holds a wildcard; federated users and root are named one by one'],
  [
    /^[^/]*role\/AWSReservedSSO_[^*]/,
    'would fit permission sets of longer names as well; write sso: { permissionSet, account }',
  ],
  [/\?/, 'holds a ?; the only wildcard is *'],
]

/** Users with their path, which STS tells; roles by name, in either spelling. */
const PATTERNS: readonly (readonly [form: RegExp, kind: 'user' | 'role'])[] = [
  [/^iam::(?<account>\d{12}):user(?<path>\/(?:[\x21-\x39\x3b-\x7e]{1,510}\/)?)(?<name>[\w+=,.@*-]{1,64})$/, 'user'],
  [/^iam::(?<account>\d{12}):role(?<path>\/)(?<name>[\w+=,.@*-]{1,64})$/, 'role'],
  [/^sts::(?<account>\d{12}):assumed-role(?<path>\/)(?<name>[\w+=,.@*-]{1,64})(?:\/\*)?$/, 'role'],
]

function readPattern(text: string): PrincipalPattern | string {
  const wrong = complaintsAboutPatterns.find(([fits]) => fits.test(text))?.[1]
  if (wrong !== undefined) return `${quote(text)} ${wrong}`
  const [, partition = '', rest = ''] = /^arn:([a-z-]+):(.*)$/s.exec(text) ?? []
  for (const [form, kind] of PATTERNS) {
    const { account, path, name } = form.exec(rest)?.groups ?? {}
    if (account === undefined || !partitions.has(partition)) continue
    const arn = `arn:${partition}:iam::${account}:${kind}${path}${name}`
    return { arn, exact: false, kind, matches: glob(arn) }
  }
  return `${quote(text)} is not the pattern of users or roles`
}

/** A * is any run of characters but / and :. Each part is looked for once, so no name makes this slow. */
function glob(pattern: string): Test {
  const wanted = pattern.split('/').map(part => part.split('*'))
  // Most names differ from most patterns before the first *.
  const [begin = ''] = pattern.split('*', 1)
  return said => {
    if (!said.startsWith(begin)) return false
    const parts = said.split('/')
    return parts.length === wanted.length && wanted.every((pieces, index) => fits(parts[index] ?? '', pieces))
  }
}

/** `pieces`: what stands around each *. */
function fits(text: string, [start = '', ...rest]: readonly string[]): boolean {
  const end = rest.pop()
  if (end === undefined) return text === start
  if (text.length < start.length + end.length || !text.startsWith(start) || !text.endsWith(end)) return false
  let at = start.length
  for (const piece of rest) {
    const found = text.indexOf(piece, at)
    if (found < 0) return false
    at = found + piece.length
  }
  return at <= text.length - end.length && !text.slice(start.length).includes(':')
}
