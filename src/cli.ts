#!/usr/bin/env node
/**
 * Arguments and environment in, an exit code out; the only file that touches `process`. It is long because every
 * command has its few lines here.
 */
import { setFlagsFromString } from 'node:v8'
import { compilePolicy } from './app/policy.js'
import { type RunningProxy, startProxy } from './app/proxy.js'
import { after } from './clock.js'
import { check, type Finding } from './commands/check.js'
import { explain } from './commands/explain.js'
import { pruneUsers } from './commands/prune.js'
import { readFlags } from './config/flags.js'
import { type Config, loadConfig, type RuleOrigin } from './config/load.js'
import { type ReadFile, readFile } from './config/reading.js'
import { settingsText } from './config/table.js'
import { lookAt, noting, watchFiles, watchFolder } from './config/watch.js'
import { Fault, toExitCode } from './errors.js'
import { createLog, type Log } from './log.js'
import { VERSION } from './upstream/metadata.js'

const HELP = `mongo-iam-proxy ${VERSION}: AWS IAM login (MONGODB-AWS) for any MongoDB

  mongo-iam-proxy serve --config FILE     the proxy
  mongo-iam-proxy demo                    the proxy in front of an AWS and a MongoDB of its own, in memory
      --port N --admin-port N             where (0: any free port)
      --json                              one line of JSON instead of text to read
      --ldap-authorization                its MongoDB reports LDAP authorization
      --sts-quota N --sts-latency MS      its STS throttles above N calls a second, answers after MS
  mongo-iam-proxy check --config FILE     every problem of a configuration, and whether upstream, STS and users are fine
  mongo-iam-proxy explain ARN --config FILE
                                          which rule or entry decides about a principal, what that gives, or why none does
  mongo-iam-proxy users prune --config FILE
                                          removes database users that the proxy made and no rule or entry gives any more
      --all                               all that it made
  mongo-iam-proxy settings                the table of settings; each is a flag and a variable, too

Exit codes: 0 stopped as asked, 64 usage, 69 address in use, 70 a bug, 78 configuration.
`

type Command = (argv: string[]) => Promise<number>

const commands: Record<string, Command> = {
  serve,
  demo,
  check: checkConfig,
  explain: explainARN,
  users,
  settings,
  help,
  version,
}

async function serve(argv: string[]): Promise<number> {
  const { own, settings } = read(argv, { config: 'text' })
  let reload = (): void => {}
  process.on('SIGHUP', () => reload()) // from the first moment on, since it ends whoever does not listen
  const { proxy, log, watching } = await start((reading, denyFile) =>
    configure(own.config, settings, reading, denyFile),
  )
  reload = watching.ask
  return untilStopped(proxy, log)
}

/**
 * The young generation is small here and collected often: helping threads cost more than they save, a quarter of a
 * login's CPU where cores are few. V8 looks at this flag at each collection, so it may be set while it runs.
 */
const ALONE = '--no-parallel-scavenge'

/** Starts a proxy that takes up what changes in the files from which its configuration was read. */
async function start(make: (read: ReadFile, denyFile?: string) => Config) {
  setFlagsFromString(ALONE)
  const first = noting(readFile, lookAt)
  const config = make(first.read)
  const log = createLog(config.log.level)
  const proxy = await startProxy(config, log, log.least)
  let denyFile = config.deny.file // of the last good one
  const attempt = (read: ReadFile): Config | Fault => {
    try {
      const made = make(read, denyFile)
      denyFile = made.deny.file
      return made
    } catch (thrown) {
      return Fault.from(thrown)
    }
  }
  const disk = { read: readFile, look: lookAt, watch: watchFolder }
  const deaf = (path: string): void => {
    const problem = `${path} is a pipe, which can be read only once: no change is taken up without a restart`
    proxy.reload(new Fault('config/invalid', problem, { problems: [problem] }))
  }
  const watching = watchFiles({ attempt, settled: proxy.reload, ...disk, after, deaf }, first.noted)
  return { proxy, log, watching }
}

async function checkConfig(argv: string[]): Promise<number> {
  const { own, settings } = read(argv, { config: 'text' })
  const config = configure(own.config, settings)
  return report(await check(config))
}

async function explainARN(argv: string[]): Promise<number> {
  const { own, settings, words } = readFlags(argv, { config: 'text' })
  const [arn, ...more] = words
  if (arn === undefined || more.length > 0) throw new Fault('usage', 'explain takes one ARN')
  const { known, lines } = await explain(configure(own.config, settings), arn, Date.now())
  for (const line of lines) say(line)
  return known ? 0 : 78
}

async function users([word, ...argv]: string[]): Promise<number> {
  if (word !== 'prune')
    throw new Fault('usage', word === undefined ? 'users wants a word: prune' : `users takes prune, and not ${word}`)
  const { own, settings } = read(argv, { config: 'text', all: 'toggle' })
  return report(await pruneUsers(configure(own.config, settings), { all: own.all === true }))
}

/** Says what came of each thing; one that failed decides the exit code. */
function report(lines: readonly Finding[]): number {
  for (const { fine, text } of lines) say(`${fine ? 'ok    ' : 'FAIL  '}${text}`)
  return lines.every(({ fine }) => fine) ? 0 : 78
}

async function demo(argv: string[]): Promise<number> {
  const { own, settings } = read(argv, {
    port: 'text',
    json: 'toggle',
    'ldap-authorization': 'toggle',
    'sts-quota': 'text',
    'sts-latency': 'text',
  })
  const port = number(own.port, '--port', 0) ?? 27017
  const anyPort = port === 0 ? { 'admin.port': '0' } : {}
  const { startDemo } = await import('./commands/demo.js')
  const {
    configure: make,
    announce,
    close,
  } = await startDemo({
    json: own.json === true,
    ldapAuthorization: own['ldap-authorization'] === true,
    stsQuota: number(own['sts-quota'], '--sts-quota', 1),
    stsLatencyMS: number(own['sts-latency'], '--sts-latency', 0),
    load: (args, reading) => configure(undefined, { 'log.level': 'warn', ...anyPort, ...settings, ...args }, reading),
    port,
  })
  try {
    const { proxy, log } = await start(make)
    await proxy.initialized
    say(announce(proxy))
    return await untilStopped(proxy, log)
  } finally {
    await close()
  }
}

async function settings(argv: string[]): Promise<number> {
  read(argv, {})
  process.stdout.write(settingsText())
  return 0
}

async function help(): Promise<number> {
  process.stdout.write(HELP)
  return 0
}

async function version(): Promise<number> {
  say(VERSION)
  return 0
}

/** The configuration, or every problem in it. */
function configure(
  file: string | undefined,
  args: Record<string, string>,
  reading: ReadFile = readFile,
  denyFile?: string,
): Config {
  const further = (config: Config, places: readonly RuleOrigin[]) => compilePolicy(config, reading, places).problems
  return loadConfig({ file, args, env: process.env, readFile: reading, further, denyFile })
}

/** Flags, and no words behind them. */
function read<const Own extends Record<string, 'text' | 'toggle'>>(argv: string[], own: Own) {
  const line = readFlags(argv, own)
  if (line.words.length > 0) throw new Fault('usage', `what is ${line.words[0]}?`)
  return line
}

function number(text: string | undefined, flag: string, least: number): number | undefined {
  if (text === undefined) return undefined
  if (!/^\d{1,9}$/.test(text) || Number(text) < least) throw new Fault('usage', `${flag} wants a number from ${least}`)
  return Number(text)
}

/**
 * SIGTERM stops in peace, with the delay that load balancers need; SIGINT, a person at a terminal, without. A second
 * signal of either kind stops at once.
 */
function untilStopped(proxy: RunningProxy, log: Log): Promise<number> {
  return new Promise(resolve => {
    let asked = false
    const onSignal = (signal: NodeJS.Signals): void => {
      log('info', 'draining', { signal, again: asked })
      const stopped = asked ? proxy.kill() : signal === 'SIGINT' ? proxy.stop(0) : proxy.stop()
      asked = true
      stopped.then(() => resolve(0))
    }
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, onSignal)
  })
}

function say(text: string): void {
  process.stdout.write(`${text}\n`)
}

/** The last word about whatever was thrown: a sentence for people, the stack only for bugs. */
function fail(thrown: unknown): never {
  const fault = Fault.from(thrown)
  const { remedy } = fault.definition
  const { problems } = fault.facts
  const text = fault.kind === 'internal' ? ((fault.cause as Error)?.stack ?? fault.stack) : fault.message
  const lines = Array.isArray(problems) ? [fault.definition.summary, ...problems.map(line => `  ${line}`)] : [text]
  process.stderr.write(`mongo-iam-proxy: ${[...lines, remedy].join('\n')}\n`)
  process.exit(toExitCode(fault))
}

async function main([name, ...argv]: string[]): Promise<number> {
  const asked =
    name === undefined || name === '--help' || name === '-h' ? 'help' : name === '--version' ? 'version' : name
  const command = Object.hasOwn(commands, asked) ? commands[asked] : undefined
  if (!command) throw new Fault('usage', `there is no command ${asked}`)
  return argv.some(word => word === '--help' || word === '-h') ? help() : command(argv)
}

process.on('uncaughtException', fail)
process.on('unhandledRejection', fail)
// Whoever read our output or our log may have gone; that ends no connection.
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {})
main(process.argv.slice(2)).then(code => process.exit(code), fail)
