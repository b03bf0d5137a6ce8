/**
 * Splitters: where frames begin and end in a stream that is relayed, and which of them are not relayed.
 *
 * Bytes are forwarded as they came and none is kept but the beginning of a frame until its command is known (R2).
 * Sections are walked by arithmetic alone:
 *
 *     header 16 | flagBits 4 | 01 size … | 00 size type "name\0 … | [checksum 4]
 *     └──── a frame begins ───────────────────────────────┘ decided here, before the body is forwarded
 *
 * A frame that breaks the rules is a fault; both sockets are then destroyed and the upstream never has it whole. The
 * file is long because both directions are walked by the same rules.
 */
import { Fault } from '../errors.js'
import { type Frame, Framer, HEADER_BYTES, OP_COMPRESSED, OP_MSG, OP_QUERY } from './frame.js'
import { CHECKSUM_PRESENT, type Command, EXHAUST_ALLOWED, MORE_TO_COME, readCommand } from './message.js'
import { type CommandSummary, peekCommand } from './peek.js'

/** Answered here, whoever is logged in. */
const HELLO = new Set(['hello', 'isMaster', 'ismaster'])
/** The steps of another login, which are refused except while commands are offered. */
const LOGIN = new Set(['saslStart', 'saslContinue'])

/**
 * Whatever could change who the connection is upstream, in lower case: no server is known to fold case, none shall
 * surprise us. So hello, which can authenticate as well, is among them in every spelling but those above.
 */
const REFUSED = new Set([
  'hello',
  'ismaster',
  'saslstart',
  'saslcontinue',
  'authenticate',
  'logout',
  'getnonce',
  'copydbgetnonce',
  'copydbsaslstart',
  '$query',
  'query',
])
/** A name longer than this is none of the above. */
const NAME = 32
/** First bytes, in either case, that a name of the above can have: most commands are let through by this alone. */
const SUSPECT = new Uint8Array(256)
for (const name of [...HELLO, ...REFUSED]) {
  SUSPECT[name.toLowerCase().charCodeAt(0)] = 1
  SUSPECT[name.toUpperCase().charCodeAt(0)] = 1
}

/** hello and its metadata fit many times over. */
const WHOLE = 64 * 1024

const EMPTY = Buffer.alloc(0)

/** A request that goes upstream and, unless it said moreToCome, is owed a reply. */
export type ForwardedRequest = { requestID: number; moreToCome: boolean; exhaustAllowed: boolean }

/**
 * A request that does not go upstream: hello, or the step of a login; or a command that is refused, of which only this
 * is kept; or one that is `offered`, which goes upstream unless it is answered instead.
 */
export type InterceptedRequest =
  | { is: 'hello' | 'login'; command: Command }
  | { is: 'refused'; name: string; requestID: number; opCode: typeof OP_MSG }
  | { is: 'offered'; summary: CommandSummary; request: ForwardedRequest; bytes: Buffer }

/**
 * What one chunk came to. `forward` goes upstream, in order. With a `local` nothing after it was looked at: answer it,
 * then take `rest`.
 */
export type SplitResult = {
  forward: Buffer[]
  requests: ForwardedRequest[]
  intercepted?: InterceptedRequest
  rest: Buffer
}

/** The client's stream. `take` throws the fault for which both sockets are destroyed. */
export class RequestSplitter {
  /** Whether messages that are owed a reply and fit into 64 KiB are offered, and the steps of a login among them. */
  interceptCommands = false
  readonly #limit: number
  #carry: Buffer = EMPTY
  #pass = 0
  #skip = 0
  /** Of the frame that is being walked: bytes of sections to come, of its checksum, and whether the body was seen. */
  #left = 0
  #trailer = 0
  #body = false
  #whole: Framer | undefined

  /** `limit`: the upstream's maxMessageSizeBytes. */
  constructor(limit: number) {
    this.#limit = limit
  }

  /** True within a frame. */
  get midFrame(): boolean {
    return this.#carry.length > 0 || this.#pass > 0 || this.#skip > 0 || this.#left > 0 || !!this.#whole
  }

  split(chunk: Buffer): SplitResult {
    const bytes = this.#carry.length > 0 ? Buffer.concat([this.#carry, chunk]) : chunk
    this.#carry = EMPTY
    const taken: SplitResult = { forward: [], requests: [], rest: EMPTY }
    let from = 0
    let at = 0
    while (at < bytes.length) {
      if (this.#pass > 0) {
        const passed = Math.min(this.#pass, bytes.length - at)
        this.#pass -= passed
        at += passed
        continue
      }
      if (this.#skip > 0) {
        const skipped = Math.min(this.#skip, bytes.length - at)
        this.#skip -= skipped
        at += skipped
        from = at
        continue
      }
      if (this.#left > 0) {
        if (this.#section(bytes, at)) continue
        this.#carry = Buffer.from(bytes.subarray(at)) // and not the whole chunk with it
        break
      }
      if (!this.#whole) {
        const decided = this.#begin(bytes, at, taken)
        if (decided === 'later') {
          this.#carry = Buffer.from(bytes.subarray(at)) // and not the whole chunk with it
          break
        }
        if (decided === 'forward') continue
      }
      if (at > from) taken.forward.push(bytes.subarray(from, at))
      taken.rest = bytes.subarray(at)
      if (this.#whole) this.#collect(taken)
      return taken
    }
    if (at > from) taken.forward.push(from === 0 && at === bytes.length ? bytes : bytes.subarray(from, at))
    return taken
  }

  /** A frame begins at `at`. Says what becomes of it, or that more must be seen first. */
  #begin(bytes: Buffer, at: number, taken: SplitResult): 'forward' | 'local' | 'later' {
    if (bytes.length - at < 4) return 'later'
    const length = bytes.readInt32LE(at)
    if (length < HEADER_BYTES || length > this.#limit) {
      throw new Fault('frame/length', undefined, { length, limit: this.#limit })
    }
    if (bytes.length - at < HEADER_BYTES) return 'later'
    const requestID = bytes.readInt32LE(at + 4)
    const opCode = bytes.readInt32LE(at + 12)
    if (opCode === OP_QUERY) {
      this.#whole = new Framer(WHOLE)
      return 'local'
    }
    if (opCode === OP_COMPRESSED) throw new Fault('message/compressed')
    if (opCode !== OP_MSG) throw new Fault('frame/opcode', undefined, { opCode })
    if (length < HEADER_BYTES + 4 + 1 + 5) throw malformed('a frame without room for a body')
    if (bytes.length - at < HEADER_BYTES + 4 + 1) return 'later'
    const flagBits = bytes.readUInt32LE(at + HEADER_BYTES)
    if (this.interceptCommands && length <= WHOLE && !(flagBits & MORE_TO_COME)) {
      this.#whole = new Framer(WHOLE)
      return 'local'
    }
    const trailer = flagBits & CHECKSUM_PRESENT ? 4 : 0
    const left = length - HEADER_BYTES - 4 - trailer
    const moreToCome = (flagBits & MORE_TO_COME) !== 0
    if (bytes[at + HEADER_BYTES + 4] === 0) {
      const name = nameAt(bytes, at + HEADER_BYTES + 4, left)
      if (name === undefined) return 'later'
      const hello = HELLO.has(name)
      if (hello || REFUSED.has(name.toLowerCase())) {
        if (moreToCome) throw new Fault('command/forbidden', undefined, { command: name, moreToCome })
        if (hello) {
          this.#whole = new Framer(WHOLE)
        } else {
          this.#skip = length
          taken.intercepted = { is: 'refused', name, requestID, opCode }
        }
        return 'local'
      }
    }
    this.#left = left
    this.#trailer = trailer
    this.#body = false
    this.#pass = HEADER_BYTES + 4
    taken.requests.push({ requestID, moreToCome, exhaustAllowed: (flagBits & EXHAUST_ALLOWED) !== 0 })
    return 'forward'
  }

  /** A section begins at `at`, in a frame whose beginning is already upstream. False: more must be seen first. */
  #section(bytes: Buffer, at: number): boolean {
    if (bytes.length - at < 5) return false
    const kind = bytes[at]
    if (kind === 0) {
      if (this.#body) throw malformed('two bodies')
      const name = nameAt(bytes, at, this.#left)
      if (name === undefined) return false
      if (HELLO.has(name) || REFUSED.has(name.toLowerCase())) {
        throw new Fault('command/forbidden', undefined, { command: name, why: 'behind another section' })
      }
      this.#body = true
    } else if (kind !== 1) {
      throw malformed('an unknown kind of section')
    }
    const size = 1 + sized(bytes, at + 1, this.#left - 1)
    this.#left -= size
    this.#pass = size
    if (this.#left === 0) {
      if (!this.#body) throw malformed('no body')
      this.#pass += this.#trailer
    } else if (this.#left < 6) {
      throw malformed('a size leaves the frame')
    }
    return true
  }

  /** Gathers the frame that is answered here. */
  #collect(taken: SplitResult): void {
    const framer = this.#whole as Framer
    framer.add(taken.rest)
    taken.rest = EMPTY
    const frame = framer.next()
    if (!frame) return
    taken.rest = framer.takeRest()
    this.#whole = undefined
    taken.intercepted = localOf(frame)
  }
}

/** What a frame is that was not decided on by its beginning. */
function localOf(frame: Frame): InterceptedRequest {
  const { requestID, opCode, bytes } = frame
  if (opCode !== OP_MSG) {
    const command = readCommand(frame)
    if (!HELLO.has(command.name)) throw new Fault('command/forbidden', undefined, { command: command.name })
    return { is: 'hello', command }
  }
  const summary = peekCommand(frame)
  const { name } = summary
  if (HELLO.has(name)) return { is: 'hello', command: readCommand(frame) }
  if (LOGIN.has(name)) return { is: 'login', command: readCommand(frame) }
  if (REFUSED.has(name.toLowerCase())) return { is: 'refused', name, requestID, opCode }
  const exhaustAllowed = (bytes.readUInt32LE(HEADER_BYTES) & EXHAUST_ALLOWED) !== 0
  return { is: 'offered', summary, request: { requestID, moreToCome: false, exhaustAllowed }, bytes }
}

/** A reply that the client now has whole. */
export type ForwardedReply = { requestID: number; responseTo: number; moreToCome: boolean }

/** The upstream's stream: only header and flag bits are read. */
export class ReplySplitter {
  readonly #limit: number
  #carry: Buffer = EMPTY
  #pass = 0
  #current: ForwardedReply | undefined

  constructor(limit: number) {
    this.#limit = limit
  }

  /** True within a frame: no answer of ours may be written now. */
  get midFrame(): boolean {
    return this.#pass > 0 || this.#carry.length > 0
  }

  /** Bytes of the frame that are to come. */
  get remainingBytes(): number {
    return this.#pass
  }

  /** What goes to the client, and the replies that end within it. Throws the fault for which both sockets are destroyed. */
  split(chunk: Buffer): { forward: Buffer; replies: ForwardedReply[] } {
    const bytes = this.#carry.length > 0 ? Buffer.concat([this.#carry, chunk]) : chunk
    this.#carry = EMPTY
    const replies: ForwardedReply[] = []
    let at = 0
    while (at < bytes.length) {
      if (this.#pass === 0) {
        if (bytes.length - at < HEADER_BYTES + 4) {
          this.#carry = Buffer.from(bytes.subarray(at)) // the chunk may be overwritten
          return { forward: bytes.subarray(0, at), replies }
        }
        this.#begin(bytes, at)
      }
      const passed = Math.min(this.#pass, bytes.length - at)
      this.#pass -= passed
      at += passed
      if (this.#pass === 0) replies.push(this.#current as ForwardedReply)
    }
    return { forward: bytes, replies }
  }

  #begin(bytes: Buffer, at: number): void {
    const length = bytes.readInt32LE(at)
    const opCode = bytes.readInt32LE(at + 12)
    if (length < HEADER_BYTES + 4 + 1 + 5 || length > this.#limit || opCode !== OP_MSG) {
      throw new Fault('upstream/protocol-error', undefined, { length, opCode, limit: this.#limit })
    }
    this.#pass = length
    this.#current = {
      requestID: bytes.readInt32LE(at + 4),
      responseTo: bytes.readInt32LE(at + 8),
      moreToCome: (bytes.readUInt32LE(at + HEADER_BYTES) & MORE_TO_COME) !== 0,
    }
  }
}

/**
 * The first key of the body whose section begins at `at`, with `left` bytes of sections to come; undefined while it is
 * not whole. A name that cannot be one of those that stay here is not read: it is given as the empty one.
 */
function nameAt(bytes: Buffer, at: number, left: number): string | undefined {
  if (bytes.length - at < 5) return undefined
  const size = sized(bytes, at + 1, left - 1)
  if (size === 5) throw malformed('an empty command')
  const start = at + 1 + 4 + 1
  const end = Math.min(start + NAME, at + 1 + size)
  const seen = Math.min(end, bytes.length)
  let nul = start
  while (nul < seen && bytes[nul] !== 0) nul++
  if (nul >= seen) {
    if (seen < end) return undefined
    if (end < start + NAME) throw malformed('a key without an end')
  }
  return SUSPECT[bytes[start] as number] ? bytes.toString('latin1', start, nul) : ''
}

/** The int32 at `at`, once it is known to stay within `room` bytes. */
function sized(bytes: Buffer, at: number, room: number): number {
  const size = bytes.readInt32LE(at)
  if (size < 5 || size > room) throw malformed('a size leaves the frame')
  return size
}

function malformed(why: string): Fault {
  return new Fault('message/malformed', undefined, { why })
}
