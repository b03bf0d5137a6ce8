/**
 * Who is denied, and what follows for live connections: the deny file and the admin interface added up, asked at each
 * login, and every live connection decided again when something changes.
 */
import type { After } from '../clock.js'
import { Fault } from '../errors.js'
import type { Identity } from '../identity/reply.js'
import type { Log } from '../log.js'
import { isExpired, type Match } from '../users/match.js'
import type { AdminDenials } from './adminDenials.js'
import { createDenyList, type Denial, type DenyList, formatDenial } from './denials.js'
import {
  createLiveConnections,
  type LiveConnection,
  type LiveConnections,
  type ReviewConnection,
} from './liveConnections.js'

export type RevocationOptions = {
  /** Of the admin interface; undefined where nothing keeps them. */
  adminDenials: AdminDenials | undefined
  /**
   * What lets a principal in now, from where it is; undefined for a stranger. Faults are decisions, too. Where it cannot be
   * known now, what it was is given back.
   */
  reevaluate(identity: Identity, peer: string, was: Match | undefined): Match | undefined | Fault
  /** Milliseconds since 1970. */
  now(): number
  after: After
  log: Log
  /** Told how many denials there are. */
  onCount(denials: number): void
  /** Told when the admin interface changed the list: what is remembered of logins may be wrong now. */
  onChange(): void
}

export type Revocation = {
  /** Throws `denied` for a key, and for an identity once that is known. */
  assertNotDenied(accessKeyId: string, identity?: Identity): void
  /** See `Live`: entered first, checked afterwards. */
  addConnection(entry: LiveConnection): () => void
  /** What the deny file says from now on. Who calls it goes on as after any change of the configuration, with `review`. */
  read(denied: readonly Denial[]): void
  /** Decides about every live connection again; gives the faults by which they were closed (see `Live`). */
  reviewConnections(): Promise<readonly Fault[]>
  list(): { file: readonly Denial[]; admin: readonly Denial[] }
  /** Denies once the disk has it; returns how many live connections that closed. Throws `denials/not-persisted`. */
  deny(denial: Denial): Promise<number>
  /** Takes back what `deny` did; false where it did not. Throws `denials/not-persisted`. */
  allow(denial: Denial): Promise<boolean>
  close(): void
}

/** How often those are looked for whose time is over. Milliseconds. */
const TICK_MS = 500

export function createRevocation(parts: RevocationOptions, inFile: readonly Denial[]): Revocation {
  const { adminDenials: kept, log } = parts
  const connections: LiveConnections = createLiveConnections({
    now: parts.now,
    yieldToEventLoop: () => new Promise(resolve => parts.after(0, resolve)),
  })
  let file = inFile
  let all: DenyList
  const gather = (): void => {
    all = createDenyList(file, kept?.all() ?? [])
    parts.onCount(all.all.length)
  }
  gather()

  const check: Revocation['assertNotDenied'] = (accessKeyId, identity) => {
    const now = parts.now()
    const denial = identity ? all.find(identity, accessKeyId, now) : all.findByAccessKey(accessKeyId, now)
    if (!denial) return
    throw new Fault('login/denied', undefined, {
      denial: formatDenial(denial),
      ...(denial.why && { reason: denial.why }),
    })
  }
  /** For one review: of the many connections of one principal from one place, one is matched. */
  const deciding = (): ReviewConnection => {
    const matched = new Map<Match | undefined, Map<string, Match | undefined | Fault>>()
    const match = ({ identity, peer, match: was }: LiveConnection): Match | undefined | Fault => {
      const known = matched.get(was) ?? new Map<string, Match | undefined | Fault>()
      matched.set(was, known)
      const name = `${identity.canonical} ${identity.principalId} ${peer}`
      if (!known.has(name)) known.set(name, parts.reevaluate(identity, peer, was))
      return known.get(name)
    }
    return entry => {
      try {
        check(entry.accessKeyId, entry.identity)
        return match(entry)
      } catch (thrown) {
        return Fault.from(thrown)
      }
    }
  }
  const review = () => connections.review(deciding())

  let cancel = (): void => {}
  const tick = (): void => {
    const now = parts.now()
    let over = false
    connections.forEach(({ match }) => {
      over ||= match !== undefined && isExpired(match, now)
    })
    if (over) void review()
    cancel = parts.after(TICK_MS, tick)
  }
  tick()

  const change = async (event: 'denial added' | 'denial removed', denial: Denial): Promise<boolean> => {
    if (!kept) throw new Fault('denials/not-persisted', 'deny.adminFile is not set')
    const changed = event === 'denial added' ? await kept.add(denial) : await kept.remove(denial)
    if (!changed) return false
    log('warn', event, { denial: formatDenial(denial), ...(denial.why && { reason: denial.why }), until: denial.until })
    gather()
    parts.onChange()
    return true
  }
  return {
    assertNotDenied: check,
    addConnection: connections.add,
    read(denied) {
      file = denied
      gather()
    },
    reviewConnections: review,
    list: () => ({ file, admin: kept?.all() ?? [] }),
    deny: async denial => {
      if (!(await change('denial added', denial))) return 0
      const closed = await review()
      return closed.filter(fault => fault.data('login/revoked')?.denial === formatDenial(denial)).length
    },
    allow: denial => change('denial removed', denial),
    close: () => cancel(),
  }
}
