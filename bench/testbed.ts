/** The testbed of every benchmark: an upstream, an STS, a load generator and proxies, each a process of its own. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { stringify } from 'yaml'
import { type Peer, startPeer, startProgram } from './peer.js'

/** The command line, see run.ts. */
export type BenchOptions = { quick: boolean; beside?: string | undefined; profile?: string | undefined }

const ACCOUNT = '123456789012'
const ARN = `arn:aws:iam::${ACCOUNT}:user/bench`
const USER = 'bench'
const PASSWORD = 'benchmark-password'
const CREDENTIALS = ['AKIAQUAAAABENCHMARKX', 'benchmark/secret']
const STS_HOST = 'sts.us-east-1.amazonaws.com'

/** The program as it is shipped. */
const CLI = fileURLToPath(new URL('../../dist/cli.js', import.meta.url))
/** A certificate for 127.0.0.1 with its key. */
export const PEM = fileURLToPath(new URL('../../test/support/tls/upstream.pem', import.meta.url))

/** A peer that accepts connections. */
export type ServerPeer = Peer & { info: { port: number } }

export type ProxyOptions = {
  tls?: boolean
  /** The cli.js of another build. */
  beside?: string | undefined
  /** The `sts` group of the configuration. Default: the testbed's STS. */
  sts?: object
  /** Principals; they all are the one database user. */
  arns?: readonly string[]
}

export type Testbed = {
  upstream: ServerPeer
  generator: Peer
  startProxy(options?: ProxyOptions): Promise<ServerPeer>
  /** Starts the lower bound for logins, see peers/floor.ts. */
  startFloor(): Promise<ServerPeer>
  /** Adds a peer that `close` stops. */
  add<P extends Peer>(peer: P): P
  /** Writes a file that `close` removes. Returns its path. */
  writeFile(name: string, text: string): string
  close(): Promise<void>
}

/** `profile`: a directory for the CPU profiles of the proxies. */
export async function createTestbed(profile?: string): Promise<Testbed> {
  const folder = mkdtempSync(join(tmpdir(), 'bench-'))
  const peers: Peer[] = []
  const add = <P extends Peer>(peer: P): P => {
    peers.push(peer)
    return peer
  }
  const writeFile = (name: string, text: string): string => {
    const path = join(folder, name)
    writeFileSync(path, text, { mode: 0o600 })
    return path
  }
  const upstream = add(await startPeer<{ port: number }>('upstream', [USER, PASSWORD]))
  const sts = add(await startPeer<{ port: number }>('sts', [ARN, ACCOUNT]))
  const generator = add(await startPeer('generator', [...CREDENTIALS, USER, PASSWORD]))
  let proxies = 0

  return {
    upstream,
    generator,
    add,
    writeFile,
    async startProxy({ tls = false, beside, sts: stsConfig, arns = [ARN] } = {}) {
      const config = {
        listen: { host: '127.0.0.1', port: 0, perAddress: 20_000, connections: 20_000 },
        ...(tls && { tls: { certFile: PEM, keyFile: PEM } }),
        upstream: { uri: `mongodb://127.0.0.1:${upstream.info.port}/` },
        sts: stsConfig ?? {
          insecure: true,
          quota: 1_000_000,
          hosts: [{ host: STS_HOST, connect: `127.0.0.1:${sts.info.port}` }],
        },
        ldap: { assume: 'off' },
        drain: { delay: '0s', timeout: '1s' },
        admin: { port: 'off' },
        users: arns.map(arn => ({ arn, user: USER, passwordEnv: 'BENCH_PASSWORD' })),
      }
      const path = writeFile(`proxy-${++proxies}.yaml`, stringify(config))
      const flags = profile ? ['--cpu-prof', `--cpu-prof-dir=${profile}`] : []
      const env = { ...process.env, BENCH_PASSWORD: PASSWORD }
      // A file, as in production. An older build does not know the setting.
      const audit = beside ? [] : ['--audit-to', `${path}.audit`]
      return add(await startProgram(beside ?? CLI, ['serve', '--config', path, ...audit], { env, flags, parseReady }))
    },
    async startFloor() {
      const ports = [upstream, sts].map(({ info }) => String(info.port))
      return add(await startPeer<{ port: number }>('floor', [...ports, STS_HOST]))
    },
    async close() {
      for (const peer of peers.splice(0).reverse()) await peer.stop()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

/** Finds the log line by which the proxy reports its port. */
function parseReady(line: string): { port: number } | undefined {
  if (!line.startsWith('{')) return undefined
  const { event, port } = JSON.parse(line)
  return event === 'ready' ? { port } : undefined
}
