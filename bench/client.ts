/**
 * A client on a raw socket: it logs in with MONGODB-AWS or SCRAM, then repeats one message. A real driver would be what
 * limits the measurement.
 */
import { createHash, createHmac, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { connect as connectSecure } from 'node:tls'
import { Binary, type Document, deserialize, Int32, serialize } from 'bson'
import { createClientFinal, createClientFirst, type DeriveKeys, verifyServerFinal } from '../src/sasl/scram.js'
import { Framer } from '../src/wire/frame.js'
import { readReply, writeMessage } from '../src/wire/message.js'

/** `from`: the address of loopback that it comes from. `signal` ends the connection, however far it is. */
export type Way = { port: number; tls?: boolean; from?: string; signal?: AbortSignal }
export type Login =
  | { by: 'aws'; accessKeyId: string; secretAccessKey: string; token?: string }
  | { by: 'scram'; user: string; derive: DeriveKeys }
  | { by: 'nobody' }

export type Client = {
  socket: Socket
  /** Sends a command and gives its reply. */
  ask(command: Document): Promise<Document>
  /** Sends the bytes and calls back when so many bytes have come. Not while a command is open. */
  exchange(request: Buffer, bytes: number, done: () => void): void
  close(): Promise<unknown>
}

const METADATA = {
  driver: { name: 'bench', version: '1' },
  os: { type: 'Linux', name: 'linux', architecture: 'x64', version: '1' },
  platform: 'Node.js',
}

/** Connects, says hello and logs in. */
export async function client(way: Way, login: Login): Promise<Client> {
  const made = await connected(way)
  await enter[login.by](made, login as never)
  return made
}

const enter = {
  nobody: async ({ ask }: Client) => void (await ask({ hello: 1, client: METADATA, $db: 'admin' })),
  async aws({ ask }: Client, { accessKeyId, secretAccessKey, token }: Login & { by: 'aws' }) {
    await ask({ hello: 1, client: METADATA, $db: 'admin' })
    const payload = serialize({ r: new Binary(randomBytes(32)), p: new Int32(110) })
    const start = { saslStart: 1, mechanism: 'MONGODB-AWS', payload: new Binary(payload), $db: '$external' }
    const { s, h } = deserialize(bytesOf(done(await ask(start)).payload))
    const proof = signed({ accessKeyId, secretAccessKey, token }, bytesOf(s), h)
    const next = { saslContinue: 1, conversationId: 1, payload: new Binary(serialize(proof)), $db: '$external' }
    if (!done(await ask(next)).done) throw new Error('not logged in')
  },
  async scram({ ask }: Client, { user, derive }: Login & { by: 'scram' }) {
    const start = createClientFirst(user, randomBytes(24).toString('base64'))
    const saslStart = {
      saslStart: 1,
      mechanism: 'SCRAM-SHA-256',
      payload: new Binary(start.payload),
      options: { skipEmptyExchange: true },
      db: 'admin',
    }
    const hello = await ask({ hello: 1, client: METADATA, speculativeAuthenticate: saslStart, $db: 'admin' })
    const last = await createClientFinal(start, derive, bytesOf(hello.speculativeAuthenticate.payload))
    const next = { saslContinue: 1, conversationId: 1, payload: new Binary(last.payload), $db: 'admin' }
    verifyServerFinal(last, bytesOf(done(await ask(next)).payload))
  },
}

async function connected({ port, tls, from, signal }: Way): Promise<Client> {
  const where = {
    host: '127.0.0.1',
    port,
    ...(from !== undefined && { localAddress: from }),
    ...(signal && { signal }),
  }
  const socket = tls ? connectSecure({ ...where, rejectUnauthorized: false }) : connect(where)
  socket.setNoDelay(true)
  await once(socket, tls ? 'secureConnect' : 'connect')
  const framer = new Framer(1 << 20)
  let requests = 0
  let left = 0
  let then = (): void => {}
  let answer: ((reply: Document) => void) | undefined
  let fail = (_: Error): void => {}
  socket.on('data', chunk => {
    if (answer) {
      for (const frame of framer.push(chunk)) answer(readReply(frame).document)
    } else {
      left -= chunk.length
      if (left > 0) return
      fail = () => {} // whoever is between two messages may be left
      then()
    }
  })
  socket.on('error', error => fail(error))
  socket.on('close', () => fail(new Error('closed by the other side')))
  return {
    socket,
    ask: command =>
      new Promise((resolve, reject) => {
        fail = reject
        answer = reply => {
          answer = undefined
          resolve(reply)
        }
        socket.write(writeMessage(command, ++requests))
      }),
    exchange(request, bytes, done) {
      left = bytes
      then = done
      fail = error => {
        throw error
      }
      socket.write(request)
    },
    close() {
      fail = () => {}
      if (socket.destroyed) return Promise.resolve()
      const closed = once(socket, 'close')
      socket.end()
      return closed
    },
  }
}

/** A reply that is not ok. */
export class Refused extends Error {
  readonly reply: Document
  constructor(reply: Document) {
    super(JSON.stringify(reply))
    this.reply = reply
  }
}

const done = (reply: Document): Document => {
  if (reply.ok !== 1) throw new Refused(reply)
  return reply
}
const bytesOf = (binary: Binary): Buffer => Buffer.from(binary.value())

const BODY = 'Action=GetCallerIdentity&Version=2011-06-15'
const BODY_SHA = createHash('sha256').update(BODY).digest('hex')
const NAMES = 'content-length;content-type;host;x-amz-date;x-mongodb-gs2-cb-flag;x-mongodb-server-nonce'
const WITH_TOKEN = NAMES.replace('x-mongodb-gs2', 'x-amz-security-token;x-mongodb-gs2')
const keys = new Map<string, Buffer>()

type Credentials = { accessKeyId: string; secretAccessKey: string; token: string | undefined }

/** Signature V4, with the key of the day remembered. */
function signed({ accessKeyId, secretAccessKey, token }: Credentials, nonce: Buffer, host: string): Document {
  const d = `${new Date().toISOString().slice(0, 19).replaceAll(/[-:]/g, '')}Z`
  const [day, region] = [d.slice(0, 8), host.split('.')[1] ?? 'us-east-1']
  const scope = `${day}/${region}/sts/aws4_request`
  const names = token === undefined ? NAMES : WITH_TOKEN
  const canonical = [
    'POST\n/\n',
    `content-length:${BODY.length}`,
    'content-type:application/x-www-form-urlencoded',
    `host:${host}`,
    `x-amz-date:${d}`,
    ...(token === undefined ? [] : [`x-amz-security-token:${token}`]),
    'x-mongodb-gs2-cb-flag:n',
    `x-mongodb-server-nonce:${nonce.toString('base64')}`,
    '',
    names,
    BODY_SHA,
  ].join('\n')
  const name = `${secretAccessKey}/${scope}`
  const key = keys.get(name) ?? scope.split('/').reduce<Buffer>(hmac, Buffer.from(`AWS4${secretAccessKey}`))
  keys.set(name, key)
  const digest = createHash('sha256').update(canonical).digest('hex')
  const signature = hmac(key, `AWS4-HMAC-SHA256\n${d}\n${scope}\n${digest}`).toString('hex')
  const a = `AWS4-HMAC-SHA256 Credential=${accessKeyId}/${scope}, SignedHeaders=${names}, Signature=${signature}`
  return token === undefined ? { a, d } : { a, d, t: token }
}

function hmac(key: Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest()
}
