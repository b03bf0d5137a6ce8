/** STS as the proxy asks it: within the budget, counted, and again where that may help. */
import type { Recorder } from './admin/metrics.js'
import { buckets } from './budget/buckets.js'
import { type Turns, turns } from './budget/turns.js'
import { after, now, sleep } from './clock.js'
import type { Config } from './config/load.js'
import type { Ask } from './identity/outcome.js'
import { retried } from './identity/retry.js'
import { type Sts, stsClient } from './identity/sts.js'
import { bucketOf } from './login.js'
import { NAME, VERSION } from './upstream/metadata.js'

export type Asking = Pick<Sts, 'reach' | 'skewMS' | 'close'> &
  Pick<Turns, 'take' | 'busy'> & {
    /** Asks who signed, each attempt in its turn. */
    ask: ReturnType<typeof retried>
    /** From now on; what was throttled is forgotten with the old quota. */
    adopt(budget: Pick<Config['sts'], 'quota' | 'share'>): void
  }

/** Accounts that are remembered at most: a bound that no honest fleet reaches. */
const REMEMBERED = 10_000
/** Calls at a time, for each host. */
const CALLS = 256
/** How long a login waits for its turn; one attempt; and all of them together with their pauses. Milliseconds (R14). */
const QUEUE_MS = 4_000
const ATTEMPT_MS = 1_500
export const STS_MS = 3_000

/** STS as the settings have it, asked once a question. `timeoutMS`: for one answer. */
export function stsOf({ hosts, insecure }: Pick<Config['sts'], 'hosts' | 'insecure'>, timeoutMS: number): Sts {
  const userAgent = `${NAME}/${VERSION}`
  return stsClient({ hosts: hosts.map(host => ({ ...host, insecure })), timeoutMS, userAgent, now: Date.now })
}

export function asking({ hosts, insecure, ...first }: Config['sts'], record: Recorder): Asking {
  const sts = stsOf({ hosts, insecure }, ATTEMPT_MS)
  const budgetOf = ({ quota, share }: Pick<Config['sts'], 'quota' | 'share'>) =>
    buckets({ perSecond: quota * share, burst: quota * (1 - share), keys: REMEMBERED, now })
  let budget = budgetOf(first)
  const { take, busy } = turns({ lend: (key, wanted) => budget.lend(key, wanted), calls: CALLS, now, after })
  const once: Ask = async (proof, signal) => {
    const outcome = await sts.ask(proof, signal)
    if (outcome.is === 'throttled') budget.throttled(bucketOf(proof))
    record.count('sts_calls_total', 1, { outcome: outcome.is })
    record.set('clock_skew_seconds', sts.skewMS() / 1000)
    return outcome
  }
  const patience = {
    attemptMS: ATTEMPT_MS,
    deadlineMS: STS_MS,
    queueMS: QUEUE_MS,
    now,
    random: Math.random,
    sleep,
    after,
  }
  return {
    ...sts,
    take,
    busy,
    ask: retried(once, patience),
    adopt(change) {
      budget = budgetOf(change)
    },
  }
}
