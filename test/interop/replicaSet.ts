/**
 * Retryable writes of each client while the primary steps down ten times, behind an address that is a name: what was
 * acknowledged is in the store, nothing was written twice, and nobody but the proxy ever spoke to a member.
 *
 * Every other step-down catches writes that are applied and not acknowledged, so that only the driver's second try can
 * tell. The others come while one batch of writes follows the other.
 */
import { join } from 'node:path'
import type { Document } from 'bson'
import t, { type Test } from 'tap'
import { PROXY_NAME } from '../../src/upstream/metadata.js'
import { createClient, credentialEnvironment, type Driver } from '../support/clients.js'
import { startReplicaSetProxy } from '../support/replicaSetProxy.js'
import { freePort } from './support/childProcess.js'
import { client } from './support/driverProgram.js'
import { clients as folder, goClient, mongoose, type Program, provided, python } from './support/toolchains.js'

type House = Awaited<ReturnType<typeof startReplicaSetProxy>>
type Failure = { id: number; message: string; code?: unknown }
/** Writes documents with these `_id`s all at once. Gives what its application had errors for. */
type Write = (ids: readonly number[]) => Promise<Failure[]>
type Writer = (t: Test, uri: string, key: House['key']) => Promise<Write>

const STEP_DOWNS = 10
const AT_ONCE = 4

/** One of test/clients. */
const programOf =
  (program: Program): Writer =>
  async (t, uri, key) => {
    const app = await client(t, program, uri, credentialEnvironment(key))
    return async ids => (await app.get('inserts', { in: 'writes', ids })).failed as Failure[]
  }

/** Node's driver, in this process. */
const driverOf =
  (driver: Driver): Writer =>
  async (t, uri, key) => {
    const writes = (await createClient(t, driver, uri, key)).db('app').collection<{ _id: number }>('writes')
    const one = (_id: number): Promise<Failure[]> =>
      writes.insertOne({ _id }).then(
        () => [],
        ({ message, code }) => [{ id: _id, message, code }],
      )
    return async ids => (await Promise.all(ids.map(one))).flat()
  }

const writers: Record<string, () => Promise<Writer>> = {
  PyMongo: async () => programOf([await python(), join(folder, 'pymongo/run.py')]),
  'Go 2': async () => programOf(await goClient('go-v2')),
  'Go 1': async () => programOf(await goClient('go-v1')),
  Mongoose: async () => programOf(await mongoose()),
  'Node 7': async () => driverOf('mongodb7'),
  'Node 6': async () => driverOf('mongodb6'),
}

for (const [name, make] of Object.entries(writers)) {
  const { what: writer, skip } = await provided(make)
  t.test(`${name} writes through ten step-downs`, { skip }, async t => {
    let majority = async (): Promise<void> => {}
    const port = await freePort()
    const address = `localhost:${port}` // the proxy is bound to 127.0.0.1
    const settings = { 'listen.port': String(port), 'listen.advertise': address }
    const { set, key, log } = await startReplicaSetProxy(t, settings, { majority: () => majority() })
    const login = 'authSource=%24external&authMechanism=MONGODB-AWS'
    const write = await (writer as Writer)(t, `mongodb://${address}/?${login}`, key)
    const asked: number[] = []
    const failed: (Failure & { round: number })[] = []
    const several = async (round: number) => {
      const ids = Array.from({ length: AT_ONCE }, (_, nth) => asked.length + nth)
      asked.push(...ids)
      for (const failure of await write(ids)) failed.push({ round, ...failure })
    }

    const times: number[] = []
    for (let round = 0; round < STEP_DOWNS; round++) {
      await several(round)
      const caught = round % 2 === 0
      let flowing = !caught
      const applied = new Promise<void>(resolve => {
        let count = 0
        majority = async () => {
          if (++count === AT_ONCE) resolve()
          return caught ? new Promise(() => {}) : undefined
        }
      })
      const flow = async () => {
        do await several(round)
        while (flowing)
      }
      const during = flow()
      await Promise.race([applied, during])
      majority = async () => {}
      const old = set.primary()
      const from = Date.now()
      set.stepDown()
      while (flowing && !set.primary()) await new Promise(resolve => setTimeout(resolve, 5))
      flowing = false
      await during
      times.push(Date.now() - from)
      t.ok(set.primary() && set.primary() !== old, `step-down ${round + 1}`)
    }

    const entries = [...(set.store.find('app', 'writes')?.entries.values() ?? [])]
    const kept = entries.map(({ document }) => Number(document._id)).sort((a, b) => a - b)
    const unsure = new Set(failed.map(({ id }) => id))
    t.same(
      kept.filter(id => !unsure.has(id)),
      asked.filter(id => !unsure.has(id)),
      'each acknowledged write is there, once',
    )
    t.equal(new Set(kept).size, kept.length)
    t.same(failed, [], 'no application had an error')
    const tries = set.members().reduce((sum, member) => sum + member.counted('insert'), 0)
    t.ok(
      tries >= asked.length + (STEP_DOWNS / 2) * AT_ONCE - failed.length,
      `of ${asked.length} writes members heard ${tries} times`,
    )
    t.comment(`ms until all was written: ${times.join(', ')}`)
    // A driver whose login is cut short by an election closes the rest of its pool itself.
    t.ok(
      log.filter(({ event, stage }) => event === 'connection closed' && stage === 'authenticated').length >= STEP_DOWNS,
      'relays end with each term',
    )
    const relayed = spoke(set).filter(({ platform }) => String(platform).includes(PROXY_NAME))
    t.ok(relayed.length > STEP_DOWNS, 'a login at each primary, marked as relayed')
    t.same(
      spoke(set).filter(said => !isOurs(said)),
      [],
      'nobody else',
    )
  })
}

/** What everybody said of themselves who spoke to a member. */
function spoke(set: House['set']): Document[] {
  return set
    .members()
    .flatMap(member => member.accepted())
    .flatMap(({ metadata }) => metadata ?? [])
}

/** Whether it was the proxy: its mirrors, its administrator, its relays. */
function isOurs({ driver, application, platform }: Document): boolean {
  return [driver?.name, application?.name, platform].some(said => String(said).includes(PROXY_NAME))
}
