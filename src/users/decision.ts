/**
 * Who a principal is here: rules first, then the directory; then what the match asks of the login.
 *
 *     rules ─▶ directory ─▶ from where, until when, the same as ever
 */
import { Fault } from '../errors.js'
import type { Identity } from '../identity/reply.js'
import { assertPermitted, assertPrincipalId, type LoginContext } from './conditions.js'
import type { Directory } from './directory.js'
import { getRolesToProvision, type Match, type Role } from './match.js'
import type { Pins } from './pins.js'
import type { Rules } from './rules.js'

export type AuthorizerOptions = {
  /** Asked each time, as they may be read anew. */
  rules(): Pick<Rules, 'match'>
  directory: Pick<Directory, 'match' | 'matchLastRead'> | undefined
  /** There where a rule says `firstUse`. */
  pins: Pick<Pins, 'pin' | 'get'> | undefined
  /** Milliseconds since 1970. */
  now(): number
}

export type Authorizer = {
  /**
   * Decides about a login from this address, by the rules that hold at its end; at once where the directory and the pins
   * need not be asked. Throws or rejects with `users/*`.
   */
  authorizeLogin(identity: Identity, peer: string): Match | Promise<Match>
  /**
   * Decides again about a live connection: the match, or undefined or a fault where it has to end. What the
   * directory cannot tell now leaves it what it was.
   */
  reevaluate(identity: Identity, peer: string, was: Match | undefined): Match | undefined | Fault
  /**
   * The roles for which a principal (its canonical ARN) has a database user of the proxy; undefined where it has none.
   * Throws `users/unreadable` and `users/ambiguous` where that cannot be known.
   */
  getRoles(canonical: string): readonly Role[] | undefined
}

/** Who knows nothing says nothing: these end no live connection. */
const UNKNOWN: ReadonlySet<string> = new Set(['users/unreadable', 'users/ambiguous'])

export function createAuthorizer({ rules, directory, pins, now }: AuthorizerOptions): Authorizer {
  const here = (peer: string): LoginContext => ({ peer, now: now() })
  const current = (canonical: string) => rules().match({ canonical }) ?? directory?.matchLastRead({ canonical })
  const asked = async (identity: Identity, peer: string): Promise<Match> => {
    for (;;) {
      const by = rules()
      const match = by.match(identity) ?? (await directory?.match(identity, peer))
      if (by !== rules()) continue
      if (!match) throw new Fault('users/no-rule', identity.canonical, { arn: identity.arn })
      assertPermitted(match, identity, here(peer))
      if (match.principalId !== 'firstUse') return match
      if (!pins) throw new Fault('users/unreadable', undefined, { why: 'there is no pins.file' })
      assertPrincipalId(match, identity, await pins.pin(identity))
      if (by === rules()) return match
    }
  }
  return {
    authorizeLogin(identity, peer) {
      const match = rules().match(identity)
      if (!match || match.principalId === 'firstUse') return asked(identity, peer)
      assertPermitted(match, identity, here(peer))
      return match
    },
    reevaluate(identity, peer, was) {
      try {
        const match = current(identity.canonical)
        if (!match) return undefined
        assertPermitted(match, identity, here(peer))
        // One that was never seen is pinned by its next login.
        if (match.principalId === 'firstUse')
          assertPrincipalId(match, identity, pins?.get(identity.canonical) ?? identity.principalId)
        return match
      } catch (thrown) {
        const fault = Fault.from(thrown)
        if (!UNKNOWN.has(fault.kind)) return fault
        // The rule that let it in is gone, whatever the directory would say.
        return was && 'rule' in was.decidedBy ? undefined : was
      }
    },
    getRoles: canonical => getRolesToProvision(current(canonical), now()),
  }
}
