/** The proxy as it is run: `mongo-iam-proxy serve --config FILE`. */
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { createTempFolder, type ProgramResult, runNode } from '../../support/program.js'
import { lineOf, start } from './childProcess.js'

const program = fileURLToPath(new URL('../../../dist/cli.js', import.meta.url))
export const HOST = 'sts.us-east-1.amazonaws.com'

type Parts = {
  /** Connection strings of the upstream, without and with an administrator. */
  upstream: { uri: string; admin?: { uri: string } }
  /** The port on loopback that plays STS. */
  sts: number
  /** Principals, and the database user of each, or the roles. */
  users: readonly ({ arn: string } & ({ user: string; password: string } | { roles: readonly string[] }))[]
  /** There where the proxy keeps users. */
  master?: string
  /** Further groups of settings. */
  more?: object
}

export type Served = {
  /** A connection string for MONGODB-AWS without credentials. */
  uri: string
  /** Runs another command of the program with the same configuration. */
  run(command: string): Promise<ProgramResult>
}

/** Starts it. */
export async function serve(t: Test, { upstream, sts, users, master, more }: Parts): Promise<Served> {
  if (!existsSync(program)) throw new Error(`${program} is missing: run \`npm run build\` first`)
  const home = createTempFolder(t)
  const config = join(home, 'proxy.yaml')
  const secretFile = join(home, 'master')
  if (master !== undefined) writeFileSync(secretFile, master, { mode: 0o600 })
  const env = Object.fromEntries(users.flatMap((one, n) => ('user' in one ? [[`PASSWORD_${n}`, one.password]] : [])))
  const file = {
    listen: { host: '127.0.0.1', port: 0 },
    upstream,
    sts: { insecure: true, hosts: [{ host: HOST, connect: `127.0.0.1:${sts}` }] },
    admin: { port: 'off' },
    users: users.map((one, n) =>
      'user' in one ? { arn: one.arn, user: one.user, passwordEnv: `PASSWORD_${n}` } : one,
    ),
    ...(master !== undefined && { provision: { secretFile } }),
    ...more,
  }
  writeFileSync(config, JSON.stringify(file), { mode: 0o600 })
  const started = start(t, [process.execPath], [program, 'serve', '--config', config], env)
  const [, port] = await lineOf(started, /"port":(\d+).*"event":"ready"/)
  return {
    uri: `mongodb://127.0.0.1:${port}/?authSource=%24external&authMechanism=MONGODB-AWS`,
    run: command => runNode(t, [program, command, '--config', config], '', { env }),
  }
}
