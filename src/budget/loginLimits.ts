/**
 * Limits by client address, applied before any STS budget is used: how many logins are in flight, and which credentials
 * keep failing.
 *
 * An address may be a NAT in front of a whole fleet, and the fleet may share one long-term key. One broken pod must never
 * lock out the others, so the effect of a failure depends on what it proves:
 *
 *     failure of (subnet, key, token)     what it proves                            over the limit, until its window ends
 *     expired, denied, no rule            this key and token, with any signature    login/failure-limit (18), final
 *     unknown key, region or endpoint     the same, for the moment                  the same, counted once a second
 *     source address not allowed          the same, from this exact address         login/failure-limit (18), final there
 *     any other refusal: bad signature    this signature; others may be right       contested: some are served, after all others
 *
 * A contested credential costs STS calls, but only a few per second (see `ContestedLogins`). Rejecting it instead would let
 * anyone who knows a key id and shares a NAT with its owner lock the owner out. It is contested while there are more bad
 * signatures than successes, so one bad client does not slow down the login burst of a fleet. A success clears the other
 * failures of its credential.
 *
 * Failures of a subnet only lower the priority of its logins, and not that of credentials that logged in there recently;
 * such a credential loses its priority with its first bad signature. A login that is abandoned before the answer counts as
 * a quarter of a failure of its subnet, so that abandoning logins is no way to flood STS. mongosh abandons two of three
 * logins and succeeds with one. Known credentials have a concurrency limit of their own, so that other logins of the same
 * subnet cannot use it up. No limit ever admits a login.
 *
 * Successes are stored apart from failures. Only real credentials can add a success, so a flood of made-up keys evicts
 * nothing but failures.
 */
import { LRUCache } from 'lru-cache'
import { Fault, type FaultKind } from '../errors.js'
import type { Priority, QueueEntry } from './fairQueue.js'
import { createRollingCounter } from './rollingCounter.js'
import { toSubnet } from './subnet.js'
import { createWindowCounter, type WindowCount } from './windowCounter.js'

/** `verified`: admitted by STS. `cached`: decided without a call to STS, which proves nothing. Otherwise what failed. */
export type LoginOutcome = 'verified' | 'cached' | Fault

/** A login in flight, with its entry for the queue. */
export type LoginSlot = QueueEntry & {
  /** Whether the credential is contested now. Check this before each call to STS. */
  isContested(): boolean
  /** Ends the login. Only the first call counts. */
  release(outcome: LoginOutcome): void
}

export type LoginLimits = {
  /** Begins a login of this credential. Throws `login/concurrency-limit` and `login/failure-limit`. */
  acquireSlot(address: string, fingerprint: string): LoginSlot
  /** Call this when the rules or the deny list have changed: principals that they refused may succeed now. */
  clearFailures(): void
}

export const limitNames = ['concurrency', 'failures', 'signatures'] as const
export type LimitName = (typeof limitNames)[number]

export type LoginLimitsOptions = {
  /** Concurrent logins per subnet: of known credentials, and of all others. */
  perAddress: number
  /** This many failures of one credential in one subnet, within `periodMS`, trigger a limit. */
  failures: number
  periodMS: number
  /** The size of each cache. */
  maxEntries: number
  /** Monotonic milliseconds. */
  now(): number
  /** Rejects nothing; `onRejected` still reports what would be rejected. */
  shadow: boolean
  onRejected(limit: LimitName, fault: Fault): void
  /** Called when a credential becomes known in a subnet: its logins that wait there get a better priority. */
  onKnownCredential(subnet: string, fingerprint: string): void
}

/** How long a success counts. Applications whose connection pools are full may not log in for a while. */
const RECENT_MS = 60 * 60_000
/** The longest pause that drivers are asked for. */
const MAX_BACKOFF_MS = 5_000
/** A passing failure of one credential counts at most once in this time, however many connections repeat it. Milliseconds. */
const PASSING_MS = 1_000
/** The weight of an abandoned login, compared to a failure. */
const ABANDONED_WEIGHT = 1 / 4

export function createLoginLimits(options: LoginLimitsOptions): LoginLimits {
  const { perAddress, failures } = options
  const history = new LoginHistory(options)
  const inFlight = new Map<string, number>()

  const reject = (limit: LimitName, fault: Fault): void => {
    options.onRejected(limit, fault)
    if (!options.shadow) throw fault
  }
  const checkConcurrency = (group: string, subnet: string): void => {
    if ((inFlight.get(group) ?? 0) < perAddress) return
    reject(
      'concurrency',
      new Fault('login/concurrency-limit', undefined, { address: subnet, backoffMS: MAX_BACKOFF_MS }),
    )
  }
  const checkFailures = (keys: CredentialKeys): void => {
    const refusals = history.refusals(keys).find(({ count }) => count >= failures)
    if (refusals) reject('failures', createFailureLimitFault(refusals))
  }
  const isContested = ({ credential }: CredentialKeys): boolean => {
    if (!history.isContested(credential)) return false
    if (!options.shadow) return true
    options.onRejected('signatures', new Fault('login/signature-limit', undefined, { backoffMS: 0 }))
    return false
  }
  const leave = (group: string): void => {
    const others = (inFlight.get(group) ?? 1) - 1
    if (others > 0) inFlight.set(group, others)
    else inFlight.delete(group)
  }

  return {
    acquireSlot(address, fingerprint) {
      const subnet = toSubnet(address)
      const keys = { subnet, credential: `${subnet} ${fingerprint}`, source: `${address} ${fingerprint}` }
      const isKnown = history.isKnown(keys.credential)
      const group = isKnown ? `${subnet} known` : subnet
      checkConcurrency(group, subnet)
      checkFailures(keys)
      inFlight.set(group, (inFlight.get(group) ?? 0) + 1)
      let isReleased = false
      return {
        subnet,
        priority: history.priority(keys),
        fingerprint,
        isContested: () => isContested(keys),
        release(outcome) {
          if (isReleased) return
          isReleased = true
          leave(group)
          const wasKnown = history.isKnown(keys.credential)
          history.record(keys, outcome)
          if (!wasKnown && history.priority(keys) === 'known') options.onKnownCredential(subnet, fingerprint)
        },
      }
    },
    clearFailures: () => history.clearRefusals(),
  }
}

/** `credential`: a credential in its subnet. `source`: the same credential at its exact address. */
type CredentialKeys = { subnet: string; credential: string; source: string }

/** The outcomes of recent logins. */
class LoginHistory {
  readonly #failures: number
  readonly #now: () => number
  readonly #failuresBySubnet
  readonly #abandonedBySubnet
  readonly #successesBySubnet
  /** Failures that no other signature would change, by credential or source. */
  readonly #refusals
  /** By credential. Both continue to count while the credential is contested. */
  readonly #badSignatures
  readonly #recentSuccesses
  /** By credential. `isKnown`: no bad signature since. */
  readonly #successes: LRUCache<string, { at: number; isKnown: boolean }>

  constructor({ failures, periodMS, maxEntries, now }: LoginLimitsOptions) {
    this.#failures = failures
    this.#now = now
    const window = { periodMS, maxEntries, now }
    this.#failuresBySubnet = createWindowCounter<undefined>(window)
    this.#abandonedBySubnet = createWindowCounter<undefined>(window)
    this.#successesBySubnet = createWindowCounter<undefined>(window)
    this.#refusals = createWindowCounter<Refusal>(window)
    this.#badSignatures = createRollingCounter(window)
    this.#recentSuccesses = createRollingCounter(window)
    this.#successes = new LRUCache({ max: maxEntries })
  }

  priority({ subnet, credential }: CredentialKeys): Priority {
    if (this.isContested(credential)) return 'suspect'
    if (this.isKnown(credential)) return 'known'
    return this.isSuspect(subnet) ? 'suspect' : 'normal'
  }

  /** Whether the credential logged in recently, without a bad signature since. */
  isKnown(credential: string): boolean {
    const success = this.#successes.get(credential)
    return success?.isKnown === true && this.#now() - success.at < RECENT_MS
  }

  /** Whether this credential has many bad signatures, and more of them than successes. */
  isContested(credential: string): boolean {
    const bad = this.#badSignatures.count(credential)
    return bad >= this.#failures && bad > this.#recentSuccesses.count(credential)
  }

  /** Whether logins of this subnet keep failing, more often than they succeed. */
  isSuspect(subnet: string): boolean {
    const abandoned = this.#abandonedBySubnet.get(subnet)?.count ?? 0
    const failed = (this.#failuresBySubnet.get(subnet)?.count ?? 0) + abandoned * ABANDONED_WEIGHT
    const succeeded = this.#successesBySubnet.get(subnet)?.count ?? 0
    return failed >= this.#failures && failed > succeeded
  }

  refusals({ credential, source }: CredentialKeys): WindowCount<Refusal>[] {
    return [this.#refusals.get(credential), this.#refusals.get(source)].filter(count => count !== undefined)
  }

  record(keys: CredentialKeys, outcome: LoginOutcome): void {
    if (outcome === 'verified') this.#recordSuccess(keys)
    else if (outcome !== 'cached') this.#recordFault(keys, outcome)
  }

  clearRefusals(): void {
    this.#refusals.clear()
  }

  #recordSuccess({ subnet, credential, source }: CredentialKeys): void {
    this.#successes.set(credential, { at: this.#now(), isKnown: true })
    this.#refusals.delete(credential)
    this.#refusals.delete(source)
    this.#recentSuccesses.add(credential)
    this.#successesBySubnet.add(subnet, undefined)
  }

  #recordFault(keys: CredentialKeys, fault: Fault): void {
    if (fault.kind === 'login/abandoned') this.#abandonedBySubnet.add(keys.subnet, undefined)
    const { kind, clientView } = fault // a client must not notice that its failures are counted in another way
    const proof = whatFailureProves(clientView)
    if (!proof) return
    const code = clientView.data('sts/refused')?.code
    const refusal = { kind, code, isPassing: proof === 'passing', at: this.#now() }
    if (!this.#isRepeated(keys.credential, refusal)) this.#recordFailure(keys, proof, refusal)
  }

  #isRepeated(credential: string, { isPassing, at }: Refusal): boolean {
    const last = this.#refusals.get(credential)?.last
    return isPassing && last?.isPassing === true && at - last.at < PASSING_MS
  }

  #recordFailure({ subnet, credential, source }: CredentialKeys, proof: FailureProof, refusal: Refusal): void {
    this.#failuresBySubnet.add(subnet, undefined)
    if (proof === 'source') this.#refusals.add(source, refusal)
    else if (proof !== 'signature') {
      this.#successes.delete(credential)
      this.#refusals.add(credential, refusal)
    } else {
      const success = this.#successes.get(credential)
      if (success) this.#successes.set(credential, { ...success, isKnown: false })
      this.#badSignatures.add(credential)
    }
  }
}

/** `code`: the STS error that every client with this credential gets. `at`: monotonic milliseconds. */
type Refusal = { kind: FaultKind; code: string | undefined; isPassing: boolean; at: number }

/**
 * `passing`: it concerns the credential, and may end without a change of the credential. `source`: a rule may allow one
 * address and not its neighbour in the same subnet.
 */
type FailureProof = 'credential' | 'passing' | 'source' | 'signature'

/**
 * What error codes of STS prove, whatever the signature. The passing ones end by themselves: IAM spreads a new key within
 * seconds, and operators enable regions and correct policies of VPC endpoints.
 */
const PROOF_BY_CODE: ReadonlyMap<unknown, FailureProof> = new Map([
  ['ExpiredToken', 'credential'],
  ['InvalidClientTokenId', 'passing'],
  ['RegionDisabledException', 'passing'],
  ['AccessDenied', 'passing'],
])

/** What a fault proves about a credential; undefined for faults of the proxy, the budget and the upstream. */
function whatFailureProves(fault: Fault): FailureProof | undefined {
  const proofs: Partial<Record<FaultKind, FailureProof>> = {
    'sts/refused': PROOF_BY_CODE.get(fault.data('sts/refused')?.code) ?? 'signature',
    'users/no-rule': 'credential',
    'users/source-not-allowed': 'source',
    'users/expired': 'credential',
    'users/recreated': 'credential',
    'login/denied': 'credential',
  }
  return proofs[fault.kind]
}

/**
 * Refuses a credential that has failed too often. The client may be another one that shows the same key id and token, so
 * it learns nothing about the principal, the rules and the deny list. The log names the kind of the last failure.
 */
function createFailureLimitFault({ last, remainingMS }: WindowCount<Refusal>): Fault {
  const again = `checked again in ${Math.ceil(remainingMS / 1000)} s`
  const { kind: cause, code } = last
  return new Fault('login/failure-limit', code === undefined ? again : `${code}; ${again}`, { cause })
}
