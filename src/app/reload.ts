/**
 * Reloads the configuration of a running proxy: live settings take effect, other changes wait for a restart. Rules,
 * denials and protections that disappeared are logged by name.
 *
 *     LoadedConfig ─▶ merge live settings ─▶ conflicts? ─▶ apply ─▶ log
 *     Fault ────────▶ keep the running configuration, but apply new denials of its deny file
 */
import type { Config } from '../config/load.js'
import { allSettings } from '../config/settings.js'
import { Fault, type FaultData } from '../errors.js'
import { type Log, Secret } from '../log.js'
import { type Denial, formatDenial, getDenialKey } from '../revocation/denials.js'
import { formatDenyFile, parseDenyFile } from '../revocation/denyFile.js'
import { findRenewed } from './certificates.js'
import { type LoadedConfig, type Policy, settingConflicts } from './policy.js'
import { findWeakenedProtections, type WeakenedProtection } from './protections.js'

export type MergedConfig = {
  /** Live settings have their new value; all others keep the value with which the proxy was started. */
  config: Config
  /** Paths of the settings that changed. */
  applied: readonly string[]
  needRestart: readonly string[]
}

/** For values that were read from a file: the setting that names the file. */
const SETTING_OF_VALUE: Readonly<Record<string, string>> = {
  'tls.cert': 'tls.certFile',
  'tls.key': 'tls.keyFile',
  'tls.clientCA': 'tls.clientCAFile',
  'upstream.admin': 'upstream.admin.uri',
  'sts.proxyCredentials': 'sts.proxyCredentialsFile',
  'admin.token': 'admin.tokenFile',
  'deny.text': 'deny.file',
  'provision.secrets': 'provision.secretFile',
  'audit.hashKey': 'audit.hashKeyFile',
}

const liveSettings = new Set(allSettings.filter(({ definition }) => definition.live).map(({ path }) => path))

/** Merges a valid configuration into the running one. */
export function mergeLiveSettings(running: Config, next: Config): MergedConfig {
  const applied: string[] = []
  const needRestart: string[] = []
  const merge = (before: unknown, after: unknown, keys: readonly string[]): unknown => {
    if (isGroup(before) && isGroup(after)) {
      const names = new Set([...Object.keys(before), ...Object.keys(after)])
      return Object.fromEntries([...names].map(name => [name, merge(before[name], after[name], [...keys, name])]))
    }
    if (isEqual(before, after)) return before
    const path = keys.join('.')
    const setting = SETTING_OF_VALUE[path] ?? path
    const isLive = liveSettings.has(setting)
    const list = isLive ? applied : needRestart
    if (!list.includes(setting)) list.push(setting)
    return isLive ? after : before
  }
  const { warnings, ...after } = next
  const { warnings: _, ...before } = running
  const merged = merge(before, after, []) as Omit<Config, 'warnings'>
  return { config: { ...merged, warnings }, applied, needRestart }
}

type RulesAndDenials = Pick<Policy, 'rules' | 'denials'>

/** The rules and denials that no longer exist, by name. One that is only spelled differently still exists. */
export function findRemovedEntries(
  before: RulesAndDenials,
  after: RulesAndDenials,
): { pattern?: string; denial?: string }[] {
  const rules = new Set(after.rules.all.map(({ arn }) => arn))
  const denials = new Set(after.denials.map(getDenialKey))
  return [
    ...before.rules.all.filter(({ arn }) => !rules.has(arn)).map(({ description }) => ({ pattern: description })),
    ...before.denials
      .filter(denial => !denials.has(getDenialKey(denial)))
      .map(denial => ({ denial: formatDenial(denial) })),
  ]
}

/** Receives what changed, for the audit trail. */
export type ReloadAudit = {
  /** `before` and `after` are what the files say, whether or not a setting takes effect before a restart. */
  recordApplied(before: LoadedConfig, after: LoadedConfig, weakened: readonly WeakenedProtection[]): void
  /** `source`: the rejected configuration, as far as it is known. */
  recordRejected(
    problems: readonly string[],
    source: FaultData['config/invalid']['source'],
    running: LoadedConfig,
  ): void
  /** The deny file took effect although the rest of the configuration was rejected. */
  recordDenials(before: LoadedConfig, after: LoadedConfig): void
}

export type ReloadOptions = {
  /** Applies the live settings to the running proxy, all of them or none. May throw. */
  apply(next: LoadedConfig): void
  log: Log
  audit: ReloadAudit
  onOutcome(outcome: 'applied' | 'rejected'): void
  /** Called with the number of protections that a reload removed or widened. */
  onWeakened(count: number): void
}

/**
 * Reloads one configuration after another, starting from `initial`. The returned function tells whether the configuration was
 * applied. An invalid one, or the fault of one that could not be loaded, changes nothing, and each problem is logged. The
 * exception is its deny file: its new denials take effect if the file itself is valid, so that a revocation does not have
 * to wait for a repair of the rest.
 */
export function createReloader(initial: LoadedConfig, options: ReloadOptions): (next: LoadedConfig | Fault) => boolean {
  const reloader = new Reloader(initial, options)
  return next => reloader.reload(next)
}

class Reloader {
  #running: LoadedConfig
  /** The last configuration that was applied, with the settings that wait for a restart. */
  #lastApplied: LoadedConfig
  readonly #options: ReloadOptions

  constructor(initial: LoadedConfig, options: ReloadOptions) {
    this.#running = initial
    this.#lastApplied = initial
    this.#options = options
  }

  reload(next: LoadedConfig | Fault): boolean {
    try {
      if (next instanceof Fault) throw next
      this.#apply(next)
      this.#options.onOutcome('applied')
      return true
    } catch (thrown) {
      this.#reject(Fault.from(thrown), next instanceof Fault ? undefined : next.source)
      this.#options.onOutcome('rejected')
      this.#addDenials(next instanceof Fault ? next.data('config/invalid')?.deny : next.config.deny)
      return false
    }
  }

  #apply(loaded: LoadedConfig): void {
    const { config: next, policy, hasEndMark, source } = loaded
    const { log } = this.#options
    const before = this.#running
    const { config, applied, needRestart } = mergeLiveSettings(before.config, next)
    const { upstream, isSingle, upstreamCertificates } = before.policy
    const merged = { config, policy: { ...policy, upstream, isSingle, upstreamCertificates }, hasEndMark, source }
    // A new rule may need a setting that waits for a restart, such as pins.file.
    const problems = settingConflicts(config, policy.rules)
    if (problems.length > 0) throw new Fault('config/invalid', problems.join('\n'), { problems })
    this.#options.apply(merged)
    this.#running = merged
    const removed = findRemovedEntries(before.policy, policy)
    for (const entry of removed) log('warn', 'pattern' in entry ? 'rule removed' : 'denial removed', entry)
    const { denials } = before.policy
    const last = { ...this.#lastApplied, policy: { ...this.#lastApplied.policy, denials } } // those of a rejected one count
    const weakened = findWeakenedProtections(last, loaded)
    for (const protection of weakened) log('warn', 'protection weakened', protection)
    this.#options.onWeakened(weakened.length + removed.filter(entry => 'denial' in entry).length)
    this.#options.audit.recordApplied(last, loaded, weakened)
    this.#lastApplied = loaded
    for (const warning of config.warnings) {
      if (!before.config.warnings.includes(warning)) log('warn', 'configuration warning', { warning })
    }
    const renewed = findRenewed(upstreamCertificates, policy.upstreamCertificates)
    const settings = [...new Set([...needRestart, ...renewed])]
    if (settings.length > 0) log('warn', 'restart required', { settings })
    log('info', 'configuration reloaded', { applied })
  }

  #reject(fault: Fault, source: LoadedConfig['source'] | undefined): void {
    const { log, audit } = this.#options
    const { problems, source: invalid } = fault.data('config/invalid') ?? {}
    const lines = problems ?? [fault.kind === 'internal' ? fault.stack : fault.message]
    for (const problem of lines) log('error', 'configuration rejected', { problem })
    audit.recordRejected(problems ?? [fault.message], source ?? invalid, this.#running)
  }

  #addDenials(deny: FaultData['config/invalid']['deny']): void {
    const { file, text } = deny ?? {}
    const { config, policy, ...rest } = this.#running
    if (file === undefined || file !== config.deny.file || text === undefined) return
    const { all, problems } = parseDenyFile(text, file)
    const asText = (denial: Denial) => formatDenyFile([denial])
    const known = new Set(policy.denials.map(asText))
    const added = all.filter(denial => !known.has(asText(denial)))
    if (problems.length > 0 || added.length === 0) return
    const before = this.#running
    this.#running = { config, policy: { ...policy, denials: [...policy.denials, ...added] }, ...rest }
    this.#options.apply(this.#running)
    this.#options.audit.recordDenials(before, {
      ...this.#running,
      config: { ...config, deny: { ...config.deny, text } },
    })
    this.#options.log('warn', 'deny file reloaded', { denials: added.map(formatDenial) })
  }
}

type Group = Record<string, unknown>

const isGroup = (value: unknown): value is Group =>
  typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype

/** Compares two values of settings. Secrets are compared without being revealed. */
function isEqual(one: unknown, other: unknown): boolean {
  if (one instanceof Secret) return other instanceof Secret && one.equals(other)
  if (one instanceof Date) return other instanceof Date && one.getTime() === other.getTime()
  if (Array.isArray(one)) {
    return (
      Array.isArray(other) && one.length === other.length && one.every((value, index) => isEqual(value, other[index]))
    )
  }
  if (!isGroup(one)) return Object.is(one, other)
  if (!isGroup(other)) return false
  const names = new Set([...Object.keys(one), ...Object.keys(other)])
  return [...names].every(name => isEqual(one[name], other[name]))
}
