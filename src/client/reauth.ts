/**
 * Limits the age of a login, and renews it over the same connection.
 *
 *     fresh ──maxAge──▶ expired ──command: reply 391──▶ requested ──saslStart──▶ challenged ──saslContinue──▶ fresh
 *                        │ in a transaction              └────────── 30 s without the next step ─▶ closed
 *                        └──────────────── 60 s ─▶ closed
 *
 * Drivers answer code 391 by logging in on the same connection and sending the command again, without involving their
 * application. Cursors stay open, because the upstream takes no part. In a transaction drivers would lose its beginning,
 * so commands in one are forwarded. So are requests that are too long to be checked or want no reply. None of these
 * extends an expired login beyond 60 s.
 */
import type { Document } from 'bson'
import type { After } from '../clock.js'
import { Fault } from '../errors.js'
import type { LiveConnection } from '../revocation/liveConnections.js'
import type { Command } from '../wire/message.js'
import type { CommandSummary } from '../wire/peek.js'
import { finishLogin, type HandshakeContext, handleCommand, initialState, type State } from './handshake.js'
import type { Authenticator, LoginRecord, LoginRequest } from './login.js'
import type { ConversationMetrics } from './preauth.js'
import type { Relay } from './relay.js'

/** Time for each step of a requested login. Milliseconds. */
const STEP_TIMEOUT_MS = 30_000
/** Time for a transaction, or for requests that cannot be answered with 391. Milliseconds. */
const GRACE_MS = 60_000
/** How long commands are observed, to find out whether they belong to a transaction, before a close. Milliseconds. */
const OBSERVATION_MS = 1_000
/** The last command of a transaction. */
const TRANSACTION_ENDS = new Set(['commitTransaction', 'abortTransaction'])

const doNothing = (): void => {}

export type ReauthOptions = {
  request: Omit<LoginRequest, 'fields' | 'challenge' | 'record'>
  live: LiveConnection
  authenticator: Pick<Authenticator, 'reauthenticate'>
  /** `ask`: request another login with code 391. `close`: close the connection between operations. */
  mode(): 'ask' | 'close'
  handshakeContext(): HandshakeContext
  metrics: Pick<ConversationMetrics, 'recordLogin'>
  after: After
}

/** Limits the age of the login of a relay, if its rule has a limit. Returns a function that ends this. */
export function limitLoginAge(relay: Pick<Relay, 'setInterceptor' | 'drain'>, options: ReauthOptions): () => void {
  if (options.live.match?.maxAgeMS === undefined) return doNothing
  const limit = new LoginAgeLimit(relay, options)
  limit.start()
  return () => limit.stop()
}

class LoginAgeLimit {
  readonly #relay: Pick<Relay, 'setInterceptor' | 'drain'>
  readonly #options: ReauthOptions
  #state: State = initialState
  #isRequested = false
  #cancelTimer = doNothing
  #cancelGrace: (() => void) | undefined

  constructor(relay: Pick<Relay, 'setInterceptor' | 'drain'>, options: ReauthOptions) {
    this.#relay = relay
    this.#options = options
  }

  /** A fresh login begins. */
  start(): void {
    this.stop()
    this.#isRequested = false
    const maxAgeMS = this.#options.live.match?.maxAgeMS
    if (maxAgeMS !== undefined) this.#cancelTimer = this.#options.after(maxAgeMS, () => this.#expire())
  }

  stop(): void {
    this.#cancelTimer()
    this.#cancelGrace?.()
    this.#cancelGrace = undefined
    this.#relay.setInterceptor(undefined)
  }

  #expire(): void {
    if (this.#options.mode() === 'ask') {
      return void this.#relay.setInterceptor({
        check: command => this.#requestLogin(command),
        authenticate: (command, signal) => this.#authenticate(command, signal),
        onForwarded: () => this.#startGrace(),
      })
    }
    this.#relay.setInterceptor({
      check: () => undefined,
      onForwarded: command => this.#closeBetweenOperations(command),
    })
    this.#cancelTimer = this.#options.after(OBSERVATION_MS, () => this.#close('its maximum age is reached'))
  }

  /** Closes without interrupting a reply. */
  #close(why: string): void {
    this.stop()
    this.#relay.drain('loginExpired', new Fault('login/expired', why))
  }

  #startGrace(): void {
    this.#cancelGrace ??= this.#options.after(GRACE_MS, () => this.#close('no command could be answered with 391'))
  }

  #startStepTimeout(): void {
    this.#cancelTimer()
    this.#cancelTimer = this.#options.after(STEP_TIMEOUT_MS, () => this.#close('it was not renewed in time'))
  }

  #requestLogin({ inTransaction }: CommandSummary): Fault | undefined {
    if (inTransaction) return undefined
    this.#state = initialState
    if (!this.#isRequested) this.#startStepTimeout() // further commands do not extend it
    this.#isRequested = true
    return new Fault('login/expired')
  }

  async #authenticate(command: Command, signal: AbortSignal): Promise<Document | Fault> {
    const action = handleCommand(this.#state, command, this.#options.handshakeContext())
    this.#state = action.next
    if (action.do === 'refuse' && action.next.at !== 'closed') return action.fault
    if (action.do === 'refuse') throw action.fault
    if (action.do === 'reply') {
      this.#startStepTimeout()
      return action.document
    }
    if (action.do !== 'prove') throw new Fault('internal')
    this.#cancelTimer()
    await this.#reauthenticate({ fields: action.fields, challenge: action.challenge }, signal)
    const last = finishLogin(this.#state)
    if (last.do !== 'reply') throw new Fault('internal')
    this.#state = initialState
    this.start()
    return last.document
  }

  /** Reports a success or a failure. The end of the relay, which aborts `signal`, aborts the login too. */
  async #reauthenticate(proof: Pick<LoginRequest, 'fields' | 'challenge'>, signal: AbortSignal): Promise<void> {
    const { request, live, authenticator, metrics } = this.#options
    const record: LoginRecord = { ms: {} }
    const abort = new AbortController()
    const onRelayEnd = (): void => abort.abort(signal.reason)
    signal.addEventListener('abort', onRelayEnd)
    if (signal.aborted) onRelayEnd()
    try {
      await authenticator.reauthenticate({ ...request, ...proof, record }, live, abort)
    } catch (thrown) {
      const fault = Fault.from(thrown)
      metrics.recordLogin(fault.kind, record)
      throw fault
    } finally {
      signal.removeEventListener('abort', onRelayEnd)
    }
    metrics.recordLogin('success', record)
  }

  /** Mode `close`: closes behind a command, or behind a transaction. */
  #closeBetweenOperations(command?: CommandSummary): void {
    if (!command) return
    if (!command.inTransaction || TRANSACTION_ENDS.has(command.name)) {
      return void this.#close('its maximum age is reached')
    }
    this.#cancelTimer()
    this.#startGrace()
  }
}
