/**
 * Rules: which principal is which database user, or has which roles. The first that matches wins, in the order of the file.
 *
 * Rules of one principal each, however many, are found by its name; patterns are tried in order, those of its account
 * alone. A rule that is for other scopes than this listener's is checked like any other and matches nobody.
 */
import type { Identity } from '../identity/reply.js'
import type { Secret } from '../log.js'
import type { Match, Network } from './match.js'
import { parseNetwork } from './networks.js'
import { type PrincipalPattern, parsePermissionSet, parsePrincipal } from './principals.js'
import { parseDatabaseUser, parseRole, quote } from './roles.js'

/** A rule as written. Whom it is for: `arn` or `sso`. What it gives: `user` with its password, or `roles`. */
export type RuleDefinition = {
  arn?: string | undefined
  sso?: { permissionSet: string; account: string; partition?: string | undefined } | undefined
  user?: string | undefined
  password?: Secret | undefined
  roles?: readonly string[] | undefined
  clientSource?: readonly string[] | undefined
  deleteAfterDate?: Date | undefined
  /** Names; it counts for listeners of one of these scopes alone. */
  scopes?: readonly string[] | undefined
  principalId?: string | undefined
  maxAgeMS?: number | undefined
}

/** A match by a rule. `one`: of exactly one principal. */
export type Rule = Match & {
  decidedBy: { rule: number }
  exact: boolean
  scopes?: readonly string[]
  description: string
}

export type Rules = {
  /** Those that count here, in the order of the file. */
  all: readonly Rule[]
  /** Those that are for other scopes. */
  outOfScope: readonly Rule[]
  /** The rule of an identity, and with it what it gives; undefined for a stranger. */
  match(identity: Pick<Identity, 'canonical'>): Rule | undefined
  /** Whether a rule names this principal, wherever it counts. */
  matchesRule(rule: Rule, canonical: string): boolean
}

/** Its number in the file, and where that is. */
type RuleLocation = { rule: number; from?: string }

type Compiled = { rule: Rule; test: PrincipalPattern['matches'] }

/** The rules that are sound, and a sentence about each that is not: a program with problems should not start. */
export function compileRules(
  entries: readonly RuleDefinition[],
  { scope }: { scope?: string | undefined } = {},
  places: readonly RuleLocation[] = [],
): { rules: Rules; problems: string[] } {
  const sound: Compiled[] = []
  const problems: string[] = []
  const seen = new Map<string, Rule[]>()
  for (const [index, entry] of entries.entries()) {
    const { rule, from } = places[index] ?? { rule: index + 1 }
    const read = readEntry(entry, rule)
    const before = read.compiled && seen.get(read.compiled.rule.arn)
    const wrong = [...read.problems, ...(read.compiled ? [whyNever(read.compiled.rule, before ?? [])] : [])]
    const said = wrong.filter(problem => problem !== undefined)
    problems.push(...said.map(problem => `users, rule ${rule}: ${problem}${from ? ` (from ${from})` : ''}`))
    if (!read.compiled || said.length > 0) continue
    sound.push(read.compiled)
    seen.set(read.compiled.rule.arn, [...(before ?? []), read.compiled.rule])
  }
  const counts = ({ rule: { scopes } }: Compiled) => !scopes || (scope !== undefined && scopes.includes(scope))
  const here = sound.filter(counts)
  const outOfScope = sound.filter(one => !counts(one)).map(({ rule }) => rule)
  const tests = new Map(sound.map(({ rule, test }) => [rule, test]))
  return {
    rules: {
      all: here.map(({ rule }) => rule),
      outOfScope,
      match: finder(here),
      matchesRule: (rule, canonical) => tests.get(rule)?.(canonical) ?? false,
    },
    problems,
  }
}

/** Finds the first rule. Exact ones are looked up; patterns before them in the file win. */
function finder(rules: readonly Compiled[]): Rules['match'] {
  const byArn = new Map<string, Rule>()
  const patterns = new Map<string, Compiled[]>()
  for (const compiled of rules) {
    const { arn, exact } = compiled.rule
    if (!exact) patterns.set(accountOf(arn), [...(patterns.get(accountOf(arn)) ?? []), compiled])
    else if (!byArn.has(arn)) byArn.set(arn, compiled.rule)
  }
  return ({ canonical }) => {
    const found = byArn.get(canonical)
    for (const { rule, test } of patterns.get(accountOf(canonical)) ?? []) {
      if (found && rule.decidedBy.rule > found.decidedBy.rule) break
      if (test(canonical)) return rule
    }
    return found
  }
}

/** `arn:aws:iam::123456789012`; neither it nor what stands before the first / holds a wildcard. */
const accountOf = (arn: string): string => arn.split(':', 5).join(':')

/** What is wrong with a rule that names whom an earlier one names, which always wins. */
function whyNever({ description, scopes }: Rule, earlier: readonly Rule[]): string | undefined {
  const winner = earlier.find(other => !other.scopes || scopes?.every(scope => other.scopes?.includes(scope)))
  if (!winner) return undefined
  const same = winner.exact ? 'the same principal as' : 'the same pattern as'
  return `${quote(description)} is ${same} in rule ${winner.decidedBy.rule}, which wins`
}

/** The rule, where nothing is wrong with it. */
function readEntry(entry: RuleDefinition, rule: number): { compiled?: Compiled; problems: string[] } {
  const { arn = '', sso, deleteAfterDate, scopes, principalId, maxAgeMS } = entry
  const problems: string[] = []
  const keep = <T extends object>(read: T | string): T | undefined => {
    if (typeof read !== 'string') return read
    problems.push(read)
    return undefined
  }
  const named = keep(sso ? parsePermissionSet(sso) : parsePrincipal(arn))
  const gives = readGives(entry, keep)
  const networks = entry.clientSource?.map(text => keep(parseNetwork(text) ?? `${quote(text)} is no network${CIDR}`))
  if (networks?.length === 0) problems.push('clientSource is an empty list, so nobody could log in')
  const wrong = principalId !== undefined && named ? whyNotPinned(principalId, named) : undefined
  if (wrong !== undefined) problems.push(wrong)
  if (!named || !gives || problems.length > 0) return { problems }
  return {
    problems,
    compiled: {
      test: named.matches,
      rule: {
        decidedBy: { rule },
        arn: named.arn,
        exact: named.exact,
        description: sso ? `permission set ${sso.permissionSet} of account ${sso.account}` : arn,
        grant: gives,
        ...(networks && { clientSource: [networks.filter((one): one is Network => one !== undefined)] }),
        ...(deleteAfterDate && { deleteAfterDate }),
        ...(principalId !== undefined && { principalId }),
        ...(maxAgeMS !== undefined && { maxAgeMS }),
        ...(scopes && { scopes }),
      },
    },
  }
}

const CIDR = '; write clientSource like 10.0.0.0/8, 2001:db8::/32 or 10.1.2.3'

function readGives(
  { user, password, roles }: RuleDefinition,
  keep: <T extends object>(read: T | string) => T | undefined,
): Match['grant'] | undefined {
  if (roles) return { roles: roles.map(text => keep(parseRole(text))).filter(role => role !== undefined) }
  const read = keep(parseDatabaseUser(user ?? ''))
  return read && password && { user: read, password }
}

const IDS = { user: /^AIDA[A-Z0-9]{12,124}$/, role: /^AROA[A-Z0-9]{12,124}$/, 'federated-user': null, root: null }

/** What is wrong with a pin; undefined where nothing is. */
function whyNotPinned(id: string, { kind, exact, arn }: PrincipalPattern): string | undefined {
  const form = IDS[kind]
  if (form === null) return `principalId cannot be of a ${kind}, which has no id of its own`
  if (id === 'firstUse') return undefined
  if (!form.test(id))
    return `principalId ${quote(id)} is not firstUse or the ${kind === 'user' ? 'AIDA' : 'AROA'}… id of a ${kind}`
  if (!exact && !arn.endsWith('?')) return 'principalId is of one principal and the rule of many; write firstUse'
  return undefined
}
