/** The proxy as it is run: `mongo-iam-proxy serve --config FILE`. */
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { emptyHome } from '../../support/program.js'
import { lineOf, start } from './programs.js'

const program = fileURLToPath(new URL('../../../dist/cli.js', import.meta.url))
export const HOST = 'sts.us-east-1.amazonaws.com'

type Parts = {
  /** Connection strings of the upstream, without and with an administrator. */
  upstream: { uri: string; admin?: { uri: string } }
  /** The port on loopback that plays STS. */
  sts: number
  /** Principals, and the database user of each. */
  users: readonly { arn: string; user: string; password: string }[]
}

/** Starts it. `uri` is a connection string for MONGODB-AWS without credentials. */
export async function serve(t: Test, { upstream, sts, users }: Parts): Promise<{ uri: string }> {
  if (!existsSync(program)) throw new Error(`${program} is missing: run \`npm run build\` first`)
  const config = join(emptyHome(t), 'proxy.yaml')
  const env = Object.fromEntries(users.map(({ password }, n) => [`PASSWORD_${n}`, password]))
  const file = {
    listen: { host: '127.0.0.1', port: 0 },
    upstream,
    sts: { insecure: true, hosts: [{ host: HOST, connect: `127.0.0.1:${sts}` }] },
    admin: { port: 'off' },
    users: users.map(({ arn, user }, n) => ({ arn, user, passwordEnv: `PASSWORD_${n}` })),
  }
  writeFileSync(config, JSON.stringify(file), { mode: 0o600 })
  const started = start(t, [process.execPath], [program, 'serve', '--config', config], env)
  const [, port] = await lineOf(started, /"port":(\d+).*"event":"ready"/)
  return { uri: `mongodb://127.0.0.1:${port}/?authSource=%24external&authMechanism=MONGODB-AWS` }
}
