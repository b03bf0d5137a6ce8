/**
 * The client metadata that the upstream gets in hello: the client's own, marked as coming through this proxy.
 * https://github.com/mongodb/specifications/blob/master/source/mongodb-handshake/handshake.md
 */
import { calculateObjectSize, type Document } from 'bson'

export const PROXY_NAME = 'mongo-iam-proxy'
export const VERSION = '0.1.0'

/** Servers reject a larger document. */
const MAX_METADATA_BYTES = 512

/**
 * The `client` document for the upstream's hello: the client's, with its types and order, and the proxy's name added to
 * `platform` if the whole document stays within 512 bytes. `mongos` is left out, since it says that a router connects.
 */
export function addProxyMetadata(metadata: Document | undefined): Document {
  if (!metadata) return { driver: { name: PROXY_NAME, version: VERSION }, os: { type: 'unknown' } }
  const { mongos: _, ...forwarded } = metadata
  const { platform } = forwarded
  if (platform !== undefined && typeof platform !== 'string') return forwarded
  const marked = { ...forwarded, platform: [platform, `${PROXY_NAME} ${VERSION}`].filter(Boolean).join(' | ') }
  return calculateObjectSize(marked) <= MAX_METADATA_BYTES ? marked : forwarded
}
