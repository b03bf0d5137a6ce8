/**
 * What judges are made of: Python's packages and Go's programs, built once into the ignored folder `.cache` from what is
 * pinned beside them. Nothing here needs apt beyond python3 with venv, and go: PyPI has wheels of all that is pinned,
 * and FerretDB's SQLite is Go.
 */
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Driver, installClient } from '../../support/clients.js'

const here = fileURLToPath(new URL('..', import.meta.url))
export const cache = join(here, '.cache')
export const clients = join(here, '../clients')

/** How a program is started: the command and its first arguments. */
export type Program = readonly [command: string, ...args: string[]]
/** `skip`: why a test cannot run here, as tap takes it. */
export type Provided<What> = { what: What; skip: false } | { what: undefined; skip: string }

/**
 * What a judge needs, or why it is not to be had here. In CI nothing may be missing: there it throws.
 */
export async function provided<What>(make: () => Promise<What>): Promise<Provided<What>> {
  try {
    return { what: await make(), skip: false }
  } catch (error) {
    if (process.env.CI) throw error
    return { what: undefined, skip: (error as Error).message.slice(0, 300) }
  }
}

/** Python with all of requirements.txt. */
export async function python(): Promise<string> {
  const requirements = join(here, 'requirements.txt')
  const folder = join(cache, 'python')
  const program = join(folder, 'bin/python')
  await fresh(folder, readFileSync(requirements), async () => {
    await run('python3', ['-m', 'venv', folder])
    await run(program, ['-m', 'pip', 'install', '--quiet', '--no-deps', '--requirement', requirements])
  })
  return program
}

/** A Go client of test/clients. Go itself knows whether anything changed. */
export async function goClient(name: 'go-v1' | 'go-v2'): Promise<Program> {
  const program = join(cache, name)
  mkdirSync(cache, { recursive: true })
  await run('go', ['build', '-p', '2', '-trimpath', '-o', program, '.'], join(clients, name))
  return [program]
}

/** Mongoose, installed from its lockfile as the other clients of Node are. */
export async function mongoose(): Promise<Program> {
  const folder = await installClient('mongoose' as Driver)
  return [process.execPath, join(folder, 'run.mjs')]
}

/**
 * FerretDB as a program. Its module lacks the file that tells its version, so it is built from a vendor folder that gets
 * one; that is the only change.
 */
export async function ferretdb(): Promise<Program> {
  const pins = join(here, 'ferretdb')
  const folder = join(cache, 'ferretdb')
  const program = join(folder, 'ferretdb')
  const mod = readFileSync(join(pins, 'go.mod'))
  await fresh(folder, Buffer.concat([mod, readFileSync(join(pins, 'go.sum'))]), async () => {
    mkdirSync(folder, { recursive: true })
    for (const file of ['go.mod', 'go.sum', 'tools.go']) copyFileSync(join(pins, file), join(folder, file))
    await run('go', ['mod', 'vendor'], folder)
    const [, version = ''] = /FerretDB\/FerretDB (v\S+)/.exec(mod.toString()) ?? []
    const module = 'github.com/FerretDB/FerretDB'
    writeFileSync(join(folder, 'vendor', module, 'build/version/version.txt'), `${version}\n`)
    const flags = ['-p', '2', '-mod=vendor', '-trimpath', '-tags', 'ferretdb_no_postgresql', '-ldflags=-s -w']
    await run('go', ['build', ...flags, '-o', program, `${module}/cmd/ferretdb`], folder)
  })
  return [program]
}

/** Makes a folder anew unless it was made from the same pins. */
async function fresh(folder: string, pins: Buffer, make: () => Promise<void>): Promise<void> {
  const stamp = join(folder, '.made-from')
  const wanted = createHash('sha256').update(pins).digest('hex')
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return
  rmSync(folder, { recursive: true, force: true })
  await make()
  writeFileSync(stamp, wanted)
}

/** Runs a tool to its end, in this environment but for what tap and npm put into it. Throws what it said. */
async function run(command: string, args: readonly string[], cwd = here): Promise<void> {
  const ours = /^(NODE_OPTIONS|_?TAP.*|npm_.*)$/
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !ours.test(name)))
  const child = spawn('nice', [command, ...args], {
    cwd,
    env: { ...env, CGO_ENABLED: '0' },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let said = ''
  child.stderr.on('data', chunk => {
    said += chunk
  })
  const [code] = await once(child, 'close')
  if (code !== 0) throw new Error(`${command} ${args[0]} ended with ${code}: ${said.trim().slice(-2000)}`)
}
