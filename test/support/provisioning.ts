/** A MongoDB of the sandbox with provisioners, and logins as the users that they maintain. */
import { randomBytes } from 'node:crypto'
import type { Document } from 'bson'
import type { MongoClient } from 'mongodb'
import type { Test } from 'tap'
import { Secret, silentLog } from '../../src/log.js'
import { type ConnectAs, logInWithPasswords } from '../../src/provisioning/passwordAttempts.js'
import { Provisioner, type ProvisionerOptions } from '../../src/provisioning/provisioner.js'
import type { DesiredUser } from '../../src/provisioning/reconciler.js'
import { type AdminClient, createAdminClient } from '../../src/upstream/admin.js'
import { dial } from '../../src/upstream/dial.js'
import { PROXY_METADATA } from '../../src/upstream/metadata.js'
import { createScramKeyCache } from '../../src/upstream/scramKeys.js'
import { createTarget } from '../../src/upstream/target.js'
import { startMongo } from './mongo.js'

export const SECRET = new Secret('the master secret of these tests, in words')
export const DATABASE = 'mongo_iam_proxy'
export const DAY_MS = 86_400_000
export const arnOf = (name: string) => `arn:aws:iam::123456789012:role/${name}`

export async function startProvisioning(t: Test) {
  const mongo = await startMongo(t)
  return { ...mongo, ...provisionAt(t, { port: mongo.server.port, uri: mongo.server.uri, client: mongo.client }) }
}

/** The server of the provisioned users; `client` and `uri` are those of root. */
type ProvisionedServer = { port: number; uri: string; client: MongoClient }

/** Provisioners at any server, and logins there. */
export function provisionAt(t: Test, server: ProvisionedServer) {
  const { client } = server
  const clock = { now: Date.UTC(2026, 10, 22, 12) }
  /** Every command of the administrators, in order. */
  const ran: string[] = []
  const administrator = (uri = server.uri): AdminClient['runCommand'] => {
    // A thousand replicas share it, on a machine that may be busy.
    const { runCommand: run, close } = createAdminClient(new Secret(uri), { waitQueueTimeoutMS: 60_000 })
    t.teardown(close)
    return (command, db) => {
      ran.push(Object.keys(command)[0] ?? '')
      return run(command, db)
    }
  }
  const partsOf = (changes: Partial<ProvisionerOptions> = {}): ProvisionerOptions => ({
    runCommand: administrator(),
    secrets: [SECRET],
    fleet: 'default',
    database: DATABASE,
    periodMS: DAY_MS,
    now: () => clock.now,
    log: silentLog,
    record: () => {},
    ...changes,
  })
  const keys = createScramKeyCache({ maxEntries: 1000 })
  const template = { connectTimeoutMS: 60_000, replicaSet: undefined, tls: undefined }
  const target = createTarget(template, `127.0.0.1:${server.port}`)
  return {
    client,
    clock,
    ran,
    administrator,
    partsOf,
    make: (changes?: Partial<ProvisionerOptions>): Provisioner => new Provisioner(partsOf(changes)),
    /** Logs in as the proxy does. Gives how many passwords were tried. */
    async logIn(by: Provisioner, wanted: DesiredUser): Promise<number> {
      let tries = 0
      const signal = AbortSignal.timeout(300_000)
      const begin: ConnectAs<void> = async user => {
        tries++
        const { socket } = await dial({
          target,
          user,
          clientMetadata: PROXY_METADATA,
          scramKeys: keys,
          random: randomBytes,
          signal,
        })
        socket.destroy()
      }
      await logInWithPasswords(by, wanted, begin, signal)
      return tries
    },
    async stored(name: string): Promise<Document | undefined> {
      return (await client.db(DATABASE).command({ usersInfo: { user: arnOf(name), db: DATABASE } })).users[0]
    },
  }
}
