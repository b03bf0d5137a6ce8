/** A burst of logins: many clients that log in, disconnect, and retry when the proxy asks them to. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Document } from 'bson'
import { CommandError, type Credentials, connectClient } from './client.js'

export type BurstOptions = {
  port: number
  login: Credentials & { by: 'aws' }
  /** The number of logins. */
  count: number
  /** Logins at a time. */
  concurrency: number
  /** Loopback addresses that they come from, starting at 127.0.0.`firstAddress`. */
  addresses: number
  /** Default: 2. */
  firstAddress?: number
  /** Each login uses another access key of the same account, one that `peers/throttlingSts.ts` does not know. */
  unknownKeys?: boolean
  /** Pause after each login, in milliseconds. */
  pauseMS?: number
  /** No login starts after this time, in milliseconds. */
  maxMS?: number
}

/** `retries`: replies with code 262. `refused`: failed logins by code. Latencies of logins, retries included, in milliseconds. */
export type BurstResult = {
  ms: number
  succeeded: number
  retries: number
  refused: Record<string, number>
  median: number
  p99: number
  max: number
}

/** ExceededTimeLimit: the client should retry after `baseBackoffMS`. */
const RETRY_CODE = 262

const BASE32 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'
const randomLetter = (): string => BASE32[Math.floor(Math.random() * 32)] ?? 'A'

/** The first 14 characters of an access key id hold its type and its account, except the lowest bits of the last one. */
function withUnknownKey(login: BurstOptions['login']): BurstOptions['login'] {
  const random = Array.from({ length: 5 }, randomLetter).join('')
  return { ...login, accessKeyId: `${login.accessKeyId.slice(0, 14)}${random}D` }
}

/** Resolves when every login has succeeded or failed for good. */
export async function runLoginBurst({
  port,
  login,
  count,
  concurrency,
  addresses,
  firstAddress = 2,
  unknownKeys = false,
  pauseMS = 0,
  maxMS = 50_000,
}: BurstOptions): Promise<BurstResult> {
  const started = performance.now()
  const latencies: number[] = []
  const refused: Record<string, number> = {}
  let retries = 0
  let remaining = count

  const logIn = async (from: string): Promise<void> => {
    const began = performance.now()
    for (;;) {
      try {
        const { close } = await connectClient({ port, from }, unknownKeys ? withUnknownKey(login) : login)
        latencies.push(performance.now() - began)
        void close()
        return
      } catch (thrown) {
        const { code, baseBackoffMS }: Document = thrown instanceof CommandError ? thrown.reply : {}
        if (code !== RETRY_CODE) {
          const name = String(code ?? thrown)
          refused[name] = (refused[name] ?? 0) + 1
          return
        }
        retries++
        await sleep(Number(baseBackoffMS ?? 100))
      }
    }
  }
  const runWorker = async (nth: number): Promise<void> => {
    const from = `127.0.0.${firstAddress + (nth % addresses)}`
    while (remaining-- > 0 && performance.now() - started < maxMS) {
      await logIn(from)
      if (pauseMS > 0) await sleep(pauseMS)
    }
  }
  await Promise.all(Array.from({ length: concurrency }, (_, nth) => runWorker(nth)))
  const ms = performance.now() - started
  latencies.sort((a, b) => a - b)
  const quantile = (part: number): number =>
    latencies[Math.min(latencies.length - 1, Math.floor(latencies.length * part))] ?? Number.NaN
  return {
    ms,
    succeeded: latencies.length,
    retries,
    refused,
    median: quantile(0.5),
    p99: quantile(0.99),
    max: quantile(1),
  }
}
