/**
 * The suite of operations.json: plain commands with what MongoDB documents of their replies, run at any server and
 * compared between servers. It belongs to no library; the driver only carries commands.
 */
import { readFileSync } from 'node:fs'
import { type Document, EJSON } from 'bson'
import type { Test } from 'tap'
import { loadDriver } from '../../support/clients.js'

export type Operation = {
  name: string
  /** The page of the manual, below https://www.mongodb.com/docs/manual/reference/. */
  source: string
  /** `{ $from: [operation, path] }` in it stands for a value of an earlier reply. */
  command: Document
  /** Values by their paths in the reply; `a cursor` and `none` stand for cursor ids. */
  expect: Document
  /** The paths of a reply that are compared; all if absent. */
  only?: string[]
  note?: string
}
/** What a server answered: canonical, without what differs from run to run. */
export type Reply = Document
/** By operation, what is not as documented; nothing where it is. */
export type Results = Map<string, { reply: Reply; deviates: string | undefined }>

const file = new URL('../operations.json', import.meta.url)
export const operations: Operation[] = EJSON.parse(readFileSync(file, 'utf8'), { relaxed: false }) as never

/** Runs all of it in the database `app`. `driver`: how the client logs in, beside the connection string. */
export async function runAll(t: Test, uri: string, options: object = {}): Promise<Results> {
  const { MongoClient, MongoNetworkError, MongoServerError } = await loadDriver('mongodb7')
  const client = new MongoClient(uri, { maxPoolSize: 1, serverSelectionTimeoutMS: 10_000, ...options })
  t.teardown(() => client.close())
  const replies = new Map<string, Document>()
  const results: Results = new Map()
  await client.withSession(async session => {
    for (const operation of operations) {
      const command = filled(operation.command, replies)
      const raw = await client
        .db('app')
        .command(command, { session, promoteValues: false })
        .catch(thrown => {
          if (thrown instanceof MongoServerError) return thrown.errorResponse
          if (thrown instanceof MongoNetworkError) return CLOSED
          throw thrown
        })
      replies.set(operation.name, raw)
      const reply = normal(raw, operation.only)
      results.set(operation.name, { reply, deviates: deviation(reply, operation.expect) })
    }
  })
  await client.close()
  return results
}

/** The command with the values of earlier replies in their places. */
function filled(value: unknown, replies: Map<string, Document>): Document {
  if (Array.isArray(value)) return value.map(item => filled(item, replies))
  if (value === null || typeof value !== 'object' || '_bsontype' in value) return value as Document
  if ('$from' in value) {
    const [operation, path] = value.$from as [string, string]
    return at(replies.get(operation), path) as Document
  }
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, filled(item, replies)]))
}

/** In the place of a reply that never came. The driver connects again for what is next. */
const CLOSED = { closed: true }

/** What may differ between two runs at the same server. */
const passing = ['$clusterTime', 'operationTime', 'electionId', 'opTime', 'lastCommittedOpTime']

function normal(raw: Document, only: string[] | undefined): Reply {
  const kept = Object.entries(raw).filter(([key]) => !passing.includes(key))
  const reply = Object.fromEntries(kept)
  if (reply.cursor) reply.cursor = { ...reply.cursor, id: String(reply.cursor.id) === '0' ? 'none' : 'a cursor' }
  // Ids of cursors differ, in words too, and FerretDB shows addresses of its memory.
  if (reply.errmsg) reply.errmsg = String(reply.errmsg).replace(/0x[0-9a-f]+|\d{5,}/g, '…')
  if (reply.cursorsKilled) reply.cursorsKilled = reply.cursorsKilled.map(() => 'a cursor')
  const picked = only ? Object.fromEntries(only.map(path => [path, at(reply, path)])) : reply
  return JSON.parse(EJSON.stringify(picked, { relaxed: false }))
}

/** The first path whose value is not the expected one, and what is there. Numbers count by their value. */
function deviation(reply: Reply, expect: Document): string | undefined {
  const relaxed = EJSON.parse(JSON.stringify(reply))
  for (const [path, wanted] of Object.entries(expect)) {
    const found = path in relaxed ? relaxed[path] : at(relaxed, path)
    const [left, right] = [found, wanted].map(value => sorted(plain(value)))
    if (left !== right)
      return reply.closed ? 'closes the connection' : reply.code === undefined ? `${path}: ${left}` : brief(reply)
  }
  return undefined
}

/** A value as text, numbers of every type alike; Decimal128 stays what it is. */
function plain(value: unknown): unknown {
  return JSON.parse(EJSON.stringify({ value: value ?? null }, { relaxed: true })).value
}

/** JSON with its keys in order: a reply's order is checked where the type is, in `equal replies`. */
function sorted(value: unknown): string {
  return JSON.stringify(value, (_, item) =>
    item && typeof item === 'object' && !Array.isArray(item)
      ? Object.fromEntries(Object.entries(item).sort(([a], [b]) => (a < b ? -1 : 1)))
      : item,
  )
}

function brief(reply: Reply): string {
  const { code, codeName, errmsg } = EJSON.parse(JSON.stringify(reply))
  return code === undefined ? JSON.stringify(plain(reply)) : `${code} ${codeName ?? ''}: ${errmsg}`
}

function at(value: unknown, path: string): unknown {
  return path.split('.').reduce<unknown>((inner, key) => (inner as Document | undefined)?.[key], value)
}
