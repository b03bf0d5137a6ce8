/** Looks up the seedlist of a `mongodb+srv` name, and retries with backoff until DNS answers. */
import { type Backoff, backoffMS } from '../backoff.js'
import type { After } from '../clock.js'
import { Fault, toLogFields } from '../errors.js'
import type { Log } from '../log.js'
import { rejectOnAbort, withTimeout } from './deadline.js'
import { type DnsResolver, resolveSeedlist, type Seedlist } from './srv.js'

export type SeedlistLookupOptions = {
  /** The name in the connection string. */
  srv: string
  resolver: DnsResolver
  log: Log
  /** From 0 up to 1. Spreads the retries of many proxies. */
  random: () => number
  after: After
  /** Ends the lookup. */
  signal: AbortSignal
  onFound: (seedlist: Seedlist) => void
}

const TIMEOUT_MS = 5_000
const RETRY: Backoff = { firstMS: 500, maxMS: 30_000 }

export class SeedlistLookup {
  readonly #options: SeedlistLookupOptions
  /** Why the last attempt failed; undefined before the first failure and after a success. */
  error: Fault | undefined
  /** The latest attempt; undefined once the seedlist is known. Never rejects. */
  attempt: Promise<unknown> | undefined

  constructor(options: SeedlistLookupOptions) {
    this.#options = options
    void this.#retryUntilFound()
  }

  async #retryUntilFound(): Promise<void> {
    const { signal, random } = this.#options
    for (let failures = 0; !signal.aborted; failures++) {
      const attempt = this.#lookUp(failures === 0)
      this.attempt = attempt
      if (await attempt) break
      await this.#pause(backoffMS(RETRY, failures, random()))
    }
    this.attempt = undefined
  }

  /** One attempt. False if it is to be repeated. */
  async #lookUp(isFirst: boolean): Promise<boolean> {
    const { srv, resolver, log, after, signal, onFound } = this.#options
    const timeoutReason = () => new Fault('upstream/unreachable', undefined, { srv, code: 'ETIMEDOUT' })
    try {
      const seedlist = await withTimeout(TIMEOUT_MS, { after, timeoutReason, signal }, timeout =>
        rejectOnAbort(timeout, resolveSeedlist(srv, resolver)),
      )
      this.error = undefined
      onFound(seedlist)
      return true
    } catch (thrown) {
      if (signal.aborted) return true
      this.error = Fault.from(thrown)
      const { level } = this.error.definition
      if (isFirst) log(level, 'upstream unreachable', { upstream: srv, ...toLogFields(this.error) })
      return false
    }
  }

  /** Ends early when the signal aborts. */
  async #pause(ms: number): Promise<void> {
    let cancel = () => {}
    const pause = new Promise<void>(resolve => {
      cancel = this.#options.after(ms, resolve)
    })
    await rejectOnAbort(this.#options.signal, pause).catch(() => cancel())
  }
}
