/** STS as the proxy asks it: within the budget, counted, and again where that may help. */
import type { Recorder } from './admin/metrics.js'
import { buckets } from './budget/buckets.js'
import { now, sleep } from './clock.js'
import type { Config } from './config/load.js'
import type { Ask } from './identity/outcome.js'
import { retried } from './identity/retry.js'
import { type Sts, stsClient } from './identity/sts.js'
import { bucketOf } from './login.js'
import { NAME, VERSION } from './upstream/metadata.js'

export type Asking = Pick<Sts, 'reach' | 'skewMS' | 'close'> & {
  ask: Ask
  /** Takes a token for one call: see `buckets`. */
  take(key: string, patience: number): number
}

/** Accounts that are remembered at most: a bound that no honest fleet reaches. */
const REMEMBERED = 10_000
/** One attempt, and all of them together. Milliseconds. */
const ATTEMPT_MS = 1_500
export const STS_MS = 3_000

/** STS as the settings have it, asked once a question. `timeoutMS`: for one answer. */
export function stsOf({ hosts, insecure }: Pick<Config['sts'], 'hosts' | 'insecure'>, timeoutMS: number): Sts {
  const userAgent = `${NAME}/${VERSION}`
  return stsClient({ hosts: hosts.map(host => ({ ...host, insecure })), timeoutMS, userAgent, now: Date.now })
}

export function asking({ hosts, insecure, quota, share }: Config['sts'], record: Recorder): Asking {
  const sts = stsOf({ hosts, insecure }, ATTEMPT_MS)
  const { take } = buckets({ perSecond: quota * share, burst: quota * (1 - share), keys: REMEMBERED, now })
  const once: Ask = async (proof, signal) => {
    const outcome = await sts.ask(proof, signal)
    record.count('sts_calls_total', 1, { outcome: outcome.is })
    record.set('clock_skew_seconds', sts.skewMS() / 1000)
    return outcome
  }
  const mayRetry = (proof: Parameters<Ask>[0]): boolean => take(bucketOf(proof), 0) === 0
  const patience = { attemptMS: ATTEMPT_MS, deadlineMS: STS_MS, now, random: Math.random, sleep, mayRetry }
  return { ...sts, take, ask: retried(once, patience) }
}
