/** The view of the upstream that clients get: the hello of one member, and its role. Pure. */
import type { Document } from 'bson'
import { readTopologyVersion } from './topologyVersion.js'

export type TopologyView = {
  /** A member's own hello, with its BSON types. */
  hello: Document
  /** That member is the primary. */
  isPrimary: boolean
  /** Clients see a replica set; otherwise they see this very server. */
  isReplicaSet: boolean
}

/**
 * The hello of a member that is not shown as the primary. If the member claims to be the primary, its topologyVersion is
 * removed: clients may have seen a primary under that version, and would not wait for the next one.
 */
export function withoutPrimaryClaim(hello: Document): Document {
  if ((hello.isWritablePrimary ?? hello.ismaster) !== true) return hello
  const { topologyVersion: _, ...rest } = hello
  return rest
}

/** A client that has seen one view does not wait for the other. */
export function isSameToClients(view: TopologyView, published: TopologyView): boolean {
  const [version, before] = [readTopologyVersion(view.hello), readTopologyVersion(published.hello)]
  if (!version || !before || view.isPrimary !== published.isPrimary) return false
  return version.processId.equals(before.processId) && version.counter.equals(before.counter)
}
