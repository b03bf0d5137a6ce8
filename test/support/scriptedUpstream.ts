/**
 * An upstream that answers what a test tells it to, over a real socket on loopback, and `mongod`, a script that plays a
 * small MongoDB: hello, SCRAM-SHA-256 with one user, ping. Each step can be replaced by a lie.
 */
import { createHash, createHmac, pbkdf2Sync, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { createServer as createSecureServer } from 'node:tls'
import { Binary, type Document, Int32, Long, ObjectId, Timestamp } from 'bson'
import { Secret } from '../../src/log.js'
import { createTarget, parseUpstreamUri, type Target } from '../../src/upstream/target.js'
import { readDocument } from '../../src/wire/document.js'
import { Framer } from '../../src/wire/frame.js'
import { type Command, readCommand, writeReply } from '../../src/wire/message.js'

/** A command and where it came from: `socket` is counted from 1 in the order of accepting. */
export type ReceivedCommand = Command & { body: Document; socket: number; raw: Socket }
/** A document is sent as the reply; bytes as they are; `silence` sends nothing; `hangUp` closes. */
export type Answer = Document | Buffer | typeof silence | typeof hangUp
export const silence = Symbol('silence')
export const hangUp = Symbol('hang up')
export type Script = (asked: ReceivedCommand) => Answer | Promise<Answer>

export type ScriptedUpstream = {
  host: string
  port: number
  /** `mongodb://host:port/?` with room for options behind it. */
  uri: string
  target: Target
  /** Every command that arrived, in order. */
  received: ReceivedCommand[]
  sockets: Set<Socket>
  accepted(): number
  /** Resolves when `count` commands of this name (any, if none is given) have arrived. */
  waitForCommands(count: number, name?: string): Promise<void>
  /** Replaces the script from now on. */
  script(next: Script): void
  /** Closes every socket, and goes on listening. */
  closeSockets(): void
  /** Stops listening and closes every socket; `start` brings it back on the same port. */
  stop(): Promise<void>
  start(): Promise<void>
}

type Teardown = { teardown(run: () => unknown): unknown }

/** Starts one on a free port; the test's teardown ends it. `tls`: a PEM of test/support/tls with certificate and key. */
export async function startScriptedUpstream(t: Teardown, script: Script, tls?: string): Promise<ScriptedUpstream> {
  let current = script
  let count = 0
  const sockets = new Set<Socket>()
  const asked: ReceivedCommand[] = []
  let wake: (() => void)[] = []
  const serve = (socket: Socket) => {
    const nth = ++count
    const framer = new Framer(48_000_000)
    sockets.add(socket)
    socket.on('error', () => {}).on('close', () => sockets.delete(socket))
    const answer = async (command: ReceivedCommand) => {
      asked.push(command)
      const waiting = wake
      wake = []
      for (const run of waiting) run()
      const answer = await current(command)
      if (answer === silence || socket.destroyed) return
      if (answer === hangUp) socket.destroy()
      else socket.write(Buffer.isBuffer(answer) ? answer : writeReply(command, answer as Document, asked.length))
    }
    socket.on('data', async chunk => {
      try {
        for (const frame of framer.push(chunk)) {
          const command = readCommand(frame)
          await answer({ ...command, body: readDocument(command.bytes), socket: nth, raw: socket })
        }
      } catch {
        socket.destroy() // not the protocol: a TLS hello on a plain port
      }
    })
  }
  const pem = tls === undefined ? undefined : readFileSync(new URL(`./tls/${tls}`, import.meta.url))
  const server = pem ? createSecureServer({ cert: pem, key: pem }, serve) : createServer(serve)
  server.on('tlsClientError', () => {})
  const listen = async (port: number) => {
    server.listen(port, '127.0.0.1')
    await once(server, 'listening')
  }
  await listen(0)
  const { port } = server.address() as AddressInfo
  const drop = () => {
    for (const socket of sockets) socket.destroy()
  }
  const stop = async () => {
    drop()
    if (!server.listening) return
    server.close()
    await once(server, 'close')
  }
  t.teardown(stop)
  const uri = `mongodb://127.0.0.1:${port}/?`
  return {
    host: '127.0.0.1',
    port,
    uri,
    target: createTarget(
      parseUpstreamUri(new Secret(uri), () => Buffer.alloc(0)).connectionOptions,
      `127.0.0.1:${port}`,
    ),
    received: asked,
    sockets,
    accepted: () => count,
    waitForCommands: async (wanted, name) => {
      while (asked.filter(command => name === undefined || command.name === name).length < wanted) {
        await new Promise<void>(resolve => wake.push(resolve))
      }
    },
    script: next => {
      current = next
    },
    closeSockets: drop,
    stop,
    start: () => listen(port),
  }
}

/** What a set member of MongoDB 8.0 says, without the fields that a connection negotiates. */
export function memberHello(changes: Document = {}): Document {
  const opTime = { ts: new Timestamp({ t: 1, i: 1 }), t: Long.fromNumber(1) }
  const hello: Document = {
    topologyVersion: { processId: new ObjectId('652f1f77bcf86cd799439011'), counter: Long.fromNumber(6) },
    hosts: ['127.0.0.1:27017'],
    setName: 'rs0',
    setVersion: new Int32(1),
    isWritablePrimary: true,
    secondary: false,
    primary: '127.0.0.1:27017',
    me: '127.0.0.1:27017',
    electionId: new ObjectId('7fffffff0000000000000001'),
    lastWrite: { opTime, lastWriteDate: new Date(1e12), majorityOpTime: opTime, majorityWriteDate: new Date(1e12) },
    maxBsonObjectSize: new Int32(16_777_216),
    maxMessageSizeBytes: new Int32(48_000_000),
    maxWriteBatchSize: new Int32(100_000),
    localTime: new Date(1e12),
    logicalSessionTimeoutMinutes: new Int32(30),
    connectionId: new Int32(7),
    minWireVersion: new Int32(0),
    maxWireVersion: new Int32(25),
    readOnly: false,
    ok: 1,
    ...changes,
  }
  return Object.fromEntries(Object.entries(hello).filter(([, value]) => value !== undefined))
}

/** What one user's server half does, and every lie that a test may want from it. */
export type ScriptedMongodOptions = {
  user?: { name: string; db: string; password: string }
  iterations?: number
  hello?: Document
  /** Understands speculativeAuthenticate (MongoDB does, FerretDB does not). */
  speculates?: boolean
  /** Honours skipEmptyExchange (MongoDB does, FerretDB does not). */
  skipsEmpty?: boolean
  /** The SCRAM messages before they are sent. */
  first?: (message: string) => string
  final?: (message: string) => string
  /** Whole SASL replies before they are sent. */
  start?: (reply: Document) => Answer
  next?: (reply: Document) => Answer
  other?: Script
}

const refusal = { ok: 0, errmsg: 'Authentication failed.', code: 18, codeName: 'AuthenticationFailed' }

/** A script that answers hello, saslStart, saslContinue and ping; anything else goes to `other`. */
export function scriptedMongod(options: ScriptedMongodOptions = {}): Script {
  const { speculates = true, skipsEmpty = true, hello = memberHello() } = options
  const halves = new Map<Socket, ReturnType<typeof scramServer>>()
  const begin = (asked: ReceivedCommand, start: Document, db: string): Document => {
    if (start.mechanism !== 'SCRAM-SHA-256') return { ...refusal, code: 334, codeName: 'MechanismUnavailable' }
    const half = scramServer(options, db)
    halves.set(asked.raw, half)
    return half.first(start.payload)
  }
  return asked => {
    const { name, body, db } = asked
    if (name === 'hello' || name === 'isMaster' || name === 'ismaster') {
      const wanted: Document | undefined = body.speculativeAuthenticate
      const reply = wanted && speculates ? begin(asked, wanted, wanted.db) : undefined
      const { ok, ...rest } = hello
      if (reply?.ok !== 1) return hello
      const lie = options.start?.(reply) ?? reply
      if (Buffer.isBuffer(lie) || typeof lie === 'symbol') return lie
      const { ok: _, ...speculative } = lie as Document
      return { ...rest, speculativeAuthenticate: speculative, ok }
    }
    if (name === 'saslStart') {
      const reply = begin(asked, body, db)
      return reply.ok === 1 ? (options.start?.(reply) ?? reply) : reply
    }
    if (name === 'saslContinue') {
      const reply = halves.get(asked.raw)?.next(body.payload, skipsEmpty) ?? { ...refusal, code: 17 }
      return reply.ok === 1 ? (options.next?.(reply) ?? reply) : reply
    }
    if (name === 'ping') return { ok: 1 }
    return (
      options.other?.(asked) ?? { ok: 0, code: 59, codeName: 'CommandNotFound', errmsg: `no such command: ${name}` }
    )
  }
}

/** The server's half of SCRAM-SHA-256, for one conversation. */
function scramServer({ user, iterations = 4096, first, final }: ScriptedMongodOptions, db: string) {
  const { name = 'app', password = 'pencil' } = user ?? {}
  const salt = createHash('sha256').update(`${name} salt`).digest().subarray(0, 28)
  const hmac = (key: Buffer, text: string) => createHmac('sha256', key).update(text).digest()
  const payload = (text: string) => new Binary(Buffer.from(text))
  let signed = ''
  let nonce = ''
  let proven = false
  return {
    first: (message: Binary): Document => {
      const [, bare = '', given, theirs] = /^n,,(n=([^,]*),r=(.+))$/.exec(message.toString('utf8')) ?? []
      const escaped = name.replaceAll('=', '=3D').replaceAll(',', '=2C')
      if (given !== escaped || db !== (user?.db ?? 'admin')) return refusal
      nonce = `${theirs}${randomBytes(18).toString('base64')}`
      const text = `r=${nonce},s=${salt.toString('base64')},i=${iterations}`
      const sent = first?.(text) ?? text
      signed = `${bare},${sent}`
      return { conversationId: 1, done: false, payload: payload(sent), ok: 1 }
    },
    next: (message: Binary, skipsEmpty: boolean): Document => {
      const text = message.toString('utf8')
      if (proven) {
        return text === '' ? { conversationId: 1, done: true, payload: payload(''), ok: 1 } : refusal
      }
      const [, without, echoed, proof = ''] = /^(c=biws,r=(.+)),p=([^,]+)$/.exec(text) ?? []
      const authMessage = `${signed},${without}`
      const salted = pbkdf2Sync(password, salt, Math.min(iterations, 5000), 32, 'sha256')
      const clientKey = hmac(salted, 'Client Key')
      const signature = hmac(createHash('sha256').update(clientKey).digest(), authMessage)
      const wanted = Buffer.from(clientKey.map((byte, at) => byte ^ (signature[at] as number))).toString('base64')
      if (proof !== wanted || echoed !== nonce) return refusal
      proven = true
      const verified = `v=${hmac(hmac(salted, 'Server Key'), authMessage).toString('base64')}`
      return { conversationId: 1, done: skipsEmpty, payload: payload(final?.(verified) ?? verified), ok: 1 }
    },
  }
}
