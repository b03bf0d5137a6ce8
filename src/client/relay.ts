/**
 * Two sockets, bytes both ways, until one side is done.
 *
 * The ledger holds the requests that the upstream has yet to answer. An answer of our own (hello, a refusal) waits
 * until nothing is owed and the upstream's stream stands between two frames; while it waits, the client's next bytes
 * wait too, so that answers keep the order of the requests (R1). They are read all the same, as far as a few of them go: a
 * socket that is not read hides that its peer has left (R13). The file is long because both directions share that
 * ledger and every way to end.
 */
import type { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import type { Document } from 'bson'
import type { After } from '../clock.js'
import { Fault, toReply } from '../errors.js'
import type { ReadBuffer } from '../upstream/readBuffer.js'
import { ByteQueue } from '../wire/byteQueue.js'
import { OP_MSG } from '../wire/frame.js'
import { type Command, writeReply } from '../wire/message.js'
import type { CommandSummary } from '../wire/peek.js'
import { PendingReplies } from '../wire/pendingReplies.js'
import { type InterceptedRequest, ReplySplitter, RequestSplitter } from '../wire/split.js'
import { Backpressure } from './backpressure.js'

/** A side that is left half-closed for this long means a dead peer (R5). Milliseconds. */
const HALF_CLOSED = 10_000
/** The last reply of a relay that is left is given this long to arrive before the connection is reset. Milliseconds. */
const LINGER = 20
/** Of what was written longer ago than this, the client is taken to have all. Milliseconds. */
const ARRIVED = 1_000
/** Why an answer under way is given up: one for all, since a reason made on the spot costs a stack trace a connection. */
const ENDED = new Error('the relay has ended')
/** Bytes of a client that may wait behind an answer of ours. */
const WAITING = 64 * 1024
/** So many answers of ours are given in one turn of the loop, so that a client that asks for nothing else leaves others theirs. */
const AT_ONCE = 8

const NOTHING = Buffer.alloc(0)
const nothing = (): void => {}

type Answerable = Pick<Command, 'opCode' | 'requestID'>

export type Side = 'client' | 'upstream' | 'proxy'

/** How a relay ended: who closed first, and why if it was not simply over. */
export type Ending = { by: Side; fault?: Fault }

export type Watcher = {
  /** What a command is answered in the place of the upstream; undefined lets it pass. */
  stop(seen: CommandSummary): Fault | undefined
  /** The answer to a step of another login; where nobody answers it is refused. A fault that it throws is the end, too. */
  renew?(command: Command, signal: AbortSignal): Promise<Document | Fault>
  /** Something passed. Of what is too long or wants no reply nothing was `seen`, nor of what was asked before and goes on. */
  passed(seen?: CommandSummary): void
}

type Surroundings = {
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

type Parts = Surroundings & {
  client: Socket
  upstream: Socket
  /** Reads the upstream. */
  readBuffer: Pick<ReadBuffer, 'setConsumer'>
  /** What was read from each side before the relay began. */
  fromClient: Buffer
  fromUpstream: Buffer
  /** The upstream's maxMessageSizeBytes. */
  limit: number
}

/**
 * Relays from its beginning on. Both sockets must allow half-open and have no readers left; the relay owns them from then
 * on.
 */
export class Relay {
  readonly ended: Promise<Ending>
  readonly #client: Socket
  readonly #upstream: Socket
  readonly #requests: RequestSplitter
  readonly #replies: ReplySplitter
  readonly #parts: Surroundings
  readonly #stalls: { client: Backpressure; upstream: Backpressure }
  readonly #ledger = new PendingReplies()
  #gone: AbortController | undefined // there is none before the first hello
  #waiting: ByteQueue | undefined // the client's bytes behind an answer of ours
  #local: InterceptedRequest | undefined
  #answering = false
  #taking = false
  #answers = 0 // of ours, since others had their turn
  #clientEnded = false
  #draining = false
  #drained: Fault | undefined // why
  #wrote: number // when the client was last written to, by whoever logged it in
  #leaving: Fault | undefined
  #watcher: Watcher | undefined
  #over = false
  #finish = (_: Ending): void => {}
  #halfClosed = nothing
  #lingering = nothing

  constructor({ client, upstream, readBuffer, fromClient, fromUpstream, limit, ...parts }: Parts) {
    this.#client = client
    this.#upstream = upstream
    this.#requests = new RequestSplitter(limit)
    this.#replies = new ReplySplitter(limit)
    this.#parts = parts
    const giveUp = (fault: Fault): void => this.destroy('proxy', fault)
    this.#stalls = {
      client: new Backpressure(client, parts.after, giveUp),
      upstream: new Backpressure(upstream, parts.after, giveUp),
    }
    this.#wrote = parts.now()
    this.ended = new Promise<Ending>(resolve => {
      this.#finish = resolve
    })
    client.on('data', chunk => this.#fromClient(chunk))
    readBuffer.setConsumer({
      onChunk: bytes => this.#fromUpstream(bytes),
      retainsChunks: () => client.writableLength > 0,
      expectedBytes: () => this.#replies.remainingBytes,
    })
    client.on('end', () => this.#clientEnds())
    upstream.on('end', () => {
      if (!this.#over) this.#close('upstream')
    })
    this.#watchOver('client', client)
    this.#watchOver('upstream', upstream)
    if (upstream.destroyed) this.destroy('upstream')
    if (fromUpstream.length > 0) {
      this.destroy('upstream', new Fault('upstream/protocol-error', undefined, { why: 'bytes after the login' }))
    }
    if (fromClient.length > 0) this.#fromClient(fromClient)
    if (this.#over) return
    this.#flow()
    upstream.resume()
  }

  /** Replies the client waits for, answers of our own included. */
  owed(): number {
    return this.#ledger.size + (this.#local ? 1 : 0)
  }

  /** From now on commands that are owed a reply are shown to this first; to nobody where it is undefined. */
  watch(by: Watcher | undefined): void {
    this.#watcher = by
    this.#requests.interceptCommands = by !== undefined
  }

  /** Ends in peace: at once if nothing is owed, else when the last reply is through. `fault`: why, unless it is simply over. */
  drain(fault?: Fault): void {
    this.#draining = true
    this.#drained ??= fault
    this.#settle()
  }

  /**
   * Ends at once if nothing is owed, else a moment behind the last reply, or after `ms` at the latest, and so that whoever
   * lies idle cannot miss it. Gives what resolves when it has ended, where that is later.
   */
  leave(fault: Fault, ms: number): Promise<unknown> | undefined {
    if (this.#over) return undefined
    if (this.#ledger.size === 0) {
      this.#part(fault)
      return undefined
    }
    this.#leaving = fault
    const late = this.#parts.after(ms, () => this.destroy('proxy', fault))
    return this.ended.then(late)
  }

  /** Ends now, whatever is owed. */
  destroy(by: Side, fault?: Fault): void {
    this.#end(by, fault)
    this.#client.destroy()
    this.#upstream.destroy()
  }

  #end(by: Side, fault?: Fault): void {
    if (this.#over) return
    this.#over = true
    this.#halfClosed()
    this.#lingering()
    this.#gone?.abort(ENDED)
    this.#stalls.client.cancelTimeout()
    this.#stalls.upstream.cancelTimeout()
    this.#finish(fault ? { by, fault } : { by })
  }

  /** Runs a step whose fault ends both sides, mid-frame if need be. */
  #guarded(by: Side, step: () => void): void {
    if (this.#over) return
    try {
      step()
    } catch (thrown) {
      this.destroy(by, Fault.from(thrown))
    }
  }

  /** Writes, and holds the source while the sink is full. */
  #toClient(bytes: Buffer): void {
    this.#wrote = this.#parts.now()
    if (this.#client.write(bytes)) return
    this.#upstream.pause()
    this.#stalls.client.onDrain(() => this.#upstream.resume())
  }
  #toUpstream(bytes: Buffer): void {
    if (!this.#upstream.write(bytes)) this.#stalls.upstream.onDrain(() => this.#flow())
  }
  /** Reads the client as long as the upstream is not full, and little waits. */
  #flow(): void {
    if (this.#upstream.writableNeedDrain || (this.#waiting?.length ?? 0) > WAITING) this.#client.pause()
    else if (this.#client.isPaused()) this.#client.resume()
  }

  #fromClient(chunk: Buffer): void {
    if (this.#over) return
    if (this.#local) {
      this.#wait(chunk)
      return void this.#flow()
    }
    try {
      this.#takeUp(chunk)
    } catch (thrown) {
      this.destroy('client', Fault.from(thrown))
    }
  }

  #wait(bytes: Buffer): void {
    this.#waiting ??= new ByteQueue()
    this.#waiting.push(bytes)
  }

  /** Takes the client's bytes, up to an answer of ours that has to wait. In a loop: thousands fit into one chunk. */
  #takeUp(bytes: Buffer): void {
    let rest = bytes
    this.#taking = true
    while (rest.length > 0 && !this.#local && !this.#over) {
      const taken = this.#requests.split(rest)
      rest = taken.rest
      for (const request of taken.requests) this.#ledger.add(request)
      if (taken.requests.length > 0) this.#watcher?.passed()
      for (const bytes of taken.forward) this.#toUpstream(bytes)
      if (taken.intercepted) {
        this.#local = taken.intercepted
        this.#settle()
      }
    }
    this.#taking = false
    if (this.#over) return
    if (rest.length > 0) this.#wait(rest)
    this.#flow()
    if (!this.#local) this.#settle()
  }

  #fromUpstream(chunk: Buffer): void {
    if (this.#over) return
    try {
      this.#pass(chunk)
    } catch (thrown) {
      this.destroy('upstream', Fault.from(thrown))
    }
  }

  #pass(chunk: Buffer): void {
    const { forward, replies } = this.#replies.split(chunk)
    if (forward.length > 0) {
      this.#ledger.assertPending()
      this.#toClient(forward)
    }
    for (const reply of replies) {
      if (this.#ledger.complete(reply)) this.#watcher?.passed() // a stream has no end of its own
    }
    this.#settle()
  }

  /** Does what had to wait until nothing is owed. */
  #settle(): void {
    if (this.#over || this.#ledger.size > 0 || this.#replies.midFrame) return
    if (this.#leaving) this.#linger(this.#leaving)
    else if (this.#local) {
      if (this.#answering || this.#answers === AT_ONCE) return
      this.#answering = true
      this.#answer(this.#local)
    } else if (this.#draining && !this.#requests.midFrame) this.#close('proxy', this.#drained)
    else if (this.#clientEnded) this.#left()
  }

  #clientEnds(): void {
    if (this.#over) return
    // A last answer of the upstream may be waited for by who sends no more. Ours are of use for what comes next.
    // What waits has not been looked at, so whether it ends within a message is not known yet.
    if (this.#answering || (this.#requests.midFrame && !this.#waiting?.length)) return void this.#left()
    this.#clientEnded = true
    this.#halfClosed = this.#parts.after(HALF_CLOSED, () => this.destroy('client'))
    this.#settle()
  }

  /** The client has ended its side, and waits for nothing. */
  #left(): void {
    if (this.#requests.midFrame) {
      this.destroy('client', new Fault('connection/reset', undefined, { why: 'ended within a message' }))
    } else this.#close('client')
  }

  #watchOver(side: 'client' | 'upstream', socket: Socket): void {
    socket.on('error', ({ message }) => {
      if (!this.#over) this.destroy(side, new Fault('connection/reset', undefined, { side, why: message }))
    })
    socket.on('close', () => {
      if (!this.#over) this.destroy(side)
    })
  }

  #answer(asked: InterceptedRequest): void {
    if (asked.is === 'offered') return void this.#offer(asked)
    if (asked.is === 'refused') return void this.#refuse(asked.name, asked)
    const { is, command } = asked
    this.#gone ??= new AbortController()
    const { signal } = this.#gone
    const given = is === 'hello' ? this.#parts.hello(command, signal) : this.#watcher?.renew?.(command, signal)
    if (!given) return void this.#refuse(command.name, command)
    given.then(
      document => this.#guarded('proxy', () => this.#answered(command, document)),
      thrown => {
        const fault = Fault.from(thrown)
        this.#guarded('proxy', () => (is === 'hello' ? this.#answered(command, fault) : this.#last(command, fault)))
      },
    )
  }

  #refuse(name: string, to: Answerable): void {
    this.#parts.refused(name)
    this.#answered(to, new Fault('command/forbidden', name))
  }

  /** Lets a command go upstream after all, unless it is answered instead. */
  #offer({ summary, request, bytes }: InterceptedRequest & { is: 'offered' }): void {
    const fault = this.#watcher?.stop(summary)
    if (fault) return void this.#answered({ opCode: OP_MSG, requestID: request.requestID }, fault)
    this.#ledger.add(request)
    this.#toUpstream(bytes)
    this.#watcher?.passed(summary)
    this.#goOn()
  }

  #answered(to: Answerable, given: Document | Fault): void {
    if (this.#over) return
    const document = given instanceof Fault ? toReply(given, this.#parts.connectionId) : given
    if (!document) throw given
    this.#toClient(writeReply(to, document, this.#parts.nextRequestID()))
    if (!this.#client.writableNeedDrain) return void this.#goOn()
    this.#stalls.client.onDrain(() => this.#guarded('client', () => this.#goOn()))
  }

  /** A fault's reply is the last one. */
  #last(to: Answerable, fault: Fault): void {
    const document = toReply(fault, this.#parts.connectionId)
    if (document) this.#client.write(writeReply(to, document, this.#parts.nextRequestID()))
    this.#close('proxy', fault)
  }

  /** Takes up the client's stream again, once it has taken our answer: one that never reads gets no further. */
  #goOn(): void {
    if (++this.#answers === AT_ONCE) {
      setImmediate(() => {
        this.#answers = 0
        this.#guarded('client', () => this.#settle())
      })
    }
    this.#local = undefined
    this.#answering = false
    if (this.#taking) return
    const bytes = this.#waiting?.read(this.#waiting.length) ?? NOTHING
    this.#guarded('client', () => this.#takeUp(bytes))
  }

  /** Ends a moment after the last reply. */
  #linger(fault: Fault): void {
    this.#lingering()
    this.#lingering = this.#parts.after(LINGER, () => {
      if (this.#ledger.size === 0 && !this.#replies.midFrame) this.#part(fault)
    })
  }
  /** A reset would take with it what has not arrived yet, so it is for those that lie idle. */
  #part(fault: Fault): void {
    if (this.#over) return
    const idle = this.#client.writableLength === 0 && this.#parts.now() - this.#wrote >= ARRIVED
    this.#end('proxy', fault)
    this.#upstream.destroy()
    if (idle) reset(this.#client)
    else this.#flush(this.#client)
  }

  /** Ends in peace. */
  #close(by: Side, fault?: Fault): void {
    this.#end(by, fault)
    this.#flush(this.#client)
    this.#flush(this.#upstream)
  }
  /** Closes once what was written is out. */
  #flush(socket: Socket): void {
    socket.end()
    socket.once(
      'close',
      this.#parts.after(HALF_CLOSED, () => socket.destroy()),
    )
    socket.resume()
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
