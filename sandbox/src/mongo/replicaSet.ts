/**
 * A replica set in one process: each member on a port of its own, with its own process id and connections. It is
 * long because all that can happen to a member is here, and what a test must not conclude:
 *
 * - Documents, users, roles and logical sessions are held once. A write is on every member at once: there is no lag and
 *   no rollback, and a secondary never reads anything old. Any read or write concern is met at once; `majority` lets a
 *   test hold that back.
 * - Nobody votes. A primary is elected when told, or some time after the last one went, however few members run, and
 *   all members know of it at once. A step-down ignores its times, and waits for nobody.
 * - A transaction has copies of what it touched, collection by collection, with its own writes in them. Nobody waits
 *   for a transaction: who writes outside of one wins, and it ends with WriteConflict at its next statement or at
 *   commit. It changes documents of existing or new collections, and no indexes. Snapshot reads are had inside only.
 * - Logical times grow and are told, and what clients send of them is neither checked nor waited for. There is no
 *   oplog, and so there are no change streams. Configuration changes by `add` and `remove` only.
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
  /** How many it begins with; the first is primary. */
  members?: number
  name?: string
  /** What a member calls itself in hello, `host:port`, from its port on 127.0.0.1. */
  advertise?: (port: number) => string
  /** How long the set is without a primary, in ms. Not given: until `elect`. */
  electionMS?: number
  /** Resolves when a majority has what was just written. A write is answered after that, or when interrupted. */
  majority?: () => Promise<void>
}

/** One member. It stays the same through restarts, and when the set has removed it. */
export type ReplicaSetMember = Pick<MongoServer, 'connections' | 'accepted' | 'counted'> & {
  id: number
  /** On 127.0.0.1. */
  port: number
  /** As advertised. */
  host: string
  /** How many connections were ever accepted, restarts included. */
  acceptedCount(): number
}

export type MemberOptions = Partial<Pick<MemberConfig, 'priority' | 'hidden' | 'tags'>>

export type ReplicaSet = {
  name: string
  store: Store
  /** With all members, `replicaSet`, and the name and password of `root`, if there is one. */
  uri(): string
  /** Those that the set has now. */
  members(): readonly ReplicaSetMember[]
  primary(): ReplicaSetMember | undefined
  createUser(user: UserDefinition): void
  createRole(role: RoleDefinition): void
  /** The primary becomes a secondary. Its connections stay open. */
  stepDown(): void
  /** Makes a member primary, after a step-down if there is another one. Throws for a member that cannot be. */
  elect(member: ReplicaSetMember): void
  /** Ends a member's process: its connections are closed, and nobody listens there any more. */
  kill(member: ReplicaSetMember): Promise<void>
  /** Starts it again, on its port and as another process. */
  start(member: ReplicaSetMember): Promise<void>
  add(member?: MemberOptions): Promise<ReplicaSetMember>
  /** Takes a member out of the set; it goes on running. Throws for the primary. */
  remove(member: ReplicaSetMember): void
  close(): Promise<void>
}

/** `dialled` counts what earlier processes of the member accepted. */
type Slot = { member: ReplicaSetMember; server: MongoServer; dialled: number }

/** Starts a set. Rejects where a port cannot be listened on. */
export async function startReplicaSet(options: ReplicaSetOptions): Promise<ReplicaSet> {
  const {
    members = 3,
    name = 'rs0',
    advertise = port => `127.0.0.1:${port}`,
    electionMS,
    majority,
    ...shared
  } = options
  const { now, random, root, tls } = shared
  const store = options.store ?? new Store(random)
  const slots = new Map<number, Slot>()
  const sessions = new LogicalSessions(store, random, now)
  const replication = new Replication({ name, sessions, now, id: new ObjectId(random(12)), majority, changed })
  let timer: NodeJS.Timeout | undefined
  let last = -1

  function changed(): void {
    for (const { server } of slots.values()) server.announceChange()
    clearTimeout(timer)
    if (replication.primary !== undefined || electionMS === undefined || replication.term === 0) return
    timer = setTimeout(() => {
      const next = candidate()
      if (next !== undefined) electId(next)
    }, electionMS)
    timer.unref()
  }

  /** Rather not the last primary; of the others those of the highest priority, in turn. */
  function candidate(): number | undefined {
    const able = replication.places.filter(({ id, priority }) => priority > 0 && replication.isUp(id))
    const others = able.filter(({ id }) => id !== last)
    const highest = Math.max(...others.map(({ priority }) => priority))
    const first = others.filter(({ priority }) => priority === highest)
    return (first.find(({ id }) => id > last) ?? first[0] ?? able[0])?.id
  }

  function electId(id: number): void {
    last = id
    replication.elect(id)
  }

  async function launch(id: number, port = 0): Promise<Slot> {
    const server = await startMongoServer({ ...shared, store, port, replica: { set: replication, id } })
    const slot = slots.get(id) ?? { server, dialled: 0, member: handle(id, server.port) }
    slot.server = server
    slots.set(id, slot)
    return slot
  }

  function handle(id: number, port: number): ReplicaSetMember {
    const slot = () => slots.get(id) as Slot
    return {
      id,
      port,
      host: advertise(port).toLowerCase(),
      connections: () => slot().server.connections(),
      accepted: () => slot().server.accepted(),
      acceptedCount: () => slot().dialled + slot().server.acceptedCount(),
      counted: command => slot().server.counted(command),
    }
  }

  const place = (
    { id, host }: ReplicaSetMember,
    { priority = 1, hidden = false, tags = {} }: MemberOptions = {},
  ): MemberConfig => {
    return { id, host, priority, hidden, tags }
  }

  async function add(more?: MemberOptions): Promise<ReplicaSetMember> {
    const { member } = await launch(slots.size)
    replication.configure([...replication.places, place(member, more)])
    return member
  }

  const slotOf = ({ id, port }: ReplicaSetMember): Slot => {
    const slot = slots.get(id)
    if (!slot || slot.member.port !== port) throw new Error(`member ${id} is of another set`)
    return slot
  }
  const membersNow = () => replication.places.map(({ id }) => (slots.get(id) as Slot).member)

  for (let id = 0; id < members; id++) await launch(id)
  replication.configure([...slots.values()].map(({ member }) => place(member)))
  electId(0)

  return {
    name,
    store,
    uri: () => {
      const login = root ? `${encodeURIComponent(root.name)}:${encodeURIComponent(root.password)}@` : ''
      const hosts = membersNow().map(({ host }) => host)
      const query = [`replicaSet=${name}`, ...(root ? ['authSource=admin'] : []), ...(tls ? ['tls=true'] : [])]
      return `mongodb://${login}${hosts.join(',')}/?${query.join('&')}`
    },
    members: membersNow,
    primary: () => (replication.primary === undefined ? undefined : slots.get(replication.primary)?.member),
    createUser: user => slots.get(0)?.server.createUser(user),
    createRole: role => slots.get(0)?.server.createRole(role),
    stepDown: () => replication.stepDown(),
    elect: member => {
      const { id } = slotOf(member).member
      if (!replication.isUp(id) || !replication.place(id)?.priority) throw new Error(`${member.host} cannot be primary`)
      if (replication.primary !== undefined) replication.stepDown()
      electId(id)
    },
    kill: async member => {
      const slot = slotOf(member)
      if (!replication.isUp(member.id)) return
      replication.setUp(member.id, false)
      if (replication.primary === member.id) replication.stepDown()
      await slot.server.close()
    },
    start: async member => {
      const slot = slotOf(member)
      if (replication.isUp(member.id)) return
      slot.dialled += slot.server.acceptedCount()
      await launch(member.id, member.port)
      replication.setUp(member.id, true)
      if (replication.primary === undefined) changed()
    },
    add,
    remove: member => {
      slotOf(member)
      if (replication.primary === member.id) throw new Error('the primary steps down before it is removed')
      replication.configure(replication.places.filter(({ id }) => id !== member.id))
    },
    close: async () => {
      clearTimeout(timer)
      await Promise.all([...slots.values()].map(({ server }) => server.close()))
    },
  }
}
