/**
 * From a proof to a socket that is logged in upstream, within one deadline.
 *
 *     judge (no network) ─▶ LDAP guard ─▶ STS budget ─▶ STS ─▶ identity ─▶ rule ─▶ upstream login
 */
import type { Socket } from 'node:net'
import type { Document } from 'bson'
import { accountOf } from './budget/account.js'
import type { Place } from './budget/queue.js'
import type { Turns } from './budget/turns.js'
import { Fault } from './errors.js'
import type { Introduction } from './handshake.js'
import type { Outcome } from './identity/outcome.js'
import { judge, type Proof } from './identity/proof.js'
import type { Identity } from './identity/reply.js'
import type { Turn } from './identity/retry.js'
import type { Challenge, Fields } from './sasl/aws.js'
import type { Term } from './upstream/term.js'
import type { Match } from './users/match.js'

/** What happened, for the one log line of the connection: milliseconds by stage, and who it turned out to be. */
export type Journal = {
  accessKeyId?: string
  arn?: string
  user?: string
  /** A success that was remembered stood in for STS. */
  remembered?: true
  ms: Partial<Record<'queue' | 'sts' | 'upstream' | 'login', number>>
}

/** `address`: of the client. `certificate`: the fingerprint of the one it was verified by in this very TLS handshake. */
export type Candidate = {
  fields: Fields
  challenge: Challenge
  client: Introduction
  address: string
  certificate: string | undefined
  journal: Journal
}

/** An upstream connection that is this principal's for life, or until `term` is over. `limit`: its maxMessageSizeBytes. */
export type Admitted = { socket: Socket; rest: Buffer; limit: number; term: Term }

/** `signal` aborts when the time is over or the client gone; `late` tells which. `cancel` once nobody waits any more. */
export type Deadline = { signal: AbortSignal; late(): boolean; cancel(): void }

export type Parts = {
  /** The time as STS has it, in milliseconds. */
  stsNow(): number
  now(): number
  /** Waits for a turn at STS, and gives what ends it. Throws `budget/spent` at once where it would be too long. */
  take: Turns['take']
  /** Asks STS, each attempt in its turn. */
  ask(proof: Proof, turn: Turn, signal: AbortSignal): Promise<Outcome>
  match(identity: Identity): Match | undefined
  /** Throws `ldap/on` while it is; asked before STS, so that no call is spent in vain, and again before the welcome. */
  guard(): void
  /** Logs in upstream. Where the LDAP verdict is unknown it is asked over this connection: throws `ldap/*`, too. */
  dial(
    match: Match,
    client: Introduction,
    signal: AbortSignal,
  ): Promise<{ socket: Socket; rest: Buffer; hello: Document; term: Term }>
  /** Begins the time of a login, which ends early with `gone`. */
  deadline(ms: number, gone: AbortSignal): Deadline
  deadlineMS: number
}

/** MongoDB's own limit, in bytes. */
const LONGEST = 48_000_000

/** Logs a candidate in, or throws the fault that says why not. */
export function login(parts: Parts): (candidate: Candidate, gone: AbortSignal) => Promise<Admitted> {
  return async ({ fields, challenge, client, address, journal }, gone) => {
    const started = parts.now()
    const { signal, late, cancel } = parts.deadline(parts.deadlineMS, gone)
    try {
      const proof = judge(fields, challenge, new Date(parts.stsNow()))
      journal.accessKeyId = proof.accessKeyId
      parts.guard()
      const turn = turns(parts, proof, { address, priority: 'plain' }, journal, signal)
      const identity = await timed(journal, 'sts', parts.now, async () => known(await parts.ask(proof, turn, signal)))
      journal.arn = identity.arn
      const match = parts.match(identity)
      if (!match) throw new Fault('users/stranger', identity.canonical, { arn: identity.arn })
      journal.user = 'user' in match.gives ? `${match.gives.user.name}@${match.gives.user.db}` : match.arn
      const { socket, rest, hello, term } = await timed(journal, 'upstream', parts.now, () =>
        parts.dial(match, client, signal),
      )
      try {
        parts.guard()
        signal.throwIfAborted()
      } catch (thrown) {
        socket.destroy()
        throw thrown
      }
      return { socket, rest, limit: limitOf(hello), term }
    } catch (thrown) {
      if (gone.aborted) throw new Fault('login/left')
      if (late()) throw new Fault('login/deadline', `${parts.deadlineMS} ms`, {}, thrown)
      throw thrown
    } finally {
      cancel()
      journal.ms.login = Math.round(parts.now() - started)
    }
  }
}

/** The longest message that the upstream takes, as it says itself, within what any MongoDB has ever taken. */
function limitOf({ maxMessageSizeBytes }: Document): number {
  const said = Number(maxMessageSizeBytes)
  return said > 0 ? Math.min(said, LONGEST) : LONGEST
}

/** What a token is for: the account that the key names (all that name none share one) at the host that is asked. */
export function bucketOf({ accessKeyId, challenge }: Proof): string {
  return `${accountOf(accessKeyId) ?? 'none'} ${challenge.host}`
}

/** Turns at STS for this proof; the time that they are waited for is the queue's, and not that of STS. */
function turns({ take, now }: Parts, proof: Proof, place: Place, { ms }: Journal, signal: AbortSignal): Turn {
  return async patienceMS => {
    const started = now()
    try {
      return await take(bucketOf(proof), proof.challenge.host, place, patienceMS, signal)
    } finally {
      const waited = now() - started
      ms.queue = Math.round((ms.queue ?? 0) + waited)
      ms.sts = Math.round((ms.sts ?? 0) - waited)
    }
  }
}

/** The identity that STS vouches for, or what it said instead, as a fault. */
function known(outcome: Outcome): Identity {
  switch (outcome.is) {
    case 'identity':
      return outcome.identity
    case 'refused':
      throw new Fault('sts/refused', outcome.message ? `${outcome.code}: ${outcome.message}` : outcome.code)
    case 'throttled':
      throw new Fault('sts/throttled', outcome.code)
    case 'unavailable':
      throw new Fault('sts/unavailable', undefined, { answer: outcome.why })
  }
}

async function timed<T>(
  journal: Journal,
  stage: keyof Journal['ms'],
  now: () => number,
  run: () => Promise<T>,
): Promise<T> {
  const started = now()
  try {
    return await run()
  } finally {
    journal.ms[stage] = Math.round((journal.ms[stage] ?? 0) + now() - started)
  }
}
