/** What the upstream is told about who connects: the client's own words, and that they came through a proxy (R11). */
import { calculateObjectSize, type Document } from 'bson'

export const PROXY_NAME = 'mongo-iam-proxy'
export const VERSION = '0.1.0'

/** Servers refuse a larger document at hello. */
const LIMIT = 512

/**
 * The `client` document for the upstream's hello: what the client sent, types and order unchanged, with ours added to
 * `platform` as long as the whole stays within 512 bytes. `mongos` says that a router speaks, so it stays here.
 */
export function addProxyMetadata(metadata: Document | undefined): Document {
  if (!metadata) return { driver: { name: PROXY_NAME, version: VERSION }, os: { type: 'unknown' } }
  const { mongos: _, ...kept } = metadata
  const { platform } = kept
  if (platform !== undefined && typeof platform !== 'string') return kept
  const marked = { ...kept, platform: [platform, `${PROXY_NAME} ${VERSION}`].filter(Boolean).join(' | ') }
  return calculateObjectSize(marked) <= LIMIT ? marked : kept
}
