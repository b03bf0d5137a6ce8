/**
 * The open connections, in one set per stage, and the choice of one to evict.
 *
 * Set membership is the state: a connection is in exactly one set, `move` is the only transition, and the gauges are the
 * set sizes. A set is ordered by the last complete frame, so its first connection has been silent longest.
 */
import { AddressIndex } from './addressIndex.js'

/** `connecting` until the first hello, `unauthenticated` until a proof arrives. */
export type Stage = 'connecting' | 'unauthenticated' | 'authenticating' | 'authenticated'

/**
 * `isMonitor`: the client has shown that it monitors the proxy. `lastActive` is the position of the last complete frame, or
 * of the accept, in the order of all such events.
 */
export type TableEntry = { readonly subnet: string; stage: Stage; isMonitor: boolean; lastActive: number }

/** `E`: the owner's record of a connection. */
export class ConnectionTable<E extends TableEntry> {
  readonly #stages: Record<Stage, Set<E>> = {
    connecting: new Set(),
    unauthenticated: new Set(),
    authenticating: new Set(),
    authenticated: new Set(),
  }
  /** The connections before a login that are not monitors, in the order of their last activity. */
  readonly #newcomers = new Set<E>()
  /** All but the authenticated ones. */
  readonly #bySubnet = new AddressIndex<E>()
  #activities = 0

  get size(): number {
    return this.unauthenticatedSize + this.#stages.authenticated.size
  }

  /** The connections of all stages before `authenticated`. */
  get unauthenticatedSize(): number {
    const { connecting, unauthenticated, authenticating } = this.#stages
    return connecting.size + unauthenticated.size + authenticating.size
  }

  countByStage(): Record<Stage, number> {
    const { connecting, unauthenticated, authenticating, authenticated } = this.#stages
    return {
      connecting: connecting.size,
      unauthenticated: unauthenticated.size,
      authenticating: authenticating.size,
      authenticated: authenticated.size,
    }
  }

  /** The connections of this subnet that are not authenticated. */
  countOfSubnet(subnet: string): number {
    return this.#bySubnet.count(subnet)
  }

  /** Adds a connection in its stage, which is before `authenticated`. */
  add(entry: E): void {
    entry.lastActive = ++this.#activities
    this.#stages[entry.stage].add(entry)
    this.#newcomers.add(entry)
    this.#bySubnet.add(entry.subnet, entry)
  }

  /** Moves a connection to the end of a set. Ignores one that was removed. */
  move(entry: E, to: Stage): void {
    if (!this.#stages[entry.stage].delete(entry)) return
    this.#newcomers.delete(entry)
    const isBusy = to === 'authenticating' || to === 'authenticated'
    if (isBusy) entry.isMonitor = false
    else if (!entry.isMonitor) this.#newcomers.add(entry)
    const as = isBusy ? 'busy' : entry.isMonitor ? 'monitor' : 'newcomer'
    if (to !== 'authenticated') this.#bySubnet.touch(entry.subnet, entry, as)
    else if (entry.stage !== 'authenticated') this.#bySubnet.remove(entry.subnet, entry)
    entry.stage = to
    entry.lastActive = ++this.#activities
    this.#stages[to].add(entry)
  }

  /** Marks a connection that has sent nothing but hello as a monitor, until it logs in. */
  markMonitor(entry: E): void {
    if (entry.stage !== 'unauthenticated' || entry.isMonitor || !this.#stages.unauthenticated.has(entry)) return
    this.#newcomers.delete(entry)
    entry.isMonitor = true
    this.#bySubnet.touch(entry.subnet, entry, 'monitor')
  }

  /** Returns whether the connection was there. */
  remove(entry: E): boolean {
    if (!this.#stages[entry.stage].delete(entry)) return false
    this.#newcomers.delete(entry)
    if (entry.stage !== 'authenticated') this.#bySubnet.remove(entry.subnet, entry)
    return true
  }

  /** Copies, so that a connection may be removed while its caller iterates. */
  list(...stages: readonly Stage[]): E[] {
    return stages.flatMap(stage => [...this.#stages[stage]])
  }

  /**
   * Chooses a connection to close in favor of a new one from `subnet`; undefined if none should be closed.
   *
   * - A connection that is not logging in and has been silent longest is evicted first, whether or not it has sent a hello. If
   *   one of these kinds were preferred, silent connections of the other kind could keep it out.
   * - If another subnet holds more connections, that subnet gives up its own longest silent one. Otherwise many active
   *   connections of one subnet would push out monitors of others, which send a frame every ten seconds.
   * - If all connections of that subnet are logging in, its oldest login goes, but only for a subnet that holds fewer.
   * - While monitors are at most half of the connections, newcomers go before them. Otherwise a burst of logins would push
   *   out monitors, which send a frame every ten seconds. Connections that pretend to be monitors can hold that half only.
   */
  chooseEviction(subnet: string): E | undefined {
    const bySubnet = this.#bySubnet
    const largest = bySubnet.largestAddress(subnet)
    const [newcomer] = this.#newcomers
    if (newcomer && this.#countMonitors() * 2 <= this.unauthenticatedSize) {
      if (bySubnet.count(newcomer.subnet) === bySubnet.maxCount) return newcomer
      const ofLargest = bySubnet.longestSilentNewcomer(largest)
      // Without newcomers, the largest subnet would give up a monitor.
      if (ofLargest || bySubnet.longestSilent(largest)) return ofLargest ?? newcomer
    }
    const silent = this.#longestSilent()
    if (silent && bySubnet.count(silent.subnet) === bySubnet.maxCount) return silent
    const holdsFewer = bySubnet.count(subnet) + 1 < bySubnet.maxCount
    return bySubnet.longestSilent(largest) ?? (holdsFewer ? bySubnet.longestBusy(largest) : undefined)
  }

  /** Of the connections that are not logging in, those that are not newcomers. */
  #countMonitors(): number {
    return this.#stages.connecting.size + this.#stages.unauthenticated.size - this.#newcomers.size
  }

  #longestSilent(): E | undefined {
    const [connecting] = this.#stages.connecting
    const [unauthenticated] = this.#stages.unauthenticated
    if (!connecting || !unauthenticated) return connecting ?? unauthenticated
    return connecting.lastActive < unauthenticated.lastActive ? connecting : unauthenticated
  }
}
