/**
 * A replica set in one process. Each member has its own port, process id and connections.
 *
 * Tests must not rely on these simplifications:
 *
 * - All members share one store of documents, users, roles and sessions. A write is on every member at once: there is no
 *   lag, no rollback and no stale read. Every read and write concern is satisfied at once, unless `majority` delays it.
 * - There is no vote. A primary is elected on request or some time after the last one is gone, even without a majority,
 *   and all members learn of it at once. A step-down ignores its time arguments.
 * - A transaction works on copies of the collections that it touches. A write outside of it never waits: the transaction
 *   fails with WriteConflict at its next statement or at commit. It cannot change indexes. Snapshot reads exist inside
 *   transactions only.
 * - Logical times increase and are sent, but those of clients are neither checked nor awaited. There is no oplog, and so
 *   there are no change streams. Only `add` and `remove` change the configuration.
 */
import { ObjectId } from 'bson'
import { LogicalSessions } from './logicalSessions.js'
import { type MemberConfig, Replication } from './replication.js'
import {
  type MongoOptions,
  type MongoServer,
  type RoleDefinition,
  startMongoServer,
  type UserDefinition,
} from './server.js'
import { Store } from './store.js'

export type ReplicaSetOptions = Omit<MongoOptions, 'host' | 'port' | 'replica'> & {
  /** The initial number of members. The first one is primary. */
  members?: number
  name?: string
  /** The address in hello, `host:port`, of the member on this port of 127.0.0.1. */
  advertise?: (port: number) => string
  /** The time without a primary, in ms. Undefined: until `elect`. */
  electionMS?: number
  /** Resolves when a majority has the last write. A write is answered then, or when it is interrupted. */
  majority?: () => Promise<void>
}

/** One member. The object stays the same after restarts and after its removal. */
export type ReplicaSetMember = Pick<MongoServer, 'connections' | 'accepted' | 'counted'> & {
  id: number
  /** On 127.0.0.1. */
  port: number
  /** As advertised. */
  host: string
  /** The number of connections accepted so far, including those before restarts. */
  acceptedCount(): number
}

export type MemberOptions = Partial<Pick<MemberConfig, 'priority' | 'hidden' | 'tags'>>

export type ReplicaSet = {
  name: string
  store: Store
  /** Contains all members, `replicaSet`, and the credentials of `root`, if there is one. */
  uri(): string
  /** The current members. */
  members(): readonly ReplicaSetMember[]
  primary(): ReplicaSetMember | undefined
  createUser(user: UserDefinition): void
  createRole(role: RoleDefinition): void
  /** The primary becomes a secondary. Its connections stay open. */
  stepDown(): void
  /** Makes a member primary, after a step-down of the current primary. Throws if the member is not electable. */
  elect(member: ReplicaSetMember): void
  /** Stops a member: closes its connections and its port. */
  kill(member: ReplicaSetMember): Promise<void>
  /** Starts it again on the same port, with a new process id. */
  start(member: ReplicaSetMember): Promise<void>
  add(member?: MemberOptions): Promise<ReplicaSetMember>
  /** Removes a member from the set. It continues to run. Throws for the primary. */
  remove(member: ReplicaSetMember): void
  close(): Promise<void>
}

/** `acceptedEarlier`: the connections accepted before the last restart. */
type Slot = { member: ReplicaSetMember; server: MongoServer; acceptedEarlier: number }

/** Rejects if a port is not available. */
export async function startReplicaSet(options: ReplicaSetOptions): Promise<ReplicaSet> {
  const { members = 3 } = options
  const set = new InProcessReplicaSet(options)
  await set.initiate(members)
  return set
}

class InProcessReplicaSet implements ReplicaSet {
  readonly name: string
  readonly store: Store
  readonly #options: ReplicaSetOptions
  readonly #slots = new Map<number, Slot>()
  readonly #replication: Replication
  #electionTimer: NodeJS.Timeout | undefined
  #lastPrimary = -1

  constructor(options: ReplicaSetOptions) {
    const { name = 'rs0', majority, now, random } = options
    this.name = name
    this.store = options.store ?? new Store(random)
    this.#options = options
    const sessions = new LogicalSessions(this.store, random, now)
    const changed = () => this.#onChange()
    this.#replication = new Replication({ name, sessions, now, id: new ObjectId(random(12)), majority, changed })
  }

  async initiate(members: number): Promise<void> {
    for (let id = 0; id < members; id++) await this.#launch(id)
    this.#replication.configure([...this.#slots.values()].map(({ member }) => toConfig(member)))
    this.#elect(0)
  }

  uri(): string {
    const { root, tls } = this.#options
    const login = root ? `${encodeURIComponent(root.name)}:${encodeURIComponent(root.password)}@` : ''
    const hosts = this.members().map(({ host }) => host)
    const query = [`replicaSet=${this.name}`, ...(root ? ['authSource=admin'] : []), ...(tls ? ['tls=true'] : [])]
    return `mongodb://${login}${hosts.join(',')}/?${query.join('&')}`
  }

  members(): readonly ReplicaSetMember[] {
    return this.#replication.members.map(({ id }) => (this.#slots.get(id) as Slot).member)
  }

  primary(): ReplicaSetMember | undefined {
    const { primary } = this.#replication
    return primary === undefined ? undefined : this.#slots.get(primary)?.member
  }

  createUser(user: UserDefinition): void {
    this.#slots.get(0)?.server.createUser(user)
  }

  createRole(role: RoleDefinition): void {
    this.#slots.get(0)?.server.createRole(role)
  }

  stepDown(): void {
    this.#replication.stepDown()
  }

  elect(member: ReplicaSetMember): void {
    const { id } = this.#slotOf(member).member
    if (!this.#replication.isUp(id) || !this.#replication.memberConfig(id)?.priority) {
      throw new Error(`${member.host} cannot be primary`)
    }
    if (this.#replication.primary !== undefined) this.#replication.stepDown()
    this.#elect(id)
  }

  async kill(member: ReplicaSetMember): Promise<void> {
    const slot = this.#slotOf(member)
    if (!this.#replication.isUp(member.id)) return
    this.#replication.setUp(member.id, false)
    if (this.#replication.primary === member.id) this.#replication.stepDown()
    await slot.server.close()
  }

  async start(member: ReplicaSetMember): Promise<void> {
    const slot = this.#slotOf(member)
    if (this.#replication.isUp(member.id)) return
    slot.acceptedEarlier += slot.server.acceptedCount()
    await this.#launch(member.id, member.port)
    this.#replication.setUp(member.id, true)
    if (this.#replication.primary === undefined) this.#onChange()
  }

  async add(options?: MemberOptions): Promise<ReplicaSetMember> {
    const { member } = await this.#launch(this.#slots.size)
    this.#replication.configure([...this.#replication.members, toConfig(member, options)])
    return member
  }

  remove(member: ReplicaSetMember): void {
    this.#slotOf(member)
    if (this.#replication.primary === member.id) throw new Error('the primary must step down before it is removed')
    this.#replication.configure(this.#replication.members.filter(({ id }) => id !== member.id))
  }

  async close(): Promise<void> {
    clearTimeout(this.#electionTimer)
    await Promise.all([...this.#slots.values()].map(({ server }) => server.close()))
  }

  /** Answers awaited hellos, and schedules an election if there is no primary. */
  #onChange(): void {
    for (const { server } of this.#slots.values()) server.announceChange()
    clearTimeout(this.#electionTimer)
    const { electionMS } = this.#options
    if (this.#replication.primary !== undefined || electionMS === undefined || this.#replication.term === 0) return
    this.#electionTimer = setTimeout(() => {
      const next = this.#chooseCandidate()
      if (next !== undefined) this.#elect(next)
    }, electionMS)
    this.#electionTimer.unref()
  }

  /** Prefers members other than the last primary, then the highest priority, then the next id. */
  #chooseCandidate(): number | undefined {
    const last = this.#lastPrimary
    const electable = this.#replication.members.filter(({ id, priority }) => priority > 0 && this.#replication.isUp(id))
    const others = electable.filter(({ id }) => id !== last)
    const highest = Math.max(...others.map(({ priority }) => priority))
    const preferred = others.filter(({ priority }) => priority === highest)
    return (preferred.find(({ id }) => id > last) ?? preferred[0] ?? electable[0])?.id
  }

  #elect(id: number): void {
    this.#lastPrimary = id
    this.#replication.elect(id)
  }

  async #launch(id: number, port = 0): Promise<Slot> {
    const { members: _, name: __, advertise: ___, electionMS: ____, majority: _____, ...shared } = this.#options
    const server = await startMongoServer({
      ...shared,
      store: this.store,
      port,
      replica: { set: this.#replication, id },
    })
    const slot = this.#slots.get(id) ?? { server, acceptedEarlier: 0, member: this.#createMember(id, server.port) }
    slot.server = server
    this.#slots.set(id, slot)
    return slot
  }

  #createMember(id: number, port: number): ReplicaSetMember {
    const { advertise = port => `127.0.0.1:${port}` } = this.#options
    const slot = () => this.#slots.get(id) as Slot
    return {
      id,
      port,
      host: advertise(port).toLowerCase(),
      connections: () => slot().server.connections(),
      accepted: () => slot().server.accepted(),
      acceptedCount: () => slot().acceptedEarlier + slot().server.acceptedCount(),
      counted: command => slot().server.counted(command),
    }
  }

  #slotOf({ id, port }: ReplicaSetMember): Slot {
    const slot = this.#slots.get(id)
    if (!slot || slot.member.port !== port) throw new Error(`member ${id} belongs to another replica set`)
    return slot
  }
}

function toConfig({ id, host }: ReplicaSetMember, options: MemberOptions = {}): MemberConfig {
  const { priority = 1, hidden = false, tags = {} } = options
  return { id, host, priority, hidden, tags }
}
