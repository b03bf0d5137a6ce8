/** A small MongoDB server in memory, with SCRAM, users, and enforced roles. */
import { createServer, type Server, type Socket } from 'node:net'
import { createServer as createTlsServer } from 'node:tls'
import type { Document } from 'bson'
import { Connection } from './connection.js'
import { Cursors } from './cursors.js'
import { FailPoint } from './failPoint.js'
import { Member } from './hello.js'
import type { Replication } from './replication.js'
import type { ConnectionState, Instance, LdapProduct } from './request.js'
import type { RoleName } from './roles.js'
import { mechanisms } from './scram.js'
import { Store } from './store.js'
import { Users } from './users.js'

export type MongoOptions = {
  /** Clock in ms. */
  now: () => number
  random: (size: number) => Buffer
  host?: string
  /** Default: 0, any free port. */
  port?: number
  tls?: { cert: string | Buffer; key: string | Buffer; ca?: string | Buffer }
  /** Reports LDAP authorization as MongoDB Enterprise does. */
  ldapAuthorization?: boolean
  /** A user of `admin` with the role root. */
  root?: { name: string; password: string }
  /** The documents. The members of a replica set share them. */
  store?: Store
  /** The replica set and the id of this member. */
  replica?: { set: Replication; id: number }
}

export type UserDefinition = {
  user: string
  db?: string
  /** Undefined for `$external`. */
  password?: string
  roles: readonly (string | RoleName)[]
  customData?: Document
}

/** A role of `admin`. Privileges have the form of createRole. */
export type RoleDefinition = { role: string; privileges: readonly Document[] }

export type MongoServer = {
  host: string
  port: number
  /** Contains the credentials of `root`, if there is one. */
  uri: string
  store: Store
  createUser(user: UserDefinition): void
  createRole(role: RoleDefinition): void
  /** The number of connections accepted so far. */
  acceptedCount(): number
  /** The open connections with their client metadata. */
  connections(): readonly ConnectionState[]
  /** The last thousand accepted connections, open or closed. */
  accepted(): readonly ConnectionState[]
  /** The number of runs of a command. */
  counted(command: string): number
  setLdapAuthorization(on: boolean | LdapProduct): void
  /** Increments the topology version, which answers awaited hellos. */
  announceChange(): void
  close(): Promise<void>
}

const MAX_RECENT = 1000

/** Rejects if the address is not available. */
export async function startMongoServer(options: MongoOptions): Promise<MongoServer> {
  const { now, random, host = '127.0.0.1', port = 0, tls, root, replica } = options
  const store = options.store ?? new Store(random)
  const users = new Users(store, random)
  const sockets = new Set<Socket>()
  let acceptedCount = 0
  const name = host.includes(':') ? `[${host}]` : host
  let at = `${name}:${port}`
  const instance: Instance = {
    store,
    users,
    cursors: new Cursors(random, now),
    member: new Member(random, replica && (() => replica.set.hello(replica.id))),
    failPoint: new FailPoint(),
    ...(replica && { replica }),
    host: () => at,
    tls: tls !== undefined,
    now,
    random,
    started: now(),
    ldap: options.ldapAuthorization ? 'enterprise' : 'off',
    sessions: new Set(),
    commandCounts: new Map(),
    acceptedCount: () => acceptedCount,
  }
  const accepted: ConnectionState[] = []
  const accept = (socket: Socket) => {
    accepted.push(new Connection(socket, ++acceptedCount, instance).session)
    if (accepted.length > MAX_RECENT) accepted.shift()
  }
  const server = tls ? createTlsServer(tls, accept) : createServer(accept)
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
  })
  if (tls) server.on('tlsClientError', (_: Error, socket: Socket) => socket.destroy())

  const createUser = ({ user, db = 'admin', password, roles, customData }: UserDefinition) => {
    const names = Object.keys(mechanisms) as (keyof typeof mechanisms)[]
    users.add(
      { user, db },
      {
        credentials: password === undefined ? { external: true } : users.credentials(user, password, names),
        roles: users.parseRoles(roles, db),
        ...(customData && { customData }),
      },
    )
  }
  if (root && !users.entry({ user: root.name, db: 'admin' })) {
    createUser({ user: root.name, password: root.password, roles: ['root'] })
  }

  const bound = await listen(server, port, host)
  at = `${name}:${bound}`
  const login = root ? `${encodeURIComponent(root.name)}:${encodeURIComponent(root.password)}@` : ''
  const query = [...(root ? ['authSource=admin'] : []), ...(tls ? ['tls=true'] : [])].join('&')
  return {
    host,
    port: bound,
    uri: `mongodb://${login}${at}/${query && `?${query}`}`,
    store,
    createUser,
    createRole: ({ role, privileges }) => users.addRole({ role, db: 'admin', privileges, roles: [] }),
    acceptedCount: () => acceptedCount,
    connections: () => [...instance.sessions],
    accepted: () => accepted,
    counted: command => instance.commandCounts.get(command) ?? 0,
    setLdapAuthorization: on => {
      instance.ldap = typeof on === 'string' ? on : on ? 'enterprise' : 'off'
    },
    announceChange: () => instance.member.change(),
    close: () =>
      new Promise(resolve => {
        server.close(() => resolve())
        for (const socket of sockets) socket.destroy()
      }),
  }
}

function listen(server: Server, port: number, host: string): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, () => {
      server.off('error', reject)
      const address = server.address()
      resolve(typeof address === 'object' && address ? address.port : port)
    })
  })
}
