/** What every measurement stands on: an upstream, an STS, a load generator and our proxy, each a process of its own. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { stringify } from 'yaml'
import { type Peer, start, startProgram } from './peer.js'

const ACCOUNT = '123456789012'
const ARN = `arn:aws:iam::${ACCOUNT}:user/bench`
const USER = 'bench'
const PASSWORD = 'benchmark-password'
const CREDENTIALS = ['AKIAQUAAAABENCHMARKX', 'benchmark/secret']
const HOST = 'sts.us-east-1.amazonaws.com'

/** The program as it is shipped; another build can stand beside it. */
const CLI = fileURLToPath(new URL('../../dist/cli.js', import.meta.url))
/** A certificate and its key for 127.0.0.1. */
export const PEM = fileURLToPath(new URL('../../test/support/tls/upstream.pem', import.meta.url))

export type Listening = Peer & { facts: { port: number } }

export type Scene = {
  upstream: Listening
  generator: Peer
  /** Starts our proxy; `beside` is the cli.js of another build. `sts` and `arns` (all the one user) in place of ours. */
  proxy(options?: {
    tls?: boolean
    beside?: string | undefined
    sts?: object
    arns?: readonly string[]
  }): Promise<Listening>
  /** Starts the least that a login can be: see peers/floor.ts. */
  floor(): Promise<Listening>
  /** Adds a process that `close` ends. */
  add<P extends Peer>(peer: P): P
  /** Writes a file that `close` removes, and gives its path. */
  file(name: string, text: string): string
  close(): Promise<void>
}

/** `profile`: a directory for a CPU profile of each proxy. */
export async function scene(profile?: string): Promise<Scene> {
  const folder = mkdtempSync(join(tmpdir(), 'bench-'))
  const peers: Peer[] = []
  const add = <P extends Peer>(peer: P): P => {
    peers.push(peer)
    return peer
  }
  const file = (name: string, text: string): string => {
    const path = join(folder, name)
    writeFileSync(path, text, { mode: 0o600 })
    return path
  }
  const upstream = add(await start<{ port: number }>('upstream', [USER, PASSWORD]))
  const sts = add(await start<{ port: number }>('sts', [ARN, ACCOUNT]))
  const generator = add(await start('generator', [...CREDENTIALS, USER, PASSWORD]))
  let proxies = 0

  return {
    upstream,
    generator,
    add,
    file,
    async proxy({ tls = false, beside, sts: asked, arns = [ARN] } = {}) {
      const config = {
        listen: { host: '127.0.0.1', port: 0, perAddress: 20_000, connections: 20_000 },
        ...(tls && { tls: { certFile: PEM, keyFile: PEM } }),
        upstream: { uri: `mongodb://127.0.0.1:${upstream.facts.port}/` },
        sts: asked ?? {
          insecure: true,
          quota: 1_000_000,
          hosts: [{ host: HOST, connect: `127.0.0.1:${sts.facts.port}` }],
        },
        ldap: { assume: 'off' },
        drain: { delay: '0s', timeout: '1s' },
        admin: { port: 'off' },
        users: arns.map(arn => ({ arn, user: USER, passwordEnv: 'BENCH_PASSWORD' })),
      }
      const path = file(`proxy-${++proxies}.yaml`, stringify(config))
      const flags = profile ? ['--cpu-prof', `--cpu-prof-dir=${profile}`] : []
      return add(
        await startProgram(beside ?? CLI, ['serve', '--config', path], {
          env: { ...process.env, BENCH_PASSWORD: PASSWORD },
          flags,
          ready,
        }),
      )
    },
    async floor() {
      return add(
        await start<{ port: number }>('floor', [upstream, sts].map(({ facts }) => `${facts.port}`).concat(HOST)),
      )
    },
    async close() {
      for (const peer of peers.splice(0).reverse()) await peer.stop()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

function ready(line: string): { port: number } | undefined {
  if (!line.startsWith('{')) return undefined
  const { event, port } = JSON.parse(line)
  return event === 'ready' ? { port } : undefined
}
