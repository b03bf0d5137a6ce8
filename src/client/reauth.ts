/**
 * Limits the age of a login, and renews it over the same connection.
 *
 *     fresh ──maxAge──▶ expired ──command: reply 391──▶ requested ──saslStart──▶ challenged ──saslContinue──▶ fresh
 *                        │ in a transaction              └── 30 s in all, or any other command ─▶ closed
 *                        └──────────────── 60 s ─▶ closed
 *
 * Drivers answer code 391 by logging in on the same connection and sending the command again, without involving their
 * application. Cursors stay open, because the upstream takes no part. In a transaction drivers would lose its beginning,
 * so commands in one are forwarded. So are requests that are too long to be checked or want no reply. None of these
 * extends an expired login beyond 60 s.
 *
 * Other drivers are closed between operations. From 60 s before the age on, their commands show whether a transaction is
 * open. Not earlier: reading commands costs CPU time, and servers abort older transactions by default.
 */
import type { Document } from 'bson'
import type { After } from '../clock.js'
import { Fault, toLogFields } from '../errors.js'
import type { Log } from '../log.js'
import { withLinkedController } from '../upstream/deadline.js'
import type { Command } from '../wire/message.js'
import type { CommandSummary } from '../wire/peek.js'
import { finishLogin, type HandshakeContext, handleCommand, initialState, type State } from './handshake.js'
import { type LoginRecord, type LoginRequest, toLoginFields } from './login.js'
import { OpenTransactions } from './openTransactions.js'
import type { ConversationMetrics } from './preauth.js'
import type { Relay } from './relay.js'

/** Time from the first code 391 until the proof arrives. The deadline of a login follows. Milliseconds. */
const REQUEST_TIMEOUT_MS = 30_000
/** Time for a transaction, or for requests that cannot be answered with 391. Milliseconds. */
const GRACE_MS = 60_000
/** Time before the age in which commands show whether a transaction is open. Milliseconds. */
const OBSERVATION_MS = 60_000
/** How long an idle connection stays open after its login has expired. Milliseconds. */
const IDLE_MS = 1_000

const TRANSACTION_TOO_LONG = 'its maximum age is reached, and a transaction has not ended since'

const doNothing = (): void => {}

export type ReauthOptions = {
  request: Omit<LoginRequest, 'fields' | 'challenge' | 'record'>
  /** The database user of the connection, as it is logged. */
  user: string | undefined
  /** The maximum age of the last login; undefined without a limit. Milliseconds. */
  maxAgeMS(): number | undefined
  /** Authenticates the client again. Throws the fault that explains a refusal. */
  reauthenticate(request: LoginRequest, abort: AbortController): Promise<void>
  /** `ask`: request another login with code 391. `close`: close the connection between operations. */
  mode(): 'ask' | 'close'
  handshakeContext(command: string): HandshakeContext | Promise<HandshakeContext>
  /** The audit trail, for the logins of this connection. */
  audit: {
    /** Throws `audit/unavailable`. */
    assertAvailable(): void
    /** Resolves once it is recorded. Throws `audit/unavailable`. */
    recordLogin(record: LoginRecord): Promise<void>
    recordRefused(record: LoginRecord, fault: Fault): void
  }
  metrics: Pick<ConversationMetrics, 'recordLogin'>
  /** The log of the connection. */
  log: Log
  after: After
}

/** Limits the age of the login of a relay, if its rule has a limit. Returns a function that ends this. */
export function limitLoginAge(relay: Pick<Relay, 'setInterceptor' | 'drain'>, options: ReauthOptions): () => void {
  if (options.maxAgeMS() === undefined) return doNothing
  const limit = new LoginAgeLimit(relay, options)
  limit.start()
  return () => limit.stop()
}

class LoginAgeLimit {
  readonly #relay: Pick<Relay, 'setInterceptor' | 'drain'>
  readonly #options: ReauthOptions
  #state: State = initialState
  /** Code 391 was sent, and no step of a login has followed. */
  #isLoginDue = false
  #hasDeadline = false
  #isExpired = false
  #transactions = new OpenTransactions()
  #cancelTimer = doNothing
  #cancelObservation = doNothing
  #cancelGrace: (() => void) | undefined

  constructor(relay: Pick<Relay, 'setInterceptor' | 'drain'>, options: ReauthOptions) {
    this.#relay = relay
    this.#options = options
  }

  /** A fresh login begins. */
  start(): void {
    this.stop()
    this.#isLoginDue = false
    this.#hasDeadline = false
    this.#isExpired = false
    const maxAgeMS = this.#options.maxAgeMS()
    if (maxAgeMS === undefined) return
    this.#cancelTimer = this.#options.after(maxAgeMS, () => this.#expire())
    if (maxAgeMS <= OBSERVATION_MS) this.#observe()
    else this.#cancelObservation = this.#options.after(maxAgeMS - OBSERVATION_MS, () => this.#observe())
  }

  stop(): void {
    this.#cancelTimer()
    this.#cancelObservation()
    this.#cancelGrace?.()
    this.#cancelGrace = undefined
    this.#relay.setInterceptor(undefined)
  }

  /** The login is about to expire. */
  #observe(): void {
    if (this.#options.mode() === 'close') this.#closeBehindTransactions()
  }

  #expire(): void {
    this.#isExpired = true
    if (this.#options.mode() === 'ask') {
      return void this.#relay.setInterceptor({
        check: command => this.#requestLogin(command),
        authenticate: (command, signal) => this.#authenticate(command, signal),
        onForwarded: () => this.#forwardOutsideLogin(),
        onStreamed: () => this.#startGrace(),
      })
    }
    this.#closeBehindTransactions()
    if (this.#transactions.areOpen) this.#startGrace(TRANSACTION_TOO_LONG)
    else this.#cancelTimer = this.#options.after(IDLE_MS, () => this.#close('its maximum age is reached'))
  }

  /** Closes without interrupting a reply. */
  #close(why: string): void {
    this.stop()
    this.#relay.drain('loginExpired', new Fault('login/expired', why))
  }

  #startGrace(why = 'no command could be answered with 391'): void {
    this.#cancelGrace ??= this.#options.after(GRACE_MS, () => this.#close(why))
  }

  // Mode `ask`

  /** Steps of a login do not extend the deadline: a client could alternate them with commands forever. */
  #startDeadline(): void {
    if (this.#hasDeadline) return
    this.#hasDeadline = true
    this.#cancelTimer()
    this.#cancelTimer = this.#options.after(REQUEST_TIMEOUT_MS, () => this.#close('it was not renewed in time'))
  }

  #requestLogin({ inTransaction }: CommandSummary): Fault | undefined {
    this.#assertLoginNotDue()
    if (inTransaction) return undefined
    this.#state = initialState
    this.#startDeadline()
    this.#isLoginDue = true
    return new Fault('login/expired')
  }

  #forwardOutsideLogin(): void {
    this.#assertLoginNotDue()
    this.#startGrace()
  }

  /** A driver that sends anything but a login has reported code 391 to its application. It will never log in. */
  #assertLoginNotDue(): void {
    if (this.#isLoginDue) throw new Fault('login/expired', 'code 391 was not answered with a login')
  }

  async #authenticate(command: Command, signal: AbortSignal): Promise<Document | Fault> {
    this.#isLoginDue = false
    this.#startDeadline()
    const current = this.#options.handshakeContext(command.name)
    const known = current instanceof Promise ? await current : current
    const context = { ...known, assertSessionSlotFree: doNothing } // the session has its slot
    const action = handleCommand(this.#state, command, context)
    this.#state = action.next
    if (action.do === 'refuse' && action.next.at !== 'closed') return action.fault
    if (action.do === 'refuse') throw action.fault
    if (action.do === 'reply') return action.document
    if (action.do !== 'prove') throw new Fault('internal')
    this.#cancelTimer() // the login has a deadline of its own
    this.#cancelGrace?.()
    await this.#reauthenticate({ fields: action.fields, challenge: action.challenge }, signal)
    const last = finishLogin(this.#state)
    if (last.do !== 'reply') throw new Fault('internal')
    this.#state = initialState
    this.start()
    return last.document
  }

  /** Reports a success or a failure. The end of the relay, which aborts `signal`, aborts the login too. */
  async #reauthenticate(proof: Pick<LoginRequest, 'fields' | 'challenge'>, signal: AbortSignal): Promise<void> {
    const { request, user, reauthenticate, audit, metrics, log } = this.#options
    const record: LoginRecord = { ...(user !== undefined && { user }), ms: {} }
    try {
      audit.assertAvailable()
      await withLinkedController(signal, abort => reauthenticate({ ...request, ...proof, record }, abort))
      await audit.recordLogin(record)
    } catch (thrown) {
      const fault = Fault.from(thrown)
      metrics.recordLogin(fault.kind, record)
      audit.recordRefused(record, fault)
      log(fault.definition.level, 'reauthentication failed', {
        ...toLoginFields(record),
        ms: record.ms,
        ...toLogFields(fault),
      })
      throw fault
    }
    metrics.recordLogin('success', record)
    log('info', 'reauthentication succeeded', { ...toLoginFields(record), ms: record.ms })
  }

  // Mode `close`

  /** Closes after a command, or after a transaction. */
  #closeBehindTransactions(): void {
    this.#relay.setInterceptor({
      check: () => undefined,
      onForwarded: command => this.#observeForwarded(command),
    })
  }

  #observeForwarded(command?: CommandSummary): void {
    this.#transactions.record(command)
    if (!this.#isExpired) return
    if (!this.#transactions.areOpen) return void this.#close('its maximum age is reached')
    this.#cancelTimer()
    this.#startGrace(TRANSACTION_TOO_LONG)
  }
}
