/**
 * Two sockets, bytes both ways, until one side is done.
 *
 * The ledger `owed` holds the requests that the upstream has yet to answer. An answer of our own (hello, a refusal) waits
 * until nothing is owed and the upstream's stream stands between two frames; while it waits, the client's next bytes
 * wait too, so that answers keep the order of the requests (R1). They are read all the same, as far as a few of them go: a
 * socket that is not read hides that its peer has left (R13). The file is long because both directions share that
 * ledger and every way to end.
 */
import type { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import type { Document } from 'bson'
import type { After } from './clock.js'
import { Fault, toReply } from './errors.js'
import { OP_MSG } from './wire/frame.js'
import type { Glance } from './wire/glance.js'
import { type Command, writeReply } from './wire/message.js'
import { type Local, ReplySplitter, type Request, RequestSplitter } from './wire/split.js'

/** A write that makes no progress for this long means a dead peer; so does a side left half-closed (R5). Milliseconds. */
const STALLED = 60_000
const HALF_CLOSED = 10_000
/** The last reply of a relay that is left is given this long to arrive before the connection is reset. Milliseconds. */
const LINGER = 20
/** Of what was written longer ago than this, the client is taken to have all. Milliseconds. */
const ARRIVED = 1_000
/** Why an answer under way is given up: one for all, since a reason made on the spot costs a stack trace a connection. */
const ENDED = new Error('the relay has ended')
/** Bytes of a client that may wait behind an answer of ours. */
const WAITING = 64 * 1024
/** Requests that a client may have sent ahead of their replies. Drivers wait for each. */
const AHEAD = 10_000

const NONE: never[] = []

type Answerable = Pick<Command, 'opCode' | 'requestID'>

export type Side = 'client' | 'upstream' | 'proxy'

/** How a relay ended: who closed first, and why if it was not simply over. */
export type Ending = { by: Side; fault?: Fault }

export type Relay = {
  ended: Promise<Ending>
  /** Replies the client waits for, answers of our own included. */
  owed(): number
  /** From now on commands that are owed a reply are shown to this first; to nobody where it is undefined. */
  watch(by: Watcher | undefined): void
  /** Ends in peace: at once if nothing is owed, else when the last reply is through. `fault`: why, unless it is simply over. */
  drain(fault?: Fault): void
  /**
   * Ends at once if nothing is owed, else a moment behind the last reply, or after `ms` at the latest, and so that whoever
   * lies idle cannot miss it. Gives what resolves when it has ended, where that is later.
   */
  leave(fault: Fault, ms: number): Promise<unknown> | undefined
  /** Ends now, whatever is owed. */
  destroy(by: Side, fault?: Fault): void
}

export type Watcher = {
  /** What a command is answered in the place of the upstream; undefined lets it pass. */
  stop(seen: Glance): Fault | undefined
  /** The answer to a step of another login; where nobody answers it is refused. A fault that it throws is the end, too. */
  renew?(command: Command, signal: AbortSignal): Promise<Document | Fault>
  /** Something passed. Of what is too long or wants no reply nothing was `seen`, nor of what was asked before and goes on. */
  passed(seen?: Glance): void
}

type Parts = {
  client: Socket
  upstream: Socket
  /** What was read from each side before the relay began. */
  fromClient: Buffer
  fromUpstream: Buffer
  /** The upstream's maxMessageSizeBytes. */
  limit: number
  connectionId: number
  /** The answer to a hello. A fault that it throws is answered as such. */
  hello(command: Command, signal: AbortSignal): Promise<Document>
  /** Told of each command that was refused. */
  refused(name: string): void
  nextRequestID(): number
  after: After
  /** Monotonic milliseconds. */
  now(): number
}

/** Starts relaying. Both sockets must allow half-open and have no readers left; the relay owns them from here on. */
export function relay(parts: Parts): Relay {
  const { client, upstream, limit, connectionId, hello, refused, nextRequestID, after, now } = parts
  const requests = new RequestSplitter(limit)
  const replies = new ReplySplitter(limit)
  const owed: Request[] = []
  let gone: AbortController | undefined // there is none before the first hello
  const waiting: Buffer[] = [] // the client's bytes behind an answer of ours
  let held = 0 // of which there are so many
  let local: Local | undefined
  let answering = false
  let taking = false
  let clientEnded = false
  let draining = false
  let drained: Fault | undefined // why
  let wrote = now() // when the client was last written to, by whoever logged it in
  let leaving: Fault | undefined
  let watcher: Watcher | undefined
  let finish: (ending: Ending) => void
  let over = false
  const ended = new Promise<Ending>(resolve => {
    finish = resolve
  })

  const end = (by: Side, fault?: Fault): void => {
    if (over) return
    over = true
    halfClosed()
    lingering()
    gone?.abort(ENDED)
    stalls.client.clear()
    stalls.upstream.clear()
    finish(fault ? { by, fault } : { by })
  }
  const destroy = (by: Side, fault?: Fault): void => {
    end(by, fault)
    client.destroy()
    upstream.destroy()
  }
  let halfClosed = (): void => {}
  let lingering = (): void => {}
  const stalls = { client: new Stall(client, after, destroy), upstream: new Stall(upstream, after, destroy) }

  /** Runs a step whose fault ends both sides, mid-frame if need be. */
  const guarded = <T extends unknown[]>(by: Side, step: (...given: T) => void, ...given: T): void => {
    if (over) return
    try {
      step(...given)
    } catch (thrown) {
      destroy(by, Fault.from(thrown))
    }
  }

  /** Writes, and holds the source while the sink is full. */
  const toClient = (bytes: Buffer): void => {
    wrote = now()
    if (client.write(bytes)) return
    upstream.pause()
    stalls.client.drained(() => upstream.resume())
  }
  const toUpstream = (bytes: Buffer): void => {
    if (!upstream.write(bytes)) stalls.upstream.drained(flow)
  }
  /** Reads the client as long as the upstream is not full, and little waits. */
  const flow = (): void => {
    if (upstream.writableNeedDrain || held > WAITING) client.pause()
    else if (client.isPaused()) client.resume()
  }

  const fromClient = (chunk: Buffer): void => {
    waiting.push(chunk)
    held += chunk.length
    if (local) flow()
    else takeUp()
  }

  /** Takes the client's bytes, up to an answer of ours that has to wait. In a loop: thousands fit into one chunk. */
  const takeUp = (): void => {
    taking = true
    while (held > 0 && !local && !over) {
      const taken = requests.take(waiting.length > 1 ? Buffer.concat(waiting.splice(0)) : (waiting.pop() as Buffer))
      held = taken.rest.length
      if (held > 0) waiting.push(taken.rest)
      for (const request of taken.requests) if (!request.moreToCome) owed.push(request)
      if (owed.length > AHEAD)
        throw new Fault('relay/stalled', undefined, { why: 'too many requests ahead of replies' })
      if (taken.requests.length > 0) watcher?.passed()
      for (const bytes of taken.forward) toUpstream(bytes)
      if (taken.local) {
        local = taken.local
        settle()
      }
    }
    taking = false
    if (over) return
    flow()
    if (!local) settle()
  }

  const fromUpstream = (chunk: Buffer): void => {
    const { forward, replies: complete } = replies.take(chunk)
    if (forward.length > 0) {
      if (owed.length === 0) throw new Fault('upstream/malformed', undefined, { why: 'a reply that nobody asked for' })
      toClient(forward)
    }
    for (const { requestID, responseTo, moreToCome } of complete) {
      const due = owed[0]
      if (due?.requestID !== responseTo) {
        throw new Fault('upstream/malformed', undefined, { why: 'a reply to another request', responseTo })
      }
      if (moreToCome && !due.exhaustAllowed) {
        throw new Fault('upstream/malformed', undefined, { why: 'a stream that nobody asked for' })
      }
      if (!moreToCome) owed.shift()
      else {
        due.requestID = requestID
        watcher?.passed() // a stream has no end of its own
      }
    }
    settle()
  }

  /** Does what had to wait until nothing is owed. */
  const settle = (): void => {
    if (over || owed.length > 0 || replies.midway) return
    if (leaving) {
      linger(leaving)
    } else if (local) {
      if (answering) return
      answering = true
      answer(local)
    } else if (draining && !requests.midway) close('proxy', drained)
    else if (clientEnded) left()
  }

  /** The client has ended its side, and waits for nothing. */
  const left = (): void => {
    if (requests.midway) destroy('client', new Fault('relay/away', undefined, { why: 'ended within a message' }))
    else close('client')
  }

  const answer = (asked: Local): void => {
    if (asked.is === 'offered') return void offer(asked)
    if (asked.is === 'refused') return void refuse(asked.name, asked)
    const { is, command } = asked
    const step = is === 'hello' ? hello : watcher?.renew
    if (!step) return void refuse(command.name, command)
    gone ??= new AbortController()
    step(command, gone.signal).then(
      given => guarded('proxy', answered, command, given),
      thrown => guarded('proxy', is === 'hello' ? answered : last, command, Fault.from(thrown)),
    )
  }

  const refuse = (name: string, to: Answerable): void => {
    refused(name)
    answered(to, new Fault('command/identity', name))
  }

  /** Lets a command go upstream after all, unless it is answered instead. */
  const offer = ({ seen, request, bytes }: Local & { is: 'offered' }): void => {
    const fault = watcher?.stop(seen)
    if (fault) return void answered({ opCode: OP_MSG, requestID: request.requestID }, fault)
    owed.push(request)
    toUpstream(bytes)
    watcher?.passed(seen)
    goOn()
  }

  const answered = (to: Answerable, given: Document | Fault): void => {
    if (over) return
    const document = given instanceof Fault ? toReply(given, connectionId) : given
    if (!document) throw given
    toClient(writeReply(to, document, nextRequestID()))
    if (client.writableNeedDrain) stalls.client.drained(() => guarded('client', goOn))
    else goOn()
  }

  /** A fault's reply is the last one. */
  const last = (to: Answerable, fault: Fault): void => {
    if (over) return
    const document = toReply(fault, connectionId)
    if (document) client.write(writeReply(to, document, nextRequestID()))
    close('proxy', fault)
  }

  /** Takes up the client's stream again, once it has taken our answer: one that never reads gets no further. */
  const goOn = (): void => {
    local = undefined
    answering = false
    if (!taking) guarded('client', takeUp)
  }

  /** Ends a moment after the last reply. */
  const linger = (fault: Fault): void => {
    lingering()
    lingering = after(LINGER, () => {
      if (owed.length === 0 && !replies.midway) part(fault)
    })
  }
  /** A reset would take with it what has not arrived yet, so it is for those that lie idle. */
  const part = (fault: Fault): void => {
    if (over) return
    const idle = client.writableLength === 0 && now() - wrote >= ARRIVED
    end('proxy', fault)
    upstream.destroy()
    if (idle) reset(client)
    else flush(client)
  }

  /** Ends in peace. */
  const close = (by: Side, fault?: Fault): void => {
    end(by, fault)
    flush(client)
    flush(upstream)
  }
  /** Closes once what was written is out. */
  const flush = (socket: Socket): void => {
    socket.end()
    socket.once(
      'close',
      after(HALF_CLOSED, () => socket.destroy()),
    )
    socket.resume()
  }

  client.on('data', chunk => guarded('client', fromClient, chunk))
  upstream.on('data', chunk => guarded('upstream', fromUpstream, chunk))
  client.once('end', () => {
    if (over) return
    // A last answer of the upstream may be waited for by who sends no more. Ours are of use for what comes next.
    if (answering || requests.midway) return left()
    clientEnded = true
    halfClosed = after(HALF_CLOSED, () => destroy('client'))
    settle()
  })
  upstream.once('end', () => {
    if (!over) close('upstream')
  })
  for (const [by, socket] of [
    ['client', client],
    ['upstream', upstream],
  ] as const) {
    socket.on('error', error => {
      if (!over) destroy(by, new Fault('relay/away', undefined, { side: by, why: error.message }))
    })
    socket.once('close', () => {
      if (!over) destroy(by)
    })
  }

  if (parts.fromUpstream.length > 0) {
    destroy('upstream', new Fault('upstream/malformed', undefined, { why: 'bytes after the login' }))
  }
  if (parts.fromClient.length > 0) guarded('client', fromClient, parts.fromClient)
  if (!over) {
    flow()
    upstream.resume()
  }

  return {
    ended,
    owed: () => owed.length + (local ? 1 : 0),
    watch: by => {
      watcher = by
      requests.offering = by !== undefined
    },
    drain: fault => {
      draining = true
      drained ??= fault
      settle()
    },
    leave: (fault, ms) => {
      if (over) return undefined
      if (owed.length === 0) {
        part(fault)
        return undefined
      }
      leaving = fault
      const late = after(ms, () => destroy('proxy', fault))
      return ended.then(late)
    },
    destroy,
  }
}

/**
 * Closes a connection of which nothing is on its way. A driver of Node takes one that was closed in peace for usable until
 * its own end is closed, too, and has an error that it does not try again; one that was reset, it knows at once.
 */
function reset(socket: Socket): void {
  if (socket instanceof TLSSocket) socket.destroy()
  else socket.resetAndDestroy()
}

/** What happens once a full socket has drained; a socket that does not drain in time is given up. */
class Stall {
  readonly #socket: Socket
  readonly #after: After
  readonly #destroy: (by: Side, fault: Fault) => void
  #cancel: (() => void) | undefined
  #steps: (() => void)[] = NONE

  constructor(socket: Socket, after: After, destroy: (by: Side, fault: Fault) => void) {
    this.#socket = socket
    this.#after = after
    this.#destroy = destroy
  }

  drained(step: () => void): void {
    if (this.#steps !== NONE) return void this.#steps.push(step)
    this.#steps = [step]
    this.#cancel = this.#after(STALLED, () =>
      this.#destroy('proxy', new Fault('relay/stalled', undefined, { ms: STALLED })),
    )
    this.#socket.once('drain', () => {
      this.clear()
      const due = this.#steps
      this.#steps = NONE
      for (const next of due) next()
    })
  }

  clear(): void {
    this.#cancel?.()
    this.#cancel = undefined
  }
}
