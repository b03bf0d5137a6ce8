import { randomBytes } from 'node:crypto'
import type { Document } from 'bson'
import { MongoClient, type MongoClientOptions, type ServerDescriptionChangedEvent } from 'mongodb'
import t, { type Test } from 'tap'
import { connectRaw, errorCodeOf, root } from '../../../test/support/mongo.js'
import { logInWithScram } from '../../../test/support/scram.js'
import { type ReplicaSetMember, type ReplicaSetOptions, startReplicaSet } from '../../src/mongo/replicaSet.js'
import { EXHAUST_ALLOWED } from '../../src/wire/message.js'

/** Starts a set and a client that knows one member. The client polls rarely, so it learns changes from streams. */
async function startSet(t: Test, options: Partial<ReplicaSetOptions> = {}) {
  const set = await startReplicaSet({ now: Date.now, random: randomBytes, root, ...options })
  t.teardown(() => set.close())
  const [first] = set.members() as [ReplicaSetMember]
  const dial = (more: MongoClientOptions = {}) => {
    const user = `${encodeURIComponent(root.name)}:${encodeURIComponent(root.password)}`
    const quiet = { replicaSet: 'rs0', serverSelectionTimeoutMS: 20_000, heartbeatFrequencyMS: 60_000 }
    const client = new MongoClient(`mongodb://${user}@${first.host}/?authSource=admin`, { ...quiet, ...more })
    t.teardown(() => client.close())
    return client
  }
  /** An authenticated raw connection to a member. */
  const alone = async (member: ReplicaSetMember) => {
    const socket = await connectRaw(t, member.port)
    await logInWithScram(socket.ask, root.name, root.password)
    return socket
  }
  return { set, dial, alone, client: dial() }
}

/** Resolves when the client has this description of the member. */
function sees(client: MongoClient, { host }: { host: string }, type: string): Promise<void> {
  return new Promise(resolve => {
    const look = ({ address, newDescription }: ServerDescriptionChangedEvent) => {
      if (address !== host || newDescription.type !== type) return
      client.off('serverDescriptionChanged', look)
      resolve()
    }
    client.on('serverDescriptionChanged', look)
  })
}

/**
 * Resolves when the client streams from this many members. Before that, the driver treats the topologyVersion of a failed
 * write as known to its monitor, and may wait a whole heartbeat for the next change.
 */
function streams(client: MongoClient, members: number): Promise<void> {
  const streaming = new Set<string>()
  return new Promise(resolve => {
    client.on('serverHeartbeatStarted', ({ connectionId, awaited }) => {
      if (awaited && streaming.add(connectionId).size === members) resolve()
    })
  })
}

const others = (set: { members(): readonly ReplicaSetMember[]; primary(): ReplicaSetMember | undefined }) =>
  set.members().filter(member => member !== set.primary())

t.test('a driver that knows one member finds the others', async t => {
  const { set, client } = await startSet(t)
  const [first, second, third] = set.members() as [ReplicaSetMember, ReplicaSetMember, ReplicaSetMember]
  const found = Promise.all([
    sees(client, first, 'RSPrimary'),
    sees(client, second, 'RSSecondary'),
    sees(client, third, 'RSSecondary'),
  ])
  t.match(await client.db('app').collection('c').insertOne({ a: 1 }), { acknowledged: true })
  await found
  t.same(
    set.members().map(member => member.counted('insert')),
    [1, 0, 0],
  )
  for (const member of set.members()) {
    t.ok(member.acceptedCount() > 0 && member.accepted().length === member.acceptedCount(), member.host)
  }
  t.match(first.accepted()[0]?.metadata, { driver: { name: 'nodejs' } })
})

t.test('hello describes a member', async t => {
  let now = 1_000_000
  const { set } = await startSet(t, { now: () => now, advertise: port => `Member.Example:${port}` })
  const [first, second, third] = set.members() as [ReplicaSetMember, ReplicaSetMember, ReplicaSetMember]
  const hosts = set.members().map(({ port }) => `member.example:${port}`)
  const { ask } = await connectRaw(t, first.port)
  const one = await ask({ hello: 1, $db: 'admin' })
  t.match(one, {
    isWritablePrimary: true,
    secondary: false,
    setName: 'rs0',
    setVersion: { value: 1 },
    me: hosts[0],
    primary: hosts[0],
    lastWrite: { lastWriteDate: new Date(1_000_000) },
  })
  t.same(one.hosts, hosts)
  t.same(one.operationTime, one.lastWrite.opTime.ts)
  t.same(one.$clusterTime.clusterTime, one.operationTime)
  const two = await (await connectRaw(t, second.port)).ask({ isMaster: 1, $db: 'admin' })
  t.match(two, { ismaster: false, secondary: true, me: hosts[1], primary: hosts[0], electionId: undefined })
  t.notOk('isWritablePrimary' in two)
  t.notOk(two.topologyVersion.processId.equals(one.topologyVersion.processId))

  now += 60_000
  t.ok((await ask({ hello: 1, $db: 'admin' })).operationTime.greaterThan(one.operationTime), 'also without writes')
  set.stepDown()
  const none = await ask({ hello: 1, $db: 'admin' })
  t.match(none, { isWritablePrimary: false, secondary: true, primary: undefined, electionId: undefined, me: hosts[0] })
  t.ok(none.topologyVersion.counter.greaterThan(one.topologyVersion.counter))
  set.elect(third)
  set.elect(first)
  const again = await ask({ hello: 1, $db: 'admin' })
  t.equal(Buffer.compare(again.electionId.id, one.electionId.id), 1, 'a later election has a higher id')
  t.equal(again.lastWrite.opTime.t.toNumber(), 3)
})

t.test('a client finds the set by its advertised addresses', async t => {
  const { set, dial } = await startSet(t, { advertise: port => `localhost:${port}`, name: 'other', members: 1 })
  const client = dial({ serverSelectionTimeoutMS: 100 })
  t.equal(await client.connect().catch(thrown => thrown.name), 'MongoServerSelectionError', 'another set name')
  const right = new MongoClient(set.uri().replace('localhost', '127.0.0.1'), { serverSelectionTimeoutMS: 20_000 })
  t.teardown(() => right.close())
  t.match(await right.db('app').command({ hello: 1 }), { me: set.primary()?.host, setName: 'other' })
})

t.test('a secondary rejects writes, and accepts reads if the client permits it', async t => {
  const { set, alone } = await startSet(t)
  const [secondary] = others(set) as [ReplicaSetMember]
  const { ask } = await alone(secondary)
  const { topologyVersion } = await ask({ hello: 1, $db: 'admin' })
  const writes = [
    { insert: 'c', documents: [{}] },
    { update: 'c', updates: [{ q: {}, u: {} }] },
    { createUser: 'u', pwd: 'x', roles: [] },
    { dropDatabase: 1 },
    { unheardOf: 1 },
  ]
  for (const write of writes.slice(0, 4)) {
    const notPrimary = {
      code: { value: 10107 },
      codeName: 'NotWritablePrimary',
      topologyVersion,
      errorLabels: undefined,
    }
    t.match(await ask({ ...write, $readPreference: { mode: 'secondary' }, $db: 'app' }), notPrimary)
  }
  t.match(await ask({ find: 'c', $db: 'app' }), { code: { value: 13435 }, topologyVersion })
  t.match(await ask({ find: 'c', $readPreference: { mode: 'primary' }, $db: 'app' }), { code: { value: 13435 } })
  for (const mode of ['secondary', 'secondaryPreferred', 'nearest', 'primaryPreferred']) {
    t.match(await ask({ find: 'c', $readPreference: { mode }, $db: 'app' }), { ok: { value: 1 } })
  }
  t.match(await ask({ ping: 1, $db: 'app' }), { ok: { value: 1 } })
})

t.test('read preferences and tags select members', async t => {
  const { set, client } = await startSet(t)
  const tagged = await set.add({ tags: { use: 'reports' }, priority: 0 })
  const c = client.db('app').collection<Document>('c')
  await c.insertOne({ a: 1 })
  t.match(await c.findOne({}, { readPreference: 'secondary' }), { a: 1 }, 'a write is on every member')
  t.equal(set.primary()?.counted('find'), 0)
  await c.findOne({}, { readPreference: { mode: 'secondary', tags: [{ use: 'reports' }] } as never })
  t.ok(tagged.counted('find') >= 1)
  await c.findOne()
  t.equal(set.primary()?.counted('find'), 1)
})

t.test('a streaming client is informed of a step-down and an election at once', async t => {
  const { set, client } = await startSet(t)
  const ready = streams(client, 3)
  await client.db('app').command({ ping: 1 })
  await ready
  const [first, second] = set.members() as [ReplicaSetMember, ReplicaSetMember]
  const left = sees(client, first, 'RSSecondary')
  set.stepDown()
  await left
  const elected = sees(client, second, 'RSPrimary')
  set.elect(second)
  await elected
  const stream = await connectRaw(t, first.port)
  const { topologyVersion } = await stream.ask({ hello: 1, $db: 'admin' })
  const hello = { hello: 1, topologyVersion, maxAwaitTimeMS: 600_000, $db: 'admin' }
  stream.send(hello, EXHAUST_ALLOWED)
  // Once another connection gets a reply, the request for the stream has been read.
  await (await connectRaw(t, first.port)).ask({ ping: 1, $db: 'admin' })
  set.stepDown()
  const gone = await stream.next()
  t.match(gone, { moreToCome: true, document: { isWritablePrimary: false, primary: undefined } })
  set.elect(first)
  t.match(await stream.next(), { moreToCome: true, document: { isWritablePrimary: true, primary: first.host } })
})

t.test('a step-down closes no connection', async t => {
  const { set, alone, client } = await startSet(t)
  const [first, second] = set.members() as [ReplicaSetMember, ReplicaSetMember]
  const { ask } = await alone(first)
  let cleared = 0
  client.on('connectionPoolCleared', () => cleared++)
  await client.db('app').collection('c').insertOne({})
  t.match(await ask({ replSetStepDown: 60, $db: 'admin' }), { ok: { value: 1 } })
  const write = { insert: 'c', documents: [{}], $db: 'app' }
  t.match(await ask(write), { code: { value: 10107 } })
  t.match(await ask({ replSetStepDown: 60, $db: 'admin' }), { code: { value: 10107 } })
  t.equal(set.primary(), undefined)
  set.elect(second)
  t.match(await ask({ find: 'c', $readPreference: { mode: 'nearest' }, $db: 'app' }), { ok: { value: 1 } })
  set.elect(first)
  t.match(await ask(write), { n: { value: 1 } }, 'the same socket')
  await client.db('app').collection('c').insertOne({})
  t.equal(cleared, 0)
})

t.test('writes go on while the primary steps down ten times: none is lost, none is done twice', async t => {
  const { set, client } = await startSet(t, {
    electionMS: 10,
    majority: () => new Promise(resolve => setImmediate(resolve)),
  })
  const c = client.db('app').collection<Document>('c')
  const ready = streams(client, 3)
  await c.insertOne({ _id: 'counter' as never, n: 0 })
  await ready
  const acknowledged: number[] = []
  let increments = 0
  let id = 0
  const write: (() => Promise<void>)[] = [
    async () => {
      await c.updateOne({ _id: 'counter' as never }, { $inc: { n: 1 } })
      increments++
    },
    async () => {
      const _id = id++
      await c.insertOne({ _id: _id as never })
      acknowledged.push(_id)
    },
  ]
  let rounds = 0
  /** Writes that remain before the next step-down. A driver retries a write only once. */
  let due: number[] = []
  let settle = () => {}
  const writers = [...write, ...write].map(async (one, at) => {
    while (rounds < 10) {
      await one()
      due[at] = (due[at] ?? 0) - 1
      if (due.every(left => left <= 0)) settle()
    }
  })
  const primaries = new Set<number>()
  for (; rounds < 10; rounds++) {
    const before = set.primary() as ReplicaSetMember
    primaries.add(before.id)
    const left = sees(client, before, 'RSSecondary')
    set.stepDown()
    await left
    due = writers.map(() => 2)
    await Promise.race([new Promise<void>(resolve => (settle = resolve)), ...writers])
  }
  await Promise.all(writers)
  const stored = new Set((await c.find({ _id: { $type: 'number' } as never }).toArray()).map(({ _id }) => _id))
  t.ok(acknowledged.length > 10)
  t.same(
    acknowledged.filter(_id => !stored.has(_id as never)),
    [],
  )
  t.match(await c.findOne({ _id: 'counter' as never }), { n: increments }, 'each increment once')
  t.equal(primaries.size, 3)
})

t.test('a retried write returns its earlier result', async t => {
  let waiting: (() => void) | undefined
  let majority: () => Promise<void> = async () => {}
  const { set, client } = await startSet(t, { majority: () => majority() })
  const c = client.db('app').collection<Document>('c')
  const ready = streams(client, 3)
  await c.insertOne({ _id: 1 as never, n: 0 })
  await ready
  const interrupted = async (how: 'step down' | 'kill', write: () => Promise<unknown>) => {
    const [next] = others(set) as [ReplicaSetMember]
    const old = set.primary() as ReplicaSetMember
    const waits = new Promise<void>(resolve => (waiting = resolve))
    majority = () => {
      waiting?.()
      return new Promise(() => {})
    }
    const done = write()
    await waits
    majority = async () => {}
    if (how === 'kill') await set.kill(old)
    else set.stepDown()
    set.elect(next)
    const result = await done
    await set.start(old)
    return result
  }
  for (const how of ['step down', 'kill'] as const) {
    t.comment(how)
    const key = `${how} insert` as never
    t.match(await interrupted(how, () => c.insertOne({ _id: key })), { acknowledged: true })
    const many = await interrupted(how, () => c.insertMany([{ of: how }, { of: how }]))
    t.match(many, { insertedCount: 2 })
    t.equal(await c.countDocuments({ of: how }), 2)
    await c.updateOne({ _id: 1 as never }, { $set: { n: 0 } })
    const updated = await interrupted(how, () => c.updateOne({ _id: 1 as never }, { $inc: { n: 1 } }))
    t.match(updated, { matchedCount: 1, modifiedCount: 1 })
    const upserted = await interrupted(how, () =>
      c.updateOne({ _id: `${how} u` as never }, { $inc: { n: 1 } }, { upsert: true }),
    )
    t.match(upserted, { upsertedCount: 1, upsertedId: `${how} u` })
    const changed = { returnDocument: 'after' } as const
    t.match(await interrupted(how, () => c.findOneAndUpdate({ _id: 1 as never }, { $inc: { n: 1 } }, changed)), {
      n: 2,
    })
    t.match(await c.findOne({ _id: 1 as never }), { n: 2 })
    t.match(await interrupted(how, () => c.deleteOne({ of: how })), { deletedCount: 1 })
    t.equal(await c.countDocuments({ of: how }), 1)
  }
})

t.test('members are added and removed while a client is connected', async t => {
  const { set, client } = await startSet(t)
  const c = client.db('app').collection('c')
  await c.insertOne({})
  const added = await set.add()
  await sees(client, added, 'RSSecondary')
  const [first, second] = set.members() as [ReplicaSetMember, ReplicaSetMember]
  t.equal(set.members().length, 4)
  set.elect(added)
  await c.insertOne({})
  t.equal(added.counted('insert'), 1)
  t.throws(() => set.remove(added), /must step down/)

  const { ask } = await connectRaw(t, second.port)
  const closed = new Promise<void>(resolve =>
    client.on('serverClosed', ({ address }) => address === first.host && resolve()),
  )
  set.remove(first)
  await closed
  const hello = await ask({ hello: 1, $db: 'admin' })
  t.match(hello, { setVersion: { value: 3 }, primary: added.host })
  t.notOk(hello.hosts.includes(first.host))
  const removed = await connectRaw(t, first.port)
  t.match(await removed.ask({ hello: 1, $db: 'admin' }), { isreplicaset: true, secondary: false, hosts: undefined })
  await logInWithScram(removed.ask, root.name, root.password)
  t.match(await removed.ask({ find: 'c', $readPreference: { mode: 'nearest' }, $db: 'app' }), {
    code: { value: 13436 },
  })
  t.match(await removed.ask({ insert: 'c', documents: [{}], $db: 'app' }), { code: { value: 10107 } })
  t.throws(() => set.elect(first), /cannot be primary/)
})

t.test('a killed member restarts with another process id', async t => {
  const { set, client } = await startSet(t, { electionMS: 1 })
  const c = client.db('app').collection('c')
  await c.insertOne({})
  const first = set.primary() as ReplicaSetMember
  const dialled = first.acceptedCount()
  const { topologyVersion } = await (await connectRaw(t, first.port)).ask({ hello: 1, $db: 'admin' })
  await set.kill(first)
  t.throws(() => set.elect(first), /cannot be primary/)
  await c.insertOne({})
  t.not(set.primary(), first)
  await set.start(first)
  const again = await (await connectRaw(t, first.port)).ask({ hello: 1, $db: 'admin' })
  t.notOk(again.topologyVersion.processId.equals(topologyVersion.processId))
  t.match(again, { secondary: true, me: first.host })
  t.ok(first.acceptedCount() > dialled)
  t.equal(await c.countDocuments(), 2)
})

t.test('without anybody who could be elected there is no primary until one comes back', async t => {
  const { set } = await startSet(t, { members: 1, electionMS: 1 })
  const [only] = set.members() as [ReplicaSetMember]
  await set.kill(only)
  t.equal(set.primary(), undefined)
  await set.start(only)
  const { ask, next, send } = await connectRaw(t, only.port)
  const { topologyVersion, isWritablePrimary } = await ask({ hello: 1, $db: 'admin' })
  if (!isWritablePrimary) {
    send({ hello: 1, topologyVersion, maxAwaitTimeMS: 60_000, $db: 'admin' })
    await next()
  }
  t.equal(set.primary(), only)
})

t.test('the next primary is a running member of the highest priority', async t => {
  const { set } = await startSet(t, { electionMS: 0 })
  const [first, second] = set.members() as [ReplicaSetMember, ReplicaSetMember]
  const strong = await set.add({ priority: 2, tags: { dc: 'a' } })
  const passive = await set.add({ priority: 0 })
  const hidden = await set.add({ priority: 0, hidden: true })
  const watcher = await connectRaw(t, second.port)
  /** Steps down and waits for the next primary. */
  const next = async () => {
    set.stepDown()
    while (!set.primary()) {
      const { topologyVersion } = await watcher.ask({ hello: 1, $db: 'admin' })
      if (!set.primary()) await watcher.ask({ hello: 1, topologyVersion, maxAwaitTimeMS: 60_000, $db: 'admin' })
    }
    return set.primary()
  }
  t.equal(await next(), strong)
  t.not(await next(), strong, 'the old primary is not elected again at once')
  t.equal(await next(), strong)
  t.throws(() => set.elect(passive), /cannot be primary/)
  await set.kill(strong)
  t.not(await next(), strong)
  const hello = await watcher.ask({ hello: 1, $db: 'admin' })
  t.same(hello.passives, [passive.host])
  t.notOk([...hello.hosts, ...hello.passives].includes(hidden.host))
  const own = await (await connectRaw(t, hidden.port)).ask({ hello: 1, $db: 'admin' })
  t.match(own, { hidden: true, passive: true, secondary: true, me: hidden.host })
  t.throws(() => set.remove({ ...first, port: 1 }), /another replica set/)
})

t.test('all members share users, roles and documents', async t => {
  const { set } = await startSet(t)
  set.createUser({ user: 'reader', password: 'pw', roles: [{ role: 'read', db: 'app' }] })
  for (const member of set.members()) {
    const own = new MongoClient(`mongodb://reader:pw@${member.host}/?directConnection=true&authSource=admin`)
    t.teardown(() => own.close())
    t.same(await own.db('app').collection('c').find().toArray(), [])
    t.equal(await errorCodeOf(own.db('other').collection('c').find().toArray()), 13)
  }
})

t.test('tools can query the status and the configuration of the set', async t => {
  const { set, client } = await startSet(t)
  const [, second, third] = set.members() as [ReplicaSetMember, ReplicaSetMember, ReplicaSetMember]
  await set.kill(third)
  const admin = client.db('admin')
  t.match(await admin.command({ replSetGetStatus: 1 }), {
    set: 'rs0',
    myState: 1,
    members: [
      { stateStr: 'PRIMARY', self: true, health: 1 },
      { stateStr: 'SECONDARY', name: second.host },
      { state: 8, health: 0 },
    ],
  })
  t.match(await admin.command({ replSetGetConfig: 1 }), {
    config: { _id: 'rs0', version: 1, term: 1, members: [{ _id: 0 }, { host: second.host, priority: 1 }, {}] },
  })
  t.match(await admin.command({ serverStatus: 1 }), { repl: { setName: 'rs0', isWritablePrimary: true } })
  t.match(await admin.command({ getDefaultRWConcern: 1 }), { defaultWriteConcern: { w: 'majority' } })
  t.equal(await errorCodeOf(client.db('app').collection('c').watch().next()), 20)
})
