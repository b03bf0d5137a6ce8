/**
 * Asks STS for the time after a signature was outside its window: the clock of the client or of the proxy may have been
 * set since the last answer of STS.
 */
import { Fault } from '../errors.js'

export type ClockSyncOptions = {
  /** Calls this host, whose answer updates the clock skew. Returns why it failed, if it did. Never rejects. */
  probe(host: string): Promise<string | undefined>
  /** Monotonic milliseconds. */
  now(): number
}

/** Anyone can send signatures of yesterday, so each host is called at most this often for all logins. Milliseconds. */
const INTERVAL_MS = 1_000

/** Returns a function that resolves once a host was asked for the time within the last second. It throws `sts/unavailable`. */
export function createClockSync({ probe, now }: ClockSyncOptions): (host: string) => Promise<void> {
  const probes = new Map<string, { at: number; failure: Promise<string | undefined> }>()
  return async host => {
    const last = probes.get(host)
    const current = last && now() - last.at < INTERVAL_MS ? last : { at: now(), failure: probe(host) }
    probes.set(host, current)
    const failure = await current.failure
    if (failure !== undefined) throw new Fault('sts/unavailable', undefined, { why: failure, host })
  }
}
