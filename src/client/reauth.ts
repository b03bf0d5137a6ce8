/**
 * A login that has come to the age which its rule allows, and how it is renewed (R18).
 *
 *     young ──maxAge──▶ old ──a command: 391──▶ asked ──saslStart──▶ challenged ──saslContinue──▶ young
 *                        │ in a transaction       └────────── 30 s without the next step ─▶ closed
 *                        └──────────────── 60 s ─▶ closed
 *
 * Drivers answer code 391 by logging in on the same connection and sending the command again, of which their application
 * knows nothing; cursors stay open, since the upstream knows nothing of it either. Inside a transaction they would lose
 * its beginning, so nobody is asked there. What is too long to be looked at goes on to the upstream, too, and so does what
 * wants no reply; neither keeps an old login alive for more than that minute.
 */
import type { Document } from 'bson'
import type { After } from '../clock.js'
import { Fault, type FaultKind } from '../errors.js'
import type { LiveConnection } from '../revocation/liveConnections.js'
import type { Command } from '../wire/message.js'
import type { CommandSummary } from '../wire/peek.js'
import { finishLogin, type HandshakeContext, handleCommand, initialState, type State } from './handshake.js'
import type { LoginRecord, LoginRequest } from './login.js'
import type { Relay } from './relay.js'

/** How long a client may take for each step of a login that it was asked for. Milliseconds. */
const STEP_MS = 30_000
/** How long a transaction, or who never sends anything to answer, may go on. Milliseconds. */
const GRACE_MS = 60_000
/** How long it is watched whether there is a transaction, where nobody is asked. Milliseconds. */
const WATCHED_MS = 1_000

/** Throws what the first login would, and `login/principal-changed` for another principal or another database user. */
export type Reauthenticate = (candidate: LoginRequest, was: LiveConnection, over: AbortController) => Promise<void>

export type ReauthOptions = {
  request: Omit<LoginRequest, 'fields' | 'challenge' | 'record'>
  live: LiveConnection
  reauthenticate: Reauthenticate
  mode(): 'ask' | 'close'
  handshakeContext(): HandshakeContext
  metrics: { recordLogin(outcome: 'success' | FaultKind, journal: LoginRecord): void }
  after: After
}

/** Sees to the age of the login of a relay. Gives what ends that. */
export function watchLoginAge(relay: Pick<Relay, 'watch' | 'drain' | 'destroy'>, parts: ReauthOptions): () => void {
  const {
    request: candidate,
    live,
    reauthenticate: again,
    mode: reauthenticate,
    handshakeContext: server,
    metrics: seen,
    after,
  } = parts
  if (live.match?.maxAgeMS === undefined) return () => {}
  let state: State = initialState
  let cancel = (): void => {}
  let grace: (() => void) | undefined
  let asked = false

  const stop = (): void => {
    cancel()
    grace?.()
    grace = undefined
    relay.watch(undefined)
  }
  /** Closes in peace, so that no reply is cut off; whoever keeps it from that has a minute. */
  const close = (why: string): void => {
    stop()
    const fault = new Fault('login/expired', why)
    grace = after(GRACE_MS, () => relay.destroy('proxy', fault))
    relay.drain(fault)
  }
  const begin = (): void => {
    stop()
    asked = false
    const maxAgeMS = live.match?.maxAgeMS
    if (maxAgeMS !== undefined) cancel = after(maxAgeMS, old)
  }
  const old = (): void => {
    if (reauthenticate() === 'ask') return void relay.watch({ stop: ask, renew, passed: goesOn })
    relay.watch({ stop: () => undefined, passed: look })
    cancel = after(WATCHED_MS, () => close('its time is over'))
  }
  const goesOn = (): void => {
    grace ??= after(GRACE_MS, () => close('there was no moment to ask'))
  }
  const step = (): void => {
    cancel()
    cancel = after(STEP_MS, () => close('it was not renewed in time'))
  }

  const ask = ({ inTransaction }: CommandSummary): Fault | undefined => {
    if (inTransaction) return undefined
    state = initialState
    if (!asked) step() // one that goes on as if it had not heard has no longer for it
    asked = true
    return new Fault('login/expired')
  }

  const renew = async (command: Command, signal: AbortSignal): Promise<Document | Fault> => {
    const turn = handleCommand(state, command, server())
    state = turn.next
    if (turn.do === 'refuse' && state.at !== 'over') return turn.fault
    if (turn.do === 'refuse') throw turn.fault
    if (turn.do === 'reply') {
      step()
      return turn.document
    }
    if (turn.do !== 'prove') throw new Fault('internal')
    cancel()
    const { fields, challenge } = turn
    const journal: LoginRecord = { ms: {} }
    const over = new AbortController()
    const leave = (): void => over.abort(signal.reason)
    signal.addEventListener('abort', leave)
    if (signal.aborted) leave()
    try {
      await again({ ...candidate, fields, challenge, record: journal }, live, over)
    } catch (thrown) {
      const fault = Fault.from(thrown)
      seen.recordLogin(fault.kind, journal)
      throw fault
    } finally {
      signal.removeEventListener('abort', leave)
    }
    seen.recordLogin('success', journal)
    const welcome = finishLogin(state)
    if (welcome.do !== 'reply') throw new Fault('internal')
    state = initialState
    begin()
    return welcome.document
  }

  /** Where nobody is asked: the connection closes behind a command, or behind a transaction. */
  const look = (seen?: CommandSummary): void => {
    if (!seen) return
    if (!seen.inTransaction || ENDS.has(seen.name)) return void close('its time is over')
    cancel()
    goesOn()
  }

  begin()
  return stop
}

const ENDS = new Set(['commitTransaction', 'abortTransaction'])
