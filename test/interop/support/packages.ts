/** Packs the npm packages as a release does, from a copy of the work tree, and installs them into an empty folder. */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, existsSync, mkdirSync, symlinkSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { createTempFolder } from '../../support/program.js'

export const root = fileURLToPath(new URL('../../..', import.meta.url))

export type CommandResult = { code: number | null; stdout: string; stderr: string }
type CommandOptions = { cwd: string; env?: Record<string, string> }

/** Runs a command to its end, without the variables that tap and npm add. */
export async function runCommand(
  command: string,
  args: readonly string[],
  { cwd, env = {} }: CommandOptions,
): Promise<CommandResult> {
  const options = { cwd, env: { ...inheritedEnvironment(), ...env } }
  const child = spawn(command, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'] })
  const output = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', chunk => {
      output[name] += chunk
    })
  }
  const [code] = await once(child, 'close')
  return { code, ...output }
}

function inheritedEnvironment(): Record<string, string | undefined> {
  const added = /^(NODE_OPTIONS|_?TAP.*|npm_(package|lifecycle|command|execpath|config_local_prefix|config_global).*)$/
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !added.test(name)))
}

/**
 * Starts a command that starts others, such as npx. Resolves with its first line on stdout. Its whole process group ends with
 * the test.
 */
export async function startInGroup(
  t: Test,
  command: string,
  args: readonly string[],
  { cwd }: CommandOptions,
): Promise<string> {
  const options = { cwd, env: inheritedEnvironment(), detached: true }
  const child = spawn(command, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'] })
  const closed = once(child, 'close')
  t.teardown(async () => {
    if (child.pid !== undefined && child.exitCode === null) process.kill(-child.pid, 'SIGTERM')
    await closed
  })
  let stderr = ''
  child.stderr.setEncoding('utf8').on('data', text => {
    stderr += text
  })
  const [line] = await Promise.race([
    once(createInterface(child.stdout), 'line'),
    closed.then(([code]) => Promise.reject(new Error(`${command} exited with ${code}: ${stderr}`))),
  ])
  return line
}

/** Runs a command that must succeed. Resolves with its stdout. */
export async function mustRun(command: string, args: readonly string[], options: CommandOptions): Promise<string> {
  const { code, stdout, stderr } = await runCommand(command, args, options)
  if (code !== 0)
    throw new Error(`${command} ${args.join(' ')} exited with ${code}: ${(stderr || stdout).slice(-3000)}`)
  return stdout
}

/** Copies the files that Git tracks or would track, as a clone of the next commit has them: nothing is built. */
export function copyWorkTree(t: Test): string {
  const folder = join(createTempFolder(t), 'clone')
  const list = ['ls-files', '-z', '--cached', '--others', '--exclude-standard']
  const { stdout } = spawnSync('git', list, { cwd: root, encoding: 'utf8' })
  for (const name of stdout.split('\0').filter(name => name !== '' && existsSync(join(root, name)))) {
    mkdirSync(dirname(join(folder, name)), { recursive: true })
    cpSync(join(root, name), join(folder, name))
  }
  return folder
}

export type PackedPackages = { proxy: string; sandbox: string }

/** Packs both packages. `folder` is a clean clone; the dependencies of this work tree stand in for `npm ci`. */
export async function packPackages(folder: string): Promise<PackedPackages> {
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'))
  const pack = async (cwd: string): Promise<string> => {
    const [packed] = JSON.parse(await mustRun('npm', ['pack', '--json', '--silent'], { cwd }))
    return join(cwd, packed.filename)
  }
  return { sandbox: await pack(join(folder, 'sandbox')), proxy: await pack(folder) }
}

/** Installs packed files, without development dependencies. Resolves with the folder. */
export async function installPackages(t: Test, ...files: string[]): Promise<string> {
  const folder = createTempFolder(t)
  const options = ['--omit=dev', '--prefer-offline', '--no-audit', '--no-fund', '--loglevel=error']
  await mustRun('npm', ['install', ...options, '--prefix', folder, ...files], { cwd: folder })
  return folder
}
