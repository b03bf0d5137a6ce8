/**
 * Builds the third-party programs of the interop tests: Python packages, Go programs and Node.js clients. Each is built
 * once, from the versions pinned in this repository, into the folder `.cache`, which Git ignores. Only python3 with venv,
 * go, cargo, flock, tinyproxy and promtool have to be installed: PyPI has wheels of all pinned packages, and FerretDB uses a SQLite
 * written in Go.
 */
import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Driver, installClient } from '../../support/clients.js'

const interopFolder = fileURLToPath(new URL('..', import.meta.url))
const cacheFolder = join(interopFolder, '.cache')
const clientsFolder = join(interopFolder, '../clients')

/** How to start a program: the command and its first arguments. */
export type Program = readonly [command: string, ...args: string[]]
/** What a test needs, or why the test cannot run here. tap takes `skip` as it is. */
export type Prepared<Value> = { value: Value; skip: false } | { value: undefined; skip: string }

/** Prepares what a test needs. If that fails, the test is skipped; with `CI` set, it fails. */
export async function prepareOrSkip<Value>(prepare: () => Promise<Value>): Promise<Prepared<Value>> {
  try {
    return { value: await prepare(), skip: false }
  } catch (error) {
    if (process.env.CI) throw error
    return { value: undefined, skip: (error as Error).message.slice(0, 300) }
  }
}

/** Installs the packages of requirements.txt into a virtual environment and returns its Python. */
export async function installPython(): Promise<string> {
  return join(await installPackages('python', join(interopFolder, 'requirements.txt')), 'bin/python')
}

/** Installs the Python server of SecantusDB, into a virtual environment of its own. */
export async function installSecantusdb(): Promise<Program> {
  const folder = await installPackages('secantusdb-python', join(interopFolder, 'secantusdb/requirements.txt'))
  return [join(folder, 'bin/secantusd-py')]
}

/** Builds the Rust server of SecantusDB, or waits for the build that `.ci/run` started. */
export async function buildSecantusdb(): Promise<Program> {
  const script = join(interopFolder, 'secantusdb/build')
  await run(script, [])
  const [, version] = /^version=(\S+)$/m.exec(readFileSync(script, 'utf8')) ?? []
  return [join(cacheFolder, `secantusdb-${version}`, 'bin/secantusd-rs')]
}

/** Installs the packages of a requirements file into a virtual environment of the cache, and returns its folder. */
async function installPackages(name: string, requirements: string): Promise<string> {
  const folder = join(cacheFolder, name)
  await buildOnce(folder, readFileSync(requirements), async () => {
    await run('python3', ['-m', 'venv', folder])
    const pip = ['-m', 'pip', 'install', '--quiet', '--no-deps', '--requirement', requirements]
    await run(join(folder, 'bin/python'), pip)
  })
  return folder
}

/** PyMongo's own test suite, unpacked from its source package, and the Python that runs it. */
export type PymongoSuite = { python: string; folder: string }

/** Downloads the source package of the PyMongo in requirements.txt. Only its tests and their settings are unpacked. */
export async function installPymongoSuite(): Promise<PymongoSuite> {
  const python = await installPython()
  const folder = join(cacheFolder, 'pymongo-suite')
  const [pin = ''] = /^pymongo==.*$/m.exec(readFileSync(join(interopFolder, 'requirements.txt'), 'utf8')) ?? []
  const [, version] = pin.split('==')
  await buildOnce(folder, Buffer.from(pin), async () => {
    mkdirSync(folder, { recursive: true })
    const options = ['--quiet', '--no-deps', '--no-binary', 'pymongo', '--dest', folder]
    await run(python, ['-m', 'pip', 'download', ...options, pin])
    const members = ['test', 'pyproject.toml'].map(name => `pymongo-${version}/${name}`)
    await run('tar', ['-xzf', `pymongo-${version}.tar.gz`, '--strip-components=1', ...members], folder)
  })
  return { python, folder }
}

/** PyMongo with the program of test/clients/pymongo. */
export async function installPymongo(): Promise<Program> {
  return [await installPython(), join(clientsFolder, 'pymongo/run.py')]
}

/** Builds a Go program of test/clients. Go decides by itself whether its sources have changed. */
export async function buildGoDriver(name: 'go-v1' | 'go-v2'): Promise<Program> {
  const program = join(cacheFolder, name)
  mkdirSync(cacheFolder, { recursive: true })
  await run('go', ['build', '-p', '2', '-trimpath', '-o', program, '.'], join(clientsFolder, name))
  return [program]
}

/** Installs Mongoose from its lockfile, like the Node.js drivers. */
export async function installMongoose(): Promise<Program> {
  const folder = await installClient('mongoose' as Driver)
  return [process.execPath, join(folder, 'run.mjs')]
}

/**
 * Builds FerretDB. Its Go module lacks the file that holds its version, so it is built from a vendor folder to which that
 * file is added. There is no other change.
 */
export async function buildFerretdb(): Promise<Program> {
  const pins = join(interopFolder, 'ferretdb')
  const folder = join(cacheFolder, 'ferretdb')
  const program = join(folder, 'ferretdb')
  const mod = readFileSync(join(pins, 'go.mod'))
  await buildOnce(folder, Buffer.concat([mod, readFileSync(join(pins, 'go.sum'))]), async () => {
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

/** tinyproxy, an HTTP forward proxy that the system has to provide. Debian has it as a package. */
export async function findTinyproxy(): Promise<Program> {
  const { error, status } = spawnSync('tinyproxy', ['-v'], { stdio: 'ignore' })
  if (!error && status === 0) return ['tinyproxy']
  throw new Error(`tinyproxy is missing: ${error?.message ?? `it exited with ${status}`}`)
}

/** promtool, which checks and tests rules of Prometheus. Debian's package `prometheus` has it. */
export async function findPromtool(): Promise<Program> {
  const { error, status } = spawnSync('promtool', ['--version'], { stdio: 'ignore' })
  if (!error && status === 0) return ['promtool']
  throw new Error(`promtool is missing: ${error?.message ?? `it exited with ${status}`}`)
}

/** Builds a folder again unless it was built from the same pinned versions. */
async function buildOnce(folder: string, pins: Buffer, build: () => Promise<void>): Promise<void> {
  const stamp = join(folder, '.built-from')
  const hash = createHash('sha256').update(pins).digest('hex')
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === hash) return
  rmSync(folder, { recursive: true, force: true })
  await build()
  writeFileSync(stamp, hash)
}

/** Runs a tool to its end, without the environment variables that tap and npm add. Throws the end of its stderr. */
async function run(command: string, args: readonly string[], cwd = interopFolder): Promise<void> {
  const addedByTestRunner = /^(NODE_OPTIONS|_?TAP.*|npm_.*)$/
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !addedByTestRunner.test(name)))
  const child = spawn('nice', [command, ...args], {
    cwd,
    env: { ...env, CGO_ENABLED: '0' },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let stderr = ''
  child.stderr.on('data', chunk => {
    stderr += chunk
  })
  const [code] = await once(child, 'close')
  if (code !== 0) throw new Error(`${command} ${args[0]} exited with ${code}: ${stderr.trim().slice(-2000)}`)
}
