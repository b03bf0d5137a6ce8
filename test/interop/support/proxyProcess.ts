/** Runs the built proxy as an operator does: `mongo-iam-proxy serve --config FILE`. */
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { createTempFolder, type ProgramResult, runNode } from '../../support/program.js'
import { startProgram, waitForLine } from './childProcess.js'

const program = fileURLToPath(new URL('../../../dist/cli.js', import.meta.url))
const STS_HOST = 'sts.us-east-1.amazonaws.com'

export type ProxyOptions = {
  /** Connection strings of the upstream, without and with an administrator. */
  upstream: { uri: string; admin?: { uri: string } }
  /** The loopback port of the STS. */
  sts: number
  /** Rules: each maps a principal to a database user with a password, or to roles. */
  users: readonly ({ arn: string } & ({ user: string; password: string } | { roles: readonly string[] }))[]
  /** The provisioning secret, if the proxy provisions users. */
  provisioningSecret?: string
  /** Further groups of settings. */
  settings?: object
  /** Further environment variables. */
  env?: Record<string, string>
}

export type ProxyProcess = {
  /** A connection string for MONGODB-AWS without credentials. */
  uri: string
  /** Runs another command of the program with the same configuration. */
  run(command: string): Promise<ProgramResult>
  /** The end of its log. */
  stderr(): string
}

/** Starts the proxy on a free port. Resolves when it accepts logins. The proxy ends with the test. */
export async function startProxyProcess(
  t: Test,
  { upstream, sts, users, provisioningSecret, settings, env: variables = {} }: ProxyOptions,
): Promise<ProxyProcess> {
  if (!existsSync(program)) throw new Error(`${program} is missing: run \`npm run build\` first`)
  const home = createTempFolder(t)
  const config = join(home, 'proxy.yaml')
  const secretFile = join(home, 'provisioning-secret')
  if (provisioningSecret !== undefined) writeFileSync(secretFile, provisioningSecret, { mode: 0o600 })
  const passwords = users.flatMap((rule, n) => ('user' in rule ? [[`PASSWORD_${n}`, rule.password]] : []))
  const env = { ...variables, ...Object.fromEntries(passwords) }
  const file = {
    listen: { host: '127.0.0.1', port: 0 },
    upstream,
    sts: { insecure: true, hosts: [{ host: STS_HOST, connect: `127.0.0.1:${sts}` }] },
    admin: { port: 'off' },
    users: users.map((rule, n) =>
      'user' in rule ? { arn: rule.arn, user: rule.user, passwordEnv: `PASSWORD_${n}` } : rule,
    ),
    ...(provisioningSecret !== undefined && { provision: { secretFile } }),
    ...settings,
  }
  writeFileSync(config, JSON.stringify(file), { mode: 0o600 })
  const running = startProgram(t, [process.execPath], [program, 'serve', '--config', config], env)
  const [, port] = await waitForLine(running, /"port":(\d+).*"event":"ready"/)
  return {
    uri: `mongodb://127.0.0.1:${port}/?authSource=%24external&authMechanism=MONGODB-AWS`,
    run: command => runNode(t, [program, command, '--config', config], '', { env }),
    stderr: running.stderr,
  }
}
