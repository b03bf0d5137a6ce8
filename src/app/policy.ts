/**
 * Compiles a configuration into the policy of the proxy: rules, denials, the upstream, and how users are provisioned.
 * It finds the problems that only other parts of the program understand, such as an invalid ARN or connection string.
 */
import type { RecordAuditEvent } from '../audit/events.js'
import { isWildcard } from '../config/hosts.js'
import {
  type Config,
  type ConfigSource,
  type ConfigSources,
  loadAndCompile,
  NO_SOURCE,
  type RuleOrigin,
} from '../config/load.js'
import type { ReadFile } from '../config/reading.js'
import { Fault } from '../errors.js'
import type { Log } from '../log.js'
import type { ProvisioningOptions } from '../provisioning/reconciler.js'
import { describePath, describeText } from '../redaction.js'
import type { Denial } from '../revocation/denials.js'
import { parseDenyFile } from '../revocation/denyFile.js'
import type { AdminClient } from '../upstream/admin.js'
import { parseUpstreamUri, type UpstreamConfig } from '../upstream/target.js'
import { parseNetwork } from '../users/networks.js'
import { compileRules, type Rules } from '../users/rules.js'
import { type CertificateFile, readUpstreamCertificates } from './certificates.js'
import { findUnservedRules, listIneffectiveEntries } from './ineffective.js'

export type Policy = {
  rules: Rules
  /** The entries of `deny.file`. */
  denials: readonly Denial[]
  upstream: UpstreamConfig
  /** True: the proxy serves the one address of `upstream.uri`, whatever its role. False: it follows the primary. */
  isSingle: boolean
  /** The certificates that the connection strings name. */
  upstreamCertificates: readonly CertificateFile[]
}

/** A configuration and the policy that was compiled from it, so that nothing is compiled or read a second time. */
export type LoadedConfig = {
  config: Config
  policy: Policy
  /** The file ends in a line of three dots, which shows that it is complete. */
  hasEndMark: boolean
  /** Where it comes from. */
  source: ConfigSource
}

/** Loads and compiles. Throws `config/invalid` with every problem of both. */
export function loadWithPolicy(sources: ConfigSources): LoadedConfig {
  const { config, compiled, hasEndMark, source } = loadAndCompile(sources, (config, origins) => {
    const { policy, problems } = compilePolicy(config, sources.readFile, origins)
    return { compiled: policy, problems }
  })
  if (!compiled) throw new Error('a policy without problems is complete')
  return withWarnings({ config, policy: compiled, hasEndMark, source })
}

/** Compiles a configuration that was made in code. Throws `config/invalid` with every problem. */
export function withPolicy(config: Config, readFile: ReadFile): LoadedConfig {
  const { policy, problems } = compilePolicy(config, readFile)
  if (!policy || problems.length > 0) {
    throw new Fault('config/invalid', problems.join('\n'), { problems, deny: config.deny })
  }
  return withWarnings({ config, policy, hasEndMark: false, source: NO_SOURCE })
}

/** Adds the warnings about rules and denials to those about settings. */
function withWarnings({ config, policy, ...rest }: LoadedConfig): LoadedConfig {
  const warnings = [...config.warnings, ...listIneffectiveEntries(config, policy)]
  return { config: { ...config, warnings }, policy, ...rest }
}

/**
 * The policy, and the problems of the configuration. A policy with problems must not be used; it is undefined where the
 * upstream is not known. `readFile` reads the certificates that `upstream.uri` names.
 */
export function compilePolicy(
  config: Config,
  readFile: ReadFile,
  origins: readonly RuleOrigin[] = [],
): { policy: Policy | undefined; problems: readonly string[] } {
  const { rules, problems: ruleProblems } = compileRules(config.users, config.listen, origins)
  const { denials, problems: denialProblems } = readDenyFile(config)
  const { upstream, problems: upstreamProblems } = compileUpstream(config, readFile)
  return {
    policy: upstream && { rules, denials, ...upstream },
    problems: [...ruleProblems, ...settingConflicts(config, rules), ...denialProblems, ...upstreamProblems],
  }
}

function readDenyFile({ deny: { file = '', text } }: Config): { denials: readonly Denial[]; problems: string[] } {
  if (text === undefined) return { denials: [], problems: [] }
  const { all, problems } = parseDenyFile(text, describePath(file))
  return { denials: all, problems: problems.map(problem => `deny.file: ${problem}`) }
}

function compileUpstream(
  config: Config,
  readFile: ReadFile,
): { upstream?: Pick<Policy, 'upstream' | 'isSingle' | 'upstreamCertificates'>; problems: string[] } {
  const { uri, topology } = config.upstream
  const { listen } = config
  // A missing or unreadable URI is a problem that loading has reported.
  if (uri.reveal() === '') return { problems: [] }
  const read = readOnce(readFile)
  const upstream = parseOrProblems(uri, read)
  if (Array.isArray(upstream)) return { problems: upstream.map(problem => `upstream.uri: ${problem}`) }
  const { directConnection, seeds, srv, connectionOptions } = upstream
  const isSingle = topology === undefined ? directConnection : topology === 'single'
  const hasSeveralHosts = srv !== undefined || seeds.length > 1
  const problems: string[] = []
  if (directConnection && !isSingle) {
    problems.push('upstream.topology: primary contradicts directConnection=true in upstream.uri')
  }
  if (isSingle && hasSeveralHosts) problems.push('upstream.topology: single is for one address in upstream.uri')
  const isReplicaSet = !isSingle && (hasSeveralHosts || connectionOptions.replicaSet !== undefined)
  if (isReplicaSet && isWildcard(listen.host) && !listen.advertise) {
    problems.push(
      `listen.advertise: required in front of a replica set, because clients cannot connect to ${listen.host}: set the host:port by which clients reach the proxy`,
    )
  }
  return {
    upstream: { upstream, isSingle, upstreamCertificates: readUpstreamCertificates(config, read) },
    problems,
  }
}

/** Reads each file once, so that all readers see the same contents. */
function readOnce(readFile: ReadFile): ReadFile {
  const known = new Map<string, ReturnType<ReadFile>>()
  return path => {
    const result = known.get(path) ?? readFile(path)
    known.set(path, result)
    return result
  }
}

function parseOrProblems(uri: Config['upstream']['uri'], readFile: ReadFile): UpstreamConfig | string[] {
  try {
    return parseUpstreamUri(uri, path => readFile(path).bytes)
  } catch (thrown) {
    const fault = Fault.from(thrown)
    return [...(fault.data('config/invalid')?.problems ?? [fault.message])]
  }
}

/** The problems of settings that need each other, or contradict each other. */
export function settingConflicts(config: Config, rules: Rules): string[] {
  const { pins, directory, upstream, provision, listen, admin } = config
  const { all } = rules
  const problems = [...findUnservedRules(config, rules)]
  const pinned = all.find(({ principalId }) => principalId === 'firstUse')
  if (pinned && pins.file === undefined) {
    problems.push(
      `pins.file: required for principalId firstUse of rule ${pinned.decidedBy.rule}: the pinned id must survive a restart`,
    )
  }
  if (directory.enabled && !upstream.admin) {
    problems.push('upstream.admin: required for directory.enabled: set a user that may read admin.system.users')
  }
  const withRoles = all.find(({ grant }) => 'roles' in grant)
  const purpose = withRoles ? `the roles of rule ${withRoles.decidedBy.rule}` : directory.enabled && 'directory.enabled'
  if (purpose && provision.secrets.length === 0) problems.push(`provision.secretFile: required for ${purpose}`)
  if (withRoles && !upstream.admin) {
    problems.push(`upstream.admin: required for ${purpose}: set a user that may manage database users`)
  }
  // An invalid setting has no value, and 0 takes any free port.
  const isSamePort = typeof admin.port === 'number' && admin.port !== 0 && admin.port === listen.port
  if (isSamePort && (admin.host === listen.host || isWildcard(listen.host))) {
    problems.push(`admin.port: ${admin.port} is also listen.port; use another port`)
  }
  for (const [index, network] of (provision.clientSource ?? []).entries()) {
    if (parseNetwork(network)) continue
    problems.push(`provision.clientSource[${index}]: ${describeText(network)} is not a network like 10.0.0.0/8`)
  }
  return problems
}

/** The options of the provisioner; undefined without a master secret, where no user is provisioned. */
export function provisioningOptions(
  { provision }: Config,
  runCommand: AdminClient['runCommand'],
  log: Log,
  record: RecordAuditEvent,
): ProvisioningOptions | undefined {
  const { secrets, database, fleet, period, clientSource } = provision
  if (secrets.length === 0) return undefined
  return { runCommand, secrets, database, fleet, periodMS: period, clientSource, now: Date.now, log, record }
}
