/**
 * The `$external` directory: the users that a DBA made in the upstream, read every few seconds and asked by name between.
 *
 *     read ──────── read ──────── read ✗ ─────── read ✗ ─────── read ✗        ▲ good for three refreshes
 *       └ known: the reading ─────────────────────────────────────┴ unreadable: new logins wait for the next good one
 *
 * A principal that the last reading has not is asked for at once, in every spelling, so that a user just made can log in.
 * Whoever asks so often that it would burden the upstream, or while as many are asking as may, waits for the next reading
 * instead, which answers as well: the questions of a crowd of strangers hold up no reading.
 *
 * An unreadable directory says nothing about live connections: what was last read goes on to hold for them.
 */
import type { Document } from 'bson'
import { createTokenBuckets } from '../budget/buckets.js'
import { toSubnet } from '../budget/subnet.js'
import type { After } from '../clock.js'
import { Fault } from '../errors.js'
import type { Identity } from '../identity/reply.js'
import type { Log } from '../log.js'
import { singleFlight } from '../upstream/singleFlight.js'
import { createUnreadableFault, type DirectoryMatch, parseDirectoryUsers } from './directoryUsers.js'
import type { Match } from './match.js'
import { createExternalUsers, describeReadFailure } from './systemUsers.js'

export type Directory = {
  /**
   * The match of a login; undefined for a stranger. `source` is the address of the client.
   * Throws `users/unreadable` and `users/ambiguous`.
   */
  match(identity: Principal, source: string): Match | undefined | Promise<Match | undefined>
  /** The same for a live connection, by what was last read, however long ago. Throws the same. */
  matchLastRead(identity: Principal): Match | undefined
  /** Calls with the canonical ARNs of those whose entries are not what they were, until the returned function is called. */
  onChange(listener: (arns: ReadonlySet<string>) => void): () => void
  /** Begins to read; resolves after the first reading, good or not. */
  start(): Promise<void>
  close(): void
}
type Principal = Pick<Identity, 'canonical'>

export type DirectoryOptions = {
  /** Runs a command on the database admin: gives the reply, `ok: 0` or not. */
  runCommand(command: Document): Promise<Document>
  refreshMS: number
  after: After
  /** Milliseconds, of a clock that only goes forward. */
  now(): number
  log: Log
}

/** For so many refreshes a good reading counts for new logins, if none follows it. */
const GOOD_FOR = 3
/** Questions by name of one source (of IPv6, one /64): at once, and a second from then on. */
const BURST = 10
const PER_SECOND = 2
const SOURCES = 10_000
/** Of all sources together, at a time; the connections of the administrator are for others, too. */
const AT_ONCE = 2

export function createDirectory({ runCommand: ask, refreshMS, after, now, log }: DirectoryOptions): Directory {
  const may = createTokenBuckets({ perSecond: PER_SECOND, burst: BURST, maxKeys: SOURCES, now })
  const external = createExternalUsers(ask)
  const listeners = new Set<(arns: ReadonlySet<string>) => void>()
  /** What the last good reading said, and when it began. */
  let known: ReadonlyMap<string, DirectoryMatch> = new Map()
  let readAt: number | undefined
  /** Found by name since, with the number of the reading that was the last to begin before. */
  const found = new Map<string, { known: DirectoryMatch; after: number }>()
  const asking = new Map<string, { run: () => Promise<DirectoryMatch | undefined>; waiting: number }>()
  let readings = 0
  let first: Promise<void> | undefined
  let next: (() => void)[] = []
  let why = 'it was not read yet'
  let failing = false
  let said = new Set<string>()
  let taken = ''
  let closed = false
  let cancel = (): void => {}

  const take = (documents: Document[], number: number): void => {
    // Nearly all readings are the same as the one before, and there may be thousands of users in them.
    const text = JSON.stringify(documents)
    if (text === taken && found.size === 0) return
    const { byPrincipal: read, warnings: complaints } = parseDirectoryUsers(documents)
    taken = text
    for (const text of complaints)
      if (!said.has(text)) log('warn', 'directory entry invalid', { warning: `directory: ${text}` })
    said = new Set(complaints)
    const before = new Map([...known, ...[...found].map(([arn, one]) => [arn, one.known] as const)])
    // What was found while the reading was underway may be newer than it.
    for (const [arn, { after }] of found) if (after < number) found.delete(arn)
    const changed = new Set(
      [...before.keys(), ...read.keys()].filter(arn => isOther(before.get(arn), lookUp(arn, read))),
    )
    known = read
    if (changed.size > 0) for (const listener of listeners) listener(changed)
  }
  const lookUp = (arn: string, read = known): DirectoryMatch | undefined => found.get(arn)?.known ?? read.get(arn)

  const read = async (): Promise<void> => {
    const began = now()
    const number = ++readings
    const waiting = next
    next = []
    try {
      const documents = await external.readAll()
      if (closed) return
      take(documents, number)
      if (failing) log('info', 'directory restored', {})
      failing = false
      readAt = began
      why = ''
    } catch (thrown) {
      const is = describeReadFailure(thrown)
      if (is !== why && !closed)
        log('error', 'directory unreadable', { warning: `directory: it cannot be read: ${is}` })
      why = is
      failing = true
    } finally {
      for (const wake of waiting) wake()
      if (!closed) cancel = after(Math.max(0, began + refreshMS - now()), () => void read())
    }
  }

  const isGood = (): boolean => readAt !== undefined && now() - readAt <= GOOD_FOR * refreshMS
  const given = (one: DirectoryMatch | undefined): Match | undefined => {
    // A fault is thrown anew, so that no two logins share one.
    if (one instanceof Fault) throw new Fault(one.kind, one.detail, one.facts)
    return one
  }

  const byName = async (canonical: string): Promise<DirectoryMatch | undefined> => {
    try {
      const one = parseDirectoryUsers(await external.readPrincipal(canonical)).byPrincipal.get(canonical)
      if (one) found.set(canonical, { known: one, after: readings })
      return one
    } catch (thrown) {
      throw createUnreadableFault(describeReadFailure(thrown), {}, thrown)
    }
  }
  /** Asks by name; those who ask about the same principal share an answer that is younger than their question. */
  const askFor = async ({ canonical }: Principal): Promise<DirectoryMatch | undefined> => {
    const one = asking.get(canonical) ?? { run: singleFlight(() => byName(canonical)), waiting: 0 }
    asking.set(canonical, one)
    one.waiting += 1
    try {
      return await one.run()
    } finally {
      one.waiting -= 1
      if (one.waiting === 0) asking.delete(canonical)
    }
  }
  const nextReading = (): Promise<void> => new Promise(resolve => next.push(resolve))

  const decide = async (identity: Principal, source: string): Promise<Match | undefined> => {
    if (readings <= 1 && readAt === undefined) await first
    if (!isGood()) throw createUnreadableFault(why || 'it was last read too long ago')
    const one = lookUp(identity.canonical)
    if (one) return given(one)
    const free = asking.size < AT_ONCE || asking.has(identity.canonical)
    if (free && may.acquireTokens(toSubnet(source), 1).tokens > 0) return given(await askFor(identity))
    await nextReading()
    if (why !== '') throw createUnreadableFault(why)
    return given(lookUp(identity.canonical))
  }

  return {
    match(identity, source) {
      const one = isGood() ? lookUp(identity.canonical) : undefined
      return one ? given(one) : decide(identity, source)
    },
    matchLastRead({ canonical }) {
      if (readAt === undefined) throw createUnreadableFault(why)
      return given(lookUp(canonical))
    },
    onChange(listener) {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
    start() {
      first ??= read()
      return first
    },
    close() {
      closed = true
      cancel()
      for (const wake of next) wake()
    },
  }
}

/** Whether something about an entry changed. */
function isOther(before: DirectoryMatch | undefined, after: DirectoryMatch | undefined): boolean {
  const text = (one: DirectoryMatch | undefined) => JSON.stringify(one instanceof Fault ? [one.kind, one.facts] : one)
  return text(before) !== text(after)
}
