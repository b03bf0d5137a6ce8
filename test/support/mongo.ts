/** A MongoDB of the sandbox for one test, drivers connected to it, and a bare socket for what drivers do not send. */
import { randomBytes } from 'node:crypto'
import { connect } from 'node:net'
import { type Document, serialize } from 'bson'
import { MongoClient, type MongoClientOptions } from 'mongodb'
import type { Test } from 'tap'
import { CommandError } from '../../sandbox/src/mongo/commandError.js'
import { type MongoOptions, startMongoServer } from '../../sandbox/src/mongo/server.js'
import { type Frame, Framer, OP_MSG, writeFrame } from '../../src/wire/frame.js'
import { readReply } from '../../src/wire/message.js'

export const root = { name: 'root', password: 'a password, with = and , in it' }

/** Starts a server and connects its root user; `as` connects other users. All are closed with the test. */
export async function startMongo(t: Test, options: Partial<MongoOptions> = {}, more: MongoClientOptions = {}) {
  const server = await startMongoServer({ now: Date.now, random: randomBytes, root, ...options })
  t.teardown(() => server.close())
  const as = async (user: string, password: string, authSource = 'admin', extra: MongoClientOptions = {}) => {
    const login = `${encodeURIComponent(user)}:${encodeURIComponent(password)}`
    const uri = `mongodb://${login}@127.0.0.1:${server.port}/?authSource=${authSource}`
    const client = new MongoClient(uri, { serverSelectionTimeoutMS: 60_000, ...extra })
    t.teardown(() => client.close())
    return client.connect()
  }
  return { server, as, client: await as(root.name, root.password, 'admin', more) }
}

/** The error code of a command, or undefined if it succeeds. */
export async function errorCodeOf(run: Promise<unknown>): Promise<number | undefined> {
  return run.then(
    () => undefined,
    thrown => thrown.code,
  )
}

/** The name of the error code that a call throws, or undefined if it succeeds. */
export function codeNameOf(run: () => unknown): string | undefined {
  try {
    run()
    return undefined
  } catch (thrown) {
    return CommandError.from(thrown).codeName
  }
}

/**
 * Connects a socket that speaks OP_MSG: `send` writes, `next` gives the next reply with its header, `ask` does both. Once the
 * peer has closed the connection, `next` throws why.
 */
export async function connectRaw(t: Test, port: number) {
  const socket = connect(port, '127.0.0.1')
  const framer = new Framer(48_000_000)
  const arrived: Frame[] = []
  const waiting: { resolve(frame: Frame): void; reject(reason: Error): void }[] = []
  let closed: Error | undefined
  t.teardown(() => {
    waiting.length = 0
    socket.destroy()
  })
  socket.on('error', error => {
    closed = error
  })
  socket.on('close', () => {
    closed ??= new Error('the peer closed the connection')
    for (const { reject } of waiting.splice(0)) reject(closed)
  })
  socket.on('data', chunk => {
    for (const one of framer.push(chunk)) {
      const wait = waiting.shift()
      if (wait) wait.resolve(one)
      else arrived.push(one)
    }
  })
  const receive = () =>
    new Promise<Frame>((resolve, reject) => {
      if (closed) reject(closed)
      else waiting.push({ resolve, reject })
    })
  const next = async () => {
    const one = arrived.shift() ?? (await receive())
    return { ...one, ...readReply(one, { exact: true }) }
  }
  let requestID = 0
  const send = (document: Document, flagBits = 0) => {
    const flags = Buffer.alloc(5)
    flags.writeUInt32LE(flagBits, 0)
    socket.write(writeFrame(OP_MSG, ++requestID, 0, [flags, serialize(document)]))
    return requestID
  }
  const ask = async (document: Document) => {
    send(document)
    return (await next()).document
  }
  return { socket, send, next, ask }
}
