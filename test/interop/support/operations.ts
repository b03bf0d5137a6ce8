/**
 * The operations of operations.json: commands, each with the reply that MongoDB documents. They run against any server, so
 * that the replies of two servers can be compared. The driver only carries the commands.
 */
import { readFileSync } from 'node:fs'
import { type Document, EJSON } from 'bson'
import type { Test } from 'tap'
import { loadDriver } from '../../support/clients.js'

export type Operation = {
  name: string
  /** The page of the manual, relative to https://www.mongodb.com/docs/manual/reference/. */
  source: string
  /** `{ $from: [operation, path] }` stands for a value of an earlier reply. */
  command: Document
  /** Expected values by their paths in the reply. `a cursor` and `none` stand for cursor ids. */
  expect: Document
  /** The paths of a reply to compare. Absent: the whole reply. */
  only?: string[]
  note?: string
}
/** A reply of a server as canonical extended JSON, without the fields that differ from run to run. */
export type Reply = Document
/** Results by the name of the operation. `deviation` is undefined if the reply is as documented. */
export type Results = Map<string, { reply: Reply; deviation: string | undefined }>

const file = new URL('../operations.json', import.meta.url)
export const operations: Operation[] = EJSON.parse(readFileSync(file, 'utf8'), { relaxed: false }) as never

/** Runs all operations in order in the database `app`. `options` are those of the MongoClient, for the login. */
export async function runOperations(t: Test, uri: string, options: object = {}): Promise<Results> {
  const { MongoClient, MongoNetworkError, MongoServerError } = await loadDriver('mongodb7')
  const client = new MongoClient(uri, { maxPoolSize: 1, serverSelectionTimeoutMS: 10_000, ...options })
  t.teardown(() => client.close())
  const replies = new Map<string, Document>()
  const results: Results = new Map()
  await client.withSession(async session => {
    for (const operation of operations) {
      const command = fillIn(operation.command, replies)
      const raw = await client
        .db('app')
        .command(command, { session, promoteValues: false })
        .catch(thrown => {
          if (thrown instanceof MongoServerError) return thrown.errorResponse
          if (thrown instanceof MongoNetworkError) return CONNECTION_CLOSED
          throw thrown
        })
      replies.set(operation.name, raw)
      const reply = normalize(raw, operation.only)
      results.set(operation.name, { reply, deviation: describeDeviation(reply, operation.expect) })
    }
  })
  await client.close()
  return results
}

/** Replaces each `$from` in a command by the value of the earlier reply. */
function fillIn(value: unknown, replies: Map<string, Document>): Document {
  if (Array.isArray(value)) return value.map(item => fillIn(item, replies))
  if (value === null || typeof value !== 'object' || '_bsontype' in value) return value as Document
  if ('$from' in value) {
    const [operation, path] = value.$from as [string, string]
    return valueAt(replies.get(operation), path) as Document
  }
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, fillIn(item, replies)]))
}

/** Stands for the reply if the server closes the connection instead. The driver reconnects for the next operation. */
const CONNECTION_CLOSED = { closed: true }

/** Fields that may differ between two runs against the same server. */
const VOLATILE_FIELDS = ['$clusterTime', 'operationTime', 'electionId', 'opTime', 'lastCommittedOpTime']

function normalize(raw: Document, only: string[] | undefined): Reply {
  const reply = Object.fromEntries(Object.entries(raw).filter(([key]) => !VOLATILE_FIELDS.includes(key)))
  if (reply.cursor) reply.cursor = { ...reply.cursor, id: String(reply.cursor.id) === '0' ? 'none' : 'a cursor' }
  // Messages contain cursor ids, and those of FerretDB contain memory addresses.
  if (reply.errmsg) reply.errmsg = String(reply.errmsg).replace(/0x[0-9a-f]+|\d{5,}/g, '…')
  if (reply.cursorsKilled) reply.cursorsKilled = reply.cursorsKilled.map(() => 'a cursor')
  const selected = only ? Object.fromEntries(only.map(path => [path, valueAt(reply, path)])) : reply
  return JSON.parse(EJSON.stringify(selected, { relaxed: false }))
}

/** Describes the first path whose value is not the expected one. Numbers are compared by value, not by type. */
function describeDeviation(reply: Reply, expect: Document): string | undefined {
  const relaxed = EJSON.parse(JSON.stringify(reply))
  for (const [path, expected] of Object.entries(expect)) {
    const found = path in relaxed ? relaxed[path] : valueAt(relaxed, path)
    const [left, right] = [found, expected].map(value => stringifySorted(relax(value)))
    if (left === right) continue
    if (reply.closed) return 'closes the connection'
    return reply.code === undefined ? `${path}: ${left}` : describeError(reply)
  }
  return undefined
}

/** A value as plain JSON: numbers of every type become equal, except for Decimal128. */
function relax(value: unknown): unknown {
  return JSON.parse(EJSON.stringify({ value: value ?? null }, { relaxed: true })).value
}

/** JSON with sorted keys, because the documentation does not specify the order of the fields in a reply. */
function stringifySorted(value: unknown): string {
  return JSON.stringify(value, (_, item) =>
    item && typeof item === 'object' && !Array.isArray(item)
      ? Object.fromEntries(Object.entries(item).sort(([a], [b]) => (a < b ? -1 : 1)))
      : item,
  )
}

function describeError(reply: Reply): string {
  const { code, codeName, errmsg } = EJSON.parse(JSON.stringify(reply))
  return `${code} ${codeName ?? ''}: ${errmsg}`
}

function valueAt(value: unknown, path: string): unknown {
  return path.split('.').reduce<unknown>((inner, key) => (inner as Document | undefined)?.[key], value)
}
