/** The administrator's connection: commands of the proxy itself, through the `mongodb` driver, and never a relay. */
import type { Document } from 'bson'
import type { MongoClient } from 'mongodb'
import { ConnectionString } from 'mongodb-connection-string-url'
import { Fault } from '../errors.js'
import { Secret } from '../log.js'
import { PROXY_NAME } from './metadata.js'

export type AdminClient = {
  /** Runs a command and gives the reply, `ok: 0` or not, a refused login among them. Throws `upstream/unreachable`. */
  runCommand(command: Document, db?: string): Promise<Document>
  /** The same at one member, whichever it is; the caller closes it. */
  forMember(address: string): AdminClient
  close(): Promise<void>
}

const OPTIONS = {
  appName: PROXY_NAME,
  maxPoolSize: 4,
  // As long as a login takes: nobody wants to know any more what a crowd has asked before.
  waitQueueTimeoutMS: 8_000,
  // Watching is the mirror's work: without it the driver holds one connection less.
  serverMonitoringMode: 'poll',
  serverSelectionTimeoutMS: 3_000,
  connectTimeoutMS: 3_000,
  socketTimeoutMS: 5_000,
} as const

/** Other ones than ours. */
type Limits = Partial<Record<'maxPoolSize' | 'waitQueueTimeoutMS' | 'serverSelectionTimeoutMS', number>>

/** Nothing is connected, and the driver is not even loaded, before the first command. */
export function createAdminClient(uri: Secret, limits: Limits = {}): AdminClient {
  let opened: Promise<MongoClient> | undefined
  let closed = false
  const open = async () => {
    const { MongoClient } = await import('mongodb')
    return new MongoClient(uri.reveal(), { ...OPTIONS, ...limits })
  }
  return {
    runCommand: async (command, db = 'admin') => {
      if (closed) throw new Fault('proxy/shutdown')
      opened ??= open().catch(thrown => {
        opened = undefined
        throw thrown
      })
      try {
        return await (await opened).db(db).command(command)
      } catch (thrown) {
        return replyOf(thrown)
      }
    },
    forMember: address => createAdminClient(new Secret(directly(uri.reveal(), address)), limits),
    close: async () => {
      closed = true
      await (await opened?.catch(() => undefined))?.close()
    },
  }
}

/** A connection string with this one address in it. Lookups by DNS are over then, so TLS, their default, is written out. */
function directly(uri: string, address: string): string {
  try {
    const changed = new ConnectionString(uri.replace(/^mongodb\+srv:/, 'mongodb:'))
    const { searchParams } = changed
    const names = [...searchParams.keys()].map(name => name.toLowerCase())
    if (uri.startsWith('mongodb+srv:') && !names.includes('tls') && !names.includes('ssl'))
      searchParams.set('tls', 'true')
    for (const name of [...searchParams.keys()]) if (UNFIT.has(name.toLowerCase())) searchParams.delete(name)
    searchParams.set('directConnection', 'true')
    changed.hosts = [address]
    return changed.toString()
  } catch {
    return uri // which the driver will refuse, and says so without showing it
  }
}

/** Options that are for several addresses. The set that is named is checked where members are watched. */
const UNFIT = new Set(['replicaset', 'directconnection', 'srvmaxhosts', 'srvservicename', 'loadbalanced'])

/** What the server said, or a fault where it said nothing. The driver's errors are told apart by what they carry. */
function replyOf(thrown: unknown): Document {
  const { name, code, codeName, message, cause } = thrown as Partial<Record<string, unknown>>
  if (name === 'MongoServerError') return { ok: 0, code, codeName, errmsg: message }
  if (name === 'MongoParseError' || name === 'MongoInvalidArgumentError' || name === 'MongoAPIError') {
    // The message may quote the connection string.
    throw new Fault('config/invalid', 'upstream.admin.uri: the driver cannot use it', { name })
  }
  const inner = cause as { code?: unknown } | undefined
  throw new Fault('upstream/unreachable', undefined, { code: code ?? inner?.code ?? name }, thrown)
}
