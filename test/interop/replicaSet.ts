/**
 * Retryable writes of each client while the primary steps down ten times. The proxy is configured with a host name. Each
 * acknowledged write must be stored, no write may be stored twice, and only the proxy may connect to the members.
 *
 * Every other step-down interrupts writes that are applied but not acknowledged, so that only the driver's retry learns the
 * result. The other step-downs happen during a continuous sequence of write batches.
 */
import type { Document } from 'bson'
import t, { type Test } from 'tap'
import { PROXY_NAME } from '../../src/upstream/metadata.js'
import { createClient, credentialEnvironment, type Driver } from '../support/clients.js'
import { startReplicaSetProxy } from '../support/replicaSetProxy.js'
import { findFreePort } from './support/childProcess.js'
import { startDriverProgram } from './support/driverProgram.js'
import { buildGoDriver, installMongoose, installPymongo, type Program, prepareOrSkip } from './support/toolchains.js'

type ReplicaSetProxy = Awaited<ReturnType<typeof startReplicaSetProxy>>
type WriteFailure = { id: number; message: string; code?: unknown }
/** Inserts documents with these `_id`s concurrently. Resolves with the errors that the application sees. */
type Write = (ids: readonly number[]) => Promise<WriteFailure[]>
type StartWriter = (t: Test, uri: string, key: ReplicaSetProxy['key']) => Promise<Write>

const STEP_DOWNS = 10
const CONCURRENT_WRITES = 4

/** Writes with a program of test/clients. */
const programWriter =
  (program: Program): StartWriter =>
  async (t, uri, key) => {
    const app = await startDriverProgram(t, program, uri, credentialEnvironment(key))
    return async ids => (await app.step('inserts', { in: 'writes', ids })).failed as WriteFailure[]
  }

/** Writes with the Node.js driver in this process. */
const nodeWriter =
  (driver: Driver): StartWriter =>
  async (t, uri, key) => {
    const collection = (await createClient(t, driver, uri, key)).db('app').collection<{ _id: number }>('writes')
    const insertOne = (_id: number): Promise<WriteFailure[]> =>
      collection.insertOne({ _id }).then(
        () => [],
        ({ message, code }) => [{ id: _id, message, code }],
      )
    return async ids => (await Promise.all(ids.map(insertOne))).flat()
  }

const writers: Record<string, () => Promise<StartWriter>> = {
  PyMongo: async () => programWriter(await installPymongo()),
  'Go 2': async () => programWriter(await buildGoDriver('go-v2')),
  'Go 1': async () => programWriter(await buildGoDriver('go-v1')),
  Mongoose: async () => programWriter(await installMongoose()),
  'Node 7': async () => nodeWriter('mongodb7'),
  'Node 6': async () => nodeWriter('mongodb6'),
}

for (const [name, prepare] of Object.entries(writers)) {
  const { value: startWriter, skip } = await prepareOrSkip(prepare)
  t.test(`retryable writes of ${name} survive ten step-downs`, { skip }, async t => {
    let awaitMajority = async (): Promise<void> => {}
    const port = await findFreePort()
    const address = `localhost:${port}` // the proxy listens on 127.0.0.1
    const settings = { 'listen.port': String(port), 'listen.advertise': address }
    const { set, key, log } = await startReplicaSetProxy(t, settings, { majority: () => awaitMajority() })
    const login = 'authSource=%24external&authMechanism=MONGODB-AWS'
    const write = await (startWriter as StartWriter)(t, `mongodb://${address}/?${login}`, key)
    const requested: number[] = []
    const failed: (WriteFailure & { round: number })[] = []
    const writeBatch = async (round: number) => {
      const ids = Array.from({ length: CONCURRENT_WRITES }, (_, nth) => requested.length + nth)
      requested.push(...ids)
      for (const failure of await write(ids)) failed.push({ round, ...failure })
    }

    const times: number[] = []
    for (let round = 0; round < STEP_DOWNS; round++) {
      await writeBatch(round)
      const interrupts = round % 2 === 0
      let writing = !interrupts
      const applied = new Promise<void>(resolve => {
        let count = 0
        awaitMajority = async () => {
          if (++count === CONCURRENT_WRITES) resolve()
          return interrupts ? new Promise(() => {}) : undefined
        }
      })
      const writeBatches = async () => {
        do await writeBatch(round)
        while (writing)
      }
      const writes = writeBatches()
      await Promise.race([applied, writes])
      awaitMajority = async () => {}
      const oldPrimary = set.primary()
      const startedAt = Date.now()
      set.stepDown()
      while (writing && !set.primary()) await new Promise(resolve => setTimeout(resolve, 5))
      writing = false
      await writes
      times.push(Date.now() - startedAt)
      t.ok(set.primary() && set.primary() !== oldPrimary, `step-down ${round + 1}`)
    }

    const entries = [...(set.store.find('app', 'writes')?.entries.values() ?? [])]
    const stored = entries.map(({ document }) => Number(document._id)).sort((a, b) => a - b)
    const failedIds = new Set(failed.map(({ id }) => id))
    t.same(
      stored.filter(id => !failedIds.has(id)),
      requested.filter(id => !failedIds.has(id)),
      'each acknowledged write is stored once',
    )
    t.equal(new Set(stored).size, stored.length)
    t.same(failed, [], 'the application sees no error')
    const attempts = set.members().reduce((sum, member) => sum + member.counted('insert'), 0)
    t.ok(
      attempts >= requested.length + (STEP_DOWNS / 2) * CONCURRENT_WRITES - failed.length,
      `the members received ${attempts} inserts for ${requested.length} writes`,
    )
    t.comment(`ms until all writes were acknowledged: ${times.join(', ')}`)
    // A driver whose login is interrupted by an election closes the rest of its pool itself.
    t.ok(
      log.filter(({ event, stage }) => event === 'connection closed' && stage === 'authenticated').length >= STEP_DOWNS,
      'authenticated connections end with each term',
    )
    const clients = clientMetadata(set)
    const relayed = clients.filter(({ platform }) => String(platform).includes(PROXY_NAME))
    t.ok(relayed.length > STEP_DOWNS, 'a login at each primary, marked as relayed')
    t.same(
      clients.filter(metadata => !isProxy(metadata)),
      [],
      'only the proxy connects to the members',
    )
  })
}

/** The client metadata of every connection that a member accepted. */
function clientMetadata(set: ReplicaSetProxy['set']): Document[] {
  return set
    .members()
    .flatMap(member => member.accepted())
    .flatMap(({ metadata }) => metadata ?? [])
}

/** Whether the metadata is that of the proxy: a server monitor, the administrator or a relayed connection. */
function isProxy({ driver, application, platform }: Document): boolean {
  return [driver?.name, application?.name, platform].some(field => String(field).includes(PROXY_NAME))
}
