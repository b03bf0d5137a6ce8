/**
 * Retryable writes of each client while the primary steps down ten times, behind an address that is a name: what was
 * acknowledged is in the store, nothing was written twice, and nobody but the proxy ever spoke to a member.
 *
 * Each step-down catches a write that is applied and not acknowledged, so that only the driver's second try can tell. It is
 * told of the interruption, by which it keeps its pool, and the connection is closed behind that. Node's drivers notice at
 * once that one in their pool was closed. Others may use it for the second try, and there is no third: their application
 * then has an error, and cannot know that the write was done. README.md has more on that.
 */
import { join } from 'node:path'
import type { Document } from 'bson'
import t, { type Test } from 'tap'
import { NAME } from '../../src/upstream/metadata.js'
import { clientOf, type Driver, environmentOf } from '../support/clients.js'
import { setHouse } from '../support/setHouse.js'
import { client } from './support/client.js'
import { freePort } from './support/programs.js'
import { clients as folder, goClient, mongoose, type Program, provided, python } from './support/tools.js'

type House = Awaited<ReturnType<typeof setHouse>>
/** Writes a document with this `_id` once those asked for before are answered. Rejects where its application had an error. */
type Write = (id: number) => Promise<unknown>
type Writer = (t: Test, uri: string, key: House['key']) => Promise<Write>

const STEP_DOWNS = 10

/** One of test/clients; it has several lines to read and takes one after the other. */
const programOf =
  (program: Program): Writer =>
  async (t, uri, key) => {
    const app = await client(t, program, uri, environmentOf(key))
    return id => app.get('insert', { in: 'writes', id })
  }

/** Node's driver, in this process. */
const driverOf =
  (driver: Driver): Writer =>
  async (t, uri, key) => {
    const writes = (await clientOf(t, driver, uri, key)).db('app').collection<{ _id: number }>('writes')
    let last: Promise<unknown> = Promise.resolve()
    return _id => {
      last = last.then(() => writes.insertOne({ _id }))
      return last
    }
  }

/** `notices`: whether it never takes a connection out of its pool that was closed before. */
const writers: Record<string, { notices: boolean; make: () => Promise<Writer> }> = {
  PyMongo: { notices: false, make: async () => programOf([await python(), join(folder, 'pymongo/run.py')]) },
  'Go 2': { notices: false, make: async () => programOf(await goClient('go-v2')) },
  'Go 1': { notices: false, make: async () => programOf(await goClient('go-v1')) },
  Mongoose: { notices: true, make: async () => programOf(await mongoose()) },
  'Node 7': { notices: true, make: async () => driverOf('mongodb7') },
  'Node 6': { notices: true, make: async () => driverOf('mongodb6') },
}

for (const [name, { make, notices }] of Object.entries(writers)) {
  const { what: writer, skip } = await provided(make)
  t.test(`${name} writes through ten step-downs`, { skip }, async t => {
    let majority = async (): Promise<void> => {}
    const port = await freePort()
    const address = `localhost:${port}` // the proxy is bound to 127.0.0.1
    const settings = { 'listen.port': String(port), 'listen.advertise': address }
    const { set, key, log } = await setHouse(t, settings, { majority: () => majority() })
    const login = 'authSource=%24external&authMechanism=MONGODB-AWS'
    const write = await (writer as Writer)(t, `mongodb://${address}/?${login}&heartbeatFrequencyMS=500`, key)
    const acknowledged: number[] = []
    const failed: { id: number; round: number; why: string }[] = []
    let id = 0
    const several = async (count: number, round: number) => {
      const ids = Array.from({ length: count }, () => id++)
      const one = (id: number) =>
        write(id).then(
          () => acknowledged.push(id),
          ({ message }) => failed.push({ id, round, why: message }),
        )
      await Promise.all(ids.map(one))
    }

    for (let round = 0; round < STEP_DOWNS; round++) {
      await several(2, round)
      const applied = new Promise<void>(resolve => {
        majority = () => {
          resolve()
          return new Promise(() => {})
        }
      })
      const during = several(3, round)
      await Promise.race([applied, during])
      majority = async () => {}
      const old = set.primary()
      set.stepDown()
      await during
      t.ok(set.primary() && set.primary() !== old, `step-down ${round + 1}`)
    }

    const entries = [...(set.store.find('app', 'writes')?.entries.values() ?? [])]
    const kept = entries.map(({ document }) => Number(document._id))
    const unsure = new Set(failed.map(({ id }) => id))
    const sure = kept.filter(id => !unsure.has(id))
    t.same(sure, acknowledged, 'each acknowledged write is there, once and in its order')
    t.equal(new Set(kept).size, kept.length)
    t.equal(acknowledged.length + failed.length, id)
    const tries = set.members().reduce((sum, member) => sum + member.counted('insert'), 0)
    if (failed.length > 0) t.comment('errors that the application had', failed)
    if (notices) t.same(failed, [])
    t.equal(new Set(failed.map(({ round }) => round)).size, failed.length, 'a step-down fails one write at most')
    t.ok(tries >= id + STEP_DOWNS - failed.length, `of ${id} writes members heard ${tries} times`)
    t.ok(log.filter(({ fault }) => fault === 'upstream/stepped-down').length >= STEP_DOWNS, 'relays end with each term')
    const relayed = spoke(set).filter(({ platform }) => String(platform).includes(NAME))
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
  return [driver?.name, application?.name, platform].some(said => String(said).includes(NAME))
}
