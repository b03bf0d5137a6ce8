/**
 * Exponential backoff: every pause is twice as long as the one before it, up to a maximum.
 *
 * Jitter moves each pause into its second half ("equal jitter"), so that clients that failed together do not return
 * together.
 * https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/
 */

/** Milliseconds. */
export type Backoff = { firstMS: number; maxMS: number }

/**
 * The pause before a retry, in milliseconds. `attempt` counts from 0. `random` is 0 to 1 and places the pause between half
 * of its length and the whole; the default adds no jitter.
 */
export function backoffMS({ firstMS, maxMS }: Backoff, attempt: number, random = 1): number {
  return Math.min(maxMS, firstMS * 2 ** attempt) * (0.5 + random / 2)
}
