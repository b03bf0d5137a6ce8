/**
 * A client on a raw socket, which logs in with MONGODB-AWS or SCRAM and then repeats one message. A driver would be slower
 * than what is measured.
 */
import { createHash, createHmac, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { connect as connectTLS } from 'node:tls'
import { Binary, type Document, deserialize, Int32, serialize } from 'bson'
import { createClientFinal, createClientFirst, type DeriveKeys, verifyServerFinal } from '../src/sasl/scram.js'
import { Framer } from '../src/wire/frame.js'
import { readReply, writeMessage } from '../src/wire/message.js'

/** `from`: the loopback address to connect from. `signal` closes the connection, also during the login. */
export type ConnectOptions = { port: number; tls?: boolean; from?: string; signal?: AbortSignal }

export type Credentials =
  | { by: 'aws'; accessKeyId: string; secretAccessKey: string; token?: string }
  | { by: 'scram'; user: string; derive: DeriveKeys }
  /** hello only. */
  | { by: 'none' }

export type Client = {
  socket: Socket
  /** Sends a command and returns its reply. */
  runCommand(command: Document): Promise<Document>
  /** Sends a request and calls `done` after this many bytes of reply. Not while a command is pending. */
  exchange(request: Buffer, replyBytes: number, done: () => void): void
  close(): Promise<unknown>
}

const METADATA = {
  driver: { name: 'bench', version: '1' },
  os: { type: 'Linux', name: 'linux', architecture: 'x64', version: '1' },
  platform: 'Node.js',
}

/** Connects, sends hello and logs in. Throws `CommandError` for a reply that is not ok. */
export async function connectClient(options: ConnectOptions, credentials: Credentials): Promise<Client> {
  const client = await connectSocket(options)
  await logIn[credentials.by](client, credentials as never)
  return client
}

const logIn = {
  none: async ({ runCommand }: Client) => void (await runCommand({ hello: 1, client: METADATA, $db: 'admin' })),
  async aws({ runCommand }: Client, { accessKeyId, secretAccessKey, token }: Credentials & { by: 'aws' }) {
    await runCommand({ hello: 1, client: METADATA, $db: 'admin' })
    const payload = serialize({ r: new Binary(randomBytes(32)), p: new Int32(110) })
    const start = { saslStart: 1, mechanism: 'MONGODB-AWS', payload: new Binary(payload), $db: '$external' }
    const { s, h } = deserialize(bytesOf(assertOk(await runCommand(start)).payload))
    const proof = signProof({ accessKeyId, secretAccessKey, token }, bytesOf(s), h)
    const next = { saslContinue: 1, conversationId: 1, payload: new Binary(serialize(proof)), $db: '$external' }
    if (!assertOk(await runCommand(next)).done) throw new Error('not logged in')
  },
  async scram({ runCommand }: Client, { user, derive }: Credentials & { by: 'scram' }) {
    const clientFirst = createClientFirst(user, randomBytes(24).toString('base64'))
    const saslStart = {
      saslStart: 1,
      mechanism: 'SCRAM-SHA-256',
      payload: new Binary(clientFirst.payload),
      options: { skipEmptyExchange: true },
      db: 'admin',
    }
    const hello = await runCommand({ hello: 1, client: METADATA, speculativeAuthenticate: saslStart, $db: 'admin' })
    const clientFinal = await createClientFinal(clientFirst, derive, bytesOf(hello.speculativeAuthenticate.payload))
    const next = { saslContinue: 1, conversationId: 1, payload: new Binary(clientFinal.payload), $db: 'admin' }
    verifyServerFinal(clientFinal, bytesOf(assertOk(await runCommand(next)).payload))
  },
}

async function connectSocket({ port, tls, from, signal }: ConnectOptions): Promise<Client> {
  const address = {
    host: '127.0.0.1',
    port,
    ...(from !== undefined && { localAddress: from }),
    ...(signal && { signal }),
  }
  const socket = tls ? connectTLS({ ...address, rejectUnauthorized: false }) : connect(address)
  socket.setNoDelay(true)
  await once(socket, tls ? 'secureConnect' : 'connect')
  const framer = new Framer(1 << 20)
  let requests = 0
  let remainingBytes = 0
  let onExchanged = (): void => {}
  let onReply: ((reply: Document) => void) | undefined
  let onError = (_: Error): void => {}
  socket.on('data', chunk => {
    if (onReply) {
      for (const frame of framer.push(chunk)) onReply(readReply(frame).document)
    } else {
      remainingBytes -= chunk.length
      if (remainingBytes > 0) return
      onError = () => {} // between two messages the other side may close the connection
      onExchanged()
    }
  })
  socket.on('error', error => onError(error))
  socket.on('close', () => onError(new Error('closed by the other side')))
  return {
    socket,
    runCommand: command =>
      new Promise((resolve, reject) => {
        onError = reject
        onReply = reply => {
          onReply = undefined
          resolve(reply)
        }
        socket.write(writeMessage(command, ++requests))
      }),
    exchange(request, replyBytes, done) {
      remainingBytes = replyBytes
      onExchanged = done
      onError = error => {
        throw error
      }
      socket.write(request)
    },
    close() {
      onError = () => {}
      if (socket.destroyed) return Promise.resolve()
      const closed = once(socket, 'close')
      socket.end()
      return closed
    },
  }
}

/** A reply that is not ok. */
export class CommandError extends Error {
  readonly reply: Document
  constructor(reply: Document) {
    super(JSON.stringify(reply))
    this.reply = reply
  }
}

const assertOk = (reply: Document): Document => {
  if (reply.ok !== 1) throw new CommandError(reply)
  return reply
}
const bytesOf = (binary: Binary): Buffer => Buffer.from(binary.value())

const BODY = 'Action=GetCallerIdentity&Version=2011-06-15'
const BODY_SHA256 = createHash('sha256').update(BODY).digest('hex')
const SIGNED_HEADERS = 'content-length;content-type;host;x-amz-date;x-mongodb-gs2-cb-flag;x-mongodb-server-nonce'
const SIGNED_HEADERS_WITH_TOKEN = SIGNED_HEADERS.replace('x-mongodb-gs2', 'x-amz-security-token;x-mongodb-gs2')
/** Signing keys by secret and scope; they are valid for one day. */
const signingKeys = new Map<string, Buffer>()

type AwsCredentials = { accessKeyId: string; secretAccessKey: string; token: string | undefined }

/** The MONGODB-AWS proof: a GetCallerIdentity request, signed with Signature Version 4. */
function signProof({ accessKeyId, secretAccessKey, token }: AwsCredentials, nonce: Buffer, host: string): Document {
  const d = `${new Date().toISOString().slice(0, 19).replaceAll(/[-:]/g, '')}Z`
  const [day, region] = [d.slice(0, 8), host.split('.')[1] ?? 'us-east-1']
  const scope = `${day}/${region}/sts/aws4_request`
  const signedHeaders = token === undefined ? SIGNED_HEADERS : SIGNED_HEADERS_WITH_TOKEN
  const canonicalRequest = [
    'POST\n/\n',
    `content-length:${BODY.length}`,
    'content-type:application/x-www-form-urlencoded',
    `host:${host}`,
    `x-amz-date:${d}`,
    ...(token === undefined ? [] : [`x-amz-security-token:${token}`]),
    'x-mongodb-gs2-cb-flag:n',
    `x-mongodb-server-nonce:${nonce.toString('base64')}`,
    '',
    signedHeaders,
    BODY_SHA256,
  ].join('\n')
  const name = `${secretAccessKey}/${scope}`
  const key = signingKeys.get(name) ?? scope.split('/').reduce<Buffer>(hmac, Buffer.from(`AWS4${secretAccessKey}`))
  signingKeys.set(name, key)
  const digest = createHash('sha256').update(canonicalRequest).digest('hex')
  const signature = hmac(key, `AWS4-HMAC-SHA256\n${d}\n${scope}\n${digest}`).toString('hex')
  const a = `AWS4-HMAC-SHA256 Credential=${accessKeyId}/${scope}, SignedHeaders=${signedHeaders}, Signature=${signature}`
  return token === undefined ? { a, d } : { a, d, t: token }
}

function hmac(key: Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest()
}
