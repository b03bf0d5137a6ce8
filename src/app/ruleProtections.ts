/**
 * Finds the rules that protect less than before: a condition was removed or widened, for the principals that the rule
 * named. It does not matter whether the rule itself changed, or another rule decides now.
 */
import { formatDuration } from '../config/definition.js'
import type { Match, Network } from '../users/match.js'
import { formatNetwork, isCovered } from '../users/networks.js'
import { formatRole } from '../users/roles.js'
import type { Rule, Rules } from '../users/rules.js'

/** `pattern`: the ARN of the rule, as written. `weakening`: how it protects less, in words. */
export type WeakenedRule = { pattern: string; weakening: string }

export function findWeakenedRules(before: Rules, after: Rules): WeakenedRule[] {
  const weakened: WeakenedRule[] = []
  const compare = (rule: Rule, next: Rule | undefined) => {
    if (!next) return
    const isSame = next.arn === rule.arn
    const decides = isSame ? '' : `rule ${next.decidedBy.rule} decides now: `
    for (const { isOfOneRule, describe } of Object.values(CONDITIONS)) {
      const weakening = isOfOneRule && !isSame ? undefined : describe(rule, next)
      if (weakening !== undefined) weakened.push({ pattern: rule.description, weakening: `${decides}${weakening}` })
    }
  }
  for (const rule of before.all) {
    // A pattern matches its own text, and so does a wider pattern.
    const canonical = rule.arn
    if (before.match({ canonical }) === rule) compare(rule, after.match({ canonical }))
  }
  const all = [...after.all, ...after.outOfScope]
  for (const rule of before.outOfScope) {
    compare(
      rule,
      all.find(({ arn }) => arn === rule.arn),
    )
  }
  return weakened
}

type Condition = {
  /** The condition says where a rule applies, so it means nothing for another rule. */
  isOfOneRule?: true
  /** How the second rule protects less, or undefined. */
  describe(before: Rule, after: Rule): string | undefined
}

const NO_CONDITION: Condition = { describe: () => undefined }

/** Every part of a rule. A new part does not compile without a decision whether it protects. */
const CONDITIONS: Record<keyof Required<Match & Rule>, Condition> = {
  arn: NO_CONDITION,
  exact: NO_CONDITION,
  decidedBy: NO_CONDITION,
  description: NO_CONDITION,
  grant: { describe: describeCollections },
  clientSource: {
    describe: ({ clientSource = [] }, { clientSource: next = [] }) =>
      describeNetworks('clientSource', clientSource.flat(), next.flat()),
  },
  deleteAfterDate: {
    describe: ({ deleteAfterDate: date }, { deleteAfterDate: next }) => {
      if (date === undefined || (next !== undefined && next <= date)) return undefined
      return next
        ? `deleteAfterDate is ${next.toISOString()} instead of ${date.toISOString()}`
        : removed('deleteAfterDate')
    },
  },
  maxAgeMS: {
    describe: ({ maxAgeMS: age }, { maxAgeMS: next }) => {
      if (age === undefined || (next !== undefined && next <= age)) return undefined
      return next === undefined
        ? removed('maxAge')
        : `maxAge is ${formatDuration(next)} instead of ${formatDuration(age)}`
    },
  },
  maxSessions: {
    describe: ({ maxSessions: max }, { maxSessions: next }) => {
      if (max === undefined || (next !== undefined && next <= max)) return undefined
      return next === undefined ? removed('maxSessions') : `maxSessions is ${next} instead of ${max}`
    },
  },
  principalId: {
    describe: ({ principalId: id }, { principalId: next }) => {
      if (id === undefined) return undefined
      if (next === undefined) return removed('principalId')
      return next === 'firstUse' && id !== 'firstUse' ? `principalId is firstUse instead of ${id}` : undefined
    },
  },
  scopes: {
    isOfOneRule: true,
    describe: ({ scopes }, { scopes: next }) => {
      if (!scopes) return undefined
      if (!next) return removed('scopes')
      return next.some(scope => !scopes.includes(scope)) ? 'scopes has more names' : undefined
    },
  },
}

const removed = (name: string) => `${name} was removed`

/** How a list of networks is wider than before. An empty list means every address. */
export function describeNetworks(
  name: string,
  before: readonly Network[],
  after: readonly Network[],
): string | undefined {
  if (before.length === 0) return undefined
  if (after.length === 0) return removed(name)
  const added = after.filter(network => !isCovered(network, before))
  return added.length > 0 ? `${name} also has ${added.map(formatNetwork).join(', ')}` : undefined
}

/** A role for one collection became a role for its whole database. */
function describeCollections({ grant: before }: Rule, { grant: after }: Rule): string | undefined {
  if (!('roles' in before) || !('roles' in after)) return undefined
  const texts = new Set(before.roles.map(formatRole))
  const widened = after.roles.filter(({ role, db, collection }) => {
    const isNew = collection === undefined && !texts.has(formatRole({ role, db }))
    return isNew && before.roles.some(other => other.role === role && other.db === db)
  })
  return widened.length > 0 ? `${widened.map(formatRole).join(', ')} is not limited to a collection` : undefined
}
