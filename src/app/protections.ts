/**
 * Finds the protections that a new configuration lacks or widens. A file that was cut at the end of a line is valid, and
 * each setting below the cut silently has its default.
 *
 * Every setting is in the table, so that a new one does not compile without a decision whether it protects.
 */
import { divideConnections } from '../config/connectionLimits.js'
import { formatDuration } from '../config/definition.js'
import { isLoopback, isWildcard } from '../config/hosts.js'
import type { Config } from '../config/load.js'
import type { SettingPath } from '../config/settings.js'
import { findPartition } from '../identity/partition.js'
import type { Secret } from '../log.js'
import { createDenyList, type Denial, formatDenial, getDenialKey } from '../revocation/denials.js'
import { readUriProtection } from '../upstream/uriProtection.js'
import type { Network } from '../users/match.js'
import { parseNetwork } from '../users/networks.js'
import type { LoadedConfig } from './policy.js'
import { describeNetworks, findWeakenedRules } from './ruleProtections.js'

/** `pattern` or `denial`: the rule or denial, if it is about one. `weakening`: how it protects less than before, in words. */
export type WeakenedProtection = { setting: string; pattern?: string; denial?: string; weakening: string }

/** Compares what two files say, whether or not a setting takes effect before a restart. */
export function findWeakenedProtections(before: LoadedConfig, after: LoadedConfig): WeakenedProtection[] {
  const settings = Object.entries(PROTECTIONS).flatMap(([setting, describe]): WeakenedProtection[] => {
    const weakening = describe?.(before.config, after.config)
    return weakening === undefined ? [] : [{ setting, weakening }]
  })
  const rules = findWeakenedRules(before.policy.rules, after.policy.rules)
  const denials = findShortenedDenials(before.policy.denials, after.policy.denials)
  return [
    ...settings,
    ...denials.map(denial => ({ setting: 'deny.file', ...denial })),
    ...rules.map(rule => ({ setting: 'users', ...rule })),
  ]
}

/** The denials that end earlier than before. A denial that is gone is logged as removed. */
function findShortenedDenials(
  before: readonly Denial[],
  after: readonly Denial[],
): { denial: string; weakening: string }[] {
  const next = new Map(createDenyList(after).all.map(denial => [getDenialKey(denial), denial]))
  return createDenyList(before).all.flatMap(denial => {
    const { until } = next.get(getDenialKey(denial)) ?? {}
    if (until === undefined || (denial.until !== undefined && denial.until <= until)) return []
    return [{ denial: formatDenial(denial), weakening: `ends at ${until.toISOString()}` }]
  })
}

/** How a setting protects less, in words; undefined if it does not. */
type Describe = (before: Config, after: Config) => string | undefined

/** The setting protects nothing, or another setting of the table stands for it. */
const NONE = null

export const PROTECTIONS: Readonly<Record<SettingPath, Describe | null>> = {
  instance: NONE,
  'listen.host': moreExposed(({ listen }) => listen.host),
  'listen.port': NONE,
  'listen.advertise': NONE,
  'listen.scope': NONE, // the rules that it brings into scope are compared
  'listen.backlog': NONE,
  'listen.connections': larger(({ listen }) => listen.connections),
  'listen.reserve': ({ listen: { reserve: before } }, { listen }) => {
    const after = divideConnections(listen).reserve
    return before !== undefined && after < before ? `is ${after} instead of ${before}` : undefined
  },
  'listen.perPrincipal': ({ listen: { perPrincipal: before } }, { listen }) => {
    const after = divideConnections(listen).perPrincipal
    return before !== undefined && after > before ? `is ${after} instead of ${before}` : undefined
  },
  'listen.perAddress': larger(({ listen }) => listen.perAddress),
  'listen.reauthenticate': turnedOn(({ listen }) => listen.reauthenticate === 'ask', 'is ask instead of close'),
  tls: removed(({ tls }) => tls, 'TLS was turned off'),
  'tls.certFile': NONE,
  'tls.keyFile': NONE,
  'tls.clientCAFile': ({ tls: before }, { tls: after }) => describeAuthorities(before?.clientCA, after?.clientCA),
  'upstream.uri': ({ upstream: before }, { upstream: after }) => describeUri(before.uri, after.uri),
  'upstream.uriFile': NONE,
  'upstream.topology': NONE,
  'upstream.admin.uri': ({ upstream: before }, { upstream: after }) => describeUri(before.admin, after.admin),
  'upstream.admin.uriFile': NONE,
  'sts.hosts': ({ sts: before }, { sts: after }) => describeHosts(before.hosts, after.hosts),
  'sts.insecure': turnedOn(({ sts }) => sts.insecure),
  'sts.proxy': NONE,
  'sts.proxyCredentialsFile': NONE,
  'sts.quota': NONE,
  'sts.share': NONE,
  'sts.successCache': longer(({ sts }) => sts.successCache),
  'login.timeout': NONE,
  'login.queueTimeout': NONE,
  'login.perAddress': larger(({ login }) => login.perAddress),
  'login.failures': larger(({ login }) => login.failures),
  'login.failurePeriod': ({ login: before }, { login: after }) =>
    after.failurePeriod < before.failurePeriod
      ? `is ${formatDuration(after.failurePeriod)} instead of ${formatDuration(before.failurePeriod)}`
      : undefined,
  'login.shadow': turnedOn(({ login }) => login.shadow),
  'ldap.assume': turnedOn(({ ldap }) => ldap.assume === 'off', 'was set to off'),
  'ldap.every': longer(({ ldap }) => ldap.every),
  'drain.delay': NONE,
  'drain.timeout': NONE,
  'admin.host': moreExposed(({ admin }) => admin.host),
  'admin.port': turnedOn(({ admin }) => admin.port !== 'off', 'was off'),
  'admin.hosts': ({ admin: before }, { admin: after }) =>
    (after.hosts ?? []).some(host => !(before.hosts ?? []).includes(host)) ? 'has more names' : undefined,
  'admin.tokenFile': removed(({ admin }) => admin.token),
  'admin.tokens': ({ admin: before }, { admin: after }) => describeTokens(before.tokens, after.tokens),
  'deny.file': removed(({ deny }) => deny.file),
  'deny.adminFile': ownFile(({ deny }) => deny.adminFile),
  'provision.secretFile': NONE,
  'provision.database': NONE,
  'provision.fleet': NONE,
  'provision.period': longer(({ provision }) => provision.period),
  'provision.clientSource': ({ provision: before }, { provision: after }) =>
    describeNetworks('the list', parseNetworks(before.clientSource), parseNetworks(after.clientSource)),
  'log.level': NONE,
  'audit.to': NONE, // it cannot be turned off
  'audit.onFailure': turnedOn(({ audit }) => audit.onFailure === 'serve', 'is serve instead of refuse'),
  'audit.sessionName': turnedOn(({ audit }) => audit.sessionName === 'full', 'is full instead of hash'),
  'audit.hashKeyFile': NONE,
  'tracing.enabled': NONE,
  'pins.file': ownFile(({ pins }) => pins.file),
  'directory.enabled': turnedOn(({ directory }) => directory.enabled),
  'directory.refresh': longer(({ directory }) => directory.refresh),
  users: NONE, // the rules are compared one by one
}

function removed(get: (config: Config) => unknown, weakening = 'was removed'): Describe {
  return (before, after) => (get(before) !== undefined && get(after) === undefined ? weakening : undefined)
}

/** A file that the proxy writes. The denials or pins in it do not follow to another file. */
function ownFile(get: (config: Config) => string | undefined): Describe {
  return (before, after) => {
    if (get(before) === undefined || get(before) === get(after)) return undefined
    return get(after) === undefined ? 'was removed' : 'names another file'
  }
}

function turnedOn(get: (config: Config) => boolean, weakening = 'was turned on'): Describe {
  return (before, after) => (get(after) && !get(before) ? weakening : undefined)
}

function larger(get: (config: Config) => number, format: (value: number) => string = String): Describe {
  return (before, after) =>
    get(after) > get(before) ? `is ${format(get(after))} instead of ${format(get(before))}` : undefined
}

function longer(get: (config: Config) => number): Describe {
  return larger(get, formatDuration)
}

function moreExposed(get: (config: Config) => string): Describe {
  const exposure = (host: string) => (isLoopback(host) ? 0 : isWildcard(host) ? 2 : 1)
  return (before, after) => {
    const next = exposure(get(after))
    if (next <= exposure(get(before))) return undefined
    return next === 2 ? 'is every address of this machine' : 'is not loopback'
  }
}

/** Adding the first tokens, or one that may read, is an ordinary change. */
function describeTokens(before: Config['admin']['tokens'], after: Config['admin']['tokens']): string | undefined {
  if (before.length === 0) return undefined
  if (after.length === 0) return 'was removed'
  const writers = new Set(before.filter(({ may }) => may === 'write').map(({ name }) => name))
  const added = after.filter(({ name, may }) => may === 'write' && !writers.has(name)).length
  return added > 0 ? `has ${added} more that may write` : undefined
}

function parseNetworks(texts: readonly string[] = []): Network[] {
  return texts.flatMap(text => parseNetwork(text) ?? [])
}

function describeAuthorities(before: string | undefined, after: string | undefined): string | undefined {
  if (before === undefined) return undefined
  if (after === undefined) return 'was removed, so clients need no certificate'
  const blocks = (text: string) => text.match(/-----BEGIN [^-]+-----[^-]*-----END [^-]+-----/g) ?? []
  const known = new Set(blocks(before))
  const added = blocks(after).filter(block => !known.has(block)).length
  return added > 0 ? `has ${added} other certificate authorities` : undefined
}

/** AWS vouches for its own hosts. Any other host could answer with any identity. */
function describeHosts(before: Config['sts']['hosts'], after: Config['sts']['hosts']): string | undefined {
  const known = new Set(before.map(({ host }) => host))
  const added = after.some(({ host }) => findPartition(host) === undefined && !known.has(host))
  return added ? 'has another host that is not of AWS' : undefined
}

function describeUri(before: Secret | undefined, after: Secret | undefined): string | undefined {
  const [old, next] = [before, after].map(uri => uri && readUriProtection(uri))
  if (!old?.tls || !next) return undefined
  if (!next.tls) return 'TLS was turned off'
  if (old.verify !== 'none' && next.verify === 'none') return 'certificates are not verified'
  if (old.verify === 'full' && next.verify === 'chain') return 'names of certificates are not verified'
  return old.hasAuthority && !next.hasAuthority ? 'tlsCAFile was removed' : undefined
}
