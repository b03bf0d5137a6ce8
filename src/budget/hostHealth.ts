/**
 * Which STS host a conversation is offered. It is drawn before anybody knows whose account it will be, and once the client
 * has signed for it there is no other.
 *
 *     up ──answers got bad──▶ left alone ──pause over──▶ one probe ──good──▶ up, at half of its health
 *                                  ▲                         │
 *                                  └──bad, or no answer: a longer pause
 *
 * A host's health moves a fifth of the way to 1 with each good answer and to 0 with each bad one, so five bad ones in a
 * row, or most of many, leave it alone; a twentieth with a bad one that a single client may have brought about. A refusal
 * is a good answer: the host works. When every host is left alone, all are drawn again, since some way to STS is better
 * than none.
 *
 * An account may have a region disabled, which looks like a key that does not exist. Whoever is told so by another than
 * the first host is offered the first one for a while, by its address, which is all that is known of it next time (F9).
 * While the first one is left alone, that would keep out everybody else behind the address, so then nobody is steered.
 */
import { LRUCache } from 'lru-cache'
import type { StsOutcome } from '../identity/outcome.js'
import { toSubnet } from './subnet.js'

export type HostSelector = {
  /** The host for a new conversation of a client of this address. */
  selectHost(address: string): string
  /** What asking a host came to, for a client of this address. */
  recordOutcome(host: string, outcome: StsOutcome, address: string): void
  /** From 0 to 1 by host; 0 for one that is left alone. */
  health(): Record<string, number>
}

export type HostSelectorOptions = {
  /** At least one, each once; the first has the say about keys. */
  hosts: readonly string[]
  /** How many logins wait for their turn at a host or are being asked there. */
  countPending(host: string): number
  /** 0 to 1, below 1. */
  random(): number
  /** Monotonic milliseconds. */
  now(): number
  /** Addresses that are steered to the first host, at most. */
  maxSubnets: number
  /** Told when a host is left alone, and when it is drawn again. */
  onHealthChange(host: string, up: boolean): void
}

/**
 * A throttle is about one account, whose owner may bring it about, and an answer that nobody understands may be about
 * one odd request; so it takes many of them to tell about a host.
 */
const SMALL_STEP = 0.05
/** How far one answer moves the health of its host, below which it is left alone, and with what it comes back. */
const STEP = 0.2
const LEFT_ALONE = 0.4
const COMES_BACK = 0.5
/** From which on it counts as never having been away. */
const SOUND = 0.9
/** The pause before the first probe, each next one twice as long. Milliseconds. */
const FIRST_PAUSE = 1_000
const LONGEST_PAUSE = 60_000
/**
 * How long a probe may take; each that came to nothing leaves the next one half of it, down to the least, so that whoever
 * takes probes and never asks STS keeps a host away for seconds. Milliseconds.
 */
const PROBE = 10_000
const LEAST_PROBE = 100
/** How long an address is steered, in milliseconds: regions are enabled by people, keys of other pods come sooner. */
const STEERED = 10 * 60_000

/** `until`: while left alone, when the next probe may go. `probe`: how long the one may take that is out. */
type Host = { name: string; health: number; up: boolean; pause: number; until: number; probe: number | undefined }

export function createHostSelector({
  hosts: names,
  countPending,
  random,
  now,
  maxSubnets,
  onHealthChange,
}: HostSelectorOptions): HostSelector {
  const all = names.map((name): Host => ({ name, health: 1, up: true, pause: FIRST_PAUSE, until: 0, probe: undefined }))
  const byName = new Map(all.map(host => [host.name, host]))
  const [first = ''] = names
  const isFirstUp = () => byName.get(first)?.up === true
  const steered = new LRUCache<string, number>({ max: maxSubnets })

  /** A healthy and idle host is drawn more often than a sick or busy one, and each of these at times. */
  const weigh = ({ name, health }: Host): number => Math.max(health, 0.01) / (1 + Math.max(0, countPending(name)))
  const drawOf = (some: readonly Host[]): string => {
    const weights = some.map(weigh)
    let rest = random() * weights.reduce((sum, weight) => sum + weight, 0)
    for (const [index, weight] of weights.entries()) {
      rest -= weight
      if (rest < 0) return some[index]?.name ?? first
    }
    return first
  }

  const leaveAlone = (host: Host): void => {
    if (host.up) onHealthChange(host.name, false)
    Object.assign(host, { up: false, probe: undefined, until: now() + host.pause })
    host.pause = Math.min(host.pause * 2, LONGEST_PAUSE)
  }
  const comeBack = (host: Host): void => {
    Object.assign(host, { up: true, probe: undefined, health: Math.max(host.health, COMES_BACK) })
    onHealthChange(host.name, true)
  }

  return {
    selectHost(address) {
      const subnet = toSubnet(address)
      const until = steered.get(subnet)
      if (until !== undefined && now() >= until) steered.delete(subnet)
      else if (until !== undefined && isFirstUp()) return first
      const due = all.find(host => !host.up && now() >= host.until)
      if (due) {
        // The conversation may be given up before STS is asked; then the next probe goes once this one's time is over.
        due.probe = due.probe === undefined ? PROBE : Math.max(due.probe / 2, LEAST_PROBE)
        due.until = now() + due.probe
        return due.name
      }
      const up = all.filter(host => host.up)
      return drawOf(up.length > 0 ? up : all)
    },
    recordOutcome(name, outcome, address) {
      const host = byName.get(name)
      if (!host) return
      const good = isGood(outcome)
      if (outcome.is === 'unavailable' && outcome.next === 'first') steered.set(toSubnet(address), now() + STEERED)
      const step = isOfOne(outcome) ? SMALL_STEP : STEP
      host.health += step * ((good ? 1 : 0) - host.health)
      const none = all.every(({ up }) => !up)
      if (host.up) {
        if (host.health < LEFT_ALONE) leaveAlone(host)
        else if (host.health > SOUND) host.pause = FIRST_PAUSE
      } else if (good && (host.probe !== undefined || none)) comeBack(host)
      else if (!good && host.probe !== undefined) leaveAlone(host)
    },
    health: () => Object.fromEntries(all.map(({ name, health, up }) => [name, up ? health : 0])),
  }
}

/** Whether a single client could bring this about. */
function isOfOne(outcome: StsOutcome): boolean {
  return outcome.is === 'throttled' || (outcome.is === 'unavailable' && outcome.next === 'later')
}

/** Whether the host does its work; that it knows no such key, or not in its region, is work done. */
function isGood(outcome: StsOutcome): boolean {
  if (outcome.is === 'unavailable') return outcome.next === 'first'
  return outcome.is !== 'throttled'
}
