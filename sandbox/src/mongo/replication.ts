/**
 * The shared state of a replica set: configuration, term, primary, and the time of the last write.
 * https://github.com/mongodb/specifications/blob/master/source/server-discovery-and-monitoring/server-discovery-and-monitoring.md
 */
import { Binary, type Document, Int32, Long, ObjectId, serialize, Timestamp } from 'bson'
import type { LogicalSessions } from './logicalSessions.js'
import type { MemberState } from './memberState.js'

export type MemberConfig = {
  id: number
  /** The advertised `host:port` in lower case. */
  host: string
  /** 0: never primary, and listed in `passives`. */
  priority: number
  hidden: boolean
  tags: Record<string, string>
}

export type ReplicationOptions = {
  name: string
  sessions: LogicalSessions
  /** Clock in ms. */
  now: () => number
  /** The id of the set in its configuration. */
  id: ObjectId
  /** Resolves when a majority has the last write. Default: at once. */
  majority?: (() => Promise<void>) | undefined
  /** Called after every change of hello. */
  changed: () => void
}

/** An idle primary writes a no-op this often, in ms. `maxStalenessSeconds` relies on it. */
const IDLE_WRITE_MS = 10_000
const ELECTION_ID = 0x7fff_ffff

export class Replication {
  readonly name: string
  readonly sessions: LogicalSessions
  readonly id: ObjectId
  readonly #now: () => number
  readonly #majority: (() => Promise<void>) | undefined
  readonly #changed: () => void
  readonly #interrupts = new Set<() => void>()
  readonly #down = new Set<number>()
  members: readonly MemberConfig[] = []
  version = 0
  term = 0
  primary: number | undefined
  electedAt = 0
  #opTime: Timestamp
  #written: number
  #gossip: { document: Document; elements: Buffer } | undefined

  constructor({ name, sessions, now, id, majority, changed }: ReplicationOptions) {
    this.name = name
    this.sessions = sessions
    this.id = id
    this.#now = now
    this.#majority = majority
    this.#changed = changed
    this.#written = now()
    this.#opTime = new Timestamp({ t: Math.floor(this.#written / 1000), i: 1 })
  }

  /** Replaces the configuration, which must keep the primary. */
  configure(members: readonly MemberConfig[]): void {
    this.members = members
    this.version++
    this.tick()
    this.#changed()
  }

  elect(id: number): void {
    this.primary = id
    this.term++
    this.electedAt = this.#now()
    this.tick()
    this.#changed()
  }

  /** The primary becomes a secondary. Transactions are aborted, and writes that wait for a majority are interrupted. */
  stepDown(): void {
    this.primary = undefined
    this.sessions.discardAll()
    const interrupts = [...this.#interrupts]
    this.#interrupts.clear()
    this.#changed()
    for (const interrupt of interrupts) interrupt()
  }

  /** Whether the member runs. */
  isUp(id: number): boolean {
    return !this.#down.has(id)
  }

  setUp(id: number, up: boolean): void {
    if (up) this.#down.delete(id)
    else this.#down.add(id)
  }

  memberConfig(id: number): MemberConfig | undefined {
    return this.members.find(one => one.id === id)
  }

  state(id: number): MemberState {
    return !this.memberConfig(id) ? 'REMOVED' : this.primary === id ? 'PRIMARY' : 'SECONDARY'
  }

  /** Advances the time of the last write. */
  tick(): void {
    const t = Math.floor(this.#now() / 1000)
    const last = this.#opTime
    this.#written = this.#now()
    this.#opTime = t > last.t ? new Timestamp({ t, i: 1 }) : new Timestamp({ t: last.t, i: last.i + 1 })
    this.#gossip = undefined
  }

  get opTime(): { ts: Timestamp; t: Long } {
    return { ts: this.#opTime, t: Long.fromNumber(this.term) }
  }

  /** The time of the last write, in ms. */
  get written(): number {
    return this.#written
  }

  /** True if a majority has the last write; false if waiting for it was interrupted. */
  acknowledged(): boolean | Promise<boolean> {
    if (!this.#majority) return true
    return new Promise(resolve => {
      const interrupt = () => resolve(false)
      const reached = () => {
        this.#interrupts.delete(interrupt)
        resolve(true)
      }
      this.#interrupts.add(interrupt)
      this.#majority?.().then(reached, interrupt)
    })
  }

  /** `$clusterTime` and `operationTime`, as a document and as encoded elements. The signature is a dummy. */
  gossip(): { document: Document; elements: Buffer } {
    if (this.#gossip) return this.#gossip
    const signature = { hash: new Binary(Buffer.alloc(20)), keyId: Long.ZERO }
    const document = { $clusterTime: { clusterTime: this.#opTime, signature }, operationTime: this.#opTime }
    this.#gossip = { document, elements: Buffer.from(serialize(document)).subarray(4) }
    return this.#gossip
  }

  /** The fields of hello that a standalone does not have. */
  hello(id: number): Document {
    const own = this.memberConfig(id)
    if (!own) {
      return {
        isWritablePrimary: false,
        secondary: false,
        info: 'Does not have a valid replica set config',
        isreplicaset: true,
      }
    }
    if (this.primary !== undefined && this.#now() - this.#written >= IDLE_WRITE_MS) this.tick()
    const primary = this.primary === undefined ? undefined : this.memberConfig(this.primary)
    const passives = this.members.filter(({ hidden, priority }) => !hidden && priority === 0)
    const { opTime } = this
    const date = new Date(Math.floor(this.#written / 1000) * 1000)
    return {
      isWritablePrimary: primary === own,
      secondary: primary !== own,
      hosts: this.members.filter(({ hidden, priority }) => !hidden && priority > 0).map(({ host }) => host),
      ...(passives.length > 0 && { passives: passives.map(({ host }) => host) }),
      setName: this.name,
      setVersion: new Int32(this.version),
      ...(primary && { primary: primary.host }),
      me: own.host,
      ...(primary === own && { electionId: electionId(this.term) }),
      ...(own.priority === 0 && { passive: true }),
      ...(own.hidden && { hidden: true }),
      ...(Object.keys(own.tags).length > 0 && { tags: own.tags }),
      lastWrite: { opTime, lastWriteDate: date, majorityOpTime: opTime, majorityWriteDate: date },
    }
  }
}

/** An election id per term, in the order of the terms. */
function electionId(term: number): ObjectId {
  const bytes = Buffer.alloc(12)
  bytes.writeUInt32BE(ELECTION_ID, 0)
  bytes.writeBigUInt64BE(BigInt(term), 4)
  return new ObjectId(bytes)
}
