/**
 * The real clients of `test/clients`. Each has its own lockfile and is installed by the first test that needs it, from the
 * registry and without install scripts.
 */
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, readdirSync, readFileSync, readlinkSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { type Document, EJSON } from 'bson'
import type { MongoClientOptions } from 'mongodb'
import t, { type Test } from 'tap'
import { createTempFolder, type ProgramResult, runNode } from './program.js'

/** A first installation takes minutes on a slow network. */
const INSTALL_TIMEOUT_MS = 600_000

const folderOf = (name: string) => fileURLToPath(new URL(`../clients/${name}`, import.meta.url))

export type Driver = 'mongodb6' | 'mongodb7'

/** AWS credentials as the AWS SDK has them. */
export type AwsKeys = { accessKeyId: string; secretAccessKey: string; sessionToken?: string }

/** The same as variables of the environment. */
export function credentialEnvironment({ accessKeyId, secretAccessKey, sessionToken }: AwsKeys): Record<string, string> {
  return {
    AWS_ACCESS_KEY_ID: accessKeyId,
    AWS_SECRET_ACCESS_KEY: secretAccessKey,
    ...(sessionToken !== undefined && { AWS_SESSION_TOKEN: sessionToken }),
  }
}

/** Installs a client and gives its folder. Test files run in parallel, so a lock makes one of them install it. */
export async function installClient(name: Driver | 'mongosh'): Promise<string> {
  const folder = folderOf(name)
  const wanted = createHash('sha256')
    .update(readFileSync(join(folder, 'package-lock.json')))
    .digest('hex')
  const stamp = join(folder, 'node_modules', '.installed-from')
  const lock = join(folder, '.installing')
  while (read(stamp) !== wanted) {
    if (!acquire(lock)) {
      await sleep(100)
      continue
    }
    try {
      if (read(stamp) === wanted) break
      await install(folder)
      writeFileSync(stamp, wanted)
    } finally {
      rmSync(lock, { force: true })
    }
  }
  return folder
}

/**
 * Installs what a test file needs. Where that fails, for want of a network, the file is skipped with that reason, except in
 * CI, where nothing may be missing. Call it before the first test.
 */
export async function requireClients(...names: (Driver | 'mongosh')[]): Promise<void> {
  t.setTimeout(INSTALL_TIMEOUT_MS)
  try {
    for (const name of names) await installClient(name)
  } catch (error) {
    if (process.env.CI) throw error
    t.plan(0, (error as Error).message)
    process.exit(0)
  }
}

/** The driver itself, loaded into this process. Both versions have the shape of 7 in all that tests use. */
export async function loadDriver(name: Driver): Promise<typeof import('mongodb')> {
  return createRequire(join(await installClient(name), 'package.json'))('mongodb')
}

/** A client in this process, not connected yet; it is closed with the test. */
export async function createClient(
  t: Test,
  driver: Driver,
  uri: string,
  keys: AwsKeys,
  options: MongoClientOptions = {},
) {
  const { MongoClient } = await loadDriver(driver)
  const authMechanismProperties = { AWS_CREDENTIAL_PROVIDER: async () => ({ ...keys }) as never }
  const client = new MongoClient(uri, { serverSelectionTimeoutMS: 30_000, ...options, authMechanismProperties })
  t.teardown(() => client.close())
  return client
}

/** The result of one step of a task: a value, or the error as the application sees it. */
export type StepResult = { value?: Document; error?: Document }
/** `pool` counts the events of the connection pool by their name. */
export type TaskResult = { steps: StepResult[]; pool: Record<string, number> }
export type DriverTask = { uri: string; options?: Document; steps: readonly Document[] }

/** Runs a task with a driver in its own process. `test/clients/task.mjs` has the steps. */
export const runTask = (t: Test, name: Driver, task: DriverTask, keys: AwsKeys) =>
  runTaskWithEnvironment(t, name, task, credentialEnvironment(keys))

/** The same, with credentials from this environment. */
export async function runTaskWithEnvironment(
  t: Test,
  name: Driver,
  task: DriverTask,
  env: Record<string, string>,
): Promise<TaskResult> {
  const cwd = await installClient(name)
  const input = EJSON.stringify(task, { relaxed: false })
  const { code, stdout, stderr } = await runNode(t, ['run.mjs'], input, { cwd, env })
  if (code !== 0) throw new Error(`${name} ended with ${code}: ${stderr}`)
  return EJSON.parse(stdout) as TaskResult
}

/** The log context in which mongosh reports missing native packages. Install scripts would build them, and none is run. */
const OPTIONAL = 'mongosh-deps'

/** Runs mongosh. `problems` are the errors and warnings of its own log. */
export async function runMongosh(
  t: Test,
  args: readonly string[],
  { input = '', env = {} }: { input?: string; env?: Record<string, string> } = {},
): Promise<ProgramResult & { problems: Document[] }> {
  const program = join(await installClient('mongosh'), 'node_modules/mongosh/bin/mongosh.js')
  const home = createTempFolder(t)
  const logs = join(home, '.mongodb/mongosh')
  mkdirSync(logs, { recursive: true })
  writeFileSync(join(logs, 'config'), JSON.stringify({ enableTelemetry: false, updateURL: '' }))
  const where = { home, env: { MONGOSH_TELEMETRY_ENDPOINT: '', ...env } }
  const finished = await runNode(t, [program, ...args], input, where)
  const problems = readdirSync(logs)
    .filter(file => file.endsWith('_log'))
    .flatMap(file => readFileSync(join(logs, file), 'utf8').trim().split('\n'))
    .map(line => JSON.parse(line) as Document)
    .filter(({ s, ctx }) => /^[EFW]/.test(s) && ctx !== OPTIONAL)
  return { ...finished, problems }
}

/** Acquires a lock: a symbolic link to the owner's process id. The lock of a process that has ended is removed. */
function acquire(lock: string): boolean {
  try {
    symlinkSync(String(process.pid), lock)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
  try {
    if (!isAlive(Number(readlinkSync(lock)))) rmSync(lock, { force: true })
  } catch {} // it was released in between
  return false
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

async function install(folder: string): Promise<void> {
  const ours = /^(NODE_OPTIONS|_?TAP.*|npm_(package|lifecycle|command|execpath|config_local_prefix|config_global).*)$/
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !ours.test(name)))
  const args = ['ci', '--ignore-scripts', '--prefer-offline', '--no-audit', '--no-fund', '--loglevel=error']
  const npm = spawn('npm', args, { cwd: folder, env, stdio: ['ignore', 'ignore', 'pipe'] })
  let stderr = ''
  npm.stderr.on('data', chunk => {
    stderr += chunk
  })
  const [code] = await once(npm, 'close')
  if (code !== 0) throw new Error(`npm ci in ${folder} ended with ${code}: ${stderr}`)
}

function read(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return undefined
  }
}
