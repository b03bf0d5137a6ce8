/**
 * Logs a client in: from the proof of its identity to a session upstream, within one deadline.
 *
 *     validate the proof ─▶ LDAP guard ─▶ login limits ─▶ refusal and identity caches ─▶ STS, within its budget
 *       ─▶ register as live ─▶ deny list ─▶ rule or directory ─▶ session slot ─▶ log in upstream ─▶ LDAP guard ─▶ deny list
 *
 * The order of these steps makes a login safe. Whatever can be refused without a call to STS is refused before it. A
 * connection is registered before its identity is looked up in the deny list, so that a denial added later finds it.
 *
 * STS does not see a denied access key either, but its client must not notice: anyone can show a key id, and could find out
 * which ones are denied. So the login takes the same steps and the same time as that of an inactive key.
 */
import { decodeAccountId } from '../budget/account.js'
import type { LoginLimits, LoginOutcome, LoginSlot } from '../budget/loginLimits.js'
import type { Scheduler } from '../budget/scheduler.js'
import type { After } from '../clock.js'
import { Fault } from '../errors.js'
import type { FingerprintCredential } from '../identity/credentialFingerprint.js'
import type { IdentityCache } from '../identity/identityCache.js'
import type { StsFailure, StsOutcome } from '../identity/outcome.js'
import { type Proof, validateProof } from '../identity/proof.js'
import type { RefusalCache } from '../identity/refusalCache.js'
import { findRemedy } from '../identity/remedy.js'
import type { Identity } from '../identity/reply.js'
import type { AcquirePermit } from '../identity/retry.js'
import type { TimeStep } from '../provisioning/passwordAttempts.js'
import type { LiveConnection } from '../revocation/liveConnections.js'
import type { Challenge, ProofFields } from '../sasl/aws.js'
import { rejectOnAbort } from '../upstream/deadline.js'
import { type DatabaseUser, isSameDatabaseUser, type Match } from '../users/match.js'
import type { ClientInfo } from './handshake.js'
import type { PrincipalRefusals } from './principalRefusals.js'
import type { SessionSlots } from './sessionSlots.js'
import { type AuthenticatedUpstream, type Session, UpstreamSession } from './upstreamSession.js'

/** What the log line of a connection and the audit trail say about its login. */
export type LoginRecord = {
  accessKeyId?: string
  arn?: string
  /** What STS or a cache said about the signer. */
  identity?: Identity
  /** The host that was offered, and the id of its answer. */
  sts?: { host: string; requestId: string | null }
  user?: string
  /** The rule or directory user that admitted the client. */
  by?: Match['decidedBy']
  match?: Match
  /** A cache decided about the identity, without a call to STS. */
  cached?: true
  /** Milliseconds by stage. */
  ms: Partial<Record<'queue' | 'sts' | 'upstream' | 'login', number>>
  /** When its stages ran. Only a login that is traced has one. */
  timeline?: LoginTimeline | undefined
}

/** Monotonic milliseconds. A stage that is repeated, such as a call to STS, is there more than once. */
export type LoginTimeline = { startedAt: number; endedAt: number; stages: LoginStage[] }
export type LoginStage = {
  name: 'queue' | 'sts' | 'provisioning' | 'upstream'
  startedAt: number
  endedAt: number
}

/** The fields of a log line about a login, without the durations. */
export function toLoginFields({ accessKeyId, arn, user, by, cached }: LoginRecord) {
  return { accessKeyId, arn, user, ...by, cached }
}

export type LoginRequest = {
  fields: ProofFields
  challenge: Challenge
  client: ClientInfo
  /** The id of the client's connection. */
  connectionId: number
  /** The client's address, without its port. */
  address: string
  /** The fingerprint of the client certificate that this very TLS handshake verified. */
  certificate: string | undefined
  /** Filled in while the login proceeds. */
  record: LoginRecord
  /** Closes the client's connection, at any stage. */
  destroy(fault: Fault): void
}

/** What a connection needs of logins. Both methods throw the fault that explains a refusal. */
export type ConnectionAuthenticator = {
  login(request: LoginRequest, abort: AbortController): Promise<Session>
  /** Authenticates the client of a session again. `live` is that of the session, which stays. */
  reauthenticate(request: LoginRequest, live: Session['live'], abort: AbortController): Promise<void>
}

export type AuthenticatorOptions = {
  /** The clock of STS, in milliseconds since the epoch. */
  stsNow(): number
  /** Measures the clock of this host again, unless it was measured a moment ago. Throws `sts/unavailable`. */
  syncClock(host: string): Promise<void>
  /** Monotonic milliseconds. */
  now(): number
  /** The fault `login/denied` of an access key that is denied. */
  findKeyDenial(accessKeyId: string): Fault | undefined
  /** Throws `login/denied` for an identity or its access key. */
  assertNotDenied(accessKeyId: string, identity: Identity): void
  /** The fault of a login that finds no primary, if there has been none for at least this time. Milliseconds. */
  findPrimaryFault(ms: number): Fault | undefined
  /** Throws `ldap/on` if LDAP authorization is known to be on. */
  assertLdapOff(): void
  fingerprint: FingerprintCredential
  /** Throws `login/*-limit`. */
  reserveSlot: LoginLimits['acquireSlot']
  sessionSlots: Pick<SessionSlots, 'assertFree' | 'acquire'>
  /** Credentials whose principal has no free session slot. */
  principalRefusals: Pick<PrincipalRefusals, 'assertNone' | 'store'>
  /** A cached refusal of this credential, which no other signature would change. */
  findRefusal: RefusalCache['get']
  findIdentity: IdentityCache['lookUp']
  /**
   * Waits for a call to STS. Throws `budget/exhausted` at once if the wait would be too long, and `login/signature-limit`
   * if the credential is contested and this login is not drawn.
   */
  acquirePermit(
    bucket: string,
    host: string,
    slot: LoginSlot,
    maxWaitMS: number,
    signal: AbortSignal,
  ): ReturnType<Scheduler['acquire']>
  /** Calls STS, with a permit for each attempt. */
  askSts(proof: Proof, acquire: AcquirePermit, signal: AbortSignal): Promise<StsOutcome>
  /** The outcome of an inactive key, after the time of a call with its permits. STS does not see the key. */
  imitateInactiveKey(proof: Proof, address: string, acquire: AcquirePermit, signal: AbortSignal): Promise<StsFailure>
  /** Caches an outcome without a call, as `recordOutcome` caches that of a call. */
  cacheOutcome: RefusalCache['store']
  recordOutcome(host: string, fingerprint: string, outcome: StsOutcome, subnet: string): void
  /** Adds a live connection. Returns a function that removes it. */
  registerLive(live: LiveConnection): () => void
  /** The rule or directory user for this identity; a promise if the directory has to be read. Throws `users/*`. */
  authorize(identity: Identity, address: string): Match | Promise<Match>
  /**
   * Logs in upstream, and waits for a primary if there is none. Calls `onUser` with the database user first, and
   * `timeProvisioning` with each step that creates or updates this user.
   * If the state of LDAP authorization is unknown, determines it over this connection and throws `ldap/*`.
   */
  connectUpstream(
    as: {
      match: Match
      identity: Identity
      connectionId: number
      address: string
      onUser(user: DatabaseUser): void
      timeProvisioning: TimeStep
    },
    client: ClientInfo,
    signal: AbortSignal,
  ): Promise<AuthenticatedUpstream>
  after: After
  /** Milliseconds for the whole login. */
  deadlineMS(): number
  /** Whether records have a timeline. */
  isTraced: boolean
}

/** The share of the deadline that belongs to the upstream. If it had this long, it is unreachable. Milliseconds. */
const UPSTREAM_MS = 1_000

/** `connectStartedAt`: infinity until the upstream is dialed. */
type Progress = { connectStartedAt: number }

type VerifiedIdentity = { accessKeyId: string; identity: Identity; slot: LoginSlot }

/** `open` needs a session slot, and `renew` keeps the slot of its session. */
type Purpose = 'open' | 'renew'

/** A login whose proof is valid and that counts for the login limits. */
type LoginAttempt = { request: LoginRequest; purpose: Purpose; proof: Proof; slot: LoginSlot; signal: AbortSignal }

/**
 * Every method takes an AbortController that ends the login early. The client aborts it by leaving. The login itself
 * aborts it with a fault at its deadline. One controller serves all steps, because each costs as much as handling a frame.
 */
export class Authenticator implements ConnectionAuthenticator {
  readonly #options: AuthenticatorOptions

  constructor(options: AuthenticatorOptions) {
    this.#options = options
  }

  /** Logs a client in, or throws the fault that explains why not. */
  login(request: LoginRequest, abort: AbortController): Promise<UpstreamSession> {
    return this.#authenticate(request, 'open', abort, (verified, progress) =>
      this.#openSession(request, abort, verified, progress),
    )
  }

  /**
   * Authenticates a live connection again and updates its entry. Its session upstream stays. The identity cache does not
   * apply: it requires a client certificate, and the TLS handshake that verified one may be long past.
   *
   * Throws `login/principal-changed` for another principal or database user, and the faults of `login`.
   */
  reauthenticate(request: LoginRequest, live: LiveConnection, abort: AbortController): Promise<void> {
    const withoutCertificate = { ...request, certificate: undefined }
    return this.#authenticate(withoutCertificate, 'renew', abort, verified =>
      this.#updateLive(request, abort, verified, live),
    )
  }

  /** A login that will find no primary before its deadline must not cost a call to STS. */
  #assertPrimary(): void {
    const { findPrimaryFault, deadlineMS } = this.#options
    const fault = findPrimaryFault(deadlineMS())
    if (fault) throw fault
  }

  /** Verifies the identity and runs `finish`, within one deadline. The login limits count this as one login. */
  async #authenticate<T>(
    request: LoginRequest,
    purpose: Purpose,
    abort: AbortController,
    finish: (verified: VerifiedIdentity, progress: Progress) => Promise<T>,
  ): Promise<T> {
    const { now, findKeyDenial, assertLdapOff, reserveSlot, fingerprint, isTraced } = this.#options
    const { address, record } = request
    const startedAt = now()
    if (isTraced) record.timeline = { startedAt, endedAt: startedAt, stages: [] }
    const progress: Progress = { connectStartedAt: Number.POSITIVE_INFINITY }
    const cancelDeadline = this.#startDeadline(abort, progress)
    let slot: LoginSlot | undefined
    let outcome: LoginOutcome = 'cached' // unless STS is asked
    try {
      const proof = this.#validateProof(request) ?? (await this.#validateWithSyncedClock(request, abort.signal))
      const { accessKeyId } = proof
      record.accessKeyId = accessKeyId
      assertLdapOff()
      if (purpose === 'open') this.#assertPrimary()
      slot = reserveSlot(address, fingerprint(proof))
      const attempt: LoginAttempt = { request, purpose, proof, slot, signal: abort.signal }
      const denial = findKeyDenial(accessKeyId)
      if (denial) throw denial.answerAs(await this.#imitateRefusal(attempt))
      const identity = await this.#identify(attempt)
      record.arn = identity.arn
      record.identity = identity
      const result = await finish({ accessKeyId, identity, slot }, progress)
      outcome = record.cached ? 'cached' : 'verified'
      return result
    } catch (thrown) {
      const fault = toLoginFault(thrown, abort.signal)
      if (!record.cached) outcome = fault
      throw fault
    } finally {
      slot?.release(outcome)
      cancelDeadline()
      const endedAt = now()
      record.ms.login = Math.round(endedAt - startedAt)
      if (record.timeline) record.timeline.endedAt = endedAt
    }
  }

  #startDeadline(abort: AbortController, progress: Progress): () => void {
    const { after, deadlineMS } = this.#options
    const ms = deadlineMS()
    return after(ms, () => abort.abort(this.#createTimeoutFault(ms, progress)))
  }

  #createTimeoutFault(ms: number, { connectStartedAt }: Progress): Fault {
    const { now, findPrimaryFault } = this.#options
    const upstreamMS = now() - connectStartedAt
    return (
      (upstreamMS >= 0 ? findPrimaryFault(0) : undefined) ??
      (upstreamMS >= UPSTREAM_MS
        ? new Fault('upstream/unreachable', `no answer within the ${ms} ms of a login`)
        : new Fault('login/timeout', `${ms} ms`))
    )
  }

  /** Undefined if the signature is outside the time window. Throws what `validateProof` throws for other reasons. */
  #validateProof({ fields, challenge }: LoginRequest): Proof | undefined {
    try {
      return validateProof(fields, challenge, new Date(this.#options.stsNow()))
    } catch (thrown) {
      if (thrown instanceof Fault && thrown.kind === 'proof/clock-skew') return undefined
      throw thrown
    }
  }

  /** This machine's clock may have been set since it was compared with that of STS. The client must not suffer from that. */
  async #validateWithSyncedClock({ fields, challenge }: LoginRequest, signal: AbortSignal): Promise<Proof> {
    const { stsNow, syncClock } = this.#options
    signal.throwIfAborted()
    await rejectOnAbort(signal, syncClock(challenge.host))
    return validateProof(fields, challenge, new Date(stsNow()))
  }

  /** Asks the caches, then STS. */
  async #identify(attempt: LoginAttempt): Promise<Identity> {
    const { findIdentity, askSts, recordOutcome } = this.#options
    const { request, proof, slot, signal } = attempt
    const { certificate, record } = request
    signal.throwIfAborted()
    const { subnet, fingerprint } = slot
    const { host } = proof.challenge
    // A refusal overrides a cached identity: the session has expired since.
    this.#assertNotRefused(attempt)
    const { identity: cached, store } = findIdentity({ ...proof, certificate, fingerprint })
    record.sts = { host, requestId: null }
    if (cached) {
      record.cached = true
      return cached
    }
    const outcome = await this.#timeSts(record, () => askSts(proof, this.#createPermitSource(attempt), signal))
    recordOutcome(host, fingerprint, outcome, subnet)
    if ('requestId' in outcome) record.sts = { host, requestId: outcome.requestId ?? null }
    if (outcome.is !== 'identity') throw createStsFault(outcome, proof)
    store(outcome.identity)
    return outcome.identity
  }

  /** The fault of a login with an inactive key, for a key that is denied. */
  async #imitateRefusal(attempt: LoginAttempt): Promise<Fault> {
    const { imitateInactiveKey, cacheOutcome } = this.#options
    const { request, proof, slot, signal } = attempt
    const { address, record } = request
    signal.throwIfAborted()
    const { host } = proof.challenge
    const acquire = this.#createPermitSource(attempt)
    try {
      this.#assertNotRefused(attempt)
      const outcome = await this.#timeSts(record, () => imitateInactiveKey(proof, address, acquire, signal))
      cacheOutcome(host, slot.fingerprint, outcome, slot.subnet)
      return createStsFault(outcome, proof)
    } catch (thrown) {
      return Fault.from(thrown) // for example `budget/exhausted`
    }
  }

  /** Throws if a login with this credential would be refused, whatever STS answered. */
  #assertNotRefused({ request: { record }, purpose, proof, slot: { subnet, fingerprint } }: LoginAttempt): void {
    const { findRefusal, sessionSlots, principalRefusals } = this.#options
    const refusal = findRefusal(proof.challenge.host, fingerprint)
    if (refusal) {
      record.cached = true
      throw createStsFault(refusal, proof)
    }
    if (purpose === 'renew') return
    sessionSlots.assertFree()
    principalRefusals.assertNone(subnet, fingerprint)
  }

  #timeSts<O extends StsOutcome>(record: LoginRecord, call: () => Promise<O>): Promise<O> {
    const { now } = this.#options
    const startedAt = now()
    return call().finally(() => addTime(record, 'sts', now() - startedAt))
  }

  /** Acquires permits for attempts at STS. The time of waiting counts for the queue and not for STS. */
  #createPermitSource(attempt: LoginAttempt): AcquirePermit {
    const { acquirePermit, now } = this.#options
    const { request, proof, slot, signal } = attempt
    const { record } = request
    return async maxWaitMS => {
      const startedAt = now()
      try {
        const { host } = proof.challenge
        const release = await acquirePermit(bucketKey(proof), host, slot, maxWaitMS, signal)
        try {
          // Many clients with one expired session wait here together. One call decides for all of them.
          this.#assertNotRefused(attempt)
          return this.#timeCall(record, release)
        } catch (thrown) {
          release()
          throw thrown
        }
      } finally {
        const endedAt = now()
        addTime(record, 'queue', endedAt - startedAt)
        addTime(record, 'sts', startedAt - endedAt)
        addStage(record, 'queue', startedAt, endedAt)
      }
    }
  }

  /** A call to STS begins with its permit and ends with the release of it. */
  #timeCall(record: LoginRecord, release: () => void): () => void {
    if (!record.timeline) return release
    const { now } = this.#options
    const startedAt = now()
    return () => {
      addStage(record, 'sts', startedAt, now())
      release()
    }
  }

  async #openSession(
    { connectionId, address: peer, client, record, destroy }: LoginRequest,
    abort: AbortController,
    { accessKeyId, identity, slot }: VerifiedIdentity,
    progress: Progress,
  ): Promise<UpstreamSession> {
    const { now, registerLive, assertNotDenied, assertLdapOff, connectUpstream } = this.#options
    const live: LiveConnection = { identity, accessKeyId, peer, match: undefined, destroy }
    const unregister = registerLive(live)
    let releaseSlot: (() => void) | undefined
    const release = (): void => {
      unregister()
      releaseSlot?.()
    }
    let session: UpstreamSession | undefined
    try {
      assertNotDenied(accessKeyId, identity)
      const match = await this.#authorize(identity, peer, abort.signal)
      live.match = match
      record.match = match
      record.by = match.decidedBy
      releaseSlot = this.#acquireSessionSlot(identity, match, slot)
      const onUser = ({ name, db }: DatabaseUser): void => {
        record.user = `${name}@${db}`
      }
      progress.connectStartedAt = now()
      const as = {
        match,
        identity,
        connectionId,
        address: peer,
        onUser,
        timeProvisioning: createStepTimer(record, now),
      }
      const upstream = await connectUpstream(as, client, abort.signal).finally(() => {
        const endedAt = now()
        addTime(record, 'upstream', endedAt - progress.connectStartedAt)
        addStage(record, 'upstream', progress.connectStartedAt, endedAt)
      })
      session = new UpstreamSession(upstream, live, release)
      assertLdapOff()
      assertNotDenied(accessKeyId, identity)
      abort.signal.throwIfAborted()
      return session
    } catch (thrown) {
      release()
      session?.dispose()
      throw thrown
    }
  }

  /** Takes a session slot before the upstream is dialed. Returns a function that gives it back. */
  #acquireSessionSlot({ canonical: arn }: Identity, { maxSessions }: Match, slot: LoginSlot): () => void {
    const { sessionSlots, principalRefusals } = this.#options
    const request = { arn, maxSessions }
    try {
      return sessionSlots.acquire(request)
    } catch (thrown) {
      if (Fault.from(thrown).kind === 'login/principal-limit') {
        principalRefusals.store(slot.subnet, slot.fingerprint, request)
      }
      throw thrown
    }
  }

  async #updateLive(
    { address, record }: LoginRequest,
    { signal }: AbortController,
    { accessKeyId, identity }: VerifiedIdentity,
    live: LiveConnection,
  ): Promise<void> {
    const { assertNotDenied } = this.#options
    if (identity.canonical !== live.identity.canonical) {
      throw new Fault('login/principal-changed', `${identity.canonical}, and it was ${live.identity.canonical}`)
    }
    assertNotDenied(accessKeyId, identity)
    const match = await this.#authorize(identity, address, signal)
    record.match = match
    record.by = match.decidedBy
    signal.throwIfAborted()
    if (!live.match || !isSameDatabaseUser(match, live.match)) {
      throw new Fault('login/principal-changed', 'another database user')
    }
    assertNotDenied(accessKeyId, identity)
    live.accessKeyId = accessKeyId // a denial of the new key or session must find this connection
    live.identity = identity
    live.match = match
  }

  /** Not a promise if rules alone decide. */
  #authorize(identity: Identity, address: string, signal: AbortSignal): Match | Promise<Match> {
    const match = this.#options.authorize(identity, address)
    return match instanceof Promise ? rejectOnAbort(signal, match) : match
  }
}

/** The token bucket of a proof: its account at its STS host. Keys that name no account share one bucket. */
export function bucketKey({ accessKeyId, challenge }: Proof): string {
  return `${decodeAccountId(accessKeyId) ?? 'none'} ${challenge.host}`
}

/** The fault that ended a login. An abort takes precedence over what was thrown; without a fault, the client aborted it. */
function toLoginFault(thrown: unknown, { aborted, reason }: AbortSignal): Fault {
  if (!aborted) return Fault.from(thrown)
  return reason instanceof Fault ? reason : new Fault('login/abandoned')
}

function createStsFault(outcome: StsFailure, proof: Proof): Fault {
  const { host } = proof.challenge
  switch (outcome.is) {
    case 'refused': {
      const { code, message } = outcome
      return new Fault('sts/refused', message ? `${code}: ${message}` : code, describeAnswer(code, proof))
    }
    case 'throttled':
      return new Fault('sts/throttled', outcome.code, { host })
    case 'unavailable':
      return new Fault('sts/unavailable', outcome.code, { ...describeAnswer(outcome.code, proof), why: outcome.why })
  }
}

/** The facts about an error of STS. */
function describeAnswer(code: string | undefined, proof: Proof) {
  const remedy = findRemedy(code, proof)
  return {
    host: proof.challenge.host,
    ...(code !== undefined && { code }),
    ...(remedy !== undefined && { remedy }),
  }
}

function createStepTimer(record: LoginRecord, now: () => number): TimeStep {
  if (!record.timeline) return step => step
  return step => {
    const startedAt = now()
    return step.finally(() => addStage(record, 'provisioning', startedAt, now()))
  }
}

function addStage({ timeline }: LoginRecord, name: LoginStage['name'], startedAt: number, endedAt: number): void {
  timeline?.stages.push({ name, startedAt, endedAt })
}

/** Adds to the time of a stage, in whole milliseconds. */
function addTime({ ms }: LoginRecord, stage: keyof LoginRecord['ms'], addedMS: number): void {
  ms[stage] = Math.round((ms[stage] ?? 0) + addedMS)
}
