/**
 * An upstream that is fast enough not to limit a measurement. It does real SCRAM, has the replies to `ping`, `find` and
 * `insert` ready, and reads only the length of a large request.
 */
import { randomBytes } from 'node:crypto'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { Binary, type Document, Int32 } from 'bson'
import {
  type Challenge,
  createChallenge,
  createCredentials,
  parseClientFirst,
  verifyClientFinal,
} from '../../sandbox/src/mongo/scram.js'
import { readDocument } from '../../src/wire/document.js'
import { Framer } from '../../src/wire/frame.js'
import { type Command, readCommand, writeReply } from '../../src/wire/message.js'
import { COMMAND_NAME_OFFSET, exchanges } from '../messages.js'
import { answerCalls } from './answer.js'

const MECHANISM = 'SCRAM-SHA-256'
const [user = '', password = ''] = process.argv.slice(2)
const stored = createCredentials(MECHANISM, user, password, randomBytes)

const SMALL = exchanges.small.reply()
const LARGE = exchanges.replies.reply()
const [HEADER, RESPONSE_TO] = [16, 8]
const repliesByFirstLetter: Record<number, Buffer> = {
  ['p'.charCodeAt(0)]: SMALL,
  ['f'.charCodeAt(0)]: LARGE,
  ['i'.charCodeAt(0)]: SMALL,
}

function serve(socket: Socket): void {
  let remainingBytes = 0 // of the current request
  let sendReply: (() => void) | undefined
  let incomplete: Buffer | undefined
  const converse = createConversation()

  const begin = (bytes: Buffer, at: number): boolean => {
    if (bytes.length - at <= COMMAND_NAME_OFFSET) return false
    const length = bytes.readInt32LE(at)
    const requestID = bytes.readInt32LE(at + 4)
    const reply = repliesByFirstLetter[bytes[at + COMMAND_NAME_OFFSET] as number]
    if (reply) {
      remainingBytes = length
      sendReply = () => send(reply, requestID)
      return true
    }
    if (bytes.length - at < length) return false
    remainingBytes = length
    for (const frame of new Framer(length).push(bytes.subarray(at, at + length))) {
      const command = readCommand(frame)
      sendReply = () => socket.write(writeReply(command, converse(command), 1))
    }
    return true
  }
  const send = (reply: Buffer, requestID: number): void => {
    const small = reply.length < 1024
    const head = Buffer.from(small ? reply : reply.subarray(0, HEADER))
    head.writeInt32LE(requestID, RESPONSE_TO)
    if (small) return void socket.write(head)
    socket.cork()
    socket.write(head)
    socket.write(reply.subarray(HEADER))
    socket.uncork()
  }
  socket.on('data', chunk => {
    const bytes = incomplete ? Buffer.concat([incomplete, chunk]) : chunk
    incomplete = undefined
    for (let at = 0; at < bytes.length; ) {
      if (remainingBytes === 0 && !begin(bytes, at)) {
        incomplete = bytes.subarray(at)
        return
      }
      const taken = Math.min(remainingBytes, bytes.length - at)
      remainingBytes -= taken
      at += taken
      if (remainingBytes === 0) sendReply?.()
    }
  })
  socket.on('error', () => socket.destroy())
}

/** hello and SCRAM, speculative or not, for one connection. */
function createConversation(): (command: Command) => Document {
  let pending: Challenge | undefined
  const step = (done: boolean, payload: Uint8Array) => ({
    conversationId: new Int32(1),
    done,
    payload: new Binary(payload),
  })
  const begin = ({ payload }: Document) => {
    const opened = createChallenge(MECHANISM, parseClientFirst(bytesOf(payload)), stored, randomBytes)
    pending = opened.challenge
    return step(false, opened.payload)
  }
  const bytesOf = (payload: Binary) => Buffer.from(payload.value())
  return ({ name, bytes }) => {
    const body = readDocument(bytes)
    if (name === 'saslStart') return { ...begin(body), ok: 1 }
    if (name === 'saslContinue' && pending)
      return { ...step(true, verifyClientFinal(pending, bytesOf(body.payload))), ok: 1 }
    const speculative = body.speculativeAuthenticate as Document | undefined
    return { ...HELLO, ...(speculative && { speculativeAuthenticate: begin(speculative) }), ok: 1 }
  }
}

const HELLO = {
  isWritablePrimary: true,
  maxBsonObjectSize: 16_777_216,
  maxMessageSizeBytes: 48_000_000,
  maxWriteBatchSize: 100_000,
  logicalSessionTimeoutMinutes: 30,
  minWireVersion: 0,
  maxWireVersion: 25,
  readOnly: false,
}

const server = createServer({ noDelay: true }, serve)
server.listen(0, '127.0.0.1', 4096, () => answerCalls({ port: (server.address() as AddressInfo).port }))
