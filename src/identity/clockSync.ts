/** What time it is to STS, asked anew where a signature does not fit: a clock may have been set since, the client's or ours. */
import { Fault } from '../errors.js'

export type ClockSyncOptions = {
  /** Asks this host, by which its time becomes known; gives why it did not answer, if so. Never rejects. */
  probe(host: string): Promise<string | undefined>
  /** Monotonic milliseconds. */
  now(): number
}

/** Anybody may send signatures of yesterday, and each host is asked for all of them together, so often. Milliseconds. */
const EVERY_MS = 1_000

/** Gives what resolves once the time was asked lately. Throws `sts/unavailable`. */
export function createClockSync({ probe, now }: ClockSyncOptions): (host: string) => Promise<void> {
  const asked = new Map<string, { at: number; answer: Promise<string | undefined> }>()
  return async host => {
    const last = asked.get(host)
    const latest = last && now() - last.at < EVERY_MS ? last : { at: now(), answer: probe(host) }
    asked.set(host, latest)
    const why = await latest.answer
    if (why !== undefined) throw new Fault('sts/unavailable', undefined, { answer: why })
  }
}
