/**
 * What a client says and is told before the relay: one frame in, one answer out, then the next frame is looked at. While
 * the proof is being judged nobody takes the next one, so nothing overtakes the verdict.
 *
 * Nothing of it is held on to once the client is admitted, since a connection then lasts for hours.
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
  type Server,
  type State,
  settle,
  type Turn,
} from './handshake.js'
import { inbox } from './inbox.js'
import type { Log } from './log.js'
import type { Admitted, Candidate, Journal } from './login.js'
import type { Ending } from './relay.js'
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
 * Drivers whose pools notice by themselves that a connection was closed. The others learn it from their monitor's, which
 * is closed, too: else they would take a closed one for the second try of a write, and there is no third. These are left
 * their monitors, since they wait half a second before they open another.
 */
const NOTICES = /^nodejs\b/

/** Why a login is given up; one for all, since a reason made on the spot costs a stack trace. */
const LEFT = new Error('the client left')

/** Where a connection is: the names of the listener's sets. */
export type Stage = 'opening' | 'greeted' | 'login' | 'relay'

/** What a connection owes its listener. */
export type Hooks = {
  move(stage: Stage): void
  /** A whole frame came: the connection is alive. */
  alive(): void
  /** Runs a step when it is the turn of this client's address. */
  inTurn(step: () => void): void
}

/** Asks for the answer to a hello, made from an upstream reply obtained after it was asked. `client`: its own socket. */
export type Greet = (asked: Asked, connectionId: number, signal: AbortSignal, client: Socket) => Promise<Document>

export type Parts = Hooks & {
  id: number
  /** The client's. */
  address: string
  /** The fingerprint of the client's certificate, where this very TLS handshake verified one. */
  certificate: string | undefined
  journal: Journal
  log: Log
  server: Server
  greet: Greet
  login(candidate: Candidate, over: AbortController): Promise<Admitted>
  /** The relay takes the socket over, in the same tick. `rest`: what was read of it and not answered. */
  admit(admitted: Admitted, welcome: Buffer, rest: Buffer, client: Introduction): void
  /** Closes the connection now. */
  kill(fault: Fault): void
  /** How it was closed, if it was. */
  doom(): Ending | undefined
  seen: { fault(kind: Kind): void; login(outcome: 'admitted' | Kind, journal: Journal): void }
  nextRequestID(): number
  after: After
}

export type Conversation = {
  /** How the connection has ended; undefined where the client is admitted. */
  over: Promise<Ending | undefined>
  /** Ends as soon as the client waits for nothing. */
  drain(): void
  /** The primary is another one: a monitor is closed if its driver has to be told that the relays were. */
  turn(fault: Fault): void
}

/** Talks with the client of a socket that has no readers. */
export function conversation(socket: Socket, parts: Parts): Conversation {
  const { id, address, certificate, journal, log, server, kill, doom, seen, after } = parts
  let state: State = opening
  let quiet = true // the client waits for nothing, or for a change of the topology
  let draining = false
  let greeted = 0
  let monitors = false // it is no connection that will log in

  /** Whoever begins a frame has to finish it; whoever is between frames has all the time that monitors need. */
  const hurry = () => after(FRAME_MS, () => kill(new Fault('listener/slow')))
  const rest = () => after(state.at === 'challenged' ? CHALLENGE_MS : IDLE_MS, () => kill(new Fault('listener/idle')))
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
        if (greeted === 1) parts.move('greeted')
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
        parts.move('login')
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
        parts.move('relay')
        parts.admit(admitted, writeReply(command, welcome.document, parts.nextRequestID()), box.release(), client)
        return false
      }
    }
  }

  /** Waits until the client has taken its answers: one that never reads them gets no more of them made. */
  const drained = async (): Promise<void> => {
    const forgive = after(STALLED_MS, () => kill(new Fault('relay/stalled', undefined, { side: 'client' })))
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
    if (!frame || socket.destroyed) return doom() ?? { by: 'client' }
    quiet = false
    hurried = false
    cancel()
    parts.alive()
    const command = readCommand(frame)
    try {
      return await act(command, answer(state, command, server))
    } catch (thrown) {
      const fault = Fault.from(thrown)
      const doomed = doom()
      if (doomed?.by === 'proxy') return doomed
      if (fault.kind === 'login/left') return { by: 'client', fault }
      if (over.signal.aborted && !(thrown instanceof Fault)) return doomed ?? { by: 'client' }
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

  return {
    over: converse().finally(() => cancel()),
    drain() {
      draining = true
      if (quiet) kill(new Fault('listener/draining'))
    },
    turn(fault) {
      if (monitors && state.at === 'start') kill(fault)
    },
  }
}

/** An upstream connection that nobody came for. */
function discard({ socket, leave }: Admitted): void {
  socket.destroy()
  leave()
}
