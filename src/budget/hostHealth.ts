/**
 * Selects the STS host that a conversation is offered. The proxy offers a host before it knows the account of the client,
 * and the client signs for that host, so there is no other host to fall back on.
 *
 *     healthy ──health below 0.4──▶ ejected ──pause over──▶ one probe ──good answer──▶ healthy, at half health
 *                                      ▲                        │
 *                                      └── bad answer or none: a longer pause
 *
 * Health is a moving average of answers: a good answer moves it a fifth of the way to 1, a bad one a fifth of the way to 0.
 * Five bad answers in a row eject a host, and so do mostly bad ones. A bad answer that a single client may have caused
 * moves health only a twentieth of the way. A refusal is a good answer: the host works. If every host is ejected, all of
 * them are offered again.
 *
 * An account may have a region disabled, and STS then answers as if the key did not exist. After such an answer, the
 * client's subnet is offered the first host for a while; its subnet is all that is known of a client before it signs.
 * While the first host is ejected this does not apply, since it would lock out every other client of that subnet.
 */
import { LRUCache } from 'lru-cache'
import { backoffMS } from '../backoff.js'
import type { StsOutcome } from '../identity/outcome.js'
import { toSubnet } from './subnet.js'

export type HostSelector = {
  /** The host to offer in a new conversation with a client of this address. */
  selectHost(address: string): string
  /** Records the outcome of a call to a host on behalf of a client of this address. */
  recordOutcome(host: string, outcome: StsOutcome, address: string): void
  /** Offers clients of this address the first host alone for a while, as after an answer about a disabled region. */
  preferFirstHost(address: string): void
  /** Health by host, from 0 to 1. An ejected host has 0. */
  health(): Record<string, number>
}

export type HostSelectorOptions = {
  /** At least one, without duplicates. The first host decides whether a key exists. */
  hosts: readonly string[]
  /** How many logins wait for a host or call it. */
  countPending(host: string): number
  /** 0 to 1, below 1. */
  random(): number
  /** Monotonic milliseconds. */
  now(): number
  /** How many subnets can be restricted to the first host at a time. */
  maxSubnets: number
  /** Called when a host is ejected (`isHealthy` false), with its last bad answer, and when it is restored. */
  onHealthChange(host: string, isHealthy: boolean, why?: string): void
}

/** How far one answer moves the health of its host towards 0 or 1. */
const STEP = 0.2
/** The step of a bad answer that may have been caused by one account (a throttle) or one request (an odd answer). */
const SINGLE_CLIENT_STEP = 0.05
/** A host below this health is ejected. */
const EJECTED_BELOW = 0.4
/** The least health of a host that is restored. */
const RESTORED_HEALTH = 0.5
/** Above this health, the next ejection begins with the first pause again. */
const SOUND = 0.9
/** The pauses before a probe. */
const PROBE_BACKOFF = { firstMS: 1_000, maxMS: 60_000 }
/**
 * How long to wait for the outcome of a probe. Each unanswered probe halves the time for the next one. A client that takes
 * probes and never signs can therefore keep a host ejected for seconds only.
 */
const PROBE_MS = 10_000
const MIN_PROBE_MS = 100
/** How long a subnet is offered the first host alone. Enabling a region takes an operator; other pods may follow sooner. */
const FIRST_HOST_MS = 10 * 60_000
/** The least weight of a host in the draw, so that every host is offered sometimes. */
const MIN_WEIGHT = 0.01

type Host = {
  name: string
  health: number
  isHealthy: boolean
  /** Ejections since the host was last sound. */
  ejections: number
  /** While ejected: when the next probe may start. */
  probeAt: number
  /** How long the pending probe may take; undefined if there is none. */
  probeMS: number | undefined
}

export function createHostSelector(options: HostSelectorOptions): HostSelector {
  const { hosts: names, now, random, maxSubnets } = options
  const hosts = names.map((name): Host => createHost(name))
  const byName = new Map(hosts.map(host => [host.name, host]))
  const [first = ''] = names
  /** Until when a subnet is offered the first host alone. */
  const firstHostUntil = new LRUCache<string, number>({ max: maxSubnets })

  const needsFirstHost = (subnet: string): boolean => {
    const until = firstHostUntil.get(subnet)
    if (until === undefined) return false
    if (now() < until) return byName.get(first)?.isHealthy === true
    firstHostUntil.delete(subnet)
    return false
  }

  /** Healthy and idle hosts have more weight than sick or busy ones. */
  const weightOf = ({ name, health }: Host): number =>
    Math.max(health, MIN_WEIGHT) / (1 + Math.max(0, options.countPending(name)))
  const draw = (candidates: readonly Host[]): string => {
    const weights = candidates.map(weightOf)
    let rest = random() * weights.reduce((sum, weight) => sum + weight, 0)
    for (const [index, weight] of weights.entries()) {
      rest -= weight
      if (rest < 0) return candidates[index]?.name ?? first
    }
    return first
  }

  const eject = (host: Host, outcome: StsOutcome): void => {
    if (host.isHealthy) options.onHealthChange(host.name, false, describeBadAnswer(outcome))
    host.isHealthy = false
    host.probeMS = undefined
    host.probeAt = now() + backoffMS(PROBE_BACKOFF, host.ejections++)
  }
  const restore = (host: Host): void => {
    host.isHealthy = true
    host.probeMS = undefined
    host.health = Math.max(host.health, RESTORED_HEALTH)
    options.onHealthChange(host.name, true)
  }

  const preferFirstHost = (address: string): void => void firstHostUntil.set(toSubnet(address), now() + FIRST_HOST_MS)

  return {
    preferFirstHost,
    selectHost(address) {
      if (needsFirstHost(toSubnet(address))) return first
      const due = hosts.find(host => !host.isHealthy && now() >= host.probeAt)
      if (due) {
        // The client may leave before STS is called. The next probe then starts after the time of this one.
        due.probeMS = due.probeMS === undefined ? PROBE_MS : Math.max(due.probeMS / 2, MIN_PROBE_MS)
        due.probeAt = now() + due.probeMS
        return due.name
      }
      const healthy = hosts.filter(host => host.isHealthy)
      return draw(healthy.length > 0 ? healthy : hosts)
    },
    recordOutcome(name, outcome, address) {
      const host = byName.get(name)
      if (!host) return
      if (isRegionDisabled(outcome)) preferFirstHost(address)
      const isGood = isGoodAnswer(outcome)
      const step = mayBeCausedByOneClient(outcome) ? SINGLE_CLIENT_STEP : STEP
      host.health += step * ((isGood ? 1 : 0) - host.health)
      if (host.isHealthy) {
        if (host.health < EJECTED_BELOW) eject(host, outcome)
        else if (host.health > SOUND) host.ejections = 0
        return
      }
      // Answers to calls from before the ejection do not count, unless no host is healthy.
      const isProbe = host.probeMS !== undefined
      if (isGood && (isProbe || hosts.every(each => !each.isHealthy))) restore(host)
      else if (!isGood && isProbe) eject(host, outcome)
    },
    health: () => Object.fromEntries(hosts.map(({ name, health, isHealthy }) => [name, isHealthy ? health : 0])),
  }
}

function createHost(name: string): Host {
  return { name, health: 1, isHealthy: true, ejections: 0, probeAt: 0, probeMS: undefined }
}

function mayBeCausedByOneClient(outcome: StsOutcome): boolean {
  return outcome.is === 'throttled' || (outcome.is === 'unavailable' && outcome.next === 'none')
}

function isRegionDisabled(outcome: StsOutcome): boolean {
  return outcome.is === 'unavailable' && outcome.next === 'first-host'
}

/** Whether the host works. A host that does not know a key, or not in its region, does. */
function isGoodAnswer(outcome: StsOutcome): boolean {
  if (outcome.is === 'unavailable') return outcome.next === 'first-host'
  return outcome.is !== 'throttled'
}

function describeBadAnswer(outcome: StsOutcome): string | undefined {
  if (outcome.is === 'throttled') return `STS throttled the call: ${outcome.code}`
  return outcome.is === 'unavailable' ? outcome.why : undefined
}
