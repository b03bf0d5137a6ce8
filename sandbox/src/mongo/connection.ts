/** One client connection: frames in, one command at a time, replies out in the order of the commands. */
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
import { run } from './dispatch.js'
import { MAX_MESSAGE } from './hello.js'
import { type CommandResult, type ConnectionState, type Instance, type Reply, StreamedReply } from './request.js'

/** Where a reply goes: `silent` asked for none. */
type Asked = { opCode: number; requestID: number; silent: boolean }

/** The documents of an insert stay bytes. */
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
    socket.on('data', chunk => this.#take(chunk))
    socket.on('error', () => socket.destroy())
    socket.on('close', () => {
      closed.abort()
      instance.sessions.delete(this.session)
    })
  }

  #take(chunk: Buffer): void {
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
      const asked: Asked = { opCode: next.opCode, requestID: next.requestID, silent: false }
      this.#answer(asked, this.#run(next, asked))
    }
  }

  /** Throws where the message cannot be read at all: then the connection ends. */
  #run(next: Frame, asked: Asked): CommandResult {
    const { session } = this
    const instance = this.#instance
    if (next.opCode === OP_QUERY) {
      const { name, db, body } = readQuery(next)
      if (!legacy.has(name)) {
        const message = `Unsupported OP_QUERY command: ${name}. The client driver may require an upgrade.`
        return toReply(new CommandError('UnsupportedOpQueryCommand', message))
      }
      return run({ name, db, body: readDocument(body), exhaust: false, session, instance })
    }
    if (next.opCode !== OP_MSG) throw new SandboxError('malformedMessage', `opcode ${next.opCode}`)
    const { flagBits, body: bytes, sequences } = readMessage(next)
    asked.silent = (flagBits & MORE_TO_COME) !== 0
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
    return run({
      name: nameOf(bytes),
      db: body.$db,
      body,
      exhaust: (flagBits & EXHAUST_ALLOWED) !== 0,
      session,
      instance,
    })
  }

  /** Sends what is there; what is still to come keeps the commands behind it waiting. */
  #answer(asked: Asked, answer: CommandResult): void {
    if (answer instanceof Promise || answer instanceof StreamedReply) {
      this.#busy = true
      this.#follow(asked, answer).then(
        () => {
          this.#busy = false
          this.#serve()
        },
        thrown => this.#fail(thrown),
      )
    } else if (!asked.silent) {
      this.#send(asked, answer, 0)
    }
  }

  /** One reply after the other; each answers the one before it, and waits until the client has taken that. */
  async #follow(asked: Asked, first: CommandResult): Promise<void> {
    let answer = await first
    while (answer instanceof StreamedReply && !this.session.closed.aborted) {
      const { reply, next } = answer
      const taken = this.#send(asked, reply, MORE_TO_COME)
      asked.requestID = this.#sent
      if (!taken) await new Promise<void>(resolve => this.#socket.once('drain', resolve).once('close', resolve))
      answer = await guarded(next)
    }
    if (!(answer instanceof StreamedReply) && !asked.silent) this.#send(asked, answer, 0)
  }

  #send({ opCode, requestID }: Asked, reply: Reply, flagBits: number): boolean {
    if (this.#socket.destroyed) return false
    this.#sent = (this.#sent + 1) & 0x7fff_ffff
    if (opCode === OP_QUERY) return this.#write(encodeReply(requestID, reply as Document, this.#sent))
    const bytes = reply instanceof Uint8Array ? reply : serialize('ok' in reply ? reply : { ...reply, ok: OK })
    return this.#write(encodeMessage(bytes, this.#sent, requestID, flagBits))
  }

  /** Who does not take replies is not listened to. */
  #write(bytes: Buffer): boolean {
    const taken = this.#socket.write(bytes)
    if (!taken && !this.#socket.isPaused()) {
      this.#socket.pause()
      this.#socket.once('drain', () => this.#socket.resume())
    }
    return taken
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
