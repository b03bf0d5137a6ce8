/** Clients that all want in: so many at a time, each logging in, leaving, and coming back when it is told to wait. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Document } from 'bson'
import { client, type Login, Refused } from './client.js'

export type Crowding = {
  port: number
  login: Login & { by: 'aws' }
  /** Logins altogether, and how many at a time; from so many addresses of loopback, 127.0.0.2 the first. */
  count: number
  lanes: number
  addresses: number
  /** The first of them. */
  first?: number
  /** Each login with a key of its own that names the same account and ends alike. */
  many?: boolean
  /** Milliseconds that each lane rests after a login. */
  pauseMS?: number
  /** Ends before `count` when this much time is over. */
  ms?: number
}

/** `told`: how often a login was told to come back. `refused`: the others, by code. Waits in milliseconds, sorted. */
export type Crowd = {
  ms: number
  succeeded: number
  told: number
  refused: Record<string, number>
  half: number
  p99: number
  longest: number
}

const LATER = 262

const LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'
const letter = (): string => LETTERS[Math.floor(Math.random() * 32)] ?? 'A'

/** The first 14 letters hold the kind and the account, but for the low bits of the last of them. */
function another(login: Crowding['login']): Crowding['login'] {
  const { accessKeyId } = login
  const made = `${accessKeyId.slice(0, 14)}${letter()}${letter()}${letter()}${letter()}${letter()}D`
  return { ...login, accessKeyId: made }
}

/** Resolves once all of them were let in or turned away for good. */
export async function crowd({
  port,
  login,
  count,
  lanes,
  addresses,
  first = 2,
  many = false,
  pauseMS = 0,
  ms = 50_000,
}: Crowding): Promise<Crowd> {
  const started = performance.now()
  const waits: number[] = []
  const refused: Record<string, number> = {}
  let told = 0
  let left = count

  const once = async (from: string): Promise<void> => {
    const began = performance.now()
    for (;;) {
      try {
        const { close } = await client({ port, from }, many ? another(login) : login)
        waits.push(performance.now() - began)
        void close()
        return
      } catch (thrown) {
        const { code, baseBackoffMS }: Document = thrown instanceof Refused ? thrown.reply : {}
        if (code !== LATER) {
          const name = String(code ?? thrown)
          refused[name] = (refused[name] ?? 0) + 1
          return
        }
        told++
        await sleep(Number(baseBackoffMS ?? 100))
      }
    }
  }
  const lane = async (nth: number): Promise<void> => {
    const from = `127.0.0.${first + (nth % addresses)}`
    while (left-- > 0 && performance.now() - started < ms) {
      await once(from)
      if (pauseMS > 0) await sleep(pauseMS)
    }
  }
  await Promise.all(Array.from({ length: lanes }, (_, nth) => lane(nth)))
  const took = performance.now() - started
  waits.sort((a, b) => a - b)
  const at = (part: number): number => waits[Math.min(waits.length - 1, Math.floor(waits.length * part))] ?? Number.NaN
  return {
    ms: took,
    succeeded: waits.length,
    told,
    refused,
    half: at(0.5),
    p99: at(0.99),
    longest: at(1),
  }
}
