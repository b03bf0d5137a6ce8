/**
 * The decision about a principal: which rule or `$external` user lets it in, and under which conditions.
 *
 *     canonical ARN ─▶ rule ──────────────────┬─▶ conditions ─▶ pin of the principal id ─▶ Match, or a fault users/*
 *                        └ none ─▶ directory ─┘
 *
 * | step       | file                                                                                        |
 * | ---------- | ------------------------------------------------------------------------------------------- |
 * | rule       | `rules.ts`: the first rule that matches wins; `principals.ts` compiles its ARN or pattern    |
 * | directory  | `directory.ts`: users of `$external`, read by `systemUsers.ts`, parsed by `directoryUsers.ts` |
 * | conditions | `conditions.ts`: networks (`networks.ts`), expiry, a fixed principal id                      |
 * | pin        | `pins.ts`: the id of the first login, for `principalId: firstUse`                            |
 *
 * The deny list (`revocation/denials.ts`) is not part of this decision. The caller checks it before and after.
 */
import { Fault } from '../errors.js'
import type { Identity } from '../identity/reply.js'
import { assertPermitted, assertPrincipalId, type LoginContext } from './conditions.js'
import type { Directory } from './directory.js'
import { getRolesToProvision, type Match, type Role } from './match.js'
import type { Pins } from './pins.js'
import type { Rules } from './rules.js'

export type AuthorizerOptions = {
  /** The current rules. Called for every decision, because a reload replaces them. */
  rules(): Pick<Rules, 'match'>
  directory: Pick<Directory, 'match' | 'matchLastRead'> | undefined
  /** Undefined without `pins.file`; then no rule may say `firstUse`. */
  pins: Pick<Pins, 'pin' | 'get'> | undefined
  /** Milliseconds since 1970. */
  now(): number
}

export type Authorizer = {
  /**
   * Decides about a login from the address `peer`, by the rules that are valid when the decision is made. Returns the
   * match at once if neither the directory nor a pin is needed. Throws or rejects with `users/*`.
   */
  authorizeLogin(identity: Identity, peer: string): Match | Promise<Match>
  /**
   * Decides again about an open connection. Returns undefined or a fault if the connection must close. Returns the
   * `previous` match if the directory is unreadable or ambiguous now.
   */
  reevaluate(identity: Identity, peer: string, previous: Match | undefined): Match | undefined | Fault
  /**
   * The roles of the provisioned user of a principal (its canonical ARN); undefined if it has no such user.
   * Throws `users/unreadable` or `users/ambiguous` if the directory cannot tell.
   */
  getRoles(canonical: string): readonly Role[] | undefined
}

/** Faults that say nothing about the principal. They close no open connection. */
const INCONCLUSIVE: ReadonlySet<string> = new Set(['users/unreadable', 'users/ambiguous'])

export function createAuthorizer({ rules, directory, pins, now }: AuthorizerOptions): Authorizer {
  const contextOf = (peer: string): LoginContext => ({ peer, now: now() })
  const findMatch = (canonical: string) => rules().match({ canonical }) ?? directory?.matchLastRead({ canonical })

  /** Decides with the directory or a pin. Starts again if a reload replaced the rules meanwhile. */
  const decide = async (identity: Identity, peer: string): Promise<Match> => {
    for (;;) {
      const current = rules()
      const match = current.match(identity) ?? (await directory?.match(identity, peer))
      if (current !== rules()) continue
      if (!match) throw new Fault('users/no-rule', identity.canonical, { arn: identity.arn })
      assertPermitted(match, identity, contextOf(peer))
      if (match.principalId !== 'firstUse') return match
      if (!pins) throw new Fault('users/unreadable', undefined, { why: 'pins.file is not set' })
      assertPrincipalId(match, identity, await pins.pin(identity))
      if (current === rules()) return match
    }
  }

  return {
    authorizeLogin(identity, peer) {
      const match = rules().match(identity)
      if (!match || match.principalId === 'firstUse') return decide(identity, peer)
      assertPermitted(match, identity, contextOf(peer))
      return match
    },
    reevaluate(identity, peer, previous) {
      try {
        const match = findMatch(identity.canonical)
        if (!match) return undefined
        assertPermitted(match, identity, contextOf(peer))
        // Without a pin, accept the id that the connection has. The next login pins one.
        if (match.principalId === 'firstUse')
          assertPrincipalId(match, identity, pins?.get(identity.canonical) ?? identity.principalId)
        return match
      } catch (thrown) {
        const fault = Fault.from(thrown)
        if (!INCONCLUSIVE.has(fault.kind)) return fault
        // If a rule admitted the connection, that rule is gone now, so the directory's answer does not matter.
        return previous && 'rule' in previous.decidedBy ? undefined : previous
      }
    },
    getRoles: canonical => getRolesToProvision(findMatch(canonical), now()),
  }
}
