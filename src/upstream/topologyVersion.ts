/**
 * The topologyVersion of a hello: which process sent it, and a counter that rises with each change of its state.
 * https://github.com/mongodb/specifications/blob/master/source/server-discovery-and-monitoring/server-monitoring.md
 */
import { type Document, Long, ObjectId, Timestamp } from 'bson'

export type TopologyVersion = { processId: ObjectId; counter: Long }

/** Undefined if the hello has none (FerretDB), or if it is malformed. */
export function readTopologyVersion({ topologyVersion }: Document): TopologyVersion | undefined {
  if (typeof topologyVersion !== 'object' || topologyVersion === null) return undefined
  const { processId, counter } = topologyVersion
  const isValid = processId instanceof ObjectId && Long.isLong(counter) && !(counter instanceof Timestamp)
  return isValid ? { processId, counter } : undefined
}

/**
 * True if a client that knows `known` has not seen `current`: the process is another one, or its counter is higher. A
 * missing version is always new.
 */
export function isNewTopologyVersion(current: TopologyVersion | undefined, known: TopologyVersion): boolean {
  return !current?.processId.equals(known.processId) || current.counter.greaterThan(known.counter)
}
