/**
 * The upstream as one: a mirror of each member, who of them is the primary, and what clients see of them (R8, R9).
 *
 *     mirror ─┐                  ┌─▶ the term of the old primary ends, a moment later relays to it close
 *     mirror ─┼─ changed ─▶ judge ┼─▶ mirrors come and go
 *     mirror ─┘                  └─▶ the view changes: who waits for news is answered
 *
 * That there is no primary is told at once; that there is another only after all relays to the one before are closed: a
 * client that hears of a new primary finds no connection to the old one in its pool. The file is long because what is
 * seen, who holds office and who waits are one state.
 */

import type { Document } from 'bson'
import type { After } from '../clock.js'
import { Fault } from '../errors.js'
import type { Log } from '../log.js'
import { rejectOnAbort, withTimeout } from './deadline.js'
import { isNewTopologyVersion, readTopologyVersion, type TopologyVersion } from './hello.js'
import { createServerMonitor, type ServerMonitor } from './serverMonitor.js'
import { createTermController, type PrimaryTerm, type TermController } from './primaryTerm.js'
import { describesSameServer, describeTopology, type TopologyDescription, type TopologyHistory } from './topologyDescription.js'
import { type DnsResolver, resolveSeedlist } from './srv.js'
import { createTarget, type Target, type UpstreamConfig } from './target.js'

/** `hello` is a member's own. `primary`: it is the primary's. `set`: clients are shown a set, else this very server. */
export type TopologyView = { hello: Document; isPrimary: boolean; isReplicaSet: boolean }

export type Topology = {
  /** From a hello that was given after this was called. Throws `upstream/unreachable`, `upstream/protocol-error`, the reason. */
  freshView(signal: AbortSignal): Promise<TopologyView>
  /** What is news to whoever knows `known`, or the current view after `maxAwaitTimeMS`. Throws as `fresh`. */
  awaitChange(known: TopologyVersion, maxAwaitTimeMS: number, signal: AbortSignal): Promise<TopologyView>
  /** Undefined while no member answers. */
  currentView(): TopologyView | undefined
  /** Where logins go; what they open there ends with the term. Throws `upstream/unreachable` where there is none. */
  selectPrimary(): { target: Target; term: PrimaryTerm }
  /** Every member that holds data, as far as they are known, and whether it answers. */
  dataBearingMembers(): { target: Target; isReachable: boolean }[]
  close(): void
}

export type TopologyOptions = {
  upstream: UpstreamConfig
  /** Keeps to the one address, whatever it is. */
  single: boolean
  resolver: DnsResolver
  log: Log
  /** From 0 up to 1: spreads what many proxies would do at once. */
  random: () => number
  /**
   * Called when a process answers that did not before, once the first view was given: whoever asked the members other
   * things has to ask again.
   */
  onServerRestart?: () => void
  /** Called when a term is over and what was opened in it is closed, before anybody hears of the next. */
  onTermClosed?: (why: Fault) => void
  after: After
}

/** Clients may ask to wait longer; they are answered earlier and ask again. */
const LONGEST_MS = 60_000
/** Each round asks members that were not known before, so an honest set needs three. */
const ROUNDS = 10
const LOOKUP_MS = 5_000
/** How long clients are given to take in that there is no primary, and then that their connections were closed. */
const QUIET_MS = 20
/**
 * Whoever changes the list of members over and over makes mirrors come and go. So many changes that add some are followed
 * at once, as many as finding a set takes; then one in each such time. Milliseconds.
 */
const CHANGES = { atOnce: 5, everyMS: 500 }
const RETRY = { firstMS: 500, mostMS: 30_000 }

export function createTopology({
  upstream,
  single,
  resolver,
  log,
  random,
  onServerRestart: restarted,
  onTermClosed: turned,
  after,
}: TopologyOptions): Topology {
  const stop = new AbortController()
  const members = new Map<string, ServerMonitor>()
  const met = new Set<string>()
  const waiting = new Set<{ look(view: TopologyView): void; fail(fault: unknown): void }>()
  let { seeds, connectionOptions: template } = upstream
  let memory: TopologyHistory = {
    setName: template.replicaSet,
    maxElection: undefined,
    lastPrimary: undefined,
    termKey: undefined,
  }
  let standing: TopologyDescription
  let hellos = new Map<string, Document | undefined>() // by which it was judged
  let view: TopologyView | undefined
  let published: TopologyView | undefined
  let begun = false // a view was given
  let office: ({ key: string; address: string } & TermController) | undefined
  let leaving: Promise<unknown> | undefined // what was opened in a term that is over ends
  let changes = CHANGES.atOnce // that may follow
  let refill: (() => void) | undefined
  let late = false // members are wanted that were not added
  let looking: Promise<unknown> | undefined // an attempt to look the seeds up
  let unknown: Fault | undefined // why the seeds could not be looked up

  const update = (): void => {
    if (stop.signal.aborted) return
    hellos = new Map([...members].map(([address, { cachedHello: current }]) => [address, current()]))
    standing = describeTopology(hellos, memory, seeds, single)
    memory = standing.history
    if (office && office.key !== memory.termKey) {
      const { address, end, closeSessions: vacate } = office
      office = undefined
      const why = new Fault('upstream/stepped-down', undefined, { upstream: address })
      end(why)
      part(vacate, why)
    }
    const { primary } = standing
    if (primary !== undefined && memory.termKey !== undefined) {
      office ??= { key: memory.termKey, address: primary, ...createTermController() }
    }
    watch(standing.monitored)
    show()
  }

  /** What a member says; most of it is what it said before, by which nothing has to be judged anew. */
  const hear = (address: string, hello: Document | undefined): void => {
    const before = hellos.get(address)
    if (stop.signal.aborted || !hello || !before || !describesSameServer(hello, before)) return void update()
    hellos.set(address, hello)
    show()
  }

  const show = (): void => {
    const { primary, helloSource: base } = standing
    const hello = base === undefined ? undefined : hellos.get(base)
    view = hello && {
      hello: primary === base ? hello : unclaimed(hello),
      isPrimary: primary === base,
      isReplicaSet: standing.type === 'set',
    }
    publish()
  }

  /**
   * A term is over. Clients hear that there is no primary, by which they stop asking; then what was opened in it is
   * closed; then, once they have had the time to see that, they may hear of the next one.
   */
  const part = (vacate: () => Promise<unknown> | undefined, why: Fault): void => {
    const quiet = standing.primary === undefined ? pause(QUIET_MS) : undefined
    const gone = quiet ? quiet.then(vacate) : vacate()
    const all: Promise<unknown> = Promise.all([leaving, gone])
      .then(() => turned?.(why))
      .then(() => pause(QUIET_MS))
      .then(() => {
        if (leaving !== all) return
        leaving = undefined
        published = undefined // who came meanwhile was not told of it
        publish()
      })
    leaving = all
  }
  const pause = (ms: number) => new Promise<void>(resolve => after(ms, resolve))

  /** Whether what is seen may not be told yet. */
  const held = () => leaving !== undefined && view?.isPrimary === true

  /** Tells those who wait, and has nothing to tell where only the time of a hello is another one. */
  const publish = (): void => {
    if (held() || (view && published && isShownAs(view, published))) return
    published = view
    for (const one of [...waiting]) {
      if (view) one.look(view)
      else if (nobody()) one.fail(away())
    }
  }

  const watch = (wanted: readonly string[]): void => {
    for (const [address, member] of members) {
      if (wanted.includes(address)) continue
      members.delete(address)
      hellos.delete(address)
      met.delete(address)
      member.close(new Fault('upstream/unreachable', undefined, { upstream: address, why: 'it is no member any more' }))
    }
    const added = wanted.filter(address => !members.has(address))
    if (added.length === 0) late = false
    if (added.length === 0 || !mayChange()) return
    for (const address of added) {
      const changed = (hello: Document | undefined) => {
        const isNew = hello !== undefined && !met.has(address)
        if (isNew) met.add(address)
        hear(address, hello)
        if (isNew && begun) restarted?.()
      }
      const more = restarted && { restarted }
      members.set(
        address,
        createServerMonitor({ target: createTarget(template, address), log, random, after, onHello: changed, ...more }),
      )
    }
  }

  /** Counts a change; where there were too many, the list is looked at again when there may be another. */
  const mayChange = (): boolean => {
    late = changes === 0
    if (late) return false
    changes--
    fill()
    return true
  }
  const fill = (): void => {
    refill ??= after(CHANGES.everyMS, () => {
      refill = undefined
      if (++changes < CHANGES.atOnce) fill()
      if (late) update()
    })
  }

  /** Every member was asked, and none answers. */
  const nobody = (): boolean => [...members.values()].every(member => member.lastError())
  const away = (): Fault => {
    if (view) return new Fault('upstream/unreachable', 'there is no primary now', { upstream: upstream.name })
    const why = unknown ?? [...members.values()].map(member => member.lastError()).find(Boolean)
    return why ?? new Fault('upstream/unreachable', undefined, { upstream: upstream.name })
  }

  const freshView = async (signal: AbortSignal): Promise<TopologyView> => {
    const asked = await rejectOnAbort(signal, ask(signal))
    begun = true
    if (!held()) return asked
    while (held()) await rejectOnAbort(signal, leaving as Promise<unknown>)
    if (!view) throw away()
    return view
  }

  /**
   * The primary is asked; where there is none, or it does not answer or says that it is not, the others. Nobody waits
   * for members that did not answer before, as long as others do.
   */
  const ask = async (signal: AbortSignal): Promise<TopologyView> => {
    const asked = new Set<string>()
    const answered = new Set<string>()
    const failures: unknown[] = []
    const askOne = async (address: string): Promise<void> => {
      asked.add(address)
      try {
        await members.get(address)?.freshHello()
        answered.add(address)
      } catch (thrown) {
        failures.push(thrown)
      }
    }
    if (looking) await rejectOnAbort(signal, looking)
    for (let round = 0; round < ROUNDS; round++) {
      signal.throwIfAborted()
      stop.signal.throwIfAborted()
      const { primary } = standing
      if (view && primary !== undefined && answered.has(primary)) return view
      if (primary !== undefined && !asked.has(primary)) {
        await askOne(primary)
        continue
      }
      const rest = [...members.keys()].filter(address => !asked.has(address))
      const lively = rest.filter(address => !members.get(address)?.lastError())
      if (rest.length === 0 || (lively.length === 0 && answered.size > 0)) break
      const found = () => standing.primary !== undefined && answered.has(standing.primary)
      await first((lively.length > 0 ? lively : rest).map(askOne), found)
    }
    signal.throwIfAborted()
    stop.signal.throwIfAborted()
    if (view && answered.size > 0) return view
    throw failures[0] ?? away()
  }

  /** Waits for news, at most so long; then the current view has to do. */
  const news = (known: TopologyVersion, ms: number, signal: AbortSignal) =>
    new Promise<TopologyView>((resolve, reject) => {
      const end = (act: () => void) => {
        cancel()
        signal.removeEventListener('abort', abort)
        waiting.delete(one)
        act()
      }
      const one = {
        look: (view: TopologyView) => {
          if (isNewTopologyVersion(readTopologyVersion(view.hello), known)) end(() => resolve(view))
        },
        fail: (fault: unknown) => end(() => reject(fault)),
      }
      const abort = () => one.fail(signal.reason)
      const tell = () => end(() => (view ? resolve(view) : reject(away())))
      const cancel = after(ms, () => (held() ? leaving?.then(tell) : tell()))
      signal.addEventListener('abort', abort, { once: true })
      waiting.add(one)
      if (signal.aborted) abort()
    })

  /** Looks the seeds up; true where DNS gave some. */
  const lookUpOnce = async (name: string, again: boolean): Promise<boolean> => {
    const timeoutReason = () => new Fault('upstream/unreachable', undefined, { srv: name, code: 'ETIMEDOUT' })
    try {
      const looked = await withTimeout(LOOKUP_MS, { after, timeoutReason, signal: stop.signal }, signal =>
        rejectOnAbort(signal, resolveSeedlist(name, resolver)),
      )
      seeds = looked.seeds
      template = { ...template, replicaSet: template.replicaSet ?? looked.replicaSet }
      memory = { ...memory, setName: template.replicaSet }
      unknown = undefined
      update()
      return true
    } catch (thrown) {
      if (stop.signal.aborted) return true
      unknown = Fault.from(thrown)
      const { kind, definition, facts } = unknown
      if (!again) log(definition.level, 'upstream unreachable', { fault: kind, upstream: name, ...facts })
      return false
    }
  }

  const find = async (name: string): Promise<void> => {
    for (let failures = 0; !stop.signal.aborted; failures++) {
      const attempt = lookUpOnce(name, failures > 0)
      looking = attempt
      if (await attempt) break
      const pause = Math.min(RETRY.mostMS, RETRY.firstMS * 2 ** Math.min(failures, 10)) * (0.5 + random() / 2)
      let cancel = () => {}
      const paused = new Promise<void>(resolve => {
        cancel = after(pause, resolve)
      })
      await rejectOnAbort(stop.signal, paused).catch(() => cancel())
    }
    looking = undefined
  }

  standing = describeTopology(new Map(), memory, seeds, single)
  update()
  if (upstream.srv !== undefined) find(upstream.srv)
  return {
    freshView,
    awaitChange: (known, maxAwaitTimeMS, signal) => {
      const version = view && readTopologyVersion(view.hello)
      if (!view || !version || stop.signal.aborted) return freshView(signal)
      if (!held() && isNewTopologyVersion(version, known)) return Promise.resolve(view)
      return news(known, Math.min(maxAwaitTimeMS, LONGEST_MS), signal)
    },
    currentView: () => view,
    selectPrimary: () => {
      stop.signal.throwIfAborted()
      if (standing.primary === undefined || !office) throw away()
      const replicaSet = standing.type === 'set' ? memory.setName : template.replicaSet
      return { target: createTarget({ ...template, replicaSet }, standing.primary), term: office.term }
    },
    dataBearingMembers: () =>
      [...members].flatMap(([address, { cachedHello: current }]) => {
        const hello = current()
        if (hello?.arbiterOnly === true) return []
        return { target: createTarget(template, address), isReachable: hello !== undefined }
      }),
    close: () => {
      stop.abort(new Fault('proxy/shutdown'))
      refill?.()
      for (const one of [...waiting]) one.fail(stop.signal.reason)
      for (const member of members.values()) member.close(new Fault('proxy/shutdown'))
    },
  }
}

/**
 * A hello that is shown as nobody's primary. Where the member itself claims to be it, its version is that of a state in
 * which clients saw a primary, and must not tell them that they have seen this one.
 */
function unclaimed(hello: Document): Document {
  if ((hello.isWritablePrimary ?? hello.ismaster) !== true) return hello
  const { topologyVersion: _, ...rest } = hello
  return rest
}

/** Whether nobody who has seen the one waits for the other. */
function isShownAs(is: TopologyView, was: TopologyView): boolean {
  const [version, before] = [readTopologyVersion(is.hello), readTopologyVersion(was.hello)]
  if (!version || !before || is.isPrimary !== was.isPrimary) return false
  return version.processId.equals(before.processId) && version.counter.equals(before.counter)
}

/** Resolves when all have ended, or one of them has and `found` says that it suffices. */
function first(all: Promise<void>[], found: () => boolean): Promise<void> {
  return new Promise(resolve => {
    let left = all.length
    for (const one of all) one.then(() => (--left === 0 || found()) && resolve())
  })
}
