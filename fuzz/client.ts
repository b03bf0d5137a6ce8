/** A client without a driver: sends any bytes, and logs in with MONGODB-AWS. */
import { connect, type Socket } from 'node:net'
import { Binary, BSON, type Document, Int32, serialize } from 'bson'
import { type Frame, Framer } from '../src/wire/frame.js'
import { readReply, writeMessage } from '../src/wire/message.js'
import { type ClientCredentials, signClientFinal } from '../test/support/signingClient.js'

const NONCE = Buffer.alloc(32, 1)
const REPLY_TIMEOUT_MS = 60_000

/** Addresses of clients. Limits count by address, so several of them get more input through. */
export const CLIENT_ADDRESSES = ['127.0.1.1', '127.0.1.2', '127.0.1.3', '127.0.1.4']

export const saslStart = (): Document => ({
  saslStart: 1,
  mechanism: 'MONGODB-AWS',
  payload: new Binary(serialize({ r: new Binary(NONCE), p: new Int32(110) })),
  $db: '$external',
})

/** The answer to a challenge. Its signature is genuine. */
export async function saslContinue(challenge: Document, credentials: ClientCredentials): Promise<Document> {
  const { s, h } = BSON.deserialize((challenge.payload as Binary).buffer)
  const payload = new Binary(serialize(await signClientFinal(credentials, { nonce: s.buffer, host: h })))
  return { saslContinue: 1, conversationId: 1, payload, $db: '$external' }
}

export class RawClient {
  readonly socket: Socket
  readonly #framer = new Framer(48_000_000)
  readonly #arrived: Frame[] = []
  #wake = (): void => {}
  #isClosed = false
  #lastRequestID = 0

  constructor(port: number, localAddress: string) {
    this.socket = connect({ port, host: '127.0.0.1', localAddress })
    this.socket.setNoDelay(true)
    this.socket.on('error', () => {})
    this.socket.on('data', chunk => {
      try {
        this.#arrived.push(...this.#framer.push(chunk))
      } catch {
        this.socket.destroy() // a mutated reply of the upstream
      }
      this.#wake()
    })
    this.socket.on('close', () => {
      this.#isClosed = true
      this.#wake()
    })
  }

  encode(command: Document, flags = 0): Buffer {
    return writeMessage(command, ++this.#lastRequestID, 0, flags)
  }

  write(bytes: Uint8Array): void {
    if (this.socket.writable) this.socket.write(bytes)
  }

  /** The next reply. Undefined if the connection closed, the reply is invalid, or `timeoutMS` have passed. */
  async receive(timeoutMS = REPLY_TIMEOUT_MS): Promise<Document | undefined> {
    if (this.#arrived.length === 0 && !this.#isClosed) {
      const timer = setTimeout(() => this.#wake(), timeoutMS)
      await new Promise<void>(resolve => {
        this.#wake = resolve
      })
      clearTimeout(timer)
    }
    const frame = this.#arrived.shift()
    try {
      return frame && readReply(frame).document
    } catch {
      return undefined
    }
  }

  ask(command: Document): Promise<Document | undefined> {
    this.write(this.encode(command))
    return this.receive()
  }

  /** Logs in. Returns the last reply; undefined if the connection closed. */
  async logIn(credentials: ClientCredentials): Promise<Document | undefined> {
    const challenge = await this.ask(saslStart())
    if (!challenge?.payload) return challenge
    return this.ask(await saslContinue(challenge, credentials))
  }

  /** The database user that the upstream sees on this connection; undefined if the connection is closed. */
  async readUser(): Promise<string | undefined> {
    const status = await this.ask({ connectionStatus: 1, $db: 'admin' })
    return status?.authInfo?.authenticatedUsers?.[0]?.user
  }

  destroy(): void {
    this.socket.destroy()
  }
}
