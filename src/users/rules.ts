/**
 * The rules: which principal is which database user, or has which roles. The first rule that matches wins, in the order of
 * the file.
 *
 * Rules for single principals, however many, are found by ARN in a map. Patterns are tried in order, and only those of the
 * principal's account. A rule for other scopes than this listener's is checked like any other and never matches.
 */
import { didYouMean } from '../config/nearest.js'
import type { Identity } from '../identity/reply.js'
import type { Secret } from '../log.js'
import { describeText } from '../redaction.js'
import type { Grant, Match, Network } from './match.js'
import { parseNetwork } from './networks.js'
import { type PrincipalPattern, parsePermissionSet, parsePrincipal } from './principals.js'
import { parseDatabaseUser, parseRole } from './roles.js'

/**
 * A rule as the configuration has it. Either `arn` or `sso` names the principals. Either `user` with `password`, or
 * `roles`, says what they get.
 */
export type RuleDefinition = {
  arn?: string | undefined
  sso?: { permissionSet: string; account: string; partition?: string | undefined } | undefined
  user?: string | undefined
  password?: Secret | undefined
  roles?: readonly string[] | undefined
  clientSource?: readonly string[] | undefined
  deleteAfterDate?: Date | undefined
  /** The rule applies only to listeners with one of these scopes. */
  scopes?: readonly string[] | undefined
  principalId?: string | undefined
  maxAgeMS?: number | undefined
  maxSessions?: number | undefined
}

/** `exact`: the rule names exactly one principal. `description`: its ARN as written, or its permission set. */
export type Rule = Match & {
  decidedBy: { rule: number }
  exact: boolean
  scopes?: readonly string[]
  description: string
}

export type Rules = {
  /** The rules for this listener, in the order of the file. */
  all: readonly Rule[]
  /** The rules for other scopes. */
  outOfScope: readonly Rule[]
  /** The rule for an identity; undefined for a principal without a rule. */
  match(identity: Pick<Identity, 'canonical'>): Rule | undefined
  /** Whether a rule names this principal, whatever its scopes are. */
  matchesRule(rule: Rule, canonical: string): boolean
}

/** The number of a rule, from 1, and where it is written, such as `proxy.yaml:9:5`. `inside` locates a part of it. */
type RuleLocation = { rule: number; from?: string; inside?(path: readonly PropertyKey[]): string }

/** A sentence that begins with the key of the rule that is wrong, such as `roles[1]: …`, or is about the whole rule. */
type RuleProblem = string

type CompiledRule = { rule: Rule; matches: PrincipalPattern['matches'] }

/** The valid rules, and a sentence about each problem. With problems the program must not start. */
export function compileRules(
  definitions: readonly RuleDefinition[],
  { scope }: { scope?: string | undefined } = {},
  locations: readonly RuleLocation[] = [],
): { rules: Rules; problems: string[] } {
  const compiled: CompiledRule[] = []
  const problems: string[] = []
  const rulesByArn = new Map<string, Rule[]>()
  for (const [index, definition] of definitions.entries()) {
    const location = locations[index] ?? { rule: index + 1 }
    const { rule: number } = location
    const { compiledRule, problems: found } = compileRule(definition, number)
    const earlier = (compiledRule && rulesByArn.get(compiledRule.rule.arn)) ?? []
    const shadowed = compiledRule && findShadowingProblem(compiledRule.rule, earlier)
    if (shadowed !== undefined) found.push(shadowed)
    problems.push(...found.map(problem => `users, rule ${number}: ${problem}${formatLocation(problem, location)}`))
    if (!compiledRule || found.length > 0) continue
    compiled.push(compiledRule)
    rulesByArn.set(compiledRule.rule.arn, [...earlier, compiledRule.rule])
  }
  return { rules: createRules(compiled, scope), problems }
}

/** ` (from proxy.yaml:9:12)`, the place of the key that the problem begins with. */
function formatLocation(problem: RuleProblem, { from, inside }: RuleLocation): string {
  const [, path = ''] = /^([\w.]+(?:\[\d+\])?): /.exec(problem) ?? []
  const keys = path.match(/\w+/g)?.map(key => (/^\d+$/.test(key) ? Number(key) : key)) ?? []
  const place = inside?.(keys) ?? from
  return place ? ` (from ${place})` : ''
}

function createRules(compiled: readonly CompiledRule[], scope: string | undefined): Rules {
  const isInScope = ({ rule: { scopes } }: CompiledRule) => !scopes || (scope !== undefined && scopes.includes(scope))
  const inScope = compiled.filter(isInScope)
  const tests = new Map(compiled.map(({ rule, matches }) => [rule, matches]))
  return {
    all: inScope.map(({ rule }) => rule),
    outOfScope: compiled.filter(one => !isInScope(one)).map(({ rule }) => rule),
    match: createMatcher(inScope),
    matchesRule: (rule, canonical) => tests.get(rule)?.(canonical) ?? false,
  }
}

/** Finds the first rule for an identity. A pattern wins over an exact rule only if it comes earlier. */
function createMatcher(rules: readonly CompiledRule[]): Rules['match'] {
  const exactRules = new Map<string, Rule>()
  const patterns = new Map<string, CompiledRule[]>()
  for (const compiled of rules) {
    const { arn, exact } = compiled.rule
    if (!exact) patterns.set(accountOf(arn), [...(patterns.get(accountOf(arn)) ?? []), compiled])
    else if (!exactRules.has(arn)) exactRules.set(arn, compiled.rule)
  }
  return ({ canonical }) => {
    const exactRule = exactRules.get(canonical)
    for (const { rule, matches } of patterns.get(accountOf(canonical)) ?? []) {
      if (exactRule && rule.decidedBy.rule > exactRule.decidedBy.rule) break
      if (matches(canonical)) return rule
    }
    return exactRule
  }
}

/** `arn:aws:iam::123456789012`. This part of a pattern contains no wildcard. */
const accountOf = (arn: string): string => arn.split(':', 5).join(':')

/** The problem of a rule that never decides, because an earlier one has the same principals and all of its scopes. */
function findShadowingProblem({ scopes }: Rule, earlier: readonly Rule[]): RuleProblem | undefined {
  const winner = earlier.find(other => !other.scopes || scopes?.every(scope => other.scopes?.includes(scope)))
  if (!winner) return undefined
  const same = winner.exact ? 'the same principal as' : 'the same pattern as'
  return `is ${same} in rule ${winner.decidedBy.rule}, which always wins`
}

/**
 * Takes the result of a parser: the value, or undefined for a sentence about a problem, which it records. `key` is the key
 * of the parsed text, if the sentence does not name it.
 */
type Collect = <T extends object>(parsed: T | string, key?: string) => T | undefined

function compileRule(definition: RuleDefinition, number: number): { compiledRule?: CompiledRule; problems: string[] } {
  const { arn = '', sso, deleteAfterDate, scopes, principalId, maxAgeMS, maxSessions } = definition
  const problems: RuleProblem[] = []
  const collect: Collect = (parsed, key) => {
    if (typeof parsed !== 'string') return parsed
    problems.push(key === undefined ? parsed : `${key}: ${parsed}`)
    return undefined
  }
  const principal = collect(sso ? parsePermissionSet(sso) : parsePrincipal(arn))
  const grant = parseGrant(definition, collect)
  const networks = definition.clientSource?.map((text, at) => collect(parseClientSource(text), `clientSource[${at}]`))
  if (networks?.length === 0) problems.push('clientSource: is an empty list, so no login would succeed')
  const pinProblem = principalId !== undefined && principal ? findPinProblem(principalId, principal) : undefined
  if (pinProblem !== undefined) problems.push(pinProblem)
  if (!principal || !grant || problems.length > 0) return { problems }
  const rule: Rule = {
    decidedBy: { rule: number },
    arn: principal.arn,
    exact: principal.exact,
    description: sso ? `permission set ${sso.permissionSet} of account ${sso.account}` : arn,
    grant,
    ...(networks && { clientSource: [networks.filter(network => network !== undefined)] }),
    ...(deleteAfterDate && { deleteAfterDate }),
    ...(principalId !== undefined && { principalId }),
    ...(maxAgeMS !== undefined && { maxAgeMS }),
    ...(maxSessions !== undefined && { maxSessions }),
    ...(scopes && { scopes }),
  }
  return { compiledRule: { rule, matches: principal.matches }, problems }
}

function parseClientSource(text: string): Network | string {
  const example = 'write clientSource like 10.0.0.0/8, 2001:db8::/32 or 10.1.2.3'
  return parseNetwork(text) ?? `${describeText(text)} is not a network; ${example}`
}

function parseGrant({ user, password, roles }: RuleDefinition, collect: Collect): Grant | undefined {
  if (roles) {
    const parsed = roles.map((text, at) => collect(parseRole(text), `roles[${at}]`))
    return { roles: parsed.filter(role => role !== undefined) }
  }
  const databaseUser = collect(parseDatabaseUser(user ?? ''), 'user')
  return databaseUser && password && { user: databaseUser, password }
}

/** The unique ids of IAM: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html */
const PRINCIPAL_IDS = {
  user: /^AIDA[A-Z0-9]{12,124}$/,
  role: /^AROA[A-Z0-9]{12,124}$/,
  'federated-user': null,
  root: null,
}

/** The problem of a `principalId`; undefined if it has none. */
function findPinProblem(id: string, { kind, exact, arn }: PrincipalPattern): RuleProblem | undefined {
  const form = PRINCIPAL_IDS[kind]
  if (form === null) return `principalId: cannot be used for a ${kind}, which has no unique id`
  if (id === 'firstUse') return undefined
  if (!form.test(id)) {
    const expected = `firstUse or the ${kind === 'user' ? 'AIDA' : 'AROA'}… id of a ${kind}`
    return `principalId: ${describeText(id)} must be ${expected}${didYouMean(id, ['firstUse'])}`
  }
  if (!exact && !arn.endsWith('?')) return 'principalId: names one principal and the rule names many; write firstUse'
  return undefined
}
