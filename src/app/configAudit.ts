/**
 * Turns a configuration, or the difference between two configurations, into audit events: one event per rule, denial and
 * setting. Values that may be secrets are not shown.
 */
import { type Actor, type AuditEvent, PROXY_ACTOR } from '../audit/events.js'
import { formatDuration } from '../config/definition.js'
import { type ConfigSource, hashText } from '../config/load.js'
import { allSettings } from '../config/settings.js'
import { createDenyList, type Denial, formatDenial, getDenialKey } from '../revocation/denials.js'
import { formatNetwork } from '../users/networks.js'
import type { Rule, Rules } from '../users/rules.js'
import { describeRule, listRoles } from './connectionAudit.js'
import type { LoadedConfig } from './policy.js'
import { PROTECTIONS, type WeakenedProtection } from './protections.js'
import { mergeLiveSettings } from './reload.js'

export type ConfigEvent = AuditEvent<'config'>
type Change = ConfigEvent['change']
type Origin = Pick<ConfigEvent, 'actor' | 'configHash' | 'file' | 'fileHash' | 'fileTime'>

const MAX_PROBLEMS = 100
/** Why a change of a setting that is not live has no effect yet. */
export const AFTER_RESTART = 'takes effect after a restart'
const OTHER_SCOPE = 'is for other scopes'

const liveSettings = new Set<string>(allSettings.filter(({ definition }) => definition.live).map(({ path }) => path))

/** The events of a start: the file, every protection that was set, and every rule and denial. */
export function describeLoaded(loaded: LoadedConfig): ConfigEvent[] {
  const { source, policy } = loaded
  const origin = describeSource(source)
  const file: ConfigEvent[] = source.file === undefined ? [] : [{ ...origin, change: 'loaded', subject: 'file' }]
  const settings = [...source.given]
    .filter(([path]) => PROTECTIONS[path as keyof typeof PROTECTIONS] != null)
    .map(
      ([setting, { text }]): ConfigEvent => ({
        ...describeOrigin(loaded, setting),
        change: 'loaded',
        subject: 'setting',
        setting,
        current: text,
      }),
    )
  const rules = listRules(policy.rules).map(rule => createRuleEvent('loaded', undefined, rule, loaded))
  const denials = createDenyList(policy.denials).all.map(denial => describeDenial('loaded', undefined, denial, loaded))
  return [...file, ...settings, ...rules, ...denials]
}

/** The events of a reload that was applied. `weakened`: what protects less than before. */
export function describeChanges(
  before: LoadedConfig,
  after: LoadedConfig,
  weakened: readonly WeakenedProtection[],
): ConfigEvent[] {
  const origin = describeSource(after.source)
  const isOtherFile = after.source.file !== undefined && before.source.hash !== after.source.hash
  const file: ConfigEvent[] = isOtherFile ? [{ ...origin, change: 'changed', subject: 'file' }] : []
  return [
    ...file,
    ...describeSettingChanges(before, after, weakened),
    ...describeRuleChanges(before, after, weakened),
    ...describeDenialChanges(before, after, weakened),
  ]
}

/** The event of a configuration that was rejected. `source` is undefined if its file could not be read. */
export function describeRejection(
  problems: readonly string[],
  source: Omit<ConfigSource, 'given'> | undefined,
  running: LoadedConfig,
): ConfigEvent {
  const more = problems.length - MAX_PROBLEMS + 1
  const shown = more > 1 ? [...problems.slice(0, MAX_PROBLEMS - 1), `${more} more problems`] : [...problems]
  const { file } = running.source
  const origin =
    source?.file === undefined ? { actor: toActor(file), ...(file !== undefined && { file }) } : describeSource(source)
  return {
    ...origin,
    outcome: 'failed',
    change: 'rejected',
    subject: 'file',
    problems: shown,
    configHash: running.source.hash,
  }
}

/** The events of denials that were added, changed or removed. */
export function describeDenialChanges(
  before: LoadedConfig,
  after: LoadedConfig,
  weakened: readonly WeakenedProtection[] = [],
): ConfigEvent[] {
  const [old, next] = [before, after].map(
    ({ policy }) => new Map(createDenyList(policy.denials).all.map(denial => [getDenialKey(denial), denial])),
  ) as [Map<string, Denial>, Map<string, Denial>]
  const keys = [...new Set([...old.keys(), ...next.keys()])]
  return keys.flatMap(key => {
    const [was, is] = [old.get(key), next.get(key)]
    if (was && is && describeTerms(was) === describeTerms(is)) return []
    const change = was ? (is ? 'changed' : 'removed') : 'added'
    const event = describeDenial(change, was, is, after)
    if (!is) return [{ ...event, protection: true, weakening: 'was removed' }]
    return [withWeakening(event, weakened, ({ denial }) => denial !== undefined && denial === event.denial)]
  })
}

/** Pairs the rules of two lists that have the same ARN. Equal ones first, because an ARN may be in rules of several scopes. */
export function pairRules(before: Rules, after: Rules): [before: Rule | undefined, after: Rule | undefined][] {
  const old = groupByArn(listRules(before))
  const next = groupByArn(listRules(after))
  return [...new Set([...next.keys(), ...old.keys()])].flatMap(arn => {
    const rest = [...(old.get(arn) ?? [])]
    const pairs = (next.get(arn) ?? []).map((rule): [Rule | undefined, Rule] => {
      const equal = rest.findIndex(other => describeContent(other) === describeContent(rule))
      return [equal < 0 ? undefined : rest.splice(equal, 1)[0], rule]
    })
    const paired = pairs.map(([was, is]): [Rule | undefined, Rule] => [was ?? rest.shift(), is])
    return [...paired, ...rest.map((rule): [Rule, undefined] => [rule, undefined])]
  })
}

function describeSettingChanges(
  before: LoadedConfig,
  after: LoadedConfig,
  weakened: readonly WeakenedProtection[],
): ConfigEvent[] {
  const { applied, needRestart } = mergeLiveSettings(before.config, after.config)
  const [old, next] = [before.source.given, after.source.given]
  const isGiven = (path: string) => [path, `${path}File`].some(name => old.has(name) || next.has(name))
  const paths = allSettings.map(({ path }) => path).filter(path => path !== 'users')
  return paths.flatMap(path => {
    const isOther = old.get(path)?.text !== next.get(path)?.text
    const hasOtherValue = [...applied, ...needRestart].includes(path) && isGiven(path)
    const isWeaker = weakened.some(({ setting, denial }) => setting === path && denial === undefined)
    // Denials have events of their own.
    if (!isOther && !isWeaker && (!hasOtherValue || path === 'deny.file')) return []
    const needsRestart = !liveSettings.has(path) || (path.startsWith('tls.') && needRestart.includes('tls'))
    const reason = [
      ...(isOther ? [] : ['its value or the contents of its file changed']),
      ...(needsRestart ? [AFTER_RESTART] : []),
    ].join(', ')
    const event: ConfigEvent = {
      ...describeOrigin(after, path),
      change: old.has(path) === next.has(path) ? 'changed' : next.has(path) ? 'added' : 'removed',
      subject: 'setting',
      setting: path,
      ...describeTexts(old.get(path)?.text, next.get(path)?.text),
      ...(reason !== '' && { reason }),
    }
    return [withWeakening(event, weakened, ({ setting, denial }) => setting === path && denial === undefined)]
  })
}

function describeRuleChanges(
  before: LoadedConfig,
  after: LoadedConfig,
  weakened: readonly WeakenedProtection[],
): ConfigEvent[] {
  const pairs = pairRules(before.policy.rules, after.policy.rules)
  const reported = new Set<string>()
  const events = pairs.flatMap(([was, is]) => {
    const rule = is ?? was
    const isWeaker = ({ pattern }: WeakenedProtection) => pattern !== undefined && pattern === was?.description
    const hasWeakening = was !== undefined && weakened.some(isWeaker) && !reported.has(was.description)
    const isSame =
      was && is && describeContent(was) === describeContent(is) && isInScope(was, before) === isInScope(is, after)
    if (!rule || (isSame && !hasWeakening)) return []
    if (hasWeakening) reported.add(was.description)
    const event = createRuleEvent(was ? (is ? 'changed' : 'removed') : 'added', was, is, after)
    return [hasWeakening ? withWeakening(event, weakened, isWeaker) : event]
  })
  return [...describeOrder(pairs, after), ...events]
}

/** The first rule that matches decides, so their order is part of the policy. */
function describeOrder(pairs: ReturnType<typeof pairRules>, after: LoadedConfig): ConfigEvent[] {
  const both = pairs.flatMap(([was, is]) => (was && is ? [{ was, is }] : []))
  const old = [...both].sort((a, b) => a.was.decidedBy.rule - b.was.decidedBy.rule)
  const next = [...both].sort((a, b) => a.is.decidedBy.rule - b.is.decidedBy.rule)
  const moved = next.filter((pair, index) => old[index] !== pair)
  if (moved.length === 0) return []
  const list = (rules: Rule[]) => rules.map(({ arn, decidedBy }) => `${decidedBy.rule}: ${arn}`).join('; ')
  const event: ConfigEvent = {
    ...describeSource(after.source),
    change: 'changed',
    subject: 'setting',
    setting: 'users',
    reason: `${moved.length} rules have another place in the order`,
    previous: list(old.filter(pair => moved.includes(pair)).map(({ was }) => was)),
    current: list(moved.map(({ is }) => is)),
  }
  return [event]
}

function createRuleEvent(
  change: Change,
  was: Rule | undefined,
  is: Rule | undefined,
  loaded: LoadedConfig,
): ConfigEvent {
  const rule = is ?? was
  if (!rule) throw new Error('a change of no rule')
  return {
    ...describeSource(loaded.source),
    change,
    subject: 'rule',
    arn: rule.arn,
    rule: describeRule(rule),
    ...(was && { rolesBefore: listRoles(was) }),
    ...(is && { roles: listRoles(is) }),
    ...describeTexts(was && describeConditions(was), is && describeConditions(is)),
    ...(is && !isInScope(is, loaded) && { reason: OTHER_SCOPE }),
  }
}

const isInScope = (rule: Rule, { policy }: LoadedConfig): boolean => !policy.rules.outOfScope.includes(rule)

function describeDenial(
  change: Change,
  was: Denial | undefined,
  is: Denial | undefined,
  loaded: LoadedConfig,
): ConfigEvent {
  const denial = is ?? was
  if (!denial) throw new Error('a change of no denial')
  const { file, text = '' } = loaded.config.deny
  return {
    actor: toActor(file),
    configHash: loaded.source.hash,
    ...(file !== undefined && { file, fileHash: hashText(text) }),
    change,
    subject: 'denial',
    denial: formatDenial(denial),
    ...(is && { until: is.until?.toISOString() ?? null }),
    ...(denial.why !== undefined && { reason: denial.why }),
    ...(was && describeTexts(describeTerms(was), is && describeTerms(is))),
  }
}

const describeTerms = ({ until, why }: Denial): string =>
  [until ? `until ${until.toISOString()}` : 'without end', ...(why === undefined ? [] : [why])].join(': ')

/** Everything of a rule except its number, for comparison. */
const describeContent = (rule: Rule): string =>
  [listRoles(rule), describeConditions(rule), rule.scopes].map(part => JSON.stringify(part)).join()

/** The database user and the conditions of a rule. Roles have a field of their own. Scopes may be any text. */
function describeConditions(rule: Rule): string {
  const { grant, clientSource = [], deleteAfterDate, principalId, maxAgeMS, maxSessions, scopes } = rule
  const parts = [
    'user' in grant && `user ${grant.user.name}@${grant.user.db}`,
    clientSource.length > 0 && `clientSource ${clientSource.flat().map(formatNetwork).join(', ')}`,
    deleteAfterDate && `deleteAfterDate ${deleteAfterDate.toISOString()}`,
    principalId !== undefined && `principalId ${principalId}`,
    maxAgeMS !== undefined && `maxAge ${formatDuration(maxAgeMS)}`,
    maxSessions !== undefined && `maxSessions ${maxSessions}`,
    scopes && `for ${scopes.length} scopes`,
  ]
  return parts.filter(part => part).join('; ') || 'no conditions'
}

/** The rules in the order of the file. */
function listRules({ all, outOfScope }: Rules): Rule[] {
  return [...all, ...outOfScope].sort((a, b) => a.decidedBy.rule - b.decidedBy.rule)
}

function groupByArn(rules: readonly Rule[]): Map<string, Rule[]> {
  const groups = new Map<string, Rule[]>()
  for (const rule of rules) groups.set(rule.arn, [...(groups.get(rule.arn) ?? []), rule])
  return groups
}

function describeTexts(previous: string | undefined, current: string | undefined): Partial<ConfigEvent> {
  return { ...(previous !== undefined && { previous }), ...(current !== undefined && { current }) }
}

function withWeakening(
  event: ConfigEvent,
  weakened: readonly WeakenedProtection[],
  isAbout: (protection: WeakenedProtection) => boolean,
): ConfigEvent {
  const texts = weakened.filter(isAbout).map(({ weakening }) => weakening)
  return texts.length > 0 ? { ...event, protection: true, weakening: texts.join('; ') } : event
}

/** Of a setting: the file, unless a flag or variable gives it. */
function describeOrigin({ source }: LoadedConfig, setting: string): Origin {
  const isInFile = source.given.get(setting)?.isInFile ?? true
  return isInFile ? describeSource(source) : { actor: PROXY_ACTOR, configHash: source.hash }
}

function describeSource({ file, hash, modified }: Omit<ConfigSource, 'given'>): Origin {
  return {
    actor: toActor(file),
    configHash: hash,
    ...(file !== undefined && { file, fileHash: hash }),
    ...(modified && { fileTime: modified.toISOString() }),
  }
}

export function toActor(file: string | undefined): Actor {
  return file === undefined ? PROXY_ACTOR : { kind: 'file', id: file }
}
