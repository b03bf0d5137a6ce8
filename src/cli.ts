#!/usr/bin/env node
/** Turns arguments and environment into an exit code. Only this file touches `process`. */
import { randomBytes } from 'node:crypto'
import { userInfo } from 'node:os'
import { type LoadedConfig, loadWithPolicy, withPolicy } from './app/policy.js'
import { type AdminOutput, closeSession, deny, listSessions, showStatus, undeny } from './commands/administer.js'
import { type AskAdmin, createAdminRequester } from './commands/adminRequest.js'
import { type CheckOptions, check } from './commands/check.js'
import { importPackage } from './commands/doctor/awsSdk.js'
import { parseTarget } from './commands/doctor/target.js'
import { doctor } from './commands/doctor.js'
import { explain, formatExplanationAsJson } from './commands/explain.js'
import { expectsJson, formatFault, formatFaultAsJson } from './commands/failure.js'
import {
  describeInvalidConfiguration,
  type Finding,
  formatFinding,
  formatFindingAsJson,
  formatSummaryAsJson,
} from './commands/findings.js'
import { changeUser, listUsers, parseGrantedRoles, parsePrincipal, readAdminUri } from './commands/grants.js'
import { pruneUsers } from './commands/prune.js'
import { type OnSignal, runUntilStopped, serve, startReloadingProxy } from './commands/serve.js'
import { type CommandFlags, type CommandLine, parseFlags } from './config/flags.js'
import { loadConfig } from './config/load.js'
import { didYouMean } from './config/nearest.js'
import { type ReadFile, readFile } from './config/reading.js'
import { createConfigSchema } from './config/schema.js'
import { settingsJson, settingsText } from './config/table.js'
import { Fault, toExitCode } from './errors.js'
import { escapeLines, escapeUnprintable } from './printable.js'
import { describeText } from './redaction.js'
import { VERSION } from './upstream/metadata.js'

const HELP = `mongo-iam-proxy ${VERSION}: AWS IAM login (MONGODB-AWS) for any MongoDB

  mongo-iam-proxy serve --config FILE     runs the proxy
  mongo-iam-proxy demo                    runs the proxy in front of an AWS and a MongoDB in memory
      --port N --admin-port N             ports of the proxy (0: any free port)
      --json                              prints one line of JSON instead of text
      --log-level LEVEL                   debug, info, warn (the default of the demo) or error
      --replica-set                       its MongoDB is a replica set of three, to rehearse a failover
      --with-tls                          clients connect with TLS, to rehearse a change of the certificate
      --directory                         a DBA maintains users in $external, to rehearse the directory
      --ldap-authorization                its MongoDB reports LDAP authorization
      --sts-quota N --sts-latency MS      its STS throttles above N calls per second, answers after MS
  mongo-iam-proxy check --config FILE     reports every problem of a configuration, and tries upstream, STS and users
      --offline                           uses no network and reads no secret file
      --json                              prints JSON lines: the findings, then a summary
  mongo-iam-proxy explain ARN --config FILE
                                          shows the rule or directory entry of a principal, or why there is none
      --json                              prints one JSON document
  mongo-iam-proxy doctor ADDRESS          logs in to a running proxy as a client, and says what fails and what to do.
                                          ADDRESS: the connection string of an application, or host:port
      --config FILE                       also shows the rule that decides, or the nearest one
      --tls --tls-ca-file FILE --tls-certificate-key-file FILE --replica-set NAME
                                          the options of host:port
      --json                              prints JSON lines: the findings, then a summary
  mongo-iam-proxy users prune --config FILE
                                          removes the database users of the proxy that no rule or entry needs
      --all                               removes all database users of the proxy
  mongo-iam-proxy users list --admin-uri-file FILE
                                          lists the users of $external that are IAM principals
  mongo-iam-proxy users grant ARN ROLE@DB... --admin-uri-file FILE
                                          adds roles to the user of $external for a principal, or creates it
  mongo-iam-proxy users revoke ARN ROLE@DB... --admin-uri-file FILE
                                          takes these roles away
      --all                               instead of roles: drops the user
      --dry-run                           shows what grant or revoke would change
      --config FILE                       also shows the rule that decides instead, and gives audit.to
      --json                              prints JSON lines: the findings, then a summary
  mongo-iam-proxy status                  shows the state of a running proxy
  mongo-iam-proxy sessions                lists its open sessions
  mongo-iam-proxy sessions close ID       closes a session; its client may log in again
  mongo-iam-proxy deny ARN --why TEXT     denies a principal or a session and closes its sessions
      --until TIME                        until a time like 2026-12-24T00:00:00Z
  mongo-iam-proxy undeny ARN              removes such a denial
      --admin URL --token-file FILE       for these five: the admin interface (http://127.0.0.1:9216) and its token
      --json                              prints one JSON document
  mongo-iam-proxy settings                prints the settings; each is also a flag and a variable
      --json                              prints one JSON document
  mongo-iam-proxy schema                  prints the JSON Schema of the configuration file, for editors

With --require-end-mark, a FILE that does not end in a line of three dots (...) is refused.

Exit codes: 0 stopped as requested, 64 usage, 69 address in use, 70 bug, 78 configuration.
`

/** Runs with the arguments after its name; resolves with the exit code. */
type Command = (argv: string[]) => Promise<number>

const commands: Record<string, Command> = {
  serve: runServe,
  demo: runDemo,
  check: runCheck,
  explain: runExplain,
  doctor: runDoctor,
  users: runUsers,
  status: argv => administer(argv, {}, [], ask => showStatus(ask)),
  sessions: runSessions,
  deny: runDeny,
  undeny: argv => administer(argv, {}, ['ARN'], (ask, [arn = '']) => undeny(ask, arn)),
  settings: printSettings,
  schema: printSchema,
  help: printHelp,
  version: printVersion,
}

/** The flags of every command that loads a configuration file. */
const CONFIG_FLAGS = { config: 'text', 'require-end-mark': 'toggle' } as const

async function runServe(argv: string[]): Promise<number> {
  const { own, settings } = parseFlagsOnly(argv, CONFIG_FLAGS)
  await serve((read, running) => load(own, settings, { read, running }), onSignal)
  return 0
}

/** Settings that the demo chooses itself. A value from the command line would be ignored. */
const SETTINGS_OF_DEMO = [
  'upstream.uri',
  'upstream.uriFile',
  'upstream.admin.uri',
  'upstream.admin.uriFile',
  'sts.hosts',
]

async function runDemo(argv: string[]): Promise<number> {
  const { own, settings } = parseFlagsOnly(argv, {
    port: 'text',
    json: 'toggle',
    'replica-set': 'toggle',
    'with-tls': 'toggle',
    directory: 'toggle',
    'ldap-authorization': 'toggle',
    'sts-quota': 'text',
    'sts-latency': 'text',
  })
  const conflict = SETTINGS_OF_DEMO.find(path => Object.hasOwn(settings, path))
  if (conflict) throw new Fault('usage', `the demo sets ${conflict} itself`)
  const port = parseNumber(own.port, '--port', 0) ?? 27017
  const defaults = { 'log.level': 'warn', ...(port === 0 && { 'admin.port': '0' }) }
  const { startDemo } = await import('./commands/demo.js')
  const { configure, announce, close } = await startDemo({
    json: own.json === true,
    replicaSet: own['replica-set'] === true,
    withTLS: own['with-tls'] === true,
    directory: own.directory === true,
    createSecret: () => randomBytes(32).toString('base64url'),
    ldapAuthorization: own['ldap-authorization'] === true,
    stsQuota: parseNumber(own['sts-quota'], '--sts-quota', 1),
    stsLatencyMS: parseNumber(own['sts-latency'], '--sts-latency', 0),
    load: (args, readFile) => loadConfig({ args: { ...defaults, ...settings, ...args }, env: process.env, readFile }),
    port,
  })
  try {
    const running = await startReloadingProxy(
      readFile => withPolicy(configure(readFile), readFile),
      own.json === true && !Object.hasOwn(settings, 'audit.to') ? 'stderr' : undefined,
    )
    await running.proxy.initialized
    print(announce(running.proxy))
    await runUntilStopped(running, onSignal)
    return 0
  } finally {
    await close()
  }
}

async function runCheck(argv: string[]): Promise<number> {
  const { own, settings } = parseFlagsOnly(argv, { ...CONFIG_FLAGS, json: 'toggle', offline: 'toggle' })
  const format = own.json ? formatFindingAsJson : formatFinding
  const report = (finding: Finding) => print(format(finding))
  const isOffline = own.offline === true
  const findings = await loadAndCheck(() => load(own, settings, { skipSecrets: isOffline }), {
    isOffline,
    // Without --json, the problems of the configuration go to stderr.
    reportsProblems: own.json === true,
    onFinding: report,
  })
  if (own.json) print(formatSummaryAsJson(findings))
  return exitCodeOf(findings)
}

async function loadAndCheck(
  read: () => LoadedConfig,
  { reportsProblems, ...options }: CheckOptions & { reportsProblems: boolean; onFinding: (finding: Finding) => void },
): Promise<readonly Finding[]> {
  try {
    return await check(read(), options)
  } catch (thrown) {
    const problems = Fault.from(thrown).data('config/invalid')?.problems
    if (!reportsProblems || !problems) throw thrown
    const findings = describeInvalidConfiguration(problems)
    for (const finding of findings) options.onFinding(finding)
    return findings
  }
}

async function runExplain(argv: string[]): Promise<number> {
  const { own, settings, positionals } = parseFlags(argv, { ...CONFIG_FLAGS, json: 'toggle' })
  const [arn, ...more] = positionals
  if (arn === undefined || more.length > 0) throw new Fault('usage', 'explain takes one ARN')
  const explanation = await explain(load(own, settings), arn, Date.now())
  if (own.json) print(formatExplanationAsJson(explanation))
  else for (const line of explanation.lines) print(escapeUnprintable(line))
  return explanation.isComplete ? 0 : 78
}

async function runDoctor(argv: string[]): Promise<number> {
  const { own, settings, positionals } = parseFlags(argv, {
    ...CONFIG_FLAGS,
    tls: 'toggle',
    'tls-ca-file': 'text',
    'tls-certificate-key-file': 'text',
    'replica-set': 'text',
    json: 'toggle',
  })
  const [address, ...more] = positionals
  if (address === undefined || more.length > 0) throw new Fault('usage', 'doctor takes one address')
  if (own.config === undefined && Object.keys(settings).length > 0) {
    throw new Fault('usage', 'settings of the proxy have no effect without --config')
  }
  const { tls, 'tls-ca-file': caFile, 'tls-certificate-key-file': certificateKeyFile, 'replica-set': replicaSet } = own
  const flags = {
    ...(tls && { tls }),
    ...(caFile !== undefined && { caFile }),
    ...(certificateKeyFile !== undefined && { certificateKeyFile }),
    ...(replicaSet !== undefined && { replicaSet }),
  }
  const target = parseTarget(address, flags, path => readFile(path).bytes)
  const loaded = own.config === undefined ? undefined : loadWithOrWithoutSecrets(own, settings)
  // The AWS SDK would write to stderr that later releases of it need a newer Node.js.
  process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED = 'true'
  const format = own.json ? formatFindingAsJson : formatFinding
  const { findings, verdict } = await doctor({
    target,
    env: process.env,
    loaded,
    loadPackage: importPackage,
    onFinding: finding => print(format(finding)),
  })
  print(own.json ? formatSummaryAsJson(findings, verdict) : `\n${verdict.sentence}`)
  return exitCodeOf(findings)
}

/**
 * On the machine of a client or an administrator, the secret files of the proxy are missing. Rules can be explained without
 * them, and only hashes of session names need one.
 */
function loadWithOrWithoutSecrets(
  own: CommandLine<typeof CONFIG_FLAGS>['own'],
  settings: Record<string, string>,
  { needsHashKey = false } = {},
): LoadedConfig {
  try {
    return load(own, settings)
  } catch (thrown) {
    if (Fault.from(thrown).kind !== 'config/invalid') throw thrown
    const loaded = load(own, settings, { skipSecrets: true })
    if (needsHashKey && loaded.config.audit.sessionName === 'hash') throw thrown
    return loaded
  }
}

const userCommands: Record<string, Command> = {
  prune: runUsersPrune,
  list: runUsersList,
  grant: argv => runUserChange('users grant', argv),
  revoke: argv => runUserChange('users revoke', argv),
}

async function runUsers([subcommand = '', ...argv]: string[]): Promise<number> {
  const command = Object.hasOwn(userCommands, subcommand) ? userCommands[subcommand] : undefined
  if (command) return command(argv)
  const names = Object.keys(userCommands)
  const got = subcommand === '' ? '' : `, got ${describeText(subcommand)}${didYouMean(subcommand, names)}`
  throw new Fault('usage', `users needs one of the subcommands ${names.join(', ')}${got}`)
}

async function runUsersPrune(argv: string[]): Promise<number> {
  const { own, settings } = parseFlagsOnly(argv, { ...CONFIG_FLAGS, all: 'toggle' })
  const findings = await pruneUsers(load(own, settings), { all: own.all === true, user: findOperator() })
  for (const finding of findings) print(formatFinding(finding))
  return exitCodeOf(findings)
}

const DIRECTORY_FLAGS = { ...CONFIG_FLAGS, 'admin-uri-file': 'text', json: 'toggle' } as const

async function runUsersList(argv: string[]): Promise<number> {
  const { own, settings } = parseFlagsOnly(argv, DIRECTORY_FLAGS)
  const { access, findings } = openDirectory(own, settings)
  const users = await listUsers(access)
  if (own.json) print(formatSummaryAsJson(findings, { users: users ?? [] }))
  return exitCodeOf(findings)
}

async function runUserChange(command: 'users grant' | 'users revoke', argv: string[]): Promise<number> {
  const { own, settings, positionals } = parseFlags(argv, { ...DIRECTORY_FLAGS, 'dry-run': 'toggle', all: 'toggle' })
  const [text, ...roles] = positionals
  if (text === undefined) throw new Fault('usage', `${command} takes an ARN and roles`)
  parsePrincipal(text)
  if (own.all && command === 'users grant') throw new Fault('usage', '--all is for users revoke')
  if (own.all && roles.length > 0) throw new Fault('usage', '--all drops the user, so it takes no roles')
  if (!own.all && roles.length === 0) {
    const hint = command === 'users revoke' ? ', or --all to drop the user' : ''
    throw new Fault('usage', `${command} needs roles, as role@database${hint}`)
  }
  const granted = own.all ? 'all' : parseGrantedRoles(roles)
  const { access, findings } = openDirectory(own, settings)
  const isDryRun = own['dry-run'] === true
  const result = await changeUser({ ...access, command, text, roles: granted, isDryRun, operator: findOperator() })
  if (own.json) print(formatSummaryAsJson(findings, { dryRun: isDryRun, ...result }))
  return exitCodeOf(findings)
}

/** What the commands about `$external` users need. `findings`: those so far, each of which has been printed. */
function openDirectory(own: CommandLine<typeof DIRECTORY_FLAGS>['own'], settings: Record<string, string>) {
  if (own.config === undefined && Object.keys(settings).length > 0) {
    throw new Fault('usage', 'settings of the proxy have no effect without --config')
  }
  const adminUri = readAdminUri(own['admin-uri-file'], readFile)
  const loaded = own.config === undefined ? undefined : loadWithOrWithoutSecrets(own, settings, { needsHashKey: true })
  const format = own.json ? formatFindingAsJson : formatFinding
  const findings: Finding[] = []
  const onFinding = (finding: Finding): void => {
    findings.push(finding)
    print(format(finding))
  }
  return { access: { adminUri, loaded, onFinding }, findings }
}

/** The user of the operating system. In a container, its number may have no name. */
function findOperator(): string {
  try {
    return userInfo().username
  } catch {
    return `uid ${process.getuid?.() ?? 'unknown'}`
  }
}

function runSessions([subcommand, ...argv]: string[]): Promise<number> {
  if (subcommand === 'close') return administer(argv, {}, ['ID'], (ask, [id = '']) => closeSession(ask, id))
  return administer(subcommand === undefined ? [] : [subcommand, ...argv], {}, [], ask => listSessions(ask))
}

function runDeny(argv: string[]): Promise<number> {
  return administer(argv, { why: 'text', until: 'text' }, ['ARN'], (ask, [arn = ''], { why, until }) => {
    if (why === undefined) throw new Fault('usage', 'deny needs --why, which the audit trail records')
    return deny(ask, arn, why, until)
  })
}

/** Runs a command that asks a running proxy. `needs`: the names of its arguments. */
async function administer(
  argv: string[],
  flags: Readonly<Record<string, 'text'>>,
  needs: readonly string[],
  run: (
    ask: AskAdmin,
    positionals: readonly string[],
    own: Readonly<Record<string, string | undefined>>,
  ) => Promise<AdminOutput>,
): Promise<number> {
  const { own, settings, positionals } = parseFlags(argv, {
    ...flags,
    admin: 'text',
    'token-file': 'text',
    json: 'toggle',
  })
  if (Object.keys(settings).length > 0) throw new Fault('usage', 'settings of the proxy have no effect on this command')
  if (positionals.length !== needs.length) {
    throw new Fault(
      'usage',
      `this command takes ${needs.length === 0 ? 'no argument' : `one argument, ${needs.join(', ')}`}`,
    )
  }
  const { json, ...texts } = own as Readonly<Record<string, string | undefined>> & { json?: unknown }
  const ask = createAdminRequester({ url: texts.admin, tokenFile: texts['token-file'] })
  const output = await run(ask, positionals, texts)
  if (json) print(JSON.stringify({ version: 1, answer: output.json }))
  else for (const line of output.lines) print(escapeUnprintable(line))
  return 0
}

async function printSettings(argv: string[]): Promise<number> {
  const { own } = parseFlagsOnly(argv, { json: 'toggle' })
  process.stdout.write(own.json ? `${settingsJson()}\n` : settingsText())
  return 0
}

async function printSchema(argv: string[]): Promise<number> {
  parseFlagsOnly(argv, {})
  process.stdout.write(`${JSON.stringify(createConfigSchema(), null, 2)}\n`)
  return 0
}

async function printHelp(): Promise<number> {
  process.stdout.write(HELP)
  return 0
}

async function printVersion(): Promise<number> {
  print(VERSION)
  return 0
}

/** Throws `config/invalid` with every problem. */
function load(
  own: CommandLine<typeof CONFIG_FLAGS>['own'],
  args: Record<string, string>,
  {
    read = readFile,
    running,
    skipSecrets,
  }: { read?: ReadFile; running?: LoadedConfig | undefined; skipSecrets?: boolean } = {},
): LoadedConfig {
  return loadWithPolicy({
    file: own.config,
    args,
    env: process.env,
    readFile: read,
    skipSecrets,
    requireEndMark: own['require-end-mark'] === true,
    running: running && { denyFile: running.config.deny.file, hasEndMark: running.hasEndMark },
  })
}

function parseFlagsOnly<const Own extends CommandFlags>(argv: string[], own: Own) {
  const line = parseFlags(argv, own)
  if (line.positionals.length > 0)
    throw new Fault('usage', `unexpected argument, ${describeText(line.positionals[0] ?? '')}`)
  return line
}

function parseNumber(text: string | undefined, flag: string, least: number): number | undefined {
  if (text === undefined) return undefined
  if (!/^\d{1,9}$/.test(text) || Number(text) < least) {
    throw new Fault('usage', `${flag} needs a whole number, at least ${least}`)
  }
  return Number(text)
}

/** One failure makes the exit code 78. */
function exitCodeOf(findings: readonly Finding[]): number {
  return findings.some(({ level }) => level === 'failure') ? 78 : 0
}

/** Texts of servers, files and arguments must not control the terminal. */
function print(text: string): void {
  process.stdout.write(`${escapeLines(text)}\n`)
}

const onSignal: OnSignal = (signal, run) => void process.on(signal, run)

/** Prints a fault for the operator, and exits with its code. */
function fail(thrown: unknown): never {
  const fault = Fault.from(thrown)
  if (expectsJson(process.argv.slice(2))) print(formatFaultAsJson(fault))
  else process.stderr.write(`${escapeLines(formatFault(fault))}\n`)
  process.exit(toExitCode(fault))
}

function commandName(argument: string | undefined): string {
  if (argument === undefined || argument === '--help' || argument === '-h') return 'help'
  return argument === '--version' ? 'version' : argument
}

function describeUnknownCommand(name: string): string {
  return `there is no such command, ${describeText(name)}${didYouMean(name, Object.keys(commands))}`
}

async function main([argument, ...argv]: string[]): Promise<number> {
  const name = commandName(argument)
  const command = Object.hasOwn(commands, name) ? commands[name] : undefined
  if (!command) throw new Fault('usage', describeUnknownCommand(name))
  return argv.some(word => word === '--help' || word === '-h') ? printHelp() : command(argv)
}

process.on('uncaughtException', fail)
process.on('unhandledRejection', fail)
// The reader of stdout or stderr may have exited, which must not end any connection.
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {})
main(process.argv.slice(2)).then(code => process.exit(code), fail)
