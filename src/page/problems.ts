/**
 * Finds what is wrong at the moment, with the entry of the runbook that says what to do. Pure.
 *
 * The conditions are those of the Prometheus alerts, but a page that somebody looks at shows a problem at once, not after
 * minutes. A count covers the last five minutes, so that a problem that comes and goes stays visible for a while.
 */
import type { RecentCounts } from './recentCounts.js'
import { classify, SAMPLE_MS } from './series.js'
import type { Problem, StatusSnapshot } from './snapshot.js'

export const RECENT_SAMPLES = 60
const MINUTE_SAMPLES = 60_000 / SAMPLE_MS
const NEAR_LIMIT = 0.8
const MAX_SKEW_MS = 60_000
const WARNING_DAYS = 30
/** A share of logins that fail although no client is at fault. */
const FAILING_SHARE = 0.1

/** Totals that `RecentCounts` has: logins and calls to STS by outcome, and these counters. */
export const COUNTED = [
  'shed_total',
  'failed_accepts_total',
  'upstream_refused_connections_total',
  'audit_lost_events_total',
  'weakened_protections_total',
] as const
export const loginKey = (outcome: string): string => `login ${outcome}`
export const stsKey = (outcome: string): string => `sts ${outcome}`

export type ProblemInput = Pick<
  StatusSnapshot,
  'time' | 'status' | 'config' | 'primary' | 'certificates' | 'budgets' | 'refusals'
> & {
  recent: Pick<RecentCounts, 'increase'>
  /** All outcomes that `recent` has. */
  outcomes: readonly string[]
  /** Why the last read of $external failed, and whether logins are refused for it. Undefined after a good read. */
  directory: { why: string; isStale: boolean } | undefined
  /** How far the clock of STS is ahead. */
  clockSkewMS: number
}

type Finding = { level: Problem['level']; text: string; alert: string }

const error = (alert: string, text: string): Finding => ({ level: 'error', text, alert })
const warning = (alert: string, text: string): Finding => ({ level: 'warning', text, alert })

/** The worst first: what stops all logins, then what stops some, then what may become a problem. */
const CHECKS: readonly ((input: ProblemInput) => readonly (Finding | false)[])[] = [
  findLdap,
  findCertificates,
  findUpstream,
  findSts,
  findAudit,
  findLimits,
  findUsers,
  findConfiguration,
  findSuspicious,
]

/** `runbook`: the address of the runbook, to which the anchor of an entry is added. */
export function findProblems(input: ProblemInput, runbook: string): Problem[] {
  const found = CHECKS.flatMap(check => check(input).filter(finding => finding !== false))
  const all = found.some(({ level }) => level === 'error') ? found : [...found, ...findFailingLogins(input)]
  return [...all.filter(({ level }) => level === 'error'), ...all.filter(({ level }) => level === 'warning')].map(
    ({ level, text, alert }) => ({ level, text, runbook: `${runbook}#${alert.toLowerCase()}` }),
  )
}

function findLdap({ status }: ProblemInput): (Finding | false)[] {
  return [
    status.ldap === 'on' &&
      error('MongoIamProxyLdapOn', 'LDAP authorization is on at MongoDB, so every login is refused.'),
    status.ldap === 'unknown' &&
      hasAnsweringMember(status) &&
      error(
        'MongoIamProxyLdapUnknown',
        'MongoDB does not say whether LDAP authorization is on. Grant clusterMonitor to the user of upstream.admin.',
      ),
  ]
}

function findCertificates({ certificates, time }: ProblemInput): (Finding | false)[] {
  const expired = certificates.filter(({ expiresAt }) => expiresAt <= time)
  const first = (role: string) => (role === 'server' ? 0 : 1)
  return [
    ...expired
      .sort((one, other) => first(one.role) - first(other.role))
      .map(({ file, setting, role, expiresAt }) => {
        const effect = role === 'server' ? ' Clients that verify it cannot connect.' : ''
        return error(
          'MongoIamProxyCertificateExpired',
          `${file} (${setting}) expired on ${formatDate(expiresAt)}.${effect}`,
        )
      }),
    ...certificates
      .filter(({ expiresAt, daysLeft }) => expiresAt > time && daysLeft < WARNING_DAYS)
      .map(({ file, setting, daysLeft }) =>
        warning('MongoIamProxyCertificateExpiring', `${file} (${setting}) expires in ${plural(daysLeft, 'day')}.`),
      ),
  ]
}

const hasAnsweringMember = ({ upstream }: StatusSnapshot['status']): boolean =>
  upstream.members.some(({ state }) => state !== 'unreachable')

function findUpstream({ status, primary, recent }: ProblemInput): (Finding | false)[] {
  const { members } = status.upstream
  const refused = recent.increase('upstream_refused_connections_total')
  const rejected = recent.increase(loginKey('upstream/authentication-failed'))
  const since = `since ${formatTime(primary.since)} UTC`
  const isDown = !hasAnsweringMember(status)
  return [
    isDown && error('MongoIamProxyUpstreamDown', 'No member of MongoDB answers, so no client can log in.'),
    !isDown &&
      status.upstream.primary === null &&
      error('MongoIamProxyNoPrimary', `MongoDB has had no primary ${since}. Logins wait for one, then fail.`),
    refused > 0 &&
      error(
        'MongoIamProxyUpstreamRefusing',
        `MongoDB closed ${plural(refused, 'new connection')} in the last 5 minutes: it is probably full (net.maxIncomingConnections).`,
      ),
    rejected > 0 &&
      error(
        'MongoIamProxyUpstreamRefusing',
        `MongoDB rejected the database user of ${plural(rejected, 'login')} in the last 5 minutes.`,
      ),
    ...(isDown ? [] : members)
      .filter(({ state }) => state === 'unreachable')
      .map(({ address }) => warning('MongoIamProxyMemberDown', `The MongoDB member ${address} does not answer.`)),
  ]
}

function findSts({ budgets: { hosts, buckets }, recent }: ProblemInput): (Finding | false)[] {
  const ejected = hosts.filter(({ health }) => health <= 0)
  const failed = recent.increase(stsKey('unavailable'), MINUTE_SAMPLES)
  const answered = ['identity', 'refused', 'throttled'].reduce(
    (sum, outcome) => sum + recent.increase(stsKey(outcome), MINUTE_SAMPLES),
    0,
  )
  const isDown = hosts.length > 0 && (ejected.length === hosts.length || (failed > 0 && answered === 0))
  const throttled = recent.increase(stsKey('throttled'))
  const exhausted = recent.increase(loginKey('budget/exhausted'))
  const busiest = buckets.reduce((most, bucket) => (bucket.waiting > (most?.waiting ?? 0) ? bucket : most), buckets[0])
  const queue = busiest && busiest.waiting > 0 ? `; ${plural(busiest.waiting, 'login')} of ${busiest.bucket} wait` : ''
  return [
    isDown &&
      error('MongoIamProxyStsDown', 'AWS STS gives no usable answer, so no client can log in. Open sessions continue.'),
    exhausted > 0 &&
      error(
        'MongoIamProxyBudgetExhausted',
        `The STS budget was too small for ${plural(exhausted, 'login')} in the last 5 minutes${queue}.`,
      ),
    throttled > 0 &&
      warning('MongoIamProxyStsThrottled', `AWS STS throttled ${plural(throttled, 'call')} in the last 5 minutes.`),
    ...(isDown ? [] : ejected).map(({ host }) =>
      warning(
        'MongoIamProxyStsHostEjected',
        `The STS host ${host} gives no usable answer. Logins use the other hosts.`,
      ),
    ),
  ]
}

function findAudit({ status, recent }: ProblemInput): (Finding | false)[] {
  const lost = recent.increase('audit_lost_events_total')
  return [
    status.audit.failing && error('MongoIamProxyAuditFailing', 'The audit trail cannot be written.'),
    lost > 0 &&
      error('MongoIamProxyAuditEventsLost', `The audit trail lost ${plural(lost, 'event')} in the last 5 minutes.`),
  ]
}

function findLimits({ status, recent, refusals }: ProblemInput): (Finding | false)[] {
  const { open, free } = status.sessions
  const isFull = free === 0
  const refused = recent.increase(loginKey('login/session-limit'))
  const overPrincipal = recent.increase(loginKey('login/principal-limit'))
  const principal = refusals.find(({ fault }) => fault === 'login/principal-limit')?.arn
  const shed = recent.increase('shed_total')
  const failedAccepts = recent.increase('failed_accepts_total')
  return [
    failedAccepts > 0 &&
      error(
        'MongoIamProxyAcceptFailing',
        `The operating system refused ${plural(failedAccepts, 'connection')} in the last 5 minutes.`,
      ),
    (isFull || refused > 0) &&
      error(
        'MongoIamProxySessionLimitReached',
        `${isFull ? `All ${open} session slots are taken` : 'All session slots were taken'}; ${plural(refused, 'login')} refused in the last 5 minutes.`,
      ),
    !isFull &&
      open > NEAR_LIMIT * (open + free) &&
      warning(
        'MongoIamProxySessionsNearLimit',
        `${Math.floor((100 * open) / (open + free))} % of the session slots are taken.`,
      ),
    shed > 0 &&
      warning(
        'MongoIamProxyConnectionsShed',
        `${plural(shed, 'connection')} closed in the last 5 minutes, because listen.connections or listen.perAddress was reached.`,
      ),
    overPrincipal > 0 &&
      warning(
        'MongoIamProxyPrincipalLimitReached',
        `${principal ?? 'A principal'} has as many sessions as it may have; ${plural(overPrincipal, 'login')} refused in the last 5 minutes.`,
      ),
  ]
}

function findUsers({ status, directory, recent, outcomes }: ProblemInput): (Finding | false)[] {
  const failed = outcomes
    .filter(outcome => outcome.startsWith('provision/'))
    .reduce((sum, outcome) => sum + recent.increase(loginKey(outcome)), 0)
  const { unrevokedRoles } = status
  return [
    unrevokedRoles > 0 &&
      error(
        'MongoIamProxyRolesUnrevoked',
        `${plural(unrevokedRoles, 'principal')} still ${unrevokedRoles === 1 ? 'has' : 'have'} roles that were taken away.`,
      ),
    directory !== undefined &&
      (directory.isStale ? error : warning)(
        'the-login-could-not-be-decided-now',
        `The users of $external cannot be read (${directory.why}). ${directory.isStale ? 'Logins without a rule fail.' : 'Logins use the last read for now.'}`,
      ),
    failed > 0 &&
      warning(
        'MongoIamProxyProvisioningFailing',
        `The database user of ${plural(failed, 'login')} could not be created or updated in the last 5 minutes.`,
      ),
  ]
}

function findConfiguration({ config, recent, clockSkewMS }: ProblemInput): (Finding | false)[] {
  const weakened = recent.increase('weakened_protections_total')
  const rejected = config.rejectedAt === undefined ? '' : ` at ${formatTime(config.rejectedAt)} UTC`
  return [
    config.isRejected &&
      warning(
        'MongoIamProxyReloadRejected',
        `The configuration file is invalid and was rejected${rejected}. The one before it is in force, and a restart would fail.`,
      ),
    weakened > 0 &&
      warning(
        'MongoIamProxyProtectionWeakened',
        `A reload removed or weakened ${plural(weakened, 'protection')} in the last 5 minutes.`,
      ),
    Math.abs(clockSkewMS) > MAX_SKEW_MS &&
      warning(
        'MongoIamProxyClockSkewed',
        `The clock of this machine differs from that of AWS by ${plural(Math.round(Math.abs(clockSkewMS) / 1_000), 'second')}.`,
      ),
  ]
}

function findSuspicious({ recent }: ProblemInput): (Finding | false)[] {
  const forged = recent.increase(loginKey('proof/header-unsigned'))
  const recreated = recent.increase(loginKey('users/recreated'))
  const bugs = recent.increase(loginKey('internal'))
  return [
    forged > 0 &&
      warning(
        'MongoIamProxySuspiciousLogin',
        `${plural(forged, 'login')} in the last 5 minutes had a signature that was made for another service.`,
      ),
    recreated > 0 &&
      warning(
        'MongoIamProxySuspiciousLogin',
        `${plural(recreated, 'login')} of a deleted and recreated principal refused in the last 5 minutes.`,
      ),
    bugs > 0 && warning('MongoIamProxyInternalError', `${plural(bugs, 'login')} failed because of a bug of the proxy.`),
  ]
}

/** What none of the others explains. */
function findFailingLogins({ recent, outcomes }: ProblemInput): Finding[] {
  const sum = (matches: (outcome: string) => boolean) =>
    outcomes.filter(matches).reduce((total, outcome) => total + recent.increase(loginKey(outcome)), 0)
  const all = sum(() => true)
  const failed = sum(outcome => classify(outcome) === 'unavailable')
  if (all === 0 || failed / all <= FAILING_SHARE) return []
  const text = `${Math.round((100 * failed) / all)} % of the logins of the last 5 minutes failed, and no client is at fault.`
  return [error('MongoIamProxyLoginsFailing', text)]
}

const plural = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? '' : 's'}`
const formatTime = (at: number): string => new Date(at).toISOString().slice(11, 19)
const formatDate = (at: number): string => new Date(at).toISOString().slice(0, 10)
