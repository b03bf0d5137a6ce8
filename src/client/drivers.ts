/**
 * What the proxy expects of a driver, by the name and the version in its client metadata. Pure.
 *
 * A library that wraps a driver appends its own name and version: `PyMongo|c|Motor` and `4.10.1|3.7.1`. The parts before
 * the first `|` are those of the driver.
 */
import type { Document } from 'bson'

/**
 * The first release of each driver that answers code 391 by logging in again on the same connection. Older releases, and
 * drivers that are not listed, report code 391 to their application.
 */
const REAUTHENTICATES_SINCE: Readonly<Record<string, string>> = {
  nodejs: '5.2',
  PyMongo: '4.4',
  'mongo-java-driver': '5.1',
}

/** Drivers whose pools notice a closed connection by themselves. */
const DETECTS_CLOSED_CONNECTIONS: ReadonlySet<string> = new Set(['nodejs'])

/** Other version strings cannot be compared. A pre-release, such as `5.1.0-beta0`, may lack what the release has. */
const RELEASE = /^\d+(\.\d+)*$/

/** Whether a driver with this metadata logs in again when it receives code 391. */
export function reauthenticates(metadata: Document | undefined): boolean {
  const { name, version } = readDriver(metadata)
  const since = Object.hasOwn(REAUTHENTICATES_SINCE, name) ? REAUTHENTICATES_SINCE[name] : undefined
  return since !== undefined && RELEASE.test(version) && compareReleases(version, since) >= 0
}

/** Whether the pool of a driver with this metadata notices that the proxy closed its connections. */
export function detectsClosedConnections(metadata: Document | undefined): boolean {
  return DETECTS_CLOSED_CONNECTIONS.has(readDriver(metadata).name)
}

/** A name or version that is missing or not a string becomes an empty string. */
function readDriver(metadata: Document | undefined): { name: string; version: string } {
  const { name, version } = metadata?.driver ?? {}
  return { name: readFirstPart(name), version: readFirstPart(version) }
}

function readFirstPart(text: unknown): string {
  return typeof text === 'string' ? (text.split('|', 1)[0] as string) : ''
}

/** Compares number by number, so that 5.10 is later than 5.2. Missing numbers count as 0. */
function compareReleases(a: string, b: string): number {
  const [left, right] = [a.split('.').map(Number), b.split('.').map(Number)]
  for (let at = 0; at < Math.max(left.length, right.length); at++) {
    const difference = (left[at] ?? 0) - (right[at] ?? 0)
    if (difference !== 0) return difference
  }
  return 0
}
