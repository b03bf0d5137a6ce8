/** A client that logs in again and again, with credentials that it finds by itself. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import type { TestProxy } from '../../support/testProxy.js'
import { client, type Failure } from './driverProgram.js'
import type { Program } from './toolchains.js'

export type Login = {
  /** As the proxy logged it, and the name of its session. */
  key: string
  session: string
  /** Why it was refused. */
  error: Failure | undefined
}

/**
 * Logs in as the role orders-api, and after each of these waits (milliseconds) again: its connection has been idle for too
 * long then. They are of the client's own clock, by which it takes sessions for good or over.
 */
export async function logins(
  t: Test,
  home: TestProxy,
  program: Program,
  env: object,
  waits: number[],
): Promise<Login[]> {
  const limits = 'maxIdleTimeMS=400&maxPoolSize=1&serverSelectionTimeoutMS=10000&heartbeatFrequencyMS=1000'
  const app = await client(t, program, `${home.uri}&${limits}`, { ...env })
  const errors = []
  for (const ms of [0, ...waits]) {
    await sleep(ms)
    const { value, error } = await app.ask('status')
    if (value) t.match(value, { users: [{ user: 'orders-api', db: 'admin' }] })
    errors.push(error)
  }
  t.equal(await app.close(), 0)
  const lines = await home.closedLines(errors.length, ({ accessKeyId }) => accessKeyId !== undefined)
  return errors.map((error, n) => {
    const key = String(lines[n]?.accessKeyId)
    return { key, session: String(home.iam.key(key)?.caller.arn.split('/')[2]), error }
  })
}

/** How many access keys these logins had. */
export function keysOf(all: readonly Login[]): number {
  return new Set(all.map(({ key }) => key)).size
}
