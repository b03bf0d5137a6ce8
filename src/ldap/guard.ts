/**
 * The LDAP guard: refuses every login while LDAP authorization is on at the upstream, or while it is not known to be off.
 *
 *     probe every minute ─▶ verdict: on ─────────▶ refuse (ldap/on)
 *                                    off ────────▶ admit
 *                                    unknown ────▶ ldap.assume, else ask over the login's own connection, else refuse
 */
import { PROXY_ACTOR, type RecordAuditEvent } from '../audit/events.js'
import type { After } from '../clock.js'
import { Fault } from '../errors.js'
import type { Log } from '../log.js'
import { rejectOnAbort, withTimeout } from '../upstream/deadline.js'
import { singleFlight } from '../upstream/singleFlight.js'
import { evaluateLdap, type LdapReplies, type LdapVerdict, queryLdapSettings, type RunCommand } from './ldap.js'

export type LdapGuardOptions = {
  /** Queries the upstream. Rejects if it is unreachable. */
  probe: (signal: AbortSignal) => Promise<LdapReplies>
  intervalMS: number
  /** The setting `ldap.assume`, which decides while the state is unknown. A reload may change it. */
  readonly assume: 'off' | undefined
  log: Log
  /** Records each change of the state. */
  record: RecordAuditEvent
  after: After
}

const PROBE_TIMEOUT_MS = 10_000
/** While nothing is known, logins wait, so the probe runs more often. */
const RETRY_INTERVAL_MS = 5_000
/** A verdict outlives this many failed probes, and no more: the upstream may have come back with another configuration. */
const MAX_FAILED_PROBES = 5

const REMEDIES = {
  on: 'turn it off (security.ldap.authz.queryTemplate), or use another MongoDB behind the proxy',
  unknown:
    'grant clusterMonitor to the user of upstream.admin, or set ldap.assume: off if LDAP authorization is known to be off',
}

export class LdapGuard {
  readonly #options: LdapGuardOptions
  readonly #stop = new AbortController()
  readonly #probe: () => Promise<void>
  #verdict: LdapVerdict = { state: 'unknown', why: 'the upstream has not answered yet' }
  #failedProbes = 0
  /** Counts the server processes that the upstream was. */
  #generation = 0
  #loggedVerdict: string | undefined
  #recordedState: LdapVerdict['state'] | undefined
  #cancelNextProbe = (): void => {}

  constructor(options: LdapGuardOptions) {
    this.#options = options
    this.#probe = singleFlight(() => this.#runProbe())
  }

  /** The current state. `unknown` becomes `off` with `ldap.assume: off`. */
  getState(): LdapVerdict['state'] {
    return resolveState(this.#verdict, this.#options.assume)
  }

  /** What the verdict is based on. */
  getReason(): string {
    return this.#verdict.why
  }

  /** Starts to probe regularly. Resolves after the first answer or its timeout. Never rejects. */
  start(): Promise<void> {
    return this.#probe()
  }

  /** Probes at once, and treats `off` as unknown until then: another process answers for the upstream now. */
  recheck(): Promise<void> {
    this.#generation++
    // `on` stays on: ldap.assume vouches only for a state that cannot be known.
    if (this.#verdict.state === 'off') {
      this.#setVerdict({ state: 'unknown', why: 'the upstream has restarted and has not answered yet' })
    }
    return this.#probe()
  }

  close(): void {
    this.#stop.abort(new Fault('proxy/shutdown'))
    this.#cancelNextProbe()
  }

  /** Throws `ldap/on` or `ldap/unknown`. */
  assertOff(): void {
    assertOff(this.#verdict, this.#options.assume)
  }

  /**
   * The same for a connection that has just logged in: an unknown state is queried over this connection. The result is
   * not kept. The next user may have fewer privileges, and then logins would alternately succeed and fail.
   */
  async assertOffOver(runCommand: RunCommand): Promise<void> {
    const verdict = this.getState() === 'unknown' ? evaluateLdap(await queryLdapSettings(runCommand)) : this.#verdict
    assertOff(verdict, this.#options.assume)
  }

  async #runProbe(): Promise<void> {
    const { probe, after } = this.#options
    const { signal } = this.#stop
    const generation = this.#generation
    try {
      const timeoutReason = () => new Fault('upstream/unreachable', undefined, { code: 'ETIMEDOUT' })
      const replies = await withTimeout(PROBE_TIMEOUT_MS, { after, timeoutReason, signal }, signal =>
        rejectOnAbort(signal, probe(signal)),
      )
      this.#failedProbes = 0
      if (generation === this.#generation) this.#adopt(evaluateLdap(replies))
    } catch (thrown) {
      if (!signal.aborted) this.#recordFailure(Fault.from(thrown))
    }
    if (!signal.aborted) this.#scheduleProbe()
  }

  #scheduleProbe(): void {
    const { after, intervalMS } = this.#options
    const isUrgent = this.#verdict.state === 'unknown' && this.#failedProbes > 0
    this.#cancelNextProbe()
    this.#cancelNextProbe = after(isUrgent ? Math.min(RETRY_INTERVAL_MS, intervalMS) : intervalMS, this.#probe)
  }

  #recordFailure(fault: Fault): void {
    this.#failedProbes++
    if (this.#failedProbes < MAX_FAILED_PROBES && this.#verdict.state !== 'unknown') return
    const { code } = fault.data('upstream/unreachable', 'upstream/authentication-failed') ?? {}
    const why = `the upstream could not be queried (${fault.kind}${code ? `, ${code}` : ''})`
    this.#adopt({ state: 'unknown', why })
  }

  #adopt(verdict: LdapVerdict): void {
    const { assume, log } = this.#options
    this.#setVerdict(verdict)
    const text = `${verdict.state} ${verdict.why}`
    if (text === this.#loggedVerdict) return
    this.#loggedVerdict = text
    const level = verdict.state === 'on' ? 'error' : resolveState(verdict, assume) === 'off' ? 'info' : 'warn'
    log(level, 'ldap authorization checked', {
      ...verdict,
      ...(verdict.state === 'unknown' && assume && { assume }),
    })
  }

  #setVerdict(verdict: LdapVerdict): void {
    const { state, why: reason } = verdict
    this.#verdict = verdict
    const previous = this.#recordedState
    if (state === previous) return
    this.#recordedState = state
    this.#options.record('ldap', { actor: PROXY_ACTOR, state, reason, ...(previous && { previous }) })
  }
}

function resolveState({ state }: LdapVerdict, assume: 'off' | undefined): LdapVerdict['state'] {
  return state === 'unknown' ? (assume ?? state) : state
}

function assertOff(verdict: LdapVerdict, assume: 'off' | undefined): void {
  const state = resolveState(verdict, assume)
  if (state !== 'off') throw new Fault(`ldap/${state}`, `${verdict.why}; ${REMEDIES[state]}`)
}
