/**
 * The session slots: how many sessions there may be in all, and how many of them one principal may hold.
 *
 *     acquire ─▶ dial the upstream ─▶ session ─▶ release
 *        └ login/session-limit, login/principal-limit
 *
 * A login holds its slot from the moment its rule is known until the connection ends, for any reason. An unverified login
 * holds none, or forged signatures could take all slots. Lowering a limit closes no session.
 */
import { LRUCache } from 'lru-cache'
import { Fault } from '../errors.js'

export type SessionLimits = {
  /** Session slots in all. */
  sessions: number
  /** Session slots of one principal. `maxSessions`: the limit of its rule. */
  perPrincipal(maxSessions: number | undefined): number
}

/** A principal whose rule limits its sessions. */
export type SlotRequest = { arn: string; maxSessions?: number | undefined }

/** `arn`: undefined for all sessions together. */
export type NearLimit = { arn?: string; sessions: number; max: number }

export type SessionSlotsOptions = {
  /** The current limits. A reload changes them. */
  limits(): SessionLimits
  /** Called when 80 % of a limit are taken. */
  onNearLimit(near: NearLimit): void
  /** Monotonic milliseconds. */
  now(): number
}

/** Shares of a limit: a warning at the first one, and no other until the number has dropped below the second one. */
const WARN_ABOVE = 0.8
const REARM_BELOW = 0.6
/** Minimum interval between two warnings about the same limit. Milliseconds. */
const WARNING_INTERVAL_MS = 10 * 60_000
const MAX_WARNINGS = 1_000
/** The longest pause that the reply asks a driver for. Slots become free at any time. Milliseconds. */
const BACKOFF_MS = 1_000
/** The key of all sessions together in the cache of warnings. ARNs begin with `arn:`. */
const ALL = 'all'

export class SessionSlots {
  readonly #options: SessionSlotsOptions
  readonly #held = new Map<string, number>()
  #total = 0
  readonly #warnings = new LRUCache<string, { at: number; isArmed: boolean }>({ max: MAX_WARNINGS })

  constructor(options: SessionSlotsOptions) {
    this.#options = options
  }

  /** Throws `login/session-limit` if all slots are taken. */
  assertFree(): void {
    const max = this.#options.limits().sessions
    if (this.#total >= max) throw new Fault('login/session-limit', undefined, { max, backoffMS: BACKOFF_MS })
  }

  /** Throws `login/principal-limit` if the principal holds as many slots as it may. */
  assertFreeFor({ arn, maxSessions }: SlotRequest): void {
    const max = this.#options.limits().perPrincipal(maxSessions)
    if (this.#count(arn) >= max) throw new Fault('login/principal-limit', undefined, { max, backoffMS: BACKOFF_MS })
  }

  /**
   * Takes a slot. Returns a function that gives it back; further calls of it have no effect.
   * Throws `login/session-limit` and `login/principal-limit`.
   */
  acquire(request: SlotRequest): () => void {
    this.assertFreeFor(request)
    this.assertFree()
    this.#change(request, 1)
    let isHeld = true
    return () => {
      if (!isHeld) return
      isHeld = false
      this.#change(request, -1)
    }
  }

  /** The slots that are taken, and those that are free. */
  countByState(): { taken: number; free: number } {
    return { taken: this.#total, free: Math.max(0, this.#options.limits().sessions - this.#total) }
  }

  /** The principals that hold the most slots, at most `count`, with their number of slots. */
  largestHolders(count: number): Record<string, number> {
    const largest = [...this.#held].sort(([, one], [, other]) => other - one).slice(0, count)
    return Object.fromEntries(largest)
  }

  #count(arn: string): number {
    return this.#held.get(arn) ?? 0
  }

  #change({ arn, maxSessions }: SlotRequest, by: 1 | -1): void {
    const held = this.#count(arn) + by
    this.#total += by
    if (held > 0) this.#held.set(arn, held)
    else this.#held.delete(arn)
    const { sessions, perPrincipal } = this.#options.limits()
    this.#warnIfNear({ arn, sessions: held, max: perPrincipal(maxSessions) })
    this.#warnIfNear({ sessions: this.#total, max: sessions })
  }

  /** Warns once, and again only after the number has dropped below `REARM_BELOW`. */
  #warnIfNear(near: NearLimit): void {
    const { arn = ALL, sessions, max } = near
    const last = this.#warnings.get(arn)
    if (last && !last.isArmed && sessions < max * REARM_BELOW) last.isArmed = true
    if (sessions < max * WARN_ABOVE) return
    const now = this.#options.now()
    if (last && (!last.isArmed || now - last.at < WARNING_INTERVAL_MS)) return
    this.#warnings.set(arn, { at: now, isArmed: false })
    this.#options.onNearLimit(near)
  }
}
