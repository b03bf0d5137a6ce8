/** A changed configuration: what of it a running proxy takes up, what waits for a restart, and what is gone with it. */

import type { Config } from '../config/load.js'
import { allSettings } from '../config/settings.js'
import { Fault } from '../errors.js'
import { type Log, Secret } from '../log.js'
import { formatDenial, getDenialKey } from '../revocation/denials.js'
import { formatDenyFile, parseDenyFile } from '../revocation/denyFile.js'
import type { Policy } from './policy.js'

export type MergedConfig = {
  /** What the proxy runs with from now on: live settings as they are written now, others as they were. */
  running: Config
  /** Paths of settings. */
  applied: readonly string[]
  waiting: readonly string[]
}

/** Values that were read from a file, and the setting that names it. */
const SOURCES: Readonly<Record<string, string>> = {
  'tls.cert': 'tls.certFile',
  'tls.key': 'tls.keyFile',
  'tls.clientCA': 'tls.clientCAFile',
  'upstream.admin': 'upstream.admin.uri',
  'admin.token': 'admin.tokenFile',
  'deny.text': 'deny.file',
  'provision.secrets': 'provision.secretFile',
}

const live = new Set(allSettings.filter(({ definition }) => definition.live).map(({ path }) => path))

/** What follows from a configuration that is good, for one that runs. */
export function mergeLiveSettings(running: Config, next: Config): MergedConfig {
  const applied: string[] = []
  const waiting: string[] = []
  const merge = (old: unknown, now: unknown, way: readonly string[]): unknown => {
    if (isGroup(old) && isGroup(now)) {
      const keys = new Set([...Object.keys(old), ...Object.keys(now)])
      return Object.fromEntries([...keys].map(key => [key, merge(old[key], now[key], [...way, key])]))
    }
    if (isSame(old, now)) return old
    const path = way.join('.')
    const setting = SOURCES[path] ?? path
    const isLive = live.has(setting)
    const list = isLive ? applied : waiting
    if (!list.includes(setting)) list.push(setting)
    return isLive ? now : old
  }
  const { warnings, ...settings } = next
  const { warnings: _, ...before } = running
  const merged = merge(before, settings, []) as Omit<Config, 'warnings'>
  return { running: { ...merged, warnings }, applied, waiting }
}

/** Rules and denials that were there and are no more, by name; one that is spelled in another way is still there. */
export function removedProtections(before: Policy, after: Policy): { rule?: string; denial?: string }[] {
  const rules = new Set(after.rules.all.map(({ arn }) => arn))
  const denials = new Set(after.denied.map(getDenialKey))
  return [
    ...before.rules.all.filter(({ arn }) => !rules.has(arn)).map(({ description }) => ({ rule: description })),
    ...before.denied.filter(one => !denials.has(getDenialKey(one))).map(one => ({ denial: formatDenial(one) })),
  ]
}

export type ReloadOptions<C extends Policy> = {
  /** Throws `config/invalid`. */
  compile(config: Config): C
  /** Has the running proxy take up what is live, all of it at once. */
  adopt(running: Config, compiled: C): void
  log: Log
  counted(outcome: 'applied' | 'rejected'): void
}

/**
 * Takes up one configuration after the other, from the `first` on. A bad one, or the fault of one that could not even be
 * read, changes nothing: the last good one goes on, and each problem is told. Only whom its deny file denies is denied, if
 * that is good in itself: who revokes shall not have to mend the rest first.
 */
export function createReloader<C extends Policy>(
  first: { config: Config; compiled: C },
  { compile, adopt, log, counted }: ReloadOptions<C>,
): (next: Config | Fault) => void {
  let { config: running, compiled: known } = first
  const take = (next: Config): void => {
    compile(next)
    const { running: merged, applied, waiting } = mergeLiveSettings(running, next)
    // Rules may need what has to wait, such as the file of their pins.
    const compiled = compile(merged)
    adopt(merged, compiled)
    for (const gone of removedProtections(known, compiled))
      log('warn', 'rule' in gone ? 'rule removed' : 'denial removed', gone)
    for (const warning of merged.warnings) {
      if (!running.warnings.includes(warning)) log('warn', 'configuration warning', { warning })
    }
    if (waiting.length > 0) {
      log('warn', 'restart required', { warning: 'these settings take effect with a restart', settings: waiting })
    }
    log('info', 'configuration reloaded', { applied })
    running = merged
    known = compiled
  }
  const denyMore = (deny: Config['deny'] | undefined): void => {
    const { file, text } = deny ?? {}
    if (file === undefined || file !== running.deny.file || text === undefined) return
    const { all, problems } = parseDenyFile(text, file)
    const before = new Set(known.denied.map(one => formatDenyFile([one])))
    const more = all.filter(one => !before.has(formatDenyFile([one])))
    if (problems.length > 0 || more.length === 0) return
    known = { ...known, denied: [...known.denied, ...more] }
    adopt(running, known)
    log('warn', 'deny file reloaded', { applied: ['deny.file'], denied: more.map(formatDenial) })
  }
  return next => {
    try {
      if (next instanceof Fault) throw next
      take(next)
      counted('applied')
    } catch (thrown) {
      const fault = Fault.from(thrown)
      const { problems } = fault.facts
      const lines: unknown[] = Array.isArray(problems)
        ? problems
        : [fault.kind === 'internal' ? fault.stack : fault.message]
      for (const problem of lines)
        log('error', 'configuration rejected', { problem, kept: 'the configuration of before' })
      counted('rejected')
      denyMore(next instanceof Fault ? (next.facts.deny as Config['deny'] | undefined) : next.deny)
    }
  }
}

type Group = Record<string, unknown>

const isGroup = (value: unknown): value is Group =>
  typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype

/** Values as settings have them. Secrets are compared without being shown. */
function isSame(one: unknown, other: unknown): boolean {
  if (one instanceof Secret) return other instanceof Secret && one.equals(other)
  if (one instanceof Date) return other instanceof Date && one.getTime() === other.getTime()
  if (Array.isArray(one)) {
    return Array.isArray(other) && one.length === other.length && one.every((value, at) => isSame(value, other[at]))
  }
  if (!isGroup(one)) return Object.is(one, other)
  if (!isGroup(other)) return false
  const keys = new Set([...Object.keys(one), ...Object.keys(other)])
  return [...keys].every(key => isSame(one[key], other[key]))
}
