/**
 * Splits the two streams of a relay into frames, and intercepts the requests that must not reach the upstream.
 *
 * Bytes are forwarded as they arrive. Only the beginning of a frame is buffered, until its command is known. Sections are
 * skipped by their sizes, without parsing their documents:
 *
 *     header 16 | flagBits 4 | 01 size … | 00 size type "name\0 … | [checksum 4]
 *     └──── the beginning of a frame ─────────────────────┘ decides, before any of it is forwarded
 *
 * An invalid frame is a fault: both sockets are destroyed, and the upstream never receives the whole frame.
 *
 * https://github.com/mongodb/specifications/blob/master/source/message/OP_MSG.md
 */
import { Fault } from '../errors.js'
import { type Frame, Framer, HEADER_BYTES, OP_COMPRESSED, OP_MSG, OP_QUERY } from './frame.js'
import { CHECKSUM_PRESENT, type Command, EXHAUST_ALLOWED, MORE_TO_COME, readCommand } from './message.js'
import { type CommandSummary, peekCommand } from './peek.js'

/** The proxy answers these. */
const HELLO = new Set(['hello', 'isMaster', 'ismaster'])
/** The steps of a new login, which are refused unless `interceptCommands` is set (for reauthentication). */
const LOGIN = new Set(['saslStart', 'saslContinue'])

/**
 * Commands that could change the upstream identity of the connection, in lower case. No server is known to ignore case, but
 * the proxy does not depend on that. hello can authenticate, too, so every spelling but those above is refused.
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
/** No listed command is longer. */
const MAX_NAME_BYTES = 32
/** By byte: 1 if a listed command begins with it, in either case. Most commands need no other check. */
const IS_FIRST_BYTE = new Uint8Array(256)
for (const name of [...HELLO, ...REFUSED]) {
  IS_FIRST_BYTE[name.toLowerCase().charCodeAt(0)] = 1
  IS_FIRST_BYTE[name.toUpperCase().charCodeAt(0)] = 1
}

/** The limit for frames that are collected. A hello with its metadata is much smaller. */
const MAX_COLLECTED_BYTES = 64 * 1024

const EMPTY = Buffer.alloc(0)

/**
 * A request that goes upstream. Unless `moreToCome` is set, the upstream will reply to it. `isLast`: an endSessions that
 * wants no reply, which drivers send before they close the connection.
 */
export type ForwardedRequest = { requestID: number; moreToCome: boolean; exhaustAllowed: boolean; isLast: boolean }

/**
 * A request that was not forwarded. `hello` and `login` (a step of a login) are answered by the proxy. `refused` commands
 * are dropped but for these fields. An `offered` request is to be forwarded unless the proxy answers it instead.
 */
export type InterceptedRequest =
  | { is: 'hello' | 'login'; command: Command }
  | { is: 'refused'; name: string; requestID: number; opCode: typeof OP_MSG }
  | { is: 'offered'; summary: CommandSummary; request: ForwardedRequest; bytes: Buffer }

/**
 * The result of one chunk. `forward` goes upstream, in order. If there is an `intercepted` request, nothing behind it was
 * parsed: answer it, then split `rest`.
 */
export type SplitResult = {
  forward: Buffer[]
  requests: ForwardedRequest[]
  intercepted?: InterceptedRequest
  rest: Buffer
}

/** Splits the stream of the client. After a fault, destroy both sockets. */
export class RequestSplitter {
  /** Whether to intercept requests of at most 64 KiB that expect a reply, including the steps of a login. */
  interceptCommands = false
  readonly #limit: number
  #unparsed: Buffer = EMPTY
  #toForward = 0
  #toDrop = 0
  /** Of the current frame: the bytes of sections that are to come, of the checksum, and whether a body was found. */
  #sectionBytes = 0
  #checksumBytes = 0
  #hasBody = false
  #collector: Framer | undefined

  /** `limit`: the upstream's maxMessageSizeBytes. */
  constructor(limit: number) {
    this.#limit = limit
  }

  /** Whether the stream is within a frame. */
  get midFrame(): boolean {
    return (
      this.#unparsed.length > 0 ||
      this.#toForward > 0 ||
      this.#toDrop > 0 ||
      this.#sectionBytes > 0 ||
      !!this.#collector
    )
  }

  /** Throws `frame/length`, `frame/opcode`, `message/compressed`, `message/malformed` and `command/forbidden`. */
  split(chunk: Buffer): SplitResult {
    const bytes = this.#unparsed.length > 0 ? Buffer.concat([this.#unparsed, chunk]) : chunk
    this.#unparsed = EMPTY
    const result: SplitResult = { forward: [], requests: [], rest: EMPTY }
    let from = 0
    let at = 0
    while (at < bytes.length) {
      if (this.#toForward > 0) {
        const passed = Math.min(this.#toForward, bytes.length - at)
        this.#toForward -= passed
        at += passed
        continue
      }
      if (this.#toDrop > 0) {
        const skipped = Math.min(this.#toDrop, bytes.length - at)
        this.#toDrop -= skipped
        at += skipped
        from = at
        continue
      }
      if (this.#sectionBytes > 0) {
        if (this.#beginSection(bytes, at)) continue
        this.#unparsed = Buffer.from(bytes.subarray(at)) // a slice would keep the whole chunk in memory
        break
      }
      if (!this.#collector) {
        const decided = this.#begin(bytes, at, result)
        if (decided === 'incomplete') {
          this.#unparsed = Buffer.from(bytes.subarray(at)) // a slice would keep the whole chunk in memory
          break
        }
        if (decided === 'forward') continue
      }
      if (at > from) result.forward.push(bytes.subarray(from, at))
      result.rest = bytes.subarray(at)
      if (this.#collector) this.#collect(result)
      return result
    }
    if (at > from) result.forward.push(from === 0 && at === bytes.length ? bytes : bytes.subarray(from, at))
    return result
  }

  /** Decides about the frame that begins at `at`; `incomplete` if its command has not arrived yet. */
  #begin(bytes: Buffer, at: number, result: SplitResult): 'forward' | 'intercept' | 'incomplete' {
    if (bytes.length - at < 4) return 'incomplete'
    const length = bytes.readInt32LE(at)
    if (length < HEADER_BYTES || length > this.#limit) {
      throw new Fault('frame/length', undefined, { length, maxLength: this.#limit })
    }
    if (bytes.length - at < HEADER_BYTES) return 'incomplete'
    const requestID = bytes.readInt32LE(at + 4)
    const opCode = bytes.readInt32LE(at + 12)
    if (opCode === OP_QUERY) {
      this.#collector = new Framer(MAX_COLLECTED_BYTES)
      return 'intercept'
    }
    if (opCode === OP_COMPRESSED) throw new Fault('message/compressed')
    if (opCode !== OP_MSG) throw new Fault('frame/opcode', undefined, { opCode })
    if (length < HEADER_BYTES + 4 + 1 + 5) throw malformed('a frame too short for a body')
    if (bytes.length - at < HEADER_BYTES + 4 + 1) return 'incomplete'
    const flagBits = bytes.readUInt32LE(at + HEADER_BYTES)
    if (this.interceptCommands && length <= MAX_COLLECTED_BYTES && !(flagBits & MORE_TO_COME)) {
      this.#collector = new Framer(MAX_COLLECTED_BYTES)
      return 'intercept'
    }
    const trailer = flagBits & CHECKSUM_PRESENT ? 4 : 0
    const left = length - HEADER_BYTES - 4 - trailer
    const moreToCome = (flagBits & MORE_TO_COME) !== 0
    let isLast = false
    if (bytes[at + HEADER_BYTES + 4] === 0) {
      const name = nameAt(bytes, at + HEADER_BYTES + 4, left)
      if (name === undefined) return 'incomplete'
      const hello = HELLO.has(name)
      if (hello || REFUSED.has(name.toLowerCase())) {
        if (moreToCome) throw new Fault('command/forbidden', undefined, { command: name, moreToCome })
        if (hello) {
          this.#collector = new Framer(MAX_COLLECTED_BYTES)
        } else {
          this.#toDrop = length
          result.intercepted = { is: 'refused', name, requestID, opCode }
        }
        return 'intercept'
      }
      isLast = moreToCome && isEndSessions(bytes, at + HEADER_BYTES + 4)
    }
    this.#sectionBytes = left
    this.#checksumBytes = trailer
    this.#hasBody = false
    this.#toForward = HEADER_BYTES + 4
    result.requests.push({ requestID, moreToCome, exhaustAllowed: (flagBits & EXHAUST_ALLOWED) !== 0, isLast })
    return 'forward'
  }

  /**
   * Parses the section that begins at `at`, in a frame whose beginning was forwarded. Returns false if more bytes are
   * needed.
   */
  #beginSection(bytes: Buffer, at: number): boolean {
    if (bytes.length - at < 5) return false
    const kind = bytes[at]
    if (kind === 0) {
      if (this.#hasBody) throw malformed('two bodies')
      const name = nameAt(bytes, at, this.#sectionBytes)
      if (name === undefined) return false
      if (HELLO.has(name) || REFUSED.has(name.toLowerCase())) {
        throw new Fault('command/forbidden', undefined, { command: name, why: 'after another section' })
      }
      this.#hasBody = true
    } else if (kind !== 1) {
      throw malformed('unknown section kind')
    }
    const size = 1 + readSize(bytes, at + 1, this.#sectionBytes - 1)
    this.#sectionBytes -= size
    this.#toForward = size
    if (this.#sectionBytes === 0) {
      if (!this.#hasBody) throw malformed('no body')
      this.#toForward += this.#checksumBytes
    } else if (this.#sectionBytes < 6) {
      throw malformed('a section exceeds its frame')
    }
    return true
  }

  /** Collects the frame that is intercepted. */
  #collect(result: SplitResult): void {
    const framer = this.#collector as Framer
    framer.add(result.rest)
    result.rest = EMPTY
    const frame = framer.next()
    if (!frame) return
    result.rest = framer.takeRest()
    this.#collector = undefined
    result.intercepted = classifyFrame(frame)
  }
}

/** Classifies a collected frame. */
function classifyFrame(frame: Frame): InterceptedRequest {
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
  return { is: 'offered', summary, request: { requestID, moreToCome: false, exhaustAllowed, isLast: false }, bytes }
}

/** A reply that was forwarded completely. */
export type ForwardedReply = { requestID: number; responseTo: number; moreToCome: boolean }

/** Splits the stream of the upstream. Only headers and flag bits are parsed. */
export class ReplySplitter {
  readonly #limit: number
  #unparsed: Buffer = EMPTY
  #toForward = 0
  #current: ForwardedReply | undefined

  constructor(limit: number) {
    this.#limit = limit
  }

  /** Whether the stream is within a frame. The proxy must not write a reply of its own now. */
  get midFrame(): boolean {
    return this.#toForward > 0 || this.#unparsed.length > 0
  }

  /** How many bytes of the current frame are to come. */
  get remainingBytes(): number {
    return this.#toForward
  }

  /**
   * The bytes to forward, and the replies that end within them. Throws `upstream/protocol-error`; destroy both sockets
   * then.
   */
  split(chunk: Buffer): { forward: Buffer; replies: ForwardedReply[] } {
    const bytes = this.#unparsed.length > 0 ? Buffer.concat([this.#unparsed, chunk]) : chunk
    this.#unparsed = EMPTY
    const replies: ForwardedReply[] = []
    let at = 0
    while (at < bytes.length) {
      if (this.#toForward === 0) {
        if (bytes.length - at < HEADER_BYTES + 4) {
          this.#unparsed = Buffer.from(bytes.subarray(at)) // the chunk may be overwritten
          return { forward: bytes.subarray(0, at), replies }
        }
        this.#begin(bytes, at)
      }
      const passed = Math.min(this.#toForward, bytes.length - at)
      this.#toForward -= passed
      at += passed
      if (this.#toForward === 0) replies.push(this.#current as ForwardedReply)
    }
    return { forward: bytes, replies }
  }

  #begin(bytes: Buffer, at: number): void {
    const length = bytes.readInt32LE(at)
    const opCode = bytes.readInt32LE(at + 12)
    if (length < HEADER_BYTES + 4 + 1 + 5 || length > this.#limit || opCode !== OP_MSG) {
      throw new Fault('upstream/protocol-error', undefined, { length, opCode, maxLength: this.#limit })
    }
    this.#toForward = length
    this.#current = {
      requestID: bytes.readInt32LE(at + 4),
      responseTo: bytes.readInt32LE(at + 8),
      moreToCome: (bytes.readUInt32LE(at + HEADER_BYTES) & MORE_TO_COME) !== 0,
    }
  }
}

/**
 * The command name (the first key) of the body whose section begins at `at`, with `left` bytes of sections to come.
 * Undefined if the name is incomplete. Empty if its first byte shows that the command is not listed above.
 */
function nameAt(bytes: Buffer, at: number, left: number): string | undefined {
  if (bytes.length - at < 5) return undefined
  const size = readSize(bytes, at + 1, left - 1)
  if (size === 5) throw malformed('an empty command')
  const start = at + 1 + 4 + 1
  const end = Math.min(start + MAX_NAME_BYTES, at + 1 + size)
  const available = Math.min(end, bytes.length)
  let nul = start
  while (nul < available && bytes[nul] !== 0) nul++
  if (nul >= available) {
    if (available < end) return undefined
    if (end < start + MAX_NAME_BYTES) throw malformed('an unterminated key')
  }
  return IS_FIRST_BYTE[bytes[start] as number] ? bytes.toString('latin1', start, nul) : ''
}

const END_SESSIONS = 'endSessions\0'

/** Whether the body at `at`, whose name is complete, is an endSessions. */
function isEndSessions(bytes: Buffer, at: number): boolean {
  const start = at + 1 + 4 + 1
  return bytes.toString('latin1', start, start + END_SESSIONS.length) === END_SESSIONS
}

/** The size at `at`, which must be at most `room`. */
function readSize(bytes: Buffer, at: number, room: number): number {
  const size = bytes.readInt32LE(at)
  if (size < 5 || size > room) throw malformed('a section exceeds its frame')
  return size
}

function malformed(why: string): Fault {
  return new Fault('message/malformed', undefined, { why })
}
