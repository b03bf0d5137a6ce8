/**
 * From a proof to a socket that is logged in upstream, within one deadline.
 *
 *     judge (no network) ─▶ denied? ─▶ LDAP guard ─▶ limits ─▶ what is remembered ─▶ STS, in its turn ─▶ identity
 *       ─▶ among the live ─▶ denied? ─▶ rule or directory ─▶ upstream login ─▶ LDAP guard, denied?
 *
 * It is long because the order of these steps is what makes a login safe, so it is to be read in one place.
 */
import type { Socket } from 'node:net'
import type { Document } from 'bson'
import { decodeAccountId } from '../budget/account.js'
import type { QueueEntry } from '../budget/fairQueue.js'
import type { LoginLimits, LoginOutcome } from '../budget/loginLimits.js'
import type { Scheduler } from '../budget/scheduler.js'
import type { After } from '../clock.js'
import { Fault } from '../errors.js'
import type { FingerprintCredential } from '../identity/credentialFingerprint.js'
import type { IdentityCache } from '../identity/identityCache.js'
import type { StsOutcome } from '../identity/outcome.js'
import { type Proof, validateProof } from '../identity/proof.js'
import type { RefusalCache } from '../identity/refusalCache.js'
import type { Identity } from '../identity/reply.js'
import type { AcquirePermit } from '../identity/retry.js'
import type { LiveConnection } from '../revocation/liveConnections.js'
import type { Challenge, ProofFields } from '../sasl/aws.js'
import { rejectOnAbort } from '../upstream/deadline.js'
import type { PrimaryTerm } from '../upstream/primaryTerm.js'
import type { ReadBuffer } from '../upstream/readBuffer.js'
import { type DatabaseUser, isSameDatabaseUser, type Match } from '../users/match.js'
import type { ClientInfo } from './handshake.js'

/** What happened, for the one log line of the connection: milliseconds by stage, and who it turned out to be. */
export type LoginRecord = {
  accessKeyId?: string
  arn?: string
  user?: string
  /** What let it in: the number of a rule, or the name of an entry of the directory. */
  by?: Match['decidedBy']
  /** A success that was remembered stood in for STS. */
  cached?: true
  ms: Partial<Record<'queue' | 'sts' | 'upstream' | 'login', number>>
}

/**
 * `address`: of the client. `certificate`: the fingerprint of the one it was verified by in this very TLS handshake.
 * `revoke` closes its connection, however far it is.
 */
export type LoginRequest = {
  fields: ProofFields
  challenge: Challenge
  client: ClientInfo
  address: string
  certificate: string | undefined
  record: LoginRecord
  close(fault: Fault): void
}

/**
 * An upstream connection that is this principal's for life, or until `term` is over. `limit`: its maxMessageSizeBytes.
 * `live` is its place among the live connections, given back by `leave` when it is closed.
 */
export type UpstreamSession = {
  socket: Socket
  readBuffer: Pick<ReadBuffer, 'setConsumer'>
  rest: Buffer
  limit: number
  term: PrimaryTerm
  live: LiveConnection
  leave(): void
}

export type LoginOptions = {
  /** The time as STS has it, in milliseconds. */
  stsNow(): number
  /** Asks that host for it anew, unless that was done a moment ago. Throws `sts/unavailable`. */
  syncClock(host: string): Promise<void>
  now(): number
  /** Throws `denied` for a key, and for an identity once that is known. */
  assertNotDenied(accessKeyId: string, identity?: Identity): void
  /** Throws `ldap/on` while it is; asked before STS, so that no call is spent in vain, and again before the welcome. */
  assertLdapOff(): void
  /** The name by which memories know the key and token of a proof. */
  fingerprint: FingerprintCredential
  reserveSlot: LoginLimits['acquireSlot']
  /** What STS would say again, whoever signs. */
  findRefusal: RefusalCache['get']
  findIdentity: IdentityCache['lookUp']
  /** Waits for a turn at STS, and gives what ends it. Throws `budget/exhausted` at once where it would be too long. */
  acquirePermit: Scheduler['acquire']
  /** Asks STS, each attempt in its turn. */
  askSts(proof: Proof, turn: AcquirePermit, signal: AbortSignal): Promise<StsOutcome>
  /** What asking this host about this holder came to, for a client of this address. */
  recordOutcome(host: string, holder: string, outcome: StsOutcome, address: string): void
  /** Among the live connections until the returned function is called. */
  registerLive(live: LiveConnection): () => void
  /** What lets this identity in, from this address; a promise where the directory has to be asked. Throws `users/*`. */
  authorize(identity: Identity, address: string): Match | Promise<Match>
  /**
   * Logs in upstream, and aborts the login with the term of the primary; `named` is told the database user first. Where
   * the LDAP verdict is unknown it is asked over this connection: throws `ldap/*`, too.
   */
  connectUpstream(
    as: { match: Match; identity: Identity; onUser(user: DatabaseUser): void },
    client: ClientInfo,
    over: AbortController,
  ): Promise<Pick<UpstreamSession, 'socket' | 'readBuffer' | 'rest' | 'term'> & { hello: Document }>
  after: After
  deadlineMS(): number
}

/**
 * `over` ends a login early, whoever aborts it: the client by leaving, or what happens to the login itself, its time or
 * the term of its primary being over, with the fault that says so. There is one for all that waits, as each costs as much
 * as a frame does.
 */
export type Authenticator = {
  /** Logs a candidate in, or throws the fault that says why not. */
  login(candidate: LoginRequest, over: AbortController): Promise<UpstreamSession>
  /**
   * Asks again who a live connection is, and by what: its upstream stays as it is. Throws `login/principal-changed` for somebody
   * else and for another database user, and whatever `enter` throws. What was remembered does not stand in for STS here.
   */
  reauthenticate(candidate: LoginRequest, was: LiveConnection, over: AbortController): Promise<void>
}

/** MongoDB's own limit, in bytes. */
const LONGEST = 48_000_000

/** The part of a login's time that is the upstream's (R14). Who had that and is not done does not answer. Milliseconds. */
const UPSTREAM_MS = 1_000

/** When the upstream was dialled; never yet, if that lies ahead. */
type Course = { dialled: number }

type Known = { accessKeyId: string; identity: Identity }

export function createAuthenticator(parts: LoginOptions): Authenticator {
  /** The steps up to the identity, then the last ones as given; all in one deadline, and counted as one login. */
  const road = async <T>(
    candidate: LoginRequest,
    over: AbortController,
    last: (known: Known, course: Course) => Promise<T>,
  ): Promise<T> => {
    const { fields, challenge, address, record: journal } = candidate
    const started = parts.now()
    const deadlineMS = parts.deadlineMS()
    const course: Course = { dialled: Number.POSITIVE_INFINITY }
    const cancel = parts.after(deadlineMS, () => {
      over.abort(
        parts.now() - course.dialled >= UPSTREAM_MS
          ? new Fault('upstream/unreachable', `no answer within the ${deadlineMS} ms of a login`)
          : new Fault('login/timeout', `${deadlineMS} ms`),
      )
    })
    let leave: ((end: LoginOutcome) => void) | undefined
    let end: LoginOutcome = 'cached'
    try {
      const proof = judged(parts, fields, challenge) ?? (await judgedAnew(parts, fields, challenge, over.signal))
      const { accessKeyId } = proof
      journal.accessKeyId = accessKeyId
      parts.assertNotDenied(accessKeyId)
      parts.assertLdapOff()
      const place = parts.reserveSlot(address, parts.fingerprint(proof))
      leave = place.release
      const identity = await identify(parts, proof, place, candidate, over.signal)
      journal.arn = identity.arn
      const result = await last({ accessKeyId, identity }, course)
      end = journal.cached ? 'cached' : 'verified'
      return result
    } catch (thrown) {
      end = faultOf(thrown, over.signal)
      throw end
    } finally {
      leave?.(end)
      cancel()
      journal.ms.login = Math.round(parts.now() - started)
    }
  }

  return {
    login: (candidate, over) =>
      road(candidate, over, async ({ accessKeyId, identity }, course) => {
        const { address: peer, client, record: journal, close } = candidate
        const live: LiveConnection = { identity, accessKeyId, peer, match: undefined, close }
        const leave = parts.registerLive(live)
        let socket: Socket | undefined
        try {
          parts.assertNotDenied(accessKeyId, identity)
          const match = await decided(parts, identity, peer, over.signal)
          live.match = match
          journal.by = match.decidedBy
          const onUser = ({ name, db }: DatabaseUser): void => {
            journal.user = `${name}@${db}`
          }
          course.dialled = parts.now()
          const dialled = await parts.connectUpstream({ match, identity, onUser }, client, over).finally(() => {
            noted(journal.ms, 'upstream', parts.now() - course.dialled)
          })
          const { readBuffer, rest, hello, term } = dialled
          socket = dialled.socket
          parts.assertLdapOff()
          parts.assertNotDenied(accessKeyId, identity)
          over.signal.throwIfAborted()
          return { socket, readBuffer, rest, limit: limitOf(hello), term, live, leave }
        } catch (thrown) {
          leave()
          socket?.destroy()
          throw thrown
        }
      }),
    reauthenticate: (candidate, was, over) =>
      road({ ...candidate, certificate: undefined }, over, async ({ accessKeyId, identity }) => {
        if (identity.canonical !== was.identity.canonical) {
          throw new Fault('login/principal-changed', `${identity.canonical}, and it was ${was.identity.canonical}`)
        }
        parts.assertNotDenied(accessKeyId, identity)
        const match = await decided(parts, identity, candidate.address, over.signal)
        over.signal.throwIfAborted()
        if (!was.match || !isSameDatabaseUser(match, was.match))
          throw new Fault('login/principal-changed', 'another database user')
        parts.assertNotDenied(accessKeyId, identity)
        was.accessKeyId = accessKeyId // a denial of the new key, or of the new session, has to find it
        was.identity = identity
        was.match = match
      }),
  }
}

/** The proof; undefined where it is of another time than ours. Throws what `judge` does. */
function judged({ stsNow }: LoginOptions, fields: ProofFields, challenge: Challenge): Proof | undefined {
  try {
    return validateProof(fields, challenge, new Date(stsNow()))
  } catch (thrown) {
    if (thrown instanceof Fault && thrown.kind === 'proof/clock-skew') return undefined
    throw thrown
  }
}

/** The same once STS has said what time it is: our clock may have been set since it was compared, and that is no guilt of the client. */
async function judgedAnew(
  { stsNow, syncClock }: LoginOptions,
  fields: ProofFields,
  challenge: Challenge,
  signal: AbortSignal,
): Promise<Proof> {
  signal.throwIfAborted()
  await rejectOnAbort(signal, syncClock(challenge.host))
  return validateProof(fields, challenge, new Date(stsNow()))
}

/** What a failure was in the end: what ended the login, the client by leaving unless told, or a fault of its own. */
function faultOf(thrown: unknown, { aborted, reason }: AbortSignal): Fault {
  if (!aborted) return Fault.from(thrown)
  return reason instanceof Fault ? reason : new Fault('login/abandoned')
}

/** Who that is here; nobody waits where rules alone decide. */
function decided(
  parts: LoginOptions,
  identity: Identity,
  address: string,
  signal: AbortSignal,
): Match | Promise<Match> {
  const match = parts.authorize(identity, address)
  return match instanceof Promise ? rejectOnAbort(signal, match) : match
}

/** Who signed, by what is remembered or by STS. */
async function identify(
  parts: LoginOptions,
  proof: Proof,
  place: QueueEntry,
  { certificate, record: journal }: LoginRequest,
  signal: AbortSignal,
): Promise<Identity> {
  signal.throwIfAborted()
  const { subnet, fingerprint } = place
  const { host } = proof.challenge
  // What was refused is so, whatever was remembered before: a session that has expired since, above all.
  const refused = parts.findRefusal(host, fingerprint)
  if (refused) return known(refused)
  const { identity, store } = parts.findIdentity({ ...proof, certificate, fingerprint })
  if (identity) {
    journal.cached = true
    return identity
  }
  const began = parts.now()
  const outcome = await parts
    .askSts(proof, turnsOf(parts, proof, place, journal, signal), signal)
    .finally(() => noted(journal.ms, 'sts', parts.now() - began))
  parts.recordOutcome(host, fingerprint, outcome, subnet)
  const found = known(outcome)
  store(found)
  return found
}

/** The longest message that the upstream takes, as it says itself, within what any MongoDB has ever taken. */
function limitOf({ maxMessageSizeBytes }: Document): number {
  const said = Number(maxMessageSizeBytes)
  return said > 0 ? Math.min(said, LONGEST) : LONGEST
}

/** What a token is for: the account that the key names (all that name none share one) at the host that is asked. */
export function bucketKey({ accessKeyId, challenge }: Proof): string {
  return `${decodeAccountId(accessKeyId) ?? 'none'} ${challenge.host}`
}

/** Turns at STS for this proof; the time that they are waited for is the queue's, and not that of STS. */
function turnsOf(
  { acquirePermit, now, findRefusal }: LoginOptions,
  proof: Proof,
  place: QueueEntry,
  { ms }: LoginRecord,
  signal: AbortSignal,
): AcquirePermit {
  return async patienceMS => {
    const started = now()
    try {
      const { host } = proof.challenge
      const done = await acquirePermit(bucketKey(proof), host, place, patienceMS, signal)
      const meanwhile = findRefusal(host, place.fingerprint) // a fleet whose session has ended waits here all together
      if (!meanwhile) return done
      done()
      throw refusalOf(meanwhile)
    } finally {
      const waited = now() - started
      noted(ms, 'queue', waited)
      noted(ms, 'sts', -waited)
    }
  }
}

/** The identity that STS vouches for, or what it said instead, as a fault. */
function known(outcome: StsOutcome): Identity {
  switch (outcome.is) {
    case 'identity':
      return outcome.identity
    case 'refused':
      throw refusalOf(outcome)
    case 'throttled':
      throw new Fault('sts/throttled', outcome.code)
    case 'unavailable':
      throw new Fault('sts/unavailable', undefined, { why: outcome.why })
  }
}

function refusalOf({ code, message }: StsOutcome & { is: 'refused' }): Fault {
  return new Fault('sts/refused', message ? `${code}: ${message}` : code, { code })
}

/** So much more of a stage; whole milliseconds are enough for whoever reads the log. */
function noted(ms: LoginRecord['ms'], stage: keyof LoginRecord['ms'], more: number): void {
  ms[stage] = Math.round((ms[stage] ?? 0) + more)
}
