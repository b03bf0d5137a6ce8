/**
 * The admin client: runs the proxy's own commands through the `mongodb` driver, as the user of `upstream.admin`. No client
 * session ever uses its connections.
 */
import type { Document } from 'bson'
import type { MongoClient } from 'mongodb'
import { ConnectionString } from 'mongodb-connection-string-url'
import { Fault } from '../errors.js'
import { Secret } from '../log.js'
import { PROXY_NAME } from './metadata.js'

export type AdminClient = {
  /**
   * Runs a command, in `admin` by default. Returns the reply, whether `ok` is 1 or 0; a failed login is a reply, too.
   * Throws `upstream/unreachable`.
   */
  runCommand(command: Document, db?: string): Promise<Document>
  /** A client for one member, whatever its state. The caller closes it. */
  forMember(address: string): AdminClient
  close(): Promise<void>
}

const DRIVER_OPTIONS = {
  appName: PROXY_NAME,
  maxPoolSize: 4,
  // The deadline of a login: after it, no login waits for the reply.
  waitQueueTimeoutMS: 8_000,
  // The proxy has its own server monitors, so the driver can do without its streaming connection.
  serverMonitoringMode: 'poll',
  serverSelectionTimeoutMS: 3_000,
  connectTimeoutMS: 3_000,
  socketTimeoutMS: 5_000,
} as const

type DriverLimits = Partial<Record<'maxPoolSize' | 'waitQueueTimeoutMS' | 'serverSelectionTimeoutMS', number>>

/** Loads the driver and connects with the first command. `limits` replace the defaults. */
export function createAdminClient(uri: Secret, limits: DriverLimits = {}): AdminClient {
  let client: Promise<MongoClient> | undefined
  let isClosed = false
  let hasConnected = false
  const open = async () => {
    const { MongoClient } = await import('mongodb')
    return new MongoClient(uri.reveal(), { ...DRIVER_OPTIONS, ...limits })
  }
  return {
    runCommand: async (command, db = 'admin') => {
      if (isClosed) throw new Fault('proxy/shutdown')
      client ??= open().catch(thrown => {
        client = undefined
        throw thrown
      })
      const current = client
      try {
        const reply = await (await current).db(db).command(command)
        hasConnected = true
        return reply
      } catch (thrown) {
        hasConnected ||= isServerError(thrown)
        if (!hasConnected && client === current) {
          client = undefined
          void discard(current)
        }
        return toReply(thrown)
      }
    },
    forMember: address => createAdminClient(new Secret(toDirectUri(uri.reveal(), address)), limits),
    close: async () => {
      isClosed = true
      await (await client?.catch(() => undefined))?.close()
    },
  }
}

/** The driver keeps a topology that it closed after the first connection failed. Such a client never connects again. */
async function discard(client: Promise<MongoClient>): Promise<void> {
  await client.then(one => one.close()).catch(() => {})
}

/**
 * The connection string with this address alone. It is no longer a `mongodb+srv` string, so TLS, the default of those, is
 * made explicit.
 */
function toDirectUri(uri: string, address: string): string {
  try {
    const direct = new ConnectionString(uri.replace(/^mongodb\+srv:/, 'mongodb:'))
    const { searchParams } = direct
    const names = [...searchParams.keys()]
    const hasTls = names.some(name => ['tls', 'ssl'].includes(name.toLowerCase()))
    if (uri.startsWith('mongodb+srv:') && !hasTls) searchParams.set('tls', 'true')
    for (const name of names) if (MULTI_HOST_OPTIONS.has(name.toLowerCase())) searchParams.delete(name)
    searchParams.set('directConnection', 'true')
    direct.hosts = [address]
    return direct.toString()
  } catch {
    return uri // the driver rejects it with an error that does not contain it
  }
}

/** Options that make no sense for one address. Server monitors check the name of the replica set. */
const MULTI_HOST_OPTIONS = new Set(['replicaset', 'directconnection', 'srvmaxhosts', 'srvservicename', 'loadbalanced'])

/** The reply in an error of the driver. Throws a fault if the server sent none. */
function toReply(thrown: unknown): Document {
  // Names, not classes: importing the classes would load the driver.
  const { name, code, codeName, message } = thrown as Error & { code?: unknown; codeName?: unknown }
  if (isServerError(thrown)) return { ok: 0, code, codeName, errmsg: message }
  if (name === 'MongoParseError' || name === 'MongoInvalidArgumentError' || name === 'MongoAPIError') {
    // The message may contain the connection string.
    throw new Fault('config/invalid', 'upstream.admin.uri: the driver cannot use it', { name })
  }
  throw new Fault('upstream/unreachable', undefined, { code: findCode(thrown) ?? name }, thrown)
}

/** The code of the error, or of the error that caused it. The driver wraps an error of the system or of TLS twice. */
function findCode(thrown: unknown): number | string | undefined {
  let error = thrown as { code?: unknown; cause?: unknown } | undefined
  for (let depth = 0; error && depth < MAX_CAUSES; depth++) {
    if (isCode(error.code)) return error.code
    error = error.cause as typeof error
  }
  return undefined
}

const MAX_CAUSES = 5

const isServerError = (thrown: unknown): boolean => (thrown as Error).name === 'MongoServerError'

const isCode = (code: unknown): code is number | string => typeof code === 'number' || typeof code === 'string'
