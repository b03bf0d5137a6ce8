/** Accepts client sockets, limits how many are open, and closes connections on shutdown and elections. */
import { createServer, type Server, type Socket } from 'node:net'
import { toSubnet } from '../budget/subnet.js'
import { describeListenAddress } from '../config/hosts.js'
import { Fault, toLogFields } from '../errors.js'
import type { Log } from '../log.js'
import type { AcceptQueue } from './acceptQueue.js'
import { ConnectionTable, type Stage, type TableEntry } from './connectionTable.js'
import type { ServedConnection, SocketServer } from './socketServer.js'
import type { TlsOptions } from './tls.js'

/** Load balancers drop flows that are idle for 350 s, so probe earlier. */
const KEEP_ALIVE_DELAY_MS = 60_000

export type ListenerOptions = {
  host: string
  port: number
  backlog: number
  /** Maximum number of connections. Unauthenticated ones get at most half of it, or `reserve`. */
  connections: number
  /** The part of `connections` that sessions never take. */
  reserve: number
  /** Maximum number of unauthenticated connections per subnet. */
  perAddress: number
  tls?: TlsOptions
  log: Log
  acceptQueue: AcceptQueue
  sockets: Pick<SocketServer, 'serve' | 'reconfigure'>
  /** Called for each socket that is closed before it is served. */
  onRejected(fault: Fault): void
  /** Descriptors with this number and above are not for clients. */
  maxDescriptor(): number
  /** Called for each connection that could not be accepted. */
  onAcceptFailed(why: string): void
}

type Limits = Pick<ListenerOptions, 'connections' | 'reserve' | 'perAddress'>

type Entry = TableEntry & {
  readonly id: number
  readonly socket: Socket
  /** The client's address, without its port. */
  readonly address: string
  readonly peer: string
  /** Undefined while the socket is queued. */
  connection?: ServedConnection
  onClosed(): void
}

/** Starts to listen. Throws `listener/address-unavailable`. */
export async function listen(options: ListenerOptions): Promise<Listener> {
  const listener = new Listener(options)
  await listener.listen()
  return listener
}

export class Listener {
  readonly #options: ListenerOptions
  readonly #server: Server
  readonly #table = new ConnectionTable<Entry>()
  #limits: Limits
  #clientCA: string | undefined
  #port = 0
  #lastId = 0
  #onEmpty = (): void => {}

  constructor(options: ListenerOptions) {
    this.#options = options
    this.#limits = options
    this.#clientCA = options.tls?.clientCA
    this.#server = createServer(
      {
        allowHalfOpen: true,
        noDelay: true,
        keepAlive: true,
        keepAliveInitialDelay: KEEP_ALIVE_DELAY_MS,
        // While a socket is queued nothing listens for its data and its end.
        pauseOnConnect: true,
      },
      socket => this.#accept(socket),
    )
  }

  /** Resolves once the port is bound. Throws `listener/address-unavailable`. */
  listen(): Promise<void> {
    const { host, port, backlog } = this.#options
    const server = this.#server
    return new Promise((resolve, reject) => {
      server.once('error', (error: NodeJS.ErrnoException) =>
        reject(
          new Fault(
            'listener/address-unavailable',
            `${describeListenAddress({ host, port })} (${error.code})`,
            {},
            error,
          ),
        ),
      )
      server.listen({ host, port, backlog }, () => {
        server.removeAllListeners('error')
        this.#port = (server.address() as { port: number }).port
        // After an accept error such as ENFILE, the next accept tries again.
        server.on('error', ({ message }) => this.#options.onAcceptFailed(message))
        resolve()
      })
    })
  }

  /** The bound port. */
  get port(): number {
    return this.#port
  }

  countByStage(): Record<Stage, number> {
    return this.#table.countByStage()
  }

  /**
   * Applies new limits and certificates to new connections. A listener does not change between plain text and TLS. With
   * another client CA, all unauthenticated connections are closed, because the previous CA admitted them.
   */
  reconfigure({ tls, ...limits }: Limits & Pick<ListenerOptions, 'tls'>): void {
    this.#options.sockets.reconfigure(tls) // may throw
    this.#limits = limits
    if (!tls || tls.clientCA === this.#clientCA) return
    this.#clientCA = tls.clientCA
    const fault = new Fault('tls/handshake-failed', undefined, { why: 'the client CA has changed' })
    this.#destroyEach(this.#table.list('connecting', 'unauthenticated', 'authenticating'), fault)
  }

  stopAccepting(): void {
    this.#server.close()
  }

  /** Closes monitors whose drivers must learn that there is a new primary. */
  closeMonitors(fault: Fault): void {
    for (const { connection } of this.#table.list('unauthenticated')) connection?.closeIfMonitor(fault)
  }

  /** Lets each connection close once no reply is pending. Resolves when all have closed. */
  drain(): Promise<void> {
    const empty = new Promise<void>(resolve => {
      this.#onEmpty = resolve
    })
    if (this.#table.size === 0) this.#onEmpty()
    for (const entry of this.#listAll()) {
      if (entry.connection) entry.connection.drain()
      else entry.socket.destroy()
    }
    return empty
  }

  /** Stops accepting and destroys all connections. */
  destroy(): void {
    this.#server.close()
    for (const entry of this.#listAll()) {
      if (entry.connection) entry.connection.destroy(new Fault('proxy/shutdown'))
      else entry.socket.destroy()
    }
  }

  #accept(socket: Socket): void {
    const { remoteAddress, remotePort } = socket
    socket.on('error', () => {})
    if (!remoteAddress) return void socket.destroy()
    if (readDescriptor(socket) >= this.#options.maxDescriptor()) {
      this.#options.onAcceptFailed('the last file descriptors are kept for STS, the upstream and the admin interface')
      return void socket.destroy()
    }
    const address = remoteAddress.replace(/^::ffff:/, '')
    const subnet = toSubnet(address)
    if (!this.#makeRoom(subnet)) return void socket.destroy()
    const entry: Entry = {
      id: ++this.#lastId,
      socket,
      address,
      peer: `${address}:${remotePort}`,
      subnet,
      stage: 'connecting',
      isMonitor: false,
      lastActive: 0,
      onClosed: () => this.#remove(entry),
    }
    this.#table.add(entry)
    socket.once('close', entry.onClosed)
    this.#options.acceptQueue.enqueue(subnet, () => this.#start(entry))
  }

  /** Returns whether a connection of this subnet may be added; evicts another one if necessary. */
  #makeRoom(subnet: string): boolean {
    const table = this.#table
    const { connections, reserve, perAddress } = this.#limits
    const isAddressFull = table.countOfSubnet(subnet) >= perAddress
    if (!isAddressFull) {
      const { unauthenticatedSize, size } = table
      // Sessions never count against the reserve, even if a lowered limit leaves too many of them open.
      if (unauthenticatedSize < reserve || (unauthenticatedSize < connections / 2 && size < connections)) return true
      const evicted = table.chooseEviction(subnet)
      if (evicted) {
        this.#evict(evicted)
        return true
      }
    }
    const why = isAddressFull ? 'limit per address' : 'limit of connections'
    const fault = new Fault('listener/connection-limit', undefined, { address: subnet, why })
    this.#options.onRejected(fault)
    this.#options.log('debug', 'connection shed', toLogFields(fault))
    return false
  }

  #evict(entry: Entry): void {
    const fault = new Fault('listener/connection-limit')
    this.#remove(entry)
    if (entry.connection) return void entry.connection.destroy(fault) // which reports the fault itself
    this.#options.onRejected(fault)
    entry.socket.destroy()
  }

  #remove(entry: Entry): void {
    if (this.#table.remove(entry) && this.#table.size === 0) this.#onEmpty()
  }

  /** Begins to serve a queued socket. */
  #start(entry: Entry): void {
    const { id, peer, subnet, socket, onClosed } = entry
    if (socket.destroyed) return
    socket.off('close', onClosed)
    entry.connection = this.#options.sockets.serve(socket, {
      id,
      peer,
      subnet,
      setStage: stage => this.#table.move(entry, stage),
      markMonitor: () => this.#table.markMonitor(entry),
      recordActivity: () => this.#table.move(entry, entry.stage),
      onClosed,
    })
  }

  #destroyEach(entries: readonly Entry[], fault: Fault): void {
    for (const entry of entries) {
      if (entry.connection) entry.connection.destroy(fault)
      else entry.socket.destroy()
    }
  }

  #listAll(): Entry[] {
    return this.#table.list('connecting', 'unauthenticated', 'authenticating', 'authenticated')
  }
}

/**
 * The file descriptor of an accepted socket; -1 on systems without descriptors. The system assigns the lowest free number,
 * so a high number means that few are left. There is no other sign: if none is left, libuv closes new connections silently.
 */
function readDescriptor(socket: Socket): number {
  return (socket as Socket & { _handle?: { fd?: number } })._handle?.fd ?? -1
}
