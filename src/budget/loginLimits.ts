/**
 * Limits by client address, before any budget is touched: how many logins are under way, and who keeps failing.
 *
 * An address may be a NAT with a whole fleet behind it, and a long-term key may be shared by all of that fleet. So one bad
 * pod must never shut out the others, and what a failure says decides what it does:
 *
 *     failure of (address, key, token)     it says                                  over the limit, for its period
 *     expired, unknown, denied, no rule    this key and token, whoever signs        login/failure-limit: 18, the truth for all
 *     not from this address                the same, from this very address         login/failure-limit: 18, the truth there
 *     any other refusal (wrong signature)  this signature; another may be right     login/signature-limit: 262, come back
 *       … but STS vouched for it lately    a good holder and a bad one share it     none: asked, as a suspect
 *
 * The bad holder of the last line costs calls that the queue serves after everybody else's; to refuse it would be to give
 * whoever knows a key id, and sits behind the same NAT, a way to shut out its owner. A success ends what was counted
 * against it. Of an address alone, failures make suspects and nothing more, and not of a key and token that were good
 * there: that hint of a known one ends with its first wrong signature. Leaving before the answer counts as a quarter of a
 * failure of the address, so that nobody floods STS unseen; mongosh leaves two of three logins, and succeeds with one.
 * Strangers who crowd an address keep its known ones from nothing: these are counted apart. Nothing here lets anybody in.
 *
 * Successes have a memory of their own, which only real credentials can fill: a flood of made-up keys pushes out nothing
 * but failures.
 */
import { LRUCache } from 'lru-cache'
import { Fault, type FaultKind } from '../errors.js'
import type { Priority, QueueEntry } from './fairQueue.js'
import { toSubnet } from './subnet.js'
import { createWindowCounter } from './windowCounter.js'

/** STS vouched for it and it was admitted; it was admitted and STS not asked, which says nothing; or what ended it. */
export type LoginOutcome = 'vouched' | 'unasked' | Fault

/** A login under way; its place in the queue is that of its subnet. */
export type LoginSlot = QueueEntry & {
  /** The login is over. Only the first call counts. */
  release(end: LoginOutcome): void
}

export type LoginLimits = {
  /** A login of this holder begins. Throws `login/concurrency-limit`, `login/failure-limit`, `login/signature-limit`. */
  acquireSlot(address: string, fingerprint: string): LoginSlot
  /** Rules or deny list have changed: what failed because of them may succeed now. */
  clearFailures(): void
}

export const limitNames = ['concurrency', 'failures', 'signatures'] as const
export type LimitName = (typeof limitNames)[number]

export type LoginLimitsOptions = {
  /** Logins under way at most, of one address: of the known ones, and of all others. */
  perAddress: number
  /** Failures of one key and token at an address within `periodMS`, from which on a limit holds. */
  failures: number
  periodMS: number
  /** Of each memory. */
  maxEntries: number
  /** Monotonic milliseconds. */
  now(): number
  /** Nothing is refused: `refused` is told what would have been. */
  shadow: boolean
  onRejected(limit: LimitName, fault: Fault): void
  /** Told when a credential becomes known at an address: its logins that wait there are no strangers any more. */
  onKnownCredential(subnet: string, fingerprint: string): void
}

/** How long a success is recent, in milliseconds: a fleet whose pools are full may not log in for a while. */
const RECENT = 60 * 60_000
/** Drivers are asked to stay away no longer than this, in milliseconds. */
const BACKOFF = 5_000

/** What leaving counts for, beside a failure. */
const LEFT = 1 / 4

/** Refusals by AWS that no signature changes. */
const settled: ReadonlySet<unknown> = new Set(['ExpiredToken', 'InvalidClientTokenId'])

/** `place`: a rule may let in one address and not its neighbour, and limits know neighbours as one. */
type Failure = 'settled' | 'place' | 'signature'

/** What a fault says about the credential: nothing, if it is about us, the quota or the upstream. */
function failureOf({ kind, facts }: Fault): Failure | undefined {
  const about: Partial<Record<FaultKind, Failure>> = {
    'sts/refused': settled.has(facts.code) ? 'settled' : 'signature',
    'users/no-rule': 'settled',
    'users/source-not-allowed': 'place',
    'users/expired': 'settled',
    'users/recreated': 'settled',
    'login/denied': 'settled',
  }
  return about[kind]
}

/** What is told of a failure later, to others who may hold the credential: no name that only its owner should learn. */
function reasonOf({ kind, facts, definition }: Fault): string {
  return kind === 'sts/refused' && typeof facts.code === 'string' ? facts.code : definition.summary
}

export function createLoginLimits(parts: LoginLimitsOptions): LoginLimits {
  const { perAddress, failures, periodMS, maxEntries, now, shadow, onRejected } = parts
  const underWay = new Map<string, number>()
  const badBySubnet = createWindowCounter<undefined>({ periodMS, maxEntries, now })
  const leftBySubnet = createWindowCounter<undefined>({ periodMS, maxEntries, now })
  const goodBySubnet = createWindowCounter<undefined>({ periodMS, maxEntries, now })
  const unwelcome = createWindowCounter<string>({ periodMS, maxEntries, now })
  const missigned = createWindowCounter<undefined>({ periodMS, maxEntries, now })
  /** `known`: no wrong signature since. */
  const good = new LRUCache<string, { at: number; known: boolean }>({ max: maxEntries })

  const refuse = (limit: LimitName, fault: Fault): void => {
    onRejected(limit, fault)
    if (!shadow) throw fault
  }
  const backoff = (left: number) => ({ backoffMS: Math.ceil(Math.min(left, BACKOFF)) })

  const recently = (name: string) => {
    const success = good.get(name)
    return success !== undefined && now() - success.at < RECENT ? success : undefined
  }

  const priorityOf = (subnet: string, name: string): Priority => {
    const recent = recently(name)
    if (recent?.known) return 'known'
    const { count: left = 0 } = leftBySubnet.get(subnet) ?? {}
    const failed = (badBySubnet.get(subnet)?.count ?? 0) + left * LEFT
    const { count: succeeded = 0 } = goodBySubnet.get(subnet) ?? {}
    const wrong = missigned.get(name)
    if (wrong && wrong.count >= failures) {
      if (!recent) refuse('signatures', new Fault('login/signature-limit', undefined, backoff(wrong.remainingMS)))
      return 'suspect'
    }
    return failed >= failures && failed > succeeded ? 'suspect' : 'plain'
  }

  return {
    acquireSlot(address, fingerprint) {
      const subnet = toSubnet(address)
      const name = `${subnet} ${fingerprint}`
      const crowd = recently(name)?.known ? `${subnet} known` : subnet
      if ((underWay.get(crowd) ?? 0) >= perAddress) {
        refuse('concurrency', new Fault('login/concurrency-limit', undefined, { address: subnet, ...backoff(BACKOFF) }))
      }
      const exact = `${address} ${fingerprint}`
      const against = [unwelcome.get(name), unwelcome.get(exact)].find(one => one && one.count >= failures)
      if (against) {
        const seconds = Math.ceil(against.remainingMS / 1000)
        refuse('failures', new Fault('login/failure-limit', `${against.last}; asked again in ${seconds} s`))
      }
      const priority = priorityOf(subnet, name)
      underWay.set(crowd, (underWay.get(crowd) ?? 0) + 1)

      const succeed = (): void => {
        if (!recently(name)?.known) parts.onKnownCredential(subnet, fingerprint)
        good.set(name, { at: now(), known: true })
        unwelcome.delete(name)
        unwelcome.delete(exact)
        missigned.delete(name)
        goodBySubnet.add(subnet, undefined)
      }
      const fail = (failure: Failure, fault: Fault): void => {
        badBySubnet.add(subnet, undefined)
        if (failure === 'place') unwelcome.add(exact, reasonOf(fault))
        else if (failure === 'settled') {
          good.delete(name)
          unwelcome.add(name, reasonOf(fault))
        } else {
          const success = good.get(name)
          if (success) good.set(name, { ...success, known: false })
          missigned.add(name, undefined)
        }
      }
      let left = false
      return {
        subnet,
        priority,
        fingerprint,
        release(end) {
          if (left) return
          left = true
          const others = (underWay.get(crowd) ?? 1) - 1
          if (others > 0) underWay.set(crowd, others)
          else underWay.delete(crowd)
          if (end === 'vouched') return succeed()
          if (end === 'unasked') return
          if (end.kind === 'login/abandoned') leftBySubnet.add(subnet, undefined)
          const failure = failureOf(end)
          if (failure) fail(failure, end)
        },
      }
    },
    clearFailures: () => unwelcome.clear(),
  }
}
