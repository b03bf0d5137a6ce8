/**
 * From a proof to a socket that is logged in upstream, within one deadline.
 *
 *     judge (no network) ─▶ LDAP guard ─▶ STS ─▶ identity ─▶ rule ─▶ upstream login
 */
import type { Socket } from 'node:net'
import type { Document } from 'bson'
import { Fault } from './errors.js'
import type { Introduction } from './handshake.js'
import { judge, type Proof } from './identity/proof.js'
import type { Identity } from './identity/reply.js'
import type { Outcome } from './identity/sts.js'
import type { Challenge, Fields } from './sasl/aws.js'
import type { Match } from './users/rules.js'

/** What happened, for the one log line of the connection: milliseconds by stage, and who it turned out to be. */
export type Journal = { arn?: string; user?: string; ms: { sts?: number; upstream?: number; login?: number } }

export type Candidate = { fields: Fields; challenge: Challenge; client: Introduction; journal: Journal }

/** An upstream connection that is this principal's for life. `limit`: the upstream's maxMessageSizeBytes. */
export type Admitted = { socket: Socket; rest: Buffer; limit: number }

export type Parts = {
  /** The time as STS has it, in milliseconds. */
  stsNow(): number
  now(): number
  ask(proof: Proof, signal: AbortSignal): Promise<Outcome>
  match(identity: Identity): Match | undefined
  /** Throws `ldap/on` or `ldap/unknown`; asked before STS so that no call is spent in vain, and again before the welcome. */
  guard(): void
  dial(
    match: Match,
    client: Introduction,
    signal: AbortSignal,
  ): Promise<{ socket: Socket; rest: Buffer; hello: Document }>
  /** Aborts after so many milliseconds. */
  deadline(ms: number): AbortSignal
  deadlineMS: number
}

/** Logs a candidate in, or throws the fault that says why not. */
export function login(parts: Parts): (candidate: Candidate, gone: AbortSignal) => Promise<Admitted> {
  return async ({ fields, challenge, client, journal }, gone) => {
    const started = parts.now()
    const late = parts.deadline(parts.deadlineMS)
    const signal = AbortSignal.any([gone, late])
    try {
      const proof = judge(fields, challenge, new Date(parts.stsNow()))
      parts.guard()
      const identity = await timed(journal, 'sts', parts.now, async () => known(await parts.ask(proof, signal)))
      journal.arn = identity.arn
      const match = parts.match(identity)
      if (!match) throw new Fault('users/stranger', identity.canonical, { arn: identity.arn })
      journal.user = `${match.user.name}@${match.user.db}`
      const { socket, rest, hello } = await timed(journal, 'upstream', parts.now, () =>
        parts.dial(match, client, signal),
      )
      try {
        parts.guard()
        signal.throwIfAborted()
      } catch (thrown) {
        socket.destroy()
        throw thrown
      }
      return { socket, rest, limit: Number(hello.maxMessageSizeBytes ?? 48_000_000) }
    } catch (thrown) {
      if (gone.aborted) throw new Fault('login/left')
      if (late.aborted) throw new Fault('login/deadline', `${parts.deadlineMS} ms`, {}, thrown)
      throw thrown
    } finally {
      journal.ms.login = Math.round(parts.now() - started)
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
      throw new Fault('sts/unavailable', undefined, { cause: outcome.why })
  }
}

async function timed<T>(
  journal: Journal,
  stage: 'sts' | 'upstream',
  now: () => number,
  run: () => Promise<T>,
): Promise<T> {
  const started = now()
  try {
    return await run()
  } finally {
    journal.ms[stage] = Math.round(now() - started)
  }
}
