/** The demo as a program: `mongo-iam-proxy demo --json`, what it announces, and what it logs. */
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
  /** An IAM user that writes in `app`. */
  alice: Principal
  /** A role with a session token that reads there, and one that administers. */
  orders: Principal
  operator: Principal
  /** A connection string for MONGODB-AWS without credentials, and a database to begin in. */
  uri(database?: string): string
  /** Lines on stderr so far. */
  log: Record<string, unknown>[]
  /** Resolves with the first line on stderr that matches, which may be there already. */
  logged(matches: (line: Record<string, unknown>) => boolean): Promise<Record<string, unknown>>
  /** What went to stdout so far. */
  stdout(): string
  /** Asks it to stop; resolves to its exit code. */
  stop(): Promise<number | null>
}

/** Starts it on free ports, with further flags, and resolves once logins are accepted. It ends with the test. */
export async function startDemo(t: Test, ...flags: string[]): Promise<Demo> {
  if (!existsSync(program)) throw new Error(`${program} is missing: run \`npm run build\` first (npm test does)`)
  const args = [program, 'demo', '--json', '--port', '0', '--admin-port', '0', '--log-level', 'info', ...flags]
  const { child, exited } = startNode(t, args)
  const log: Record<string, unknown>[] = []
  const said: string[] = []
  const lines = createInterface(child.stderr).on('line', line => {
    said.push(line)
    if (line.startsWith('{')) log.push(JSON.parse(line))
  })
  let stdout = ''
  const first = await new Promise<string>((resolve, reject) => {
    child.stdout.setEncoding('utf8').on('data', chunk => {
      stdout += chunk
      if (stdout.includes('\n')) resolve(stdout)
    })
    exited.then(code => reject(new Error(`the demo ended with ${code}: ${said.join('\n')}`)))
  })
  const ready: ReadyLine = JSON.parse(first)
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
