/**
 * Rules: which principal is which database user. The first that matches wins, in the order of the file.
 *
 * A rule names one principal, in any of the spellings that AWS has for it; nothing here is a pattern. So a principal of
 * another account or partition is never meant by accident, and the session name, which its bearer chose, says nothing.
 */
import { type Arn, canonical, readArn } from '../identity/arn.js'
import type { Identity } from '../identity/reply.js'
import type { Secret } from '../log.js'
import type { DatabaseUser, Match } from './match.js'

/** A rule as written. `user` is `name@db`; without `@` the database is admin. */
export type Entry = { arn: string; user: string; password: Secret }

export type Rules = {
  /** Each rule, in the order of the file. `arn` is canonical. */
  all: readonly Match[]
  /** The rule of an identity, and with it the database user; undefined for a stranger. */
  match(identity: Pick<Identity, 'canonical'>): Match | undefined
}

/** The rules that are sound, and a sentence about each that is not: a program with problems should not start. */
export function compileRules(entries: readonly Entry[]): { rules: Rules; problems: string[] } {
  const matches = new Map<string, Match & { from: { rule: number } }>()
  const problems: string[] = []
  for (const [index, { arn: text, user: written, password }] of entries.entries()) {
    const rule = index + 1
    const arn = readArn(text)
    const user = readUser(written)
    const wrong = [arn === undefined ? whyNoArn(text) : whyNotThis(arn), typeof user === 'string' ? user : undefined]
    const earlier = arn && matches.get(canonical(arn))
    if (earlier) wrong.push(`${shown(text)} is the same principal as in rule ${earlier.from.rule}, which wins`)
    const said = wrong.filter(problem => problem !== undefined)
    problems.push(...said.map(problem => `users, rule ${rule}: ${problem}`))
    if (arn && said.length === 0 && typeof user !== 'string')
      matches.set(canonical(arn), { from: { rule }, arn: canonical(arn), gives: { user, password } })
  }
  const rules: Rules = { all: [...matches.values()], match: identity => matches.get(identity.canonical) }
  return { rules, problems }
}

/** What is wrong with an ARN that is one: a session name would look as if it decided something (D10). */
function whyNotThis({ kind, session, partition, account, name }: Arn): string | undefined {
  if (kind !== 'assumed-role' || session === undefined) return undefined
  const whole = `arn:${partition}:iam::${account}:role/${name}`
  return `whoever assumes a role chooses the session name ("${session}"), so it never decides; write ${whole}`
}

/** Each complaint, and what a text looks like that earns it. The first that fits is told. */
const complaints: readonly (readonly [fits: RegExp, complaint: string])[] = [
  [/[*?]/, 'holds a wildcard; a rule names one principal (all sessions of a role are ROLE-ARN or assumed-role/NAME/*)'],
  [/^\d/, 'is not an ARN; write the whole of it, as `aws sts get-caller-identity` tells it'],
  [/^arn:[^:]*:(?:iam|sts)::(?!\d{12}:)/, 'needs an account of 12 digits, all of them written out'],
  [/:group\//, 'is a group, and groups sign nothing; name its users, or a role'],
  [/:instance-profile\//, 'is an instance profile; name the role in it'],
  [/^/, 'is not the ARN of a user, role, assumed-role, federated-user or root'],
]

function whyNoArn(text: string): string {
  return `${shown(text)} ${complaints.find(([fits]) => fits.test(text))?.[1]}`
}

/** What MongoDB has in no name of a database; `$external` is a database of its own kind, without passwords. */
const DATABASE = /^[^/\\. "$*<>:|?\0]{1,63}$/

/** The database user, or what is wrong with it. */
function readUser(text: string): DatabaseUser | string {
  const at = text.lastIndexOf('@')
  const name = at < 0 ? text : text.slice(0, at)
  const db = at < 0 ? 'admin' : text.slice(at + 1)
  if (name === '' || name.includes('\0')) return `the user ${shown(text)} has no name; write name@database`
  if (db === '$external') return `the user ${shown(text)} has no password to log in with; name one of another database`
  if (DATABASE.test(db)) return { name, db }
  return `the user ${shown(text)} is of a database "${shown(db, '')}", which cannot be; write name@database`
}

/** Text of the file in a sentence: bounded, on one line. */
function shown(text: string, quote = '"'): string {
  const line = text.length > 200 ? `${text.slice(0, 200)}…` : text
  return `${quote}${line.replace(/\p{C}/gu, '?')}${quote}`
}
