/** One client from accept to close: a conversation, then a relay, and its one line in the log. */
import type { Socket } from 'node:net'
import type { After } from './clock.js'
import { type Conversation, conversation, type Greet, type Hooks, type Stage } from './conversation.js'
import { Fault, type Kind } from './errors.js'
import { type Introduction, readHello, type Server } from './handshake.js'
import type { Log } from './log.js'
import type { Admitted, Candidate, Journal } from './login.js'
import { type Ending, Relay } from './relay.js'
import { type Again, relogin } from './relogin.js'

/**
 * Relays to who was the primary are closed behind the reply that they owe, this much later without one. Its members
 * answer what an election interrupts with a label by which drivers try again, which some (Node's) do not where several
 * connections of a pool are closed under what they wait for. Milliseconds.
 */
const LAST_REPLY_MS = 100
/**
 * Drivers that answer code 391 by logging in again. Those for Go, C and Rust give it to their application, to which a
 * closed connection is less: what can be tried again is.
 */
const LOGS_IN_AGAIN = /^(nodejs|PyMongo|mongo-java-driver|mongo-csharp-driver)\b/

const closes = () => 'close' as const

export type Parts = Hooks & {
  id: number
  /** The client's address, as address:port. */
  peer: string
  /** The fingerprint of the client's certificate, where this very TLS handshake verified one. */
  certificate?: string | undefined
  log: Log
  /** What the proxy brings to the conversation with a client of this address. */
  server(address: string): Server
  greet: Greet
  login(candidate: Candidate, over: AbortController): Promise<Admitted>
  /** The login again, over a connection that has its upstream. */
  again: Again
  /** What becomes of a connection whose login is older than its rule allows. */
  reauthenticate(): 'ask' | 'close'
  seen: Seen
  nextRequestID(): number
  now(): number
  after: After
}

/** What is counted. */
export type Seen = {
  fault(kind: Kind): void
  login(outcome: 'admitted' | Kind, journal: Journal): void
  refusedCommand(): void
  relayed(bytes: { toUpstream: number; toClient: number }): void
}

export type Connection = {
  closed: Promise<void>
  /** Closes as soon as the client waits for nothing. */
  drain(): void
  /** The primary is another one: a monitor is closed if its driver has to be told that the relays were. */
  turn(fault: Fault): void
  /** Closes now. */
  destroy(fault: Fault): void
}

/** Serves a client whose socket (TLS done, if any) allows half-open and has no readers. */
export function connection(socket: Socket, parts: Parts): Connection {
  const { id, peer, certificate, seen, now, after } = parts
  const address = peer.slice(0, peer.lastIndexOf(':'))
  const log = parts.log.with({ id, peer })
  const server = parts.server(address)
  const journal: Journal = { ms: {} }
  const born = now()
  let stage: Stage = 'opening'
  let talk: Conversation | undefined // until the relay has begun
  let through: Relay | undefined
  let doom: Ending | undefined
  let draining = false
  let before = { read: 0, written: 0 } // bytes of the client's socket when the relay began

  const kill = (fault: Fault): void => {
    doom ??= { by: 'proxy', fault }
    if (through) through.destroy('proxy', fault)
    else socket.destroy()
  }
  socket.on('error', error => {
    doom ??= { by: 'client', fault: new Fault('relay/away', undefined, { side: 'client', why: error.message }) }
  })

  /** From here on the relay owns both sockets. */
  const admit = (
    { socket: upstream, intake, rest, limit, term, live, leave }: Admitted,
    welcome: Buffer,
    fromClient: Buffer,
    { metadata }: Introduction,
  ): void => {
    before = { read: socket.bytesRead - fromClient.length, written: socket.bytesWritten }
    socket.write(welcome)
    const started = new Relay({
      client: socket,
      upstream,
      intake,
      fromClient,
      fromUpstream: rest,
      limit,
      connectionId: id,
      hello: async (command, signal) => {
        if (command.elements.has('client')) throw new Fault('hello/metadata-again')
        return parts.greet(readHello(command), id, signal, socket)
      },
      refused: () => seen.refusedCommand(),
      nextRequestID: parts.nextRequestID,
      after,
      now,
    })
    through = started
    talk = undefined
    if (draining) started.drain()
    const candidate = { client: {}, address, certificate, revoke: kill }
    const { again } = parts
    const reauthenticate = LOGS_IN_AGAIN.test(metadata?.driver.name) ? parts.reauthenticate : closes
    const forget = relogin(started, { candidate, live, again, reauthenticate, server, seen, after })
    const stay = term.whenVacated(fault => started.leave(fault, LAST_REPLY_MS))
    started.ended.then(() => {
      leave()
      forget()
      stay()
    })
  }

  talk = conversation(socket, {
    ...parts,
    address,
    certificate,
    journal,
    log,
    server,
    move(to) {
      stage = to
      parts.move(to)
    },
    admit,
    kill,
    doom: () => doom,
  })

  /** What the relay has passed on, and what was answered in between. */
  const passed = () => ({ toUpstream: socket.bytesRead - before.read, toClient: socket.bytesWritten - before.written })

  const closed = talk.over
    .then(ending => ending ?? (through as Relay).ended)
    .catch((thrown): Ending => ({ by: 'proxy', fault: Fault.from(thrown) }))
    .then(({ by, fault = doom?.fault }) => {
      if (through) seen.relayed(passed())
      else leave(socket, after)
      if (fault) seen.fault(fault.kind)
      log(fault ? fault.row.level : stage === 'relay' ? 'info' : 'debug', 'closed', {
        stage,
        by,
        ...(journal.accessKeyId && { accessKeyId: journal.accessKeyId }),
        ...(journal.arn && { arn: journal.arn }),
        ...(journal.user && { user: journal.user }),
        ...journal.by,
        ...(journal.remembered && { remembered: true }),
        ...(fault && { fault: fault.kind, why: fault.message, ...fault.facts }),
        ...(fault?.kind === 'internal' && { stack: (fault.cause as Error | undefined)?.stack ?? fault.stack }),
        ms: { ...journal.ms, open: Math.round(now() - born) },
        bytes: { fromClient: socket.bytesRead, toClient: socket.bytesWritten },
      })
    })

  return {
    closed,
    drain() {
      draining = true
      through?.drain()
      talk?.drain()
    },
    turn: fault => talk?.turn(fault),
    destroy: kill,
  }
}

/** Closes a socket once the last answer is on its way; a client that never closes its side is cut off. */
function leave(socket: Socket, after: After): void {
  if (socket.destroyed) return
  socket.removeAllListeners('data')
  socket.resume()
  socket.end()
  socket.once(
    'close',
    after(1_000, () => socket.destroy()),
  )
}
