/** The demo as a program, `mongo-iam-proxy demo --json`: its announcement and its log. */
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import type { AwsKeys } from './clients.js'
import { startNode } from './program.js'

export const program = fileURLToPath(new URL('../../dist/cli.js', import.meta.url))

export type Principal = AwsKeys & { arn: string; user: string; roles: string[] }
/** The first line on stdout. */
export type ReadyLine = {
  event: 'ready'
  proxy: { host: string; port: number }
  admin: string
  sts: string
  upstream: string
  principals: Principal[]
}

export type Demo = {
  ready: ReadyLine
  /** An IAM user that may write in `app`. */
  alice: Principal
  /** A role that may read there, and one that may administer; both with a session token. */
  orders: Principal
  operator: Principal
  /** A connection string for MONGODB-AWS without credentials. */
  uri(database?: string): string
  /** Lines on stderr so far. */
  log: Record<string, unknown>[]
  /** Resolves with the first line on stderr that matches, which may be there already. */
  logged(matches: (line: Record<string, unknown>) => boolean): Promise<Record<string, unknown>>
  /** What went to stdout so far. */
  stdout(): string
  /** Sends SIGTERM and resolves to its exit code. */
  stop(): Promise<number | null>
}

/** Starts the demo on free ports, with further flags. Resolves when it accepts logins. It ends with the test. */
export function startDemo(t: Test, ...flags: string[]): Promise<Demo> {
  return startDemoWith(t, {}, ...flags)
}

/** The same, with these variables, a module that is loaded first, and the program of another installation. */
export async function startDemoWith(
  t: Test,
  { env = {}, preload, installed = program }: { env?: Record<string, string>; preload?: string; installed?: string },
  ...flags: string[]
): Promise<Demo> {
  if (!existsSync(installed)) throw new Error(`${installed} is missing: run \`npm run build\` first (npm test does)`)
  const first = preload === undefined ? [] : ['--import', preload]
  const args = [
    ...first,
    installed,
    'demo',
    '--json',
    '--port',
    '0',
    '--admin-port',
    '0',
    '--log-level',
    'info',
    ...flags,
  ]
  const { child, exited } = startNode(t, args, { env })
  const log: Record<string, unknown>[] = []
  const stderr: string[] = []
  const lines = createInterface(child.stderr).on('line', line => {
    stderr.push(line)
    if (line.startsWith('{')) log.push(JSON.parse(line))
  })
  let stdout = ''
  const announcement = await new Promise<string>((resolve, reject) => {
    child.stdout.setEncoding('utf8').on('data', chunk => {
      stdout += chunk
      if (stdout.includes('\n')) resolve(stdout)
    })
    exited.then(code => reject(new Error(`the demo ended with ${code}: ${stderr.join('\n')}`)))
  })
  const ready: ReadyLine = JSON.parse(announcement)
  const named = (name: string): Principal => {
    const found = ready.principals.find(({ user }) => user === name)
    if (!found) throw new Error(`the demo has no ${name}`)
    return found
  }
  const { host, port } = ready.proxy
  return {
    ready,
    alice: named('alice'),
    orders: named('orders-api'),
    operator: named('operator'),
    uri: (database = '') => `mongodb://${host}:${port}/${database}?authSource=%24external&authMechanism=MONGODB-AWS`,
    log,
    async logged(matches) {
      for (;;) {
        const found = log.find(matches)
        if (found) return found
        await Promise.race([once(lines, 'line'), exited.then(() => Promise.reject(new Error('the demo has ended')))])
      }
    },
    stdout: () => stdout,
    stop() {
      child.kill('SIGTERM')
      return exited
    },
  }
}
