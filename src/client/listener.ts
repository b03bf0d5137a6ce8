/**
 * Accepts sockets, keeps them in one set a stage, sheds when full. It is long because the sets, what moves between them
 * and the TLS handshake before them have one owner.
 *
 * The sets are the state: a connection is in exactly one, `move` is the only transition, the gauges are the sizes. Within
 * a set the order is by last whole frame, so the first one is who has been silent longest.
 */
import { constants } from 'node:crypto'
import { createServer, type Server, type Socket } from 'node:net'
import { createSecureContext, type SecureContext, TLSSocket } from 'node:tls'
import { toSubnet } from '../budget/subnet.js'
import type { After } from '../clock.js'
import { Fault, type FaultKind } from '../errors.js'
import type { Log } from '../log.js'
import type { AcceptQueue } from './acceptQueue.js'
import { Crowd } from './addressIndex.js'
import type { Connection } from './connection.js'
import type { AcceptedClient, Stage } from './preauth.js'

/** A TLS handshake takes at most this long. Milliseconds. */
const TLS_MS = 5_000
/** A handshake costs us far more than who asks for it, so there is one a connection. */
const TLS = {
  minVersion: 'TLSv1.2',
  // Not the larger curves, which who asks may choose and we would have to compute with.
  ecdhCurve: 'X25519:P-256',
  secureOptions: constants.SSL_OP_NO_RENEGOTIATION,
} as const
/** Load balancers forget idle flows at 350 s; kernels ask earlier than that (R5). */
const KEEP_ALIVE_MS = 60_000

export type ListenerOptions = {
  host: string
  port: number
  backlog: number
  /** Sockets at most; those not yet logged in take at most half of them, and `perAddress` an address. */
  connections: number
  perAddress: number
  /** `clientCA`: who wants in shows a certificate of this authority (PEM). */
  tls?: { cert: string; key: string; clientCA?: string | undefined }
  log: Log
  after: After
  /** Where those wait who are accepted, until it is their turn to be served. */
  acceptQueue: AcceptQueue
  /** Serves one client. */
  createConnection(socket: Socket, client: AcceptedClient): ServedConnection
  /** Whether a line about somebody who never logged in is one of few. */
  shouldLog(kind: FaultKind): boolean
  /** Told of each socket that was closed before a connection was made of it. */
  onRejected(fault: Fault): void
}

export type Listener = {
  port: number
  countByStage(): Record<Stage, number>
  /**
   * From the next connection on. A new context has new ticket keys, so no session of the old one is resumed (R30). With
   * another client CA, those that have not logged in are closed: the old one had let them in.
   */
  reconfigure(change: Pick<ListenerOptions, 'connections' | 'perAddress' | 'tls'>): void
  /** Accepts no more. */
  stopAccepting(): void
  /** Tells each that the primary is another one. */
  closeMonitors(fault: Fault): void
  /** Lets each end as soon as it is owed nothing; resolves when all have. */
  drain(): Promise<void>
  destroy(): void
}

/** A client that is served. */
export type ServedConnection = Pick<Connection, 'drain' | 'closeIfMonitor' | 'destroy'>

/** `counted`: the address as limits know it. `heard`: when its last whole frame came, or it was accepted, as a number that only grows. */
type Entry = { connection?: ServedConnection; socket: Socket; counted: string; stage: Stage; heard: number }

/** Starts to listen. Throws `listener/address-unavailable`. */
export async function listen(parts: ListenerOptions): Promise<Listener> {
  const { log } = parts
  const stages: Record<Stage, Set<Entry>> = {
    connecting: new Set(),
    unauthenticated: new Set(),
    authenticating: new Set(),
    authenticated: new Set(),
  }
  const crowd = new Crowd<Entry>()
  let { connections, perAddress: most } = parts
  let context = parts.tls && contextOf(parts.tls)
  let clientCA = parts.tls?.clientCA
  let lastId = 0
  let moment = 0
  let emptied = (): void => {}

  const strangers = (): number => stages.connecting.size + stages.unauthenticated.size + stages.authenticating.size
  const total = (): number => strangers() + stages.authenticated.size

  const move = (entry: Entry, to: Stage): void => {
    stages[entry.stage].delete(entry)
    if (to !== 'authenticated') crowd.spoke(entry.counted, entry, to === 'authenticating')
    else if (entry.stage !== 'authenticated') crowd.leave(entry.counted, entry)
    entry.stage = to
    entry.heard = ++moment
    stages[to].add(entry)
  }

  /**
   * Makes room by closing who has been silent longest without ever logging in. Of those that greeted and those that have
   * not yet, neither kind goes first: else silent ones of the one kind could keep the other out. An address that has more
   * than others gives one of its own: else many who speak often would push out those few that speak as often as monitors
   * do. Where all of its own are logging in, one goes for somebody of an address that has fewer.
   */
  const makeRoom = (address: string): boolean => {
    const [connecting, unauthenticated] = [stages.connecting, stages.unauthenticated].map(([longest]) => longest)
    const silent =
      connecting && unauthenticated
        ? connecting.heard < unauthenticated.heard
          ? connecting
          : unauthenticated
        : (connecting ?? unauthenticated)
    const largest = crowd.largest(address)
    const isOfMost = silent !== undefined && crowd.count(silent.counted) === crowd.most
    const isLess = crowd.count(address) + 1 < crowd.most
    const one = (isOfMost ? silent : crowd.longest(largest)) ?? (isLess ? crowd.busiest(largest) : undefined)
    if (one) evict(one)
    return one !== undefined
  }
  const evict = (entry: Entry): void => {
    const fault = new Fault('listener/connection-limit')
    forget(entry)
    if (entry.connection) {
      entry.connection.destroy(fault) // it tells of its end itself
    } else {
      parts.onRejected(fault)
      entry.socket.destroy()
    }
  }
  const forget = (entry: Entry): void => {
    if (!stages[entry.stage].delete(entry)) return
    if (entry.stage !== 'authenticated') crowd.leave(entry.counted, entry)
    if (total() === 0) emptied()
  }

  const accept = (raw: Socket): void => {
    const { remoteAddress, remotePort } = raw
    raw.on('error', () => {})
    if (!remoteAddress) return void raw.destroy()
    const address = remoteAddress.replace(/^::ffff:/, '')
    const counted = toSubnet(address)
    const full = crowd.count(counted) >= most
    if (full || ((strangers() >= connections / 2 || total() >= connections) && !makeRoom(counted))) {
      const fault = new Fault('listener/connection-limit', undefined, {
        address: counted,
        why: full ? 'this address' : 'all slots',
      })
      parts.onRejected(fault)
      log('debug', 'connection shed', fault.facts)
      return void raw.destroy()
    }
    const id = ++lastId
    const entry: Entry = { socket: raw, counted, stage: 'connecting', heard: ++moment }
    stages.connecting.add(entry)
    crowd.join(counted, entry)
    raw.once('close', () => forget(entry))
    const begin = (socket: Socket, certificate?: string): void => {
      entry.connection = parts.createConnection(socket, {
        id,
        peer: `${address}:${remotePort}`,
        certificate,
        setStage: stage => stages[entry.stage].has(entry) && move(entry, stage),
        recordActivity: () => stages[entry.stage].has(entry) && move(entry, entry.stage),
        schedule: step => parts.acceptQueue.schedule(counted, step),
      })
    }
    parts.acceptQueue.enqueue(counted, () => {
      if (raw.destroyed) return
      if (context) {
        const of = { context, mutual: clientCA !== undefined }
        secure(
          raw,
          of,
          { after: parts.after, inTurn: step => parts.acceptQueue.schedule(counted, step) },
          begin,
          why => {
            const fault = new Fault('tls/handshake-failed', undefined, { id, peer: address, why })
            parts.onRejected(fault)
            log(parts.shouldLog(fault.kind) ? fault.definition.level : 'debug', 'tls handshake failed', {
              fault: fault.kind,
              ...fault.facts,
            })
          },
        )
      } else {
        begin(raw)
        raw.resume()
      }
    })
  }

  /** Those that have not logged in, so that each later login was let in by what holds now. */
  const closeStrangers = (fault: Fault): void => {
    for (const { connection, socket } of [...stages.connecting, ...stages.unauthenticated, ...stages.authenticating]) {
      if (connection) connection.destroy(fault)
      else socket.destroy()
    }
  }

  const server = createServer(
    // Paused, since nobody hears yet what a client in the lobby says, its end above all.
    { allowHalfOpen: true, noDelay: true, keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE_MS, pauseOnConnect: true },
    accept,
  )
  await bound(server, parts)
  const port = (server.address() as { port: number }).port

  const each = (run: (entry: Entry) => void): void => {
    for (const stage of Object.values(stages)) for (const entry of [...stage]) run(entry)
  }
  return {
    port,
    countByStage: () => ({
      connecting: stages.connecting.size,
      unauthenticated: stages.unauthenticated.size,
      authenticating: stages.authenticating.size,
      authenticated: stages.authenticated.size,
    }),
    reconfigure({ tls, ...change }) {
      connections = change.connections
      most = change.perAddress
      if (!tls || !context) return // plain and TLS are not changed into each other
      context = contextOf(tls)
      const another = tls.clientCA !== clientCA
      clientCA = tls.clientCA
      if (another)
        closeStrangers(new Fault('tls/handshake-failed', undefined, { why: 'the client CA has changed since' }))
    },
    stopAccepting: () => void server.close(),
    closeMonitors: fault => {
      for (const { connection } of [...stages.unauthenticated]) connection?.closeIfMonitor(fault)
    },
    drain() {
      const empty = new Promise<void>(resolve => {
        emptied = resolve
      })
      if (total() === 0) emptied()
      each(({ connection, socket }) => (connection ? connection.drain() : socket.destroy()))
      return empty
    },
    destroy() {
      server.close()
      each(({ connection, socket }) => {
        connection?.destroy(new Fault('proxy/shutdown'))
        socket.destroy()
      })
    },
  }
}

/**
 * Does the TLS handshake within its deadline, then gives the socket that speaks plain text inwards. It costs us a thousand
 * times what it costs who asks for it, so it begins in its turn once something was said.
 */
function secure(
  raw: Socket,
  of: { context: SecureContext; mutual: boolean },
  { after, inTurn }: { after: After; inTurn(step: () => void): void },
  begin: (socket: Socket, certificate?: string) => void,
  failed: (why: string) => void,
): void {
  let over = (): void => {}
  const give = (why: string): void => {
    late()
    over()
    failed(why)
    raw.destroy()
  }
  const late = after(TLS_MS, () => give('took too long'))
  raw.once('close', late)
  raw.once('readable', () =>
    inTurn(() => {
      if (raw.destroyed) return
      if (raw.readableLength === 0) return void raw.destroy() // it has left
      over = shakeHands(raw, of, late, begin, give)
    }),
  )
}

/** The handshake itself; `late` is called when it is done. Gives what ends listening to it. */
function shakeHands(
  raw: Socket,
  { context, mutual }: { context: SecureContext; mutual: boolean },
  late: () => void,
  begin: (socket: Socket, certificate?: string) => void,
  give: (why: string) => void,
): () => void {
  const verify = { requestCert: mutual, rejectUnauthorized: mutual }
  const socket = new TLSSocket(raw, { isServer: true, secureContext: context, ...verify })
  const refuse = (error: NodeJS.ErrnoException): void => give(error.code ?? error.message)
  const done = (): void => {
    const why = mutual ? unverified(socket) : undefined
    if (why !== undefined) return void give(why)
    settle()
    // A resumed session shows what an earlier handshake verified, if anything.
    const fresh = mutual && !socket.isSessionReused()
    begin(socket, fresh ? socket.getPeerX509Certificate()?.fingerprint256 : undefined)
  }
  const left = (): void => void raw.destroy()
  const settle = (): void => {
    late()
    socket.off('error', refuse)
    socket.off('end', left)
    socket.off('secure', done)
  }
  socket.on('error', () => {}) // one that comes after the verdict must not end the process
  socket.on('error', refuse)
  // Of a socket that no tls.Server made, this event alone tells what goes wrong after the handshake.
  socket.on('_tlsError', error => socket.destroy(error))
  socket.on('end', left) // half-open is for those who have asked something
  socket.on('secure', done)
  return settle
}

/**
 * Where clients are verified there are no tickets: one that was issued before the authority changed would resume as
 * authorized (R30), and to resume is to show no certificate.
 */
function contextOf({ cert, key, clientCA }: NonNullable<ListenerOptions['tls']>): SecureContext {
  if (clientCA === undefined) return createSecureContext({ cert, key, ...TLS })
  const secureOptions = TLS.secureOptions | constants.SSL_OP_NO_TICKET
  return createSecureContext({ cert, key, ...TLS, ca: clientCA, secureOptions })
}

/**
 * What is wrong with the certificate of a client, undefined if nothing is. OpenSSL goes on after a bad one and leaves
 * the verdict for later; on a socket that no tls.Server made, this is the one place that tells it.
 */
function unverified(socket: TLSSocket): string | undefined {
  const { ssl } = socket as unknown as { ssl?: { verifyError?(): NodeJS.ErrnoException | null | undefined } }
  if (typeof ssl?.verifyError !== 'function') return 'whether the certificate is good cannot be known'
  const error = ssl.verifyError()
  return error ? (error.code ?? error.message) : undefined
}

function bound(server: Server, { host, port, backlog }: ListenerOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) =>
      reject(new Fault('listener/address-unavailable', `${host}:${port} (${error.code})`, {}, error)),
    )
    server.listen({ host, port, backlog }, () => {
      server.removeAllListeners('error')
      server.on('error', () => {}) // accept errors such as EMFILE: the next accept tries again
      resolve()
    })
  })
}
