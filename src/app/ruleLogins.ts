/**
 * Counts successful logins by rule. Pure.
 *
 * A rule is identified by its ARN as written, because its position changes when a rule above it is added. Rules with the
 * same ARN share a count. The first 100 are counted one by one, so the number of series is bounded.
 */
import type { Match } from '../users/match.js'
import type { Rule } from '../users/rules.js'

const MAX_RULES = 100
const DIRECTORY = 'directory'
const OTHER = 'other'

export class RuleLogins {
  /** The number of logins by ARN or permission set, `directory` or `other`. */
  #counts = new Map<string, number>()
  #descriptions = new Map<number, string>()

  /** Replaces the rules. A rule that remains keeps its count. */
  setRules(
    rules: readonly Pick<Rule, 'decidedBy' | 'description'>[],
    { hasDirectory }: { hasDirectory: boolean },
  ): void {
    this.#descriptions = new Map(rules.map(({ decidedBy, description }) => [decidedBy.rule, description]))
    const all = new Set(this.#descriptions.values())
    const names = [
      ...[...all].slice(0, MAX_RULES),
      ...(all.size > MAX_RULES ? [OTHER] : []),
      ...(hasDirectory ? [DIRECTORY] : []),
    ]
    this.#counts = new Map(names.map(name => [name, this.#counts.get(name) ?? 0]))
  }

  /** Counts a login that this rule or directory user admitted. */
  record(by: Match['decidedBy']): void {
    const name = 'rule' in by ? (this.#descriptions.get(by.rule) ?? OTHER) : DIRECTORY
    const counted = this.#counts.has(name) ? name : OTHER
    this.#counts.set(counted, (this.#counts.get(counted) ?? 0) + 1)
  }

  /** The number of logins since the proxy started, or since the rule was added. */
  counts(): Record<string, number> {
    return Object.fromEntries(this.#counts)
  }
}
