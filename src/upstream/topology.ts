/**
 * The upstream as a whole: one monitor per member, which member is the primary, and the view that clients get.
 *
 *     monitor ─┐                               ┌─▶ the term of the old primary ends, then its sessions close
 *     monitor ─┼─ hello ─▶ describeTopology ───┼─▶ monitors start and stop
 *     monitor ─┘                               └─▶ the view changes: awaitable hellos of clients are answered
 *
 * A failover has a fixed order. Clients learn at once that there is no primary. Sessions to the old primary close 20 ms
 * later. Only then may clients learn of a new primary: no client has a connection to the old one left in its pool.
 */
import type { Document } from 'bson'
import type { After } from '../clock.js'
import { Fault } from '../errors.js'
import type { Log } from '../log.js'
import { rejectOnAbort } from './deadline.js'
import { MemberAdditionLimit } from './memberAdditionLimit.js'
import { MemberCheck } from './memberCheck.js'
import { describeMemberState, type MemberStatus } from './memberStatus.js'
import type { CurrentPrimary } from './primaryHistory.js'
import { createTermController, type PrimaryTerm, type TermController } from './primaryTerm.js'
import { SeedlistLookup } from './seedlistLookup.js'
import { ServerMonitor } from './serverMonitor.js'
import type { DnsResolver, Seedlist } from './srv.js'
import { type ConnectionOptions, createTarget, type Target, type UpstreamConfig } from './target.js'
import { describesSameServer, describeTopology, type TopologyDescription } from './topologyDescription.js'
import { isNewTopologyVersion, readTopologyVersion, type TopologyVersion } from './topologyVersion.js'
import { isSameToClients, type TopologyView, withoutPrimaryClaim } from './topologyView.js'
import { ViewWaiters } from './viewWaiters.js'

export type TopologyOptions = {
  upstream: UpstreamConfig
  /** Uses the one address whatever it is (directConnection). */
  single: boolean
  resolver: DnsResolver
  log: Log
  /** From 0 up to 1. Spreads the reconnects of many proxies. */
  random: () => number
  /**
   * Called when a process answers that did not answer before, except before the first view. What is known of the members
   * from other commands may be outdated.
   */
  onServerRestart?: () => void
  /** Called when there may be another primary, or none. */
  onUpdate?: () => void
  /** Called when a term has ended and its sessions are closed, before clients learn of the next primary. */
  onTermClosed?: (reason: Fault) => void
  after: After
}

/** Clients may ask to wait longer. They get an answer earlier, and ask again. */
const MAX_AWAIT_TIME_MS = 60_000
/** Each round asks members that the round before made known. A replica set that is well needs three. */
const MAX_CHECK_ROUNDS = 10
/** The time that clients get to read that there is no primary, and later to notice that their connections are closed. */
const SETTLE_MS = 20

/** The term that lasts. `key` identifies it in the description. */
type CurrentTerm = { key: string; address: string; controller: TermController }

export class Topology {
  readonly #options: TopologyOptions
  readonly #stop = new AbortController()
  readonly #monitors = new Map<string, ServerMonitor>()
  /** Members that have answered at least once. */
  readonly #discovered = new Set<string>()
  readonly #waiters: ViewWaiters
  readonly #additions: MemberAdditionLimit
  readonly #seedlist: SeedlistLookup | undefined
  #seeds: readonly string[]
  #connectionOptions: ConnectionOptions
  #description: TopologyDescription
  /** The hello of each member that `#description` was computed from. */
  #hellos = new Map<string, Document | undefined>()
  #view: TopologyView | undefined
  #publishedView: TopologyView | undefined
  #hasGivenView = false
  #term: CurrentTerm | undefined
  /** Pending while the sessions of ended terms close. Until it resolves clients may not learn of a new primary. */
  #transition: Promise<unknown> | undefined
  #hasDeferredAdditions = false

  constructor(options: TopologyOptions) {
    this.#options = options
    const { upstream, single, resolver, log, random, after } = options
    this.#seeds = upstream.seeds
    this.#connectionOptions = upstream.connectionOptions
    this.#waiters = new ViewWaiters(after)
    this.#additions = new MemberAdditionLimit(after, () => {
      if (this.#hasDeferredAdditions) this.#update()
    })
    const { replicaSet } = upstream.connectionOptions
    const history = { setName: replicaSet, maxElection: undefined, lastPrimary: undefined, termKey: undefined }
    this.#description = describeTopology(new Map(), history, this.#seeds, single)
    this.#update()
    const { signal } = this.#stop
    const onFound = (seedlist: Seedlist) => this.#adoptSeedlist(seedlist)
    this.#seedlist =
      upstream.srv === undefined
        ? undefined
        : new SeedlistLookup({ srv: upstream.srv, resolver, log, random, after, signal, onFound })
  }

  /**
   * A view from a hello that was sent after this call.
   * Throws `upstream/unreachable`, `upstream/protocol-error`, or the signal's reason.
   */
  async freshView(signal: AbortSignal): Promise<TopologyView> {
    const view = await rejectOnAbort(signal, this.#checkMembers(signal))
    this.#hasGivenView = true
    return this.#isWithheld() ? rejectOnAbort(signal, this.#publishableView()) : view
  }

  /**
   * The first view that is new to a client that knows `known`, or the current view after `maxAwaitTimeMS`. Without a
   * topologyVersion to wait on it is a fresh view. Throws as `freshView` does.
   */
  awaitChange(known: TopologyVersion, maxAwaitTimeMS: number, signal: AbortSignal): Promise<TopologyView> {
    const view = this.#view
    const version = view && readTopologyVersion(view.hello)
    if (!view || !version || this.#stop.signal.aborted) return this.freshView(signal)
    if (!this.#isWithheld() && isNewTopologyVersion(version, known)) return Promise.resolve(view)
    return this.#waiters.wait(known, {
      ms: Math.min(maxAwaitTimeMS, MAX_AWAIT_TIME_MS),
      onTimeout: () => this.#publishableView(),
      signal,
    })
  }

  /** Undefined while no member answers. */
  currentView(): TopologyView | undefined {
    return this.#view
  }

  /** Whether `selectPrimary` finds one. */
  hasPrimary(): boolean {
    return !this.#stop.signal.aborted && this.#description.primary !== undefined && this.#term !== undefined
  }

  /**
   * The primary that answers, and the key of its term; undefined while there is none. With `single` it is the one member,
   * whatever its role.
   */
  currentPrimary(): CurrentPrimary | undefined {
    const { primary, history } = this.#description
    if (this.#stop.signal.aborted || primary === undefined || history.termKey === undefined) return undefined
    return this.#hellos.get(primary) && { address: primary, term: history.termKey }
  }

  /** Every monitored member, by address. */
  members(): MemberStatus[] {
    const primary = this.currentPrimary()?.address
    return [...this.#monitors].map(([address, monitor]) => {
      const hello = monitor.cachedHello()
      return { address, state: describeMemberState(hello, address === primary), why: monitor.lastError()?.message }
    })
  }

  /** Resolves when the members have answered, as `freshView` asks them, whatever they say. Throws as `freshView` does. */
  async recheck(signal: AbortSignal): Promise<void> {
    await this.#checkMembers(signal)
  }

  /** Where logins go, and the term in which they do. Throws `upstream/unreachable` if there is no primary. */
  selectPrimary(): { target: Target; term: PrimaryTerm } {
    this.#stop.signal.throwIfAborted()
    const { primary, type, history } = this.#description
    if (primary === undefined || !this.#term) throw this.#unavailable()
    const replicaSet = type === 'set' ? history.setName : this.#connectionOptions.replicaSet
    const target = createTarget({ ...this.#connectionOptions, replicaSet }, primary)
    return { target, term: this.#term.controller.term }
  }

  /** Every known member except arbiters. */
  dataBearingMembers(): { target: Target; isReachable: boolean }[] {
    return [...this.#monitors].flatMap(([address, monitor]) => {
      const hello = monitor.cachedHello()
      if (hello?.arbiterOnly === true) return []
      return { target: createTarget(this.#connectionOptions, address), isReachable: hello !== undefined }
    })
  }

  close(): void {
    const reason = new Fault('proxy/shutdown')
    this.#stop.abort(reason)
    this.#additions.close()
    this.#waiters.rejectAll(reason)
    for (const monitor of this.#monitors.values()) monitor.close(reason)
  }

  #adoptSeedlist({ seeds, replicaSet }: Seedlist): void {
    this.#seeds = seeds
    const setName = this.#connectionOptions.replicaSet ?? replicaSet
    this.#connectionOptions = { ...this.#connectionOptions, replicaSet: setName }
    const { history } = this.#description
    this.#description = { ...this.#description, history: { ...history, setName } }
    this.#update()
  }

  /** Most hellos repeat what the member said before. They need no new description. */
  #onHello(address: string, hello: Document | undefined): void {
    const before = this.#hellos.get(address)
    if (this.#stop.signal.aborted || !hello || !before || !describesSameServer(hello, before)) {
      this.#update()
      return
    }
    this.#hellos.set(address, hello)
    this.#updateView()
  }

  #update(): void {
    if (this.#stop.signal.aborted) return
    this.#hellos = new Map([...this.#monitors].map(([address, monitor]) => [address, monitor.cachedHello()]))
    const { history } = this.#description
    this.#description = describeTopology(this.#hellos, history, this.#seeds, this.#options.single)
    this.#updateTerm()
    this.#updateMonitors()
    this.#updateView()
    this.#options.onUpdate?.()
  }

  #updateTerm(): void {
    const { primary, history } = this.#description
    const { termKey } = history
    if (this.#term && this.#term.key !== termKey) {
      const { address, controller } = this.#term
      this.#term = undefined
      const reason = new Fault('upstream/stepped-down', undefined, { upstream: address })
      controller.end(reason)
      this.#transition = this.#closeTerm(controller, reason)
    }
    if (primary !== undefined && termKey !== undefined) {
      this.#term ??= { key: termKey, address: primary, controller: createTermController() }
    }
  }

  /** Closes the sessions of a term, then lets clients learn of the next primary. */
  #closeTerm(controller: TermController, reason: Fault): Promise<unknown> {
    // If another primary is known already, clients are not shown a state without one, so they get no time to read it.
    const hasSuccessor = this.#description.primary !== undefined
    const closing = hasSuccessor
      ? controller.closeSessions()
      : this.#pause(SETTLE_MS).then(() => controller.closeSessions())
    const transition: Promise<unknown> = Promise.all([this.#transition, closing])
      .then(() => this.#options.onTermClosed?.(reason))
      .then(() => this.#pause(SETTLE_MS))
      .then(() => {
        if (this.#transition !== transition) return
        this.#transition = undefined
        this.#publishedView = undefined // waiters that came during the transition have not seen any view
        this.#publish()
      })
    return transition
  }

  #updateMonitors(): void {
    const { monitored } = this.#description
    for (const [address, monitor] of this.#monitors) {
      if (monitored.includes(address)) continue
      this.#monitors.delete(address)
      this.#hellos.delete(address)
      this.#discovered.delete(address)
      const removed = { upstream: address, why: 'it is no longer a member of the replica set' }
      monitor.close(new Fault('upstream/unreachable', undefined, removed))
    }
    const added = monitored.filter(address => !this.#monitors.has(address))
    this.#hasDeferredAdditions = added.length > 0 && !this.#additions.tryAcquire()
    if (this.#hasDeferredAdditions) return
    for (const address of added) this.#monitors.set(address, this.#createMonitor(address))
  }

  #createMonitor(address: string): ServerMonitor {
    const { log, random, after, onServerRestart } = this.#options
    return new ServerMonitor({
      target: createTarget(this.#connectionOptions, address),
      log,
      random,
      after,
      onHello: hello => {
        const isDiscovered = hello !== undefined && !this.#discovered.has(address)
        if (isDiscovered) this.#discovered.add(address)
        this.#onHello(address, hello)
        if (isDiscovered && this.#hasGivenView) onServerRestart?.()
      },
      ...(onServerRestart && { onServerRestart }),
    })
  }

  #updateView(): void {
    const { primary, helloSource, type } = this.#description
    const hello = helloSource === undefined ? undefined : this.#hellos.get(helloSource)
    const isPrimary = primary === helloSource
    this.#view = hello && {
      hello: isPrimary ? hello : withoutPrimaryClaim(hello),
      isPrimary,
      isReplicaSet: type === 'set',
    }
    this.#publish()
  }

  /** Answers waiting clients, unless only the time of the hello has changed. */
  #publish(): void {
    if (this.#isWithheld()) return
    if (this.#view && this.#publishedView && isSameToClients(this.#view, this.#publishedView)) return
    this.#publishedView = this.#view
    if (this.#view) this.#waiters.offer(this.#view)
    else if (this.#isUnreachable()) this.#waiters.rejectAll(this.#unavailable())
  }

  /** The current view shows a primary, and sessions to the one before it are still closing. */
  #isWithheld(): boolean {
    return this.#transition !== undefined && this.#view?.isPrimary === true
  }

  /** The current view, once it is no longer withheld. Throws `upstream/unreachable` if there is none. */
  async #publishableView(): Promise<TopologyView> {
    while (this.#isWithheld()) await this.#transition
    if (!this.#view) throw this.#unavailable()
    return this.#view
  }

  /**
   * Checks the primary first. If there is none, or it does not answer, or it says that it is no primary, checks the other
   * members. Members that did not answer before are checked only if no other member answers.
   */
  async #checkMembers(signal: AbortSignal): Promise<TopologyView> {
    const lookup = this.#seedlist?.attempt
    if (lookup) await rejectOnAbort(signal, lookup)
    const check = new MemberCheck(this.#monitors)
    const hasPrimary = () => check.hasAnswered(this.#description.primary)
    for (let round = 0; round < MAX_CHECK_ROUNDS; round++) {
      this.#throwIfAborted(signal)
      if (this.#view && hasPrimary()) return this.#view
      const next = check.selectNext(this.#description.primary)
      if (next.length === 0) break
      await check.run(next, hasPrimary)
    }
    this.#throwIfAborted(signal)
    if (this.#view && check.hasAnswers) return this.#view
    throw check.firstFailure ?? this.#unavailable()
  }

  #throwIfAborted(signal: AbortSignal): void {
    signal.throwIfAborted()
    this.#stop.signal.throwIfAborted()
  }

  /** Every monitor has checked its member, and no member answers. */
  #isUnreachable(): boolean {
    return [...this.#monitors.values()].every(monitor => monitor.lastError())
  }

  #unavailable(): Fault {
    const { name } = this.#options.upstream
    if (this.#view) return new Fault('upstream/unreachable', 'there is no primary now', { upstream: name })
    const monitorError = [...this.#monitors.values()].map(monitor => monitor.lastError()).find(Boolean)
    return this.#seedlist?.error ?? monitorError ?? new Fault('upstream/unreachable', undefined, { upstream: name })
  }

  #pause(ms: number): Promise<void> {
    return new Promise(resolve => this.#options.after(ms, resolve))
  }
}
