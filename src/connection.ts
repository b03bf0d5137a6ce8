/**
 * One client from accept to close, and the only reader of its commands before the relay. It is long because whatever may
 * end a connection has to meet in one place, which writes its one line.
 *
 * One frame in, one answer out, then the next frame is looked at. While the proof is being judged nobody takes the next
 * one, so nothing overtakes the verdict.
 */
import type { Socket } from 'node:net'
import type { Document } from 'bson'
import type { After } from './clock.js'
import { Fault, type Kind, toReply } from './errors.js'
import {
  type Asked,
  answer,
  type Introduction,
  opening,
  readHello,
  type Server,
  type State,
  settle,
  type Turn,
} from './handshake.js'
import { inbox } from './inbox.js'
import type { Log } from './log.js'
import type { Admitted, Candidate, Journal } from './login.js'
import { type Ending, type Relay, relay } from './relay.js'
import { type Again, relogin } from './relogin.js'
import { topologyVersionOf } from './upstream/hello.js'
import type { Frame } from './wire/frame.js'
import { type Command, EXHAUST_ALLOWED, MORE_TO_COME, readCommand, writeMessage, writeReply } from './wire/message.js'

/** Bytes of the longest frame before login: hello and SASL fit many times over. */
const LIMIT = 64 * 1024
/** A frame that has begun must be complete within this time, the first one within this time of accept. Milliseconds. */
const FRAME_MS = 5_000
/** Answers that are not read for this long mean a dead peer (R5). */
const STALLED_MS = 60_000
/** Between frames, drivers ask every ten seconds or so; nothing for this long is nobody. */
const IDLE_MS = 600_000
/** A challenge that is not answered within this time is dropped. Drivers have their credentials before they ask for it. */
const CHALLENGE_MS = 30_000

/** The least time between two streamed replies that tell nothing new; no driver asks for less. Milliseconds. */
const STREAM_MS = 500

/**
 * Relays to who was the primary are closed behind the reply that they owe, this much later without one. Its members
 * answer what an election interrupts with a label by which drivers try again, which some (Node's) do not where several
 * connections of a pool are closed under what they wait for. Milliseconds.
 */
const LAST_REPLY_MS = 100
/**
 * Drivers whose pools notice by themselves that a connection was closed. The others learn it from their monitor's, which
 * is closed, too: else they would take a closed one for the second try of a write, and there is no third. These are left
 * their monitors, since they wait half a second before they open another.
 */
const NOTICES = /^nodejs\b/
/**
 * Drivers that answer code 391 by logging in again. Those for Go, C and Rust give it to their application, to which a
 * closed connection is less: what can be tried again is.
 */
const LOGS_IN_AGAIN = /^(nodejs|PyMongo|mongo-java-driver|mongo-csharp-driver)\b/

/** Why a login is given up; one for all, since a reason made on the spot costs a stack trace. */
const LEFT = new Error('the client left')

/** Where a connection is: the names of the listener's sets. */
export type Stage = 'opening' | 'greeted' | 'login' | 'relay'

export type Parts = {
  id: number
  /** The client's address, as address:port. */
  peer: string
  /** The fingerprint of the client's certificate, where this very TLS handshake verified one. */
  certificate?: string | undefined
  log: Log
  /** What the proxy brings to the conversation with a client of this address. */
  server(address: string): Server
  /** The answer to a hello, from an upstream reply obtained after it was asked. `client`: its own socket. */
  greet(asked: Asked, connectionId: number, signal: AbortSignal, client: Socket): Promise<Document>
  login(candidate: Candidate, over: AbortController): Promise<Admitted>
  /** The login again, over a connection that has its upstream. */
  again: Again
  /** What becomes of a connection whose login is older than its rule allows. */
  reauthenticate(): 'ask' | 'close'
  move(stage: Stage): void
  /** A whole frame came: the connection is alive. */
  alive(): void
  /** Runs a step when it is the turn of this client's address. */
  inTurn(step: () => void): void
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
  const { id, peer, certificate, seen, now } = parts
  const address = peer.slice(0, peer.lastIndexOf(':'))
  const log = parts.log.with({ id, peer })
  const server = parts.server(address)
  const journal: Journal = { ms: {} }
  const born = now()
  let state: State = opening
  let stage: Stage = 'opening'
  let through: Relay | undefined
  let doom: Ending | undefined
  let quiet = true // the client waits for nothing, or for a change of the topology
  let draining = false
  let greeted = 0
  let monitors = false // it is no connection that will log in
  let before = { read: 0, written: 0 } // bytes of the client's socket when the relay began

  const kill = (fault: Fault): void => {
    doom ??= { by: 'proxy', fault }
    if (through) through.destroy('proxy', fault)
    else socket.destroy()
  }
  /** Whoever begins a frame has to finish it; whoever is between frames has all the time that monitors need. */
  const hurry = () => parts.after(FRAME_MS, () => kill(new Fault('listener/slow')))
  const rest = () =>
    parts.after(state.at === 'challenged' ? CHALLENGE_MS : IDLE_MS, () => kill(new Fault('listener/idle')))
  let hurried = true // the first frame is in a hurry from the start
  let cancel = hurry()
  const begun = (): void => {
    if (hurried) return
    hurried = true
    cancel()
    cancel = hurry()
  }
  const over = new AbortController()
  const box = inbox(socket, LIMIT, begun, () => over.abort(LEFT), parts.inTurn)
  socket.on('error', error => {
    doom ??= { by: 'client', fault: new Fault('relay/away', undefined, { side: 'client', why: error.message }) }
  })

  const move = (to: Stage): void => {
    stage = to
    parts.move(to)
  }

  const reply = (command: Command, document: Document): void => {
    socket.write(writeReply(command, document, parts.nextRequestID()))
  }

  /**
   * Answers a hello. One that allows it is answered with every change and whenever its time is over, each reply to the
   * one before it, until the client leaves or something fails
   * (https://github.com/mongodb/specifications/blob/master/source/server-discovery-and-monitoring/server-monitoring.md).
   */
  const greet = async (command: Command, asked: Asked): Promise<void> => {
    const streams = asked.awaiting && (command.flagBits & EXHAUST_ALLOWED) !== 0
    const maxAwaitTimeMS = Math.max(asked.awaiting?.maxAwaitTimeMS ?? 0, STREAM_MS)
    for (;;) {
      const document = await parts.greet(asked, id, over.signal, socket)
      const topologyVersion = streams && topologyVersionOf(document)
      if (!topologyVersion) return reply(command, document)
      const requestID = parts.nextRequestID()
      socket.write(writeMessage(document, requestID, command.requestID, MORE_TO_COME))
      command.requestID = requestID // what the next reply answers, an error too
      asked.awaiting = { topologyVersion, maxAwaitTimeMS }
      if (socket.writableNeedDrain) await drained()
      over.signal.throwIfAborted()
      parts.alive()
    }
  }

  /** Carries out a turn. True: go on with the next frame. */
  const act = async (command: Command, turn: Turn): Promise<boolean> => {
    state = turn.next
    switch (turn.do) {
      case 'reply':
        reply(command, turn.document)
        return true
      case 'hello':
        quiet = turn.asked.awaiting !== undefined
        monitors = (++greeted > 1 || quiet) && state.at === 'start' && !NOTICES.test(state.client.metadata?.driver.name)
        if (stage === 'opening') move('greeted')
        await greet(command, turn.asked)
        return true
      case 'refuse': {
        const document = toReply(turn.fault, id)
        if (!document || state.at === 'over') throw turn.fault
        log('debug', 'refused', { fault: turn.fault.kind })
        seen.fault(turn.fault.kind)
        reply(command, document)
        return true
      }
      case 'prove': {
        move('login')
        const { fields, challenge, client } = turn
        let admitted: Admitted
        try {
          const candidate = { fields, challenge, client, address, certificate, journal, revoke: kill }
          admitted = await parts.login(candidate, over)
          if (over.signal.aborted) {
            discard(admitted)
            throw new Fault('login/left')
          }
          if (admitted.term.over) {
            discard(admitted)
            throw new Fault('upstream/away', 'it stepped down during the login')
          }
        } catch (thrown) {
          const fault = Fault.from(thrown)
          seen.login(fault.kind, journal)
          return act(command, settle(state, fault))
        }
        seen.login('admitted', journal)
        log('debug', 'admitted', { arn: journal.arn, user: journal.user })
        const welcome = settle(state)
        if (welcome.do !== 'reply') throw new Fault('internal')
        state = welcome.next
        through = enter(admitted, writeReply(command, welcome.document, parts.nextRequestID()), client)
        return false
      }
    }
  }

  /** From here on the relay owns both sockets. */
  const enter = (
    { socket: upstream, rest, limit, term, live, leave }: Admitted,
    welcome: Buffer,
    { metadata }: Introduction,
  ): Relay => {
    cancel()
    const fromClient = box.release()
    before = { read: socket.bytesRead - fromClient.length, written: socket.bytesWritten }
    socket.removeAllListeners('error')
    move('relay')
    socket.write(welcome)
    const started = relay({
      client: socket,
      upstream,
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
      after: parts.after,
      now,
    })
    if (draining) started.drain()
    started.ended.then(leave)
    const candidate = { client: {}, address, certificate, revoke: kill }
    const { again } = parts
    const reauthenticate = () => (LOGS_IN_AGAIN.test(metadata?.driver.name) ? parts.reauthenticate() : 'close')
    const renewing = { candidate, live, again, reauthenticate, server, seen, after: parts.after }
    started.ended.then(relogin(started, renewing))
    started.ended.then(term.whenVacated(fault => started.leave(fault, LAST_REPLY_MS)))
    return started
  }

  /** Waits until the client has taken its answers: one that never reads them gets no more of them made. */
  const drained = async (): Promise<void> => {
    const forgive = parts.after(STALLED_MS, () => kill(new Fault('relay/stalled', undefined, { side: 'client' })))
    await new Promise<void>(resolve => {
      const done = (): void => {
        socket.off('drain', done)
        socket.off('close', done)
        resolve()
      }
      socket.on('drain', done)
      socket.on('close', done)
    })
    forgive()
  }

  /** Answers a frame. True: go on with the next one; false: the relay has begun. */
  const hear = async (frame: Frame | undefined): Promise<boolean | Ending> => {
    if (!frame || socket.destroyed) return doom ?? { by: 'client' }
    quiet = false
    hurried = false
    cancel()
    parts.alive()
    const command = readCommand(frame)
    try {
      return await act(command, answer(state, command, server))
    } catch (thrown) {
      const fault = Fault.from(thrown)
      if (doom?.by === 'proxy') return doom
      if (fault.kind === 'login/left') return { by: 'client', fault }
      if (over.signal.aborted && !(thrown instanceof Fault)) return doom ?? { by: 'client' }
      const document = toReply(fault, id)
      if (document) reply(command, document)
      return { by: 'proxy', fault }
    }
  }

  /** One frame after the other; it keeps none in hand, since whoever waits here may wait for hours. */
  const converse = async (): Promise<Ending | undefined> => {
    for (;;) {
      quiet = true
      if (draining) return { by: 'proxy' }
      if (!hurried) cancel = rest()
      if (socket.writableNeedDrain) await drained()
      const heard = await hear(await box.next())
      if (heard !== true) return heard || undefined
    }
  }

  /** What the relay has passed on, and what was answered in between. */
  const passed = () => ({ toUpstream: socket.bytesRead - before.read, toClient: socket.bytesWritten - before.written })

  const closed = converse()
    .then(ending => ending ?? (through as Relay).ended)
    .catch((thrown): Ending => ({ by: 'proxy', fault: Fault.from(thrown) }))
    .then(({ by, fault = doom?.fault }) => {
      cancel()
      if (through) seen.relayed(passed())
      else leave(socket, parts.after)
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
      if (through) through.drain()
      else if (quiet) kill(new Fault('listener/draining'))
    },
    turn(fault) {
      if (monitors && stage === 'greeted') kill(fault)
    },
    destroy: kill,
  }
}

/** An upstream connection that nobody came for. */
function discard({ socket, leave }: Admitted): void {
  socket.destroy()
  leave()
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
