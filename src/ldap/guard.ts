/** The guard before every login: refuses while LDAP authorization is on at the upstream, or cannot be excluded. */
import type { After } from '../clock.js'
import { Fault } from '../errors.js'
import type { Log } from '../log.js'
import { rejectOnAbort, withTimeout } from '../upstream/deadline.js'
import { singleFlight } from '../upstream/singleFlight.js'
import { evaluateLdap, type LdapReplies, type LdapVerdict, queryLdapSettings, type RunCommand } from './ldap.js'

export type LdapGuard = {
  /** What is known now; `unknown` becomes `off` where the operator vouched for it. */
  getState(): LdapVerdict['state']
  /** What the verdict comes from. */
  getReason(): string
  /** Asks, and goes on asking. Resolves after the first answer, or when there was none in time; never rejects. */
  start(): Promise<void>
  /** Asks now, and holds nothing excluded until then: the upstream is not the process that answered last. */
  recheck(): Promise<void>
  close(): void
  /** Throws `ldap/on`, or `ldap/unknown`. */
  assertOff(): void
  /** The same for one connection that has logged in: where the verdict is unknown, it is asked over this one. */
  assertOffOver(run: RunCommand): Promise<void>
}

export type LdapGuardOptions = {
  /** Puts the questions. Throws where the upstream cannot be reached. */
  probe: (signal: AbortSignal) => Promise<LdapReplies>
  intervalMS: number
  /** The operator's word for it where the upstream cannot tell; it may change. */
  readonly assume: 'off' | undefined
  log: Log
  after: After
}

const PATIENCE_MS = 10_000
/** Where nothing is known yet logins wait, so it is asked more often. */
const SOON_MS = 5_000
/** An answer outlives this many rounds in which the upstream was away, and no more: it may have come back changed. */
const ROUNDS = 5

const CURE = {
  on: 'turn it off (security.ldap.authz.queryTemplate), or put another MongoDB behind the proxy',
  unknown:
    'give upstream.admin a user with the role clusterMonitor, or set ldap.assume: off if LDAP authorization is off',
}

export function createLdapGuard(parts: LdapGuardOptions): LdapGuard {
  const { probe: ask, intervalMS: everyMS, log, after } = parts
  const stop = new AbortController()
  let known: LdapVerdict = { state: 'unknown', why: 'the upstream has not answered yet' }
  let silent = 0
  let generation = 0 // counts the processes that the upstream was
  let logged: string | undefined
  let cancel = () => {}

  const learn = (judgement: LdapVerdict): void => {
    known = judgement
    const line = `${judgement.state} ${judgement.why}`
    if (line === logged) return
    logged = line
    const level = judgement.state === 'on' ? 'error' : verdictOf(judgement, parts.assume) === 'off' ? 'info' : 'warn'
    log(level, 'ldap authorization checked', {
      ...judgement,
      ...(judgement.state === 'unknown' && parts.assume && { assume: parts.assume }),
    })
  }

  const round = singleFlight(async (): Promise<void> => {
    const asked = generation
    try {
      const timeoutReason = () => new Fault('upstream/unreachable', undefined, { code: 'ETIMEDOUT' })
      const limits = { after, timeoutReason, signal: stop.signal }
      const answers = await withTimeout(PATIENCE_MS, limits, signal => rejectOnAbort(signal, ask(signal)))
      silent = 0
      if (asked === generation) learn(evaluateLdap(answers))
    } catch (thrown) {
      if (stop.signal.aborted) return
      const fault = Fault.from(thrown)
      const { code } = fault.data('upstream/unreachable', 'upstream/authentication-failed') ?? {}
      if (++silent >= ROUNDS || known.state === 'unknown') {
        learn({ state: 'unknown', why: `the upstream cannot be asked (${fault.kind}${code ? `, ${code}` : ''})` })
      }
    }
    if (stop.signal.aborted) return
    cancel()
    cancel = after(known.state === 'unknown' && silent > 0 ? Math.min(SOON_MS, everyMS) : everyMS, round)
  })

  return {
    getState: () => verdictOf(known, parts.assume),
    getReason: () => known.why,
    start: round,
    recheck: () => {
      generation++
      // What was on stays on until it is asked: the operator's word is for what cannot be known.
      if (known.state === 'off') known = { state: 'unknown', why: 'the upstream started anew and was not asked yet' }
      return round()
    },
    close: () => {
      stop.abort(new Fault('proxy/shutdown'))
      cancel()
    },
    assertOff: () => admit(known, parts.assume),
    assertOffOver: async run => {
      // What one user may see is told to nobody else: the next user's rights may be fewer, and then logins would flap.
      const judgement =
        verdictOf(known, parts.assume) === 'unknown' ? evaluateLdap(await queryLdapSettings(run)) : known
      admit(judgement, parts.assume)
    },
  }
}

function verdictOf({ state }: LdapVerdict, assume: 'off' | undefined): LdapVerdict['state'] {
  return state === 'unknown' ? (assume ?? state) : state
}

function admit(judgement: LdapVerdict, assume: 'off' | undefined): void {
  const verdict = verdictOf(judgement, assume)
  if (verdict !== 'off') throw new Fault(`ldap/${verdict}`, `${judgement.why}; ${CURE[verdict]}`)
}
