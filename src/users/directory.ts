/**
 * The directory: users that a DBA created in the `$external` database of the upstream. The proxy reads all of them every
 * few seconds, and looks up single ones by name in between.
 *
 *     read ──────── read ──────── read ✗ ─────── read ✗ ─────── read ✗        ▲ valid for three refreshes
 *       └ logins use the last read ───────────────────────────────┴ unreadable: new logins wait for the next good read
 *
 * A principal that the last read does not contain is looked up at once, in every spelling, so that a user can log in right
 * after its creation. Lookups are limited per source and in total, to spare the upstream. A login over the limit waits for
 * the next read, which answers as well.
 *
 * An unreadable directory says nothing about open connections: for them the last read stays valid.
 */
import type { Document } from 'bson'
import { createTokenBuckets, type TokenBuckets } from '../budget/buckets.js'
import { toSubnet } from '../budget/subnet.js'
import type { After } from '../clock.js'
import type { Identity } from '../identity/reply.js'
import type { Log } from '../log.js'
import { singleFlight } from '../upstream/singleFlight.js'
import {
  createUnreadableFault,
  type DirectoryMatch,
  type DirectoryUsers,
  isProblem,
  parseDirectoryUsers,
  toFault,
} from './directoryUsers.js'
import type { Match } from './match.js'
import { createExternalUsers, describeReadFailure, type ExternalUsers } from './systemUsers.js'

type Principal = Pick<Identity, 'canonical'>
type ChangeListener = (arns: ReadonlySet<string>) => void

export type DirectoryOptions = {
  /** Runs a command on the database admin and returns the reply, `ok: 0` or not. */
  runCommand(command: Document): Promise<Document>
  refreshMS: number
  after: After
  /** Milliseconds of a monotonic clock. */
  now(): number
  log: Log
  /** The partition whose principals can log in. By default every one. */
  partition?: string
  /** Called after a read with the number of users that do not do what their names suggest. */
  onInvalidCount?(count: number): void
  /** Called after a read that differs from the one before, which is undefined at first. */
  onEntries?(before: DirectoryUsers['entries'] | undefined, after: DirectoryUsers['entries']): void
}

/** A good read is valid for new logins for this many refreshes, if no other one follows. */
const VALID_REFRESHES = 3
/** Limits of lookups by name for one source (IPv6: one /64). */
const LOOKUP_BURST = 10
const LOOKUPS_PER_SECOND = 2
const MAX_SOURCES = 10_000
/** Concurrent lookups of all sources. They share the administrator's connections with reads and provisioning. */
const MAX_CONCURRENT_LOOKUPS = 2

export class Directory {
  readonly #options: DirectoryOptions
  readonly #externalUsers: ExternalUsers
  readonly #lookupLimits: TokenBuckets
  readonly #listeners = new Set<ChangeListener>()

  #lastRead: ReadonlyMap<string, DirectoryMatch> = new Map()
  /** When the last good read began. */
  #lastReadAt: number | undefined
  #lastReadText = ''
  #lastEntries: DirectoryUsers['entries'] | undefined
  #readCount = 0
  #firstRead: Promise<void> | undefined
  #waitingForRead: (() => void)[] = []
  /** Why the last read failed; empty after a good one. */
  #failure = 'it has not been read yet'
  #hasFailed = false
  #reportedWarnings: ReadonlySet<string> = new Set()

  /** Found by name since the last read; `readCount` counts the reads that had begun by then. */
  readonly #found = new Map<string, { match: DirectoryMatch; readCount: number }>()
  readonly #lookups = new Map<string, { run: () => Promise<DirectoryMatch | undefined>; waiting: number }>()

  #isClosed = false
  #cancelNextRead = (): void => {}

  constructor(options: DirectoryOptions) {
    const { runCommand, now } = options
    this.#options = options
    this.#externalUsers = createExternalUsers(runCommand)
    this.#lookupLimits = createTokenBuckets({
      perSecond: LOOKUPS_PER_SECOND,
      burst: LOOKUP_BURST,
      maxKeys: MAX_SOURCES,
      now,
    })
  }

  /** Starts to read regularly. Resolves after the first read, whether it succeeded or not. */
  start(): Promise<void> {
    this.#firstRead ??= this.#read()
    return this.#firstRead
  }

  /** Why the last read failed, and whether logins are refused for it. Undefined after a good read. */
  findProblem(): { why: string; isStale: boolean } | undefined {
    return !this.#hasFailed ? undefined : { why: this.#failure, isStale: !this.#isValid() }
  }

  close(): void {
    this.#isClosed = true
    this.#cancelNextRead()
    for (const wake of this.#waitingForRead) wake()
  }

  /** Calls `listener` with the canonical ARNs whose users have changed, until the returned function is called. */
  onChange(listener: ChangeListener): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  /**
   * The match for a login; undefined if no user is this principal. `source` is the address of the client.
   * Throws `users/unreadable` and `users/ambiguous`.
   */
  match(identity: Principal, source: string): Match | undefined | Promise<Match | undefined> {
    const match = this.#isValid() ? this.#findKnown(identity.canonical) : undefined
    return match ? unwrap(identity, match) : this.#matchByName(identity, source)
  }

  /** The match for an open connection, by the last good read however old it is. Throws like `match`. */
  matchLastRead(identity: Principal): Match | undefined {
    if (this.#lastReadAt === undefined) throw createUnreadableFault(this.#failure)
    return unwrap(identity, this.#findKnown(identity.canonical))
  }

  async #matchByName(identity: Principal, source: string): Promise<Match | undefined> {
    if (this.#readCount <= 1 && this.#lastReadAt === undefined) await this.#firstRead
    if (!this.#isValid()) throw createUnreadableFault(this.#failure || 'the last good read is too old')
    const match = this.#findKnown(identity.canonical)
    if (match) return unwrap(identity, match)
    if (this.#mayLookUp(identity, source)) return unwrap(identity, await this.#lookUp(identity))
    await this.#nextRead()
    if (this.#failure !== '') throw createUnreadableFault(this.#failure)
    return unwrap(identity, this.#findKnown(identity.canonical))
  }

  #isValid(): boolean {
    const { now, refreshMS } = this.#options
    return this.#lastReadAt !== undefined && now() - this.#lastReadAt <= VALID_REFRESHES * refreshMS
  }

  #findKnown(arn: string, read = this.#lastRead): DirectoryMatch | undefined {
    return this.#found.get(arn)?.match ?? read.get(arn)
  }

  #mayLookUp({ canonical }: Principal, source: string): boolean {
    const hasSlot = this.#lookups.size < MAX_CONCURRENT_LOOKUPS || this.#lookups.has(canonical)
    return hasSlot && this.#lookupLimits.acquireTokens(toSubnet(source), 1).tokens > 0
  }

  /** Logins of the same principal share a lookup, but only one that began after their call. */
  async #lookUp({ canonical }: Principal): Promise<DirectoryMatch | undefined> {
    const lookup = this.#lookups.get(canonical) ?? {
      run: singleFlight(() => this.#readPrincipal(canonical)),
      waiting: 0,
    }
    this.#lookups.set(canonical, lookup)
    lookup.waiting += 1
    try {
      return await lookup.run()
    } finally {
      lookup.waiting -= 1
      if (lookup.waiting === 0) this.#lookups.delete(canonical)
    }
  }

  async #readPrincipal(canonical: string): Promise<DirectoryMatch | undefined> {
    try {
      const documents = await this.#externalUsers.readPrincipal(canonical)
      const match = parseDirectoryUsers(documents).byPrincipal.get(canonical)
      if (match) this.#found.set(canonical, { match, readCount: this.#readCount })
      return match
    } catch (thrown) {
      throw createUnreadableFault(describeReadFailure(thrown), thrown)
    }
  }

  #nextRead(): Promise<void> {
    return new Promise(resolve => this.#waitingForRead.push(resolve))
  }

  async #read(): Promise<void> {
    const { now, after, refreshMS, log } = this.#options
    const began = now()
    const readNumber = ++this.#readCount
    const waiting = this.#waitingForRead
    this.#waitingForRead = []
    try {
      const documents = await this.#externalUsers.readAll()
      if (this.#isClosed) return
      this.#adopt(documents, readNumber)
      if (this.#hasFailed) log('info', 'directory restored')
      this.#hasFailed = false
      this.#lastReadAt = began
      this.#failure = ''
    } catch (thrown) {
      this.#recordFailure(describeReadFailure(thrown))
    } finally {
      for (const wake of waiting) wake()
      const delay = Math.max(0, began + refreshMS - now())
      if (!this.#isClosed) this.#cancelNextRead = after(delay, () => void this.#read())
    }
  }

  #recordFailure(why: string): void {
    if (why !== this.#failure && !this.#isClosed) this.#options.log('error', 'directory unreadable', { why })
    this.#failure = why
    this.#hasFailed = true
  }

  #adopt(documents: Document[], readNumber: number): void {
    // Nearly every read equals the one before, and there may be thousands of users: skip the parser then.
    const text = JSON.stringify(documents)
    if (text === this.#lastReadText && this.#found.size === 0) return
    const { partition, onInvalidCount, onEntries } = this.#options
    const { byPrincipal, entries, warnings, invalidCount } = parseDirectoryUsers(documents, { partition })
    this.#lastReadText = text
    this.#reportWarnings(warnings)
    onInvalidCount?.(invalidCount)
    onEntries?.(this.#lastEntries, entries)
    this.#lastEntries = entries
    const before = new Map(this.#lastRead)
    for (const [arn, { match }] of this.#found) before.set(arn, match)
    // A user that was found during this read may be newer than it.
    for (const [arn, { readCount }] of this.#found) if (readCount < readNumber) this.#found.delete(arn)
    const arns = [...before.keys(), ...byPrincipal.keys()]
    const changed = new Set(arns.filter(arn => !isSame(before.get(arn), this.#findKnown(arn, byPrincipal))))
    this.#lastRead = byPrincipal
    if (changed.size > 0) for (const listener of this.#listeners) listener(changed)
  }

  #reportWarnings(warnings: readonly string[]): void {
    for (const warning of warnings) {
      if (!this.#reportedWarnings.has(warning)) this.#options.log('warn', 'directory entry invalid', { warning })
    }
    this.#reportedWarnings = new Set(warnings)
  }
}

function unwrap({ canonical }: Principal, match: DirectoryMatch | undefined): Match | undefined {
  if (match && isProblem(match)) throw toFault(canonical, match)
  return match
}

function isSame(before: DirectoryMatch | undefined, after: DirectoryMatch | undefined): boolean {
  return JSON.stringify(before) === JSON.stringify(after)
}
