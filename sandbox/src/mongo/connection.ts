/** One client connection. It runs one command at a time and replies in order. */
import type { Socket } from 'node:net'
import { type Document, Double, serialize } from 'bson'
import { SandboxError } from '../errors.js'
import { type Frame, FrameSplitter, OP_MSG, OP_QUERY } from '../wire/frame.js'
import {
  EXHAUST_ALLOWED,
  encodeMessage,
  encodeReply,
  MORE_TO_COME,
  nameOf,
  readMessage,
  readQuery,
} from '../wire/message.js'
import { readDocument } from './bytes.js'
import { CommandError, toReply } from './commandError.js'
import { runCommand } from './dispatch.js'
import { MAX_MESSAGE } from './hello.js'
import { type CommandResult, type ConnectionState, type Instance, type Reply, StreamedReply } from './request.js'

/** The request that a reply answers. `silent`: the client expects no reply (moreToCome). */
type ReplyTarget = { opCode: number; requestID: number; silent: boolean }

/** Keep the documents of an insert as bytes. */
const RAW = { documents: true }
const INSERT = Buffer.from('insert\0')

export class Connection {
  readonly session: ConnectionState
  readonly #socket: Socket
  readonly #instance: Instance
  readonly #splitter = new FrameSplitter(MAX_MESSAGE)
  readonly #queue: Frame[] = []
  #busy = false
  #sent = 0

  /** Serves the socket until it closes. */
  constructor(socket: Socket, id: number, instance: Instance) {
    this.#socket = socket
    this.#instance = instance
    const closed = new AbortController()
    const address = socket.remoteAddress ?? ''
    this.session = { id, address, peer: `${address}:${socket.remotePort}`, closed: closed.signal }
    instance.sessions.add(this.session)
    socket.setNoDelay(true)
    socket.on('data', chunk => this.#receive(chunk))
    socket.on('error', () => socket.destroy())
    socket.on('close', () => {
      closed.abort()
      instance.sessions.delete(this.session)
    })
  }

  #receive(chunk: Buffer): void {
    try {
      for (const one of this.#splitter.push(chunk)) this.#queue.push(one)
      this.#serve()
    } catch (thrown) {
      this.#fail(thrown)
    }
  }

  #fail(thrown: unknown): void {
    this.#queue.length = 0
    this.#socket.destroy(thrown instanceof Error ? thrown : new Error(String(thrown)))
  }

  #serve(): void {
    while (!this.#busy) {
      const next = this.#queue.shift()
      if (!next) return
      const target: ReplyTarget = { opCode: next.opCode, requestID: next.requestID, silent: false }
      this.#answer(target, this.#run(next, target))
    }
  }

  /** Throws `malformedMessage` and `connectionClosed`, which close the connection. */
  #run(next: Frame, target: ReplyTarget): CommandResult {
    const { session } = this
    const instance = this.#instance
    if (next.opCode === OP_QUERY) {
      const { name, db, body } = readQuery(next)
      if (!legacy.has(name)) {
        const message = `Unsupported OP_QUERY command: ${name}. The client driver may require an upgrade.`
        return toReply(new CommandError('UnsupportedOpQueryCommand', message))
      }
      return runCommand({ name, db, body: readDocument(body), exhaust: false, session, instance })
    }
    if (next.opCode !== OP_MSG) throw new SandboxError('malformedMessage', `opcode ${next.opCode}`)
    const { flagBits, body: bytes, sequences } = readMessage(next)
    target.silent = (flagBits & MORE_TO_COME) !== 0
    const body = readDocument(
      bytes,
      bytes.compare(INSERT, 0, INSERT.length, 5, 5 + INSERT.length) === 0 ? RAW : undefined,
    )
    for (const { identifier, documents } of sequences) {
      body[identifier] = identifier === 'documents' ? documents : documents.map(document => readDocument(document))
    }
    if (typeof body.$db !== 'string') {
      return toReply(new CommandError('Location40415', 'OP_MSG requests require a $db argument'))
    }
    return runCommand({
      name: nameOf(bytes),
      db: body.$db,
      body,
      exhaust: (flagBits & EXHAUST_ALLOWED) !== 0,
      session,
      instance,
    })
  }

  /** Sends a result. While a promise or a stream is pending, the following commands wait. */
  #answer(target: ReplyTarget, answer: CommandResult): void {
    if (answer instanceof Promise || answer instanceof StreamedReply) {
      this.#busy = true
      this.#follow(target, answer)
        .then(() => {
          this.#busy = false
          this.#serve()
        })
        .catch(thrown => this.#fail(thrown))
    } else if (!target.silent) {
      this.#send(target, answer, 0)
    }
  }

  /** Sends the replies of a stream. Each one answers the previous reply, and is sent once that was written. */
  async #follow(target: ReplyTarget, first: CommandResult): Promise<void> {
    let answer = await first
    while (answer instanceof StreamedReply && !this.session.closed.aborted) {
      const { reply, next } = answer
      const written = this.#send(target, reply, MORE_TO_COME)
      target.requestID = this.#sent
      if (!written) await new Promise<void>(resolve => this.#socket.once('drain', resolve).once('close', resolve))
      answer = await guarded(next)
    }
    if (!(answer instanceof StreamedReply) && !target.silent) this.#send(target, answer, 0)
  }

  #send({ opCode, requestID }: ReplyTarget, reply: Reply, flagBits: number): boolean {
    if (this.#socket.destroyed) return false
    this.#sent = (this.#sent + 1) & 0x7fff_ffff
    if (opCode === OP_QUERY) return this.#write(encodeReply(requestID, reply as Document, this.#sent))
    const bytes = reply instanceof Uint8Array ? reply : serialize('ok' in reply ? reply : { ...reply, ok: OK })
    return this.#write(encodeMessage(bytes, this.#sent, requestID, flagBits))
  }

  /** Stops reading while the client does not read its replies. */
  #write(bytes: Buffer): boolean {
    const written = this.#socket.write(bytes)
    if (!written && !this.#socket.isPaused()) {
      this.#socket.pause()
      this.#socket.once('drain', () => this.#socket.resume())
    }
    return written
  }
}

const OK = new Double(1)
const legacy = new Set([
  'hello',
  'isMaster',
  'ismaster',
  'buildInfo',
  'buildinfo',
  'saslStart',
  'saslContinue',
  'authenticate',
])

function guarded(next: () => CommandResult): CommandResult {
  try {
    return next()
  } catch (thrown) {
    return toReply(CommandError.from(thrown))
  }
}
