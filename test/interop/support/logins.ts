/** Has a driver program log in several times, with credentials that the driver finds by itself. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import type { TestProxy } from '../../support/testProxy.js'
import { type StepError, startDriverProgram } from './driverProgram.js'
import type { Program } from './toolchains.js'

export type LoginResult = {
  /** The access key id that the proxy logged. */
  key: string
  /** The role session name of that key. */
  session: string
  /** Why the login was refused, or undefined if it succeeded. */
  error: StepError | undefined
}

/**
 * Logs in once as the role orders-api, and once more after each of `waits` (ms). Each wait exceeds `maxIdleTimeMS`, so
 * that the driver opens a new connection. The driver uses its own clock to decide whether a session has expired, so the
 * waits take real time.
 */
export async function loginRepeatedly(
  t: Test,
  proxy: TestProxy,
  program: Program,
  env: object,
  waits: number[],
): Promise<LoginResult[]> {
  const options = 'maxIdleTimeMS=400&maxPoolSize=1&serverSelectionTimeoutMS=10000&heartbeatFrequencyMS=1000'
  const app = await startDriverProgram(t, program, `${proxy.uri}&${options}`, { ...env })
  const errors = []
  for (const ms of [0, ...waits]) {
    await sleep(ms)
    const { value, error } = await app.tryStep('status')
    if (value) t.match(value, { users: [{ user: 'orders-api', db: 'admin' }] })
    errors.push(error)
  }
  t.equal(await app.close(), 0)
  const lines = await proxy.closedLines(errors.length, ({ accessKeyId }) => accessKeyId !== undefined)
  return errors.map((error, n) => {
    const key = String(lines[n]?.accessKeyId)
    return { key, session: String(proxy.iam.key(key)?.caller.arn.split('/')[2]), error }
  })
}

/** The number of different access keys that the logins used. */
export function countAccessKeys(logins: readonly LoginResult[]): number {
  return new Set(logins.map(({ key }) => key)).size
}
