/**
 * A proxy in a process of its own, in front of a sandbox in this process. The links may change what MongoDB and STS send.
 *
 *     client ─▶ proxy ─▶ links.mongo ─▶ MongoDB
 *                 └────▶ links.sts ───▶ STS
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { createIam } from '../sandbox/src/aws/iam.js'
import { startSts } from '../sandbox/src/aws/sts.js'
import { type MongoServer, startMongoServer } from '../sandbox/src/mongo/server.js'
import type { ClientCredentials } from '../test/support/signingClient.js'
import { RawClient } from './client.js'
import { type Link, openLink } from './link.js'

const CLI = fileURLToPath(new URL('../../dist/cli.js', import.meta.url))
const ACCOUNT = '123456789012'
/** The probe has an address of its own, because limits count by address. */
const PROBE_ADDRESS = '127.0.0.2'
const HEALTHY_WITHIN_MS = 60_000
const MAX_RESIDENT_BYTES = 768 * 1024 * 1024

export type Environment = {
  port: number
  mongo: MongoServer
  links: { mongo: Link; sts: Link }
  /** Alice has a rule and may write to `app`. Mallory has none. */
  alice: ClientCredentials
  mallory: ClientCredentials
  /** Descriptions of what went wrong. */
  findings: string[]
  /** Adds a finding if no honest login succeeds within a minute. */
  probe(): Promise<void>
  close(): Promise<void>
}

export async function startEnvironment(): Promise<Environment> {
  const iam = createIam({ random: randomBytes, now: Date.now })
  const [alice, mallory] = ['alice', 'mallory'].map(name => iam.createUser({ account: ACCOUNT, name }))
  if (!alice || !mallory) throw new Error('there are two users')
  const sts = await startSts({ iam })
  const mongo = await startMongoServer({ now: Date.now, random: randomBytes })
  mongo.createUser({ user: 'alice', password: 'of alice', roles: [{ role: 'readWrite', db: 'app' }] })
  const links = { mongo: await openLink(mongo.port), sts: await openLink(sts.port) }
  const findings: string[] = []
  const folder = mkdtempSync(join(tmpdir(), 'fuzz-'))
  const file = join(folder, 'proxy.yaml')
  const config = {
    listen: { host: '127.0.0.1', port: 0, perAddress: 2_000, connections: 4_000 },
    upstream: { uri: `mongodb://127.0.0.1:${links.mongo.port}/` },
    sts: { insecure: true, hosts: [{ host: 'sts.eu-west-1.amazonaws.com', connect: `127.0.0.1:${links.sts.port}` }] },
    ldap: { assume: 'off' },
    drain: { delay: '0s', timeout: '1s' },
    admin: { port: 'off' },
    users: [{ arn: alice.arn, user: 'alice', passwordEnv: 'ALICE' }],
  }
  writeFileSync(file, JSON.stringify(config), { mode: 0o600 })
  const child = spawn(process.execPath, [CLI, 'serve', '--config', file], {
    env: { ...process.env, ALICE: 'of alice' },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  process.on('exit', () => child.kill('SIGKILL'))
  const port = await watchLog(child, findings)
  const credentials = iam.createAccessKey(alice)
  return {
    port,
    mongo,
    links,
    alice: credentials,
    mallory: iam.createAccessKey(mallory),
    findings,
    probe: () => probe(port, credentials, findings),
    async close() {
      const bytes = residentBytes(child.pid)
      if (bytes > MAX_RESIDENT_BYTES) findings.push(`the proxy holds ${Math.round(bytes / 2 ** 20)} MiB`)
      child.removeAllListeners('exit') // an expected exit is not a finding
      const exited = child.exitCode === null && child.signalCode === null ? once(child, 'exit') : undefined
      child.kill('SIGTERM')
      await exited
      await Promise.all([mongo.close(), sts.close()])
      rmSync(folder, { recursive: true })
    },
  }
}

/** Resolves with the port of the proxy. Adds a finding for each line that reports a bug, and when the process ends. */
function watchLog(child: ChildProcess, findings: string[]): Promise<number> {
  return new Promise((resolve, reject) => {
    child.on('exit', (code, signal) => {
      findings.push(`the proxy ended with ${code ?? signal}`)
      reject(new Error(`the proxy ended with ${code ?? signal}: ${findings.join('\n')}`))
    })
    createInterface({ input: child.stderr as NodeJS.ReadableStream }).on('line', line => {
      let fields: Record<string, unknown>
      try {
        fields = JSON.parse(line)
      } catch {
        findings.push(`not a log line: ${line}`)
        return
      }
      if (fields.event === 'ready') resolve(Number(fields.port))
      if (fields.fault === 'internal') findings.push(line)
    })
  })
}

async function probe(port: number, credentials: ClientCredentials, findings: string[]): Promise<void> {
  const until = Date.now() + HEALTHY_WITHIN_MS
  let last: unknown
  while (Date.now() < until) {
    const client = new RawClient(port, PROBE_ADDRESS)
    const reply = await client.logIn(credentials)
    const user = reply?.ok ? await client.readUser() : undefined
    client.destroy()
    if (user === 'alice') return
    last = reply
    await new Promise(resolve => setTimeout(resolve, 100))
  }
  findings.push(`no honest login within ${HEALTHY_WITHIN_MS} ms; the last reply was ${JSON.stringify(last)}`)
}

function residentBytes(pid: number | undefined): number {
  try {
    return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1] ?? 0) * 1024
  } catch {
    return 0 // a system without /proc
  }
}
