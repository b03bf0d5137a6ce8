/** A proxy in the process of the test, started from a configuration that the test can replace, and what it logs. */
import type { Test } from 'tap'
import type { loadWithPolicy } from '../../src/app/policy.js'
import type { RunningProxy, startProxy } from '../../src/app/proxy.js'
import type { Fault } from '../../src/errors.js'
import type { createLog } from '../../src/log.js'
import { type AuditLine, createMemoryDestination } from './audit.js'
import { findUndocumented } from './logLines.js'
import { createTestClock, type TestClock } from './testClock.js'

export type LogLine = Record<string, unknown>

export type InProcessOptions = {
  /** The configuration file, as it would be in JSON. */
  config: object
  /** Settings of the command line, by their path. */
  settings?: Record<string, string>
  env?: Record<string, string>
  /** Files that settings name, by path. */
  files?: Record<string, string | Buffer>
  /** Runs the proxy by the real clock instead of the test clock. */
  realClock?: boolean
}

export type InProcessProxy = {
  proxy: RunningProxy
  /** A connection string for MONGODB-AWS without credentials. */
  uri: string
  /** The clock of the proxy and of the sandbox around it. */
  clock: TestClock
  /** Reloads with another configuration and further files. An invalid one is rejected as it would be in production. */
  reload(config: object, files?: Record<string, string | Buffer>): void
  /** What the proxy logged. */
  log: LogLine[]
  /** The events of its audit trail so far. */
  audit(): AuditLine[]
  /** Resolves with the lines that match, as soon as there are `count` of them. */
  logged(matches: (line: LogLine) => boolean, count?: number): Promise<LogLine[]>
}

/** The modules that start a proxy. They come from the build, because only there can their clock be replaced. */
type ProxyModules = {
  startProxy: typeof startProxy
  loadWithPolicy: typeof loadWithPolicy
  createLog: typeof createLog
  Fault: typeof Fault
}

/** One clock for the process, because the modules that use it are loaded once. */
let clocked: Promise<{ clock: TestClock; modules: ProxyModules }> | undefined

/** The clock of every proxy that this file starts. */
export async function loadClock(t: Test): Promise<TestClock> {
  return (await loadClocked(t)).clock
}

async function loadModules(): Promise<ProxyModules> {
  const path: string = './proxyModules.mjs'
  return await import(path)
}

function loadClocked(t: Test) {
  clocked ??= (async () => {
    const clock = createTestClock()
    const { now, after, sleep } = clock
    const mocks = { '../../dist/clock.js': { now, after, sleep } }
    return { clock, modules: await t.mockImport<ProxyModules>('./proxyModules.mjs', mocks) }
  })()
  return clocked
}

/** Starts it and waits until it accepts logins. It ends with the test. */
export async function startInProcess(
  t: Test,
  { config, settings = {}, env = {}, files = {}, realClock = false }: InProcessOptions,
): Promise<InProcessProxy> {
  const { clock, modules: clocked } = await loadClocked(t)
  const modules = realClock ? await loadModules() : clocked
  const { startProxy, loadWithPolicy, createLog, Fault } = modules
  const load = (next: object, more: Record<string, string | Buffer> = {}) => {
    const all: Record<string, string | Buffer> = { ...files, ...more, 'proxy.yaml': JSON.stringify(next) }
    const readFile = (path: string) => ({ bytes: Buffer.from(all[path] ?? ''), mode: 0o600 })
    return loadWithPolicy({ file: 'proxy.yaml', args: settings, env, readFile })
  }
  const log: LogLine[] = []
  let wake: (() => void)[] = []
  const undocumented = new Set<string>()
  const write = (text: string) => {
    const line: LogLine = JSON.parse(text)
    for (const problem of findUndocumented(line)) undocumented.add(problem)
    log.push(line)
    const waiting = wake
    wake = []
    for (const run of waiting) run()
  }
  t.teardown(() => {
    if (undocumented.size > 0) throw new Error(`missing in the table of log events: ${[...undocumented].join(', ')}`)
  })
  const destination = createMemoryDestination()
  const proxy = await startProxy(load(config), createLog('info', { write }), destination)
  t.teardown(() => proxy.kill())
  await proxy.initialized
  return {
    proxy,
    uri: `mongodb://127.0.0.1:${proxy.port}/?authSource=%24external&authMechanism=MONGODB-AWS`,
    clock,
    reload(next, more) {
      try {
        proxy.reload(load(next, more))
      } catch (thrown) {
        proxy.reload(Fault.from(thrown))
      }
    },
    log,
    audit: () => destination.events(),
    async logged(matches, count = 1) {
      for (;;) {
        const lines = log.filter(matches)
        if (lines.length >= count) return lines
        await new Promise<void>(resolve => wake.push(resolve))
      }
    },
  }
}
