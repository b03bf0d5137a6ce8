/**
 * The client metadata that the upstream gets in hello: the client's own, behind a marker in `platform` by which a connection
 * of MongoDB is found in the audit trail.
 *
 *     mongo-iam-proxy/VERSION ID session=NAME | the client's own platform
 *
 * Servers reject more than 512 bytes, and drivers fill them. So the client's own platform is shortened, then `env`, then `os`,
 * and at last fields that the specification does not know. `application` and `driver` stay as they are.
 *
 * https://github.com/mongodb/specifications/blob/master/source/mongodb-handshake/handshake.md
 */
import { calculateObjectSize, type Document, deserialize, serialize } from 'bson'
import { Fault } from '../errors.js'

export const PROXY_NAME = 'mongo-iam-proxy'
export const VERSION = '0.1.0'

export const MAX_METADATA_BYTES = 512

/** The metadata of connections that the proxy opens for itself. */
export const PROXY_METADATA: Document = { driver: { name: PROXY_NAME, version: VERSION }, os: { type: 'unknown' } }

/** `connection`: the id of the audit trail. `session`: the name of the role session or federated user, as the trail shows it. */
export type Marker = { connection: string; session?: string | undefined }

/** Neither a connection id nor a session name contains it, so the end of the marker is known. */
const SEPARATOR = ' | '
const START_OF_MARKER = /mongo-iam-proxy\//gi
/** It has the same length, so that the lengths in BSON stay right. */
const DEFUSED = 'mongo-iam-proxy_'
/** Every value keeps its BSON type. */
const EXACT = { promoteValues: false, promoteBuffers: false, promoteLongs: false }

/**
 * The `client` document for the upstream's hello. `mongos` is left out, since it says that a router connects, and a platform
 * that is not a string is replaced. Throws `hello/metadata-too-large` if `application` and `driver` leave no room for the
 * marker, which those of real drivers do.
 */
export function markMetadata(metadata: Document | undefined, marker: Marker): Document {
  const platform = formatMarker(marker)
  if (!metadata) return { ...PROXY_METADATA, platform }
  const { mongos: _, ...client } = defuse(metadata)
  const marked: Document = { ...client, platform }
  const ownPlatform = typeof client.platform === 'string' ? client.platform : ''
  const shortened = truncate(ownPlatform, countFree(marked) - SEPARATOR.length)
  if (shortened !== '') marked.platform = platform + SEPARATOR + shortened
  else shorten(marked)
  return marked
}

function formatMarker({ connection, session }: Marker): string {
  const start = `${PROXY_NAME}/${VERSION} ${connection}`
  return session === undefined ? start : `${start} session=${session}`
}

/**
 * Replaces the start of a marker in the client's own text, so that no client can forge one. It searches the bytes, because
 * names of fields, symbols and code hold text too.
 */
function defuse(metadata: Document): Document {
  const text = Buffer.from(serialize(metadata)).toString('latin1')
  const defused = text.replace(START_OF_MARKER, DEFUSED)
  return defused === text ? metadata : deserialize(Buffer.from(defused, 'latin1'), EXACT)
}

/** Removes and truncates what may be shortened until the document fits, the least useful first. */
function shorten(marked: Document): void {
  for (const part of ['env', 'os']) if (isDocument(marked[part])) marked[part] = { ...marked[part] }
  const { env, os } = marked
  const removable: [Document, string][] = [
    ...listDetails(env, ['name']),
    [marked, 'env'],
    ...listDetails(os, ['type']),
    ...listDetails(marked, ['application', 'driver', 'os', 'env', 'platform']),
  ]
  for (const [document, name] of removable) {
    if (countFree(marked) >= 0) return
    delete document[name]
  }
  const missing = -countFree(marked)
  if (missing <= 0) return
  if (typeof os?.type === 'string') os.type = truncate(os.type, Buffer.byteLength(os.type) - missing)
  if (countFree(marked) < 0) {
    throw new Fault('hello/metadata-too-large', 'application and driver leave no room for the marker of the proxy')
  }
}

/** The fields of a document from the last to the first, without the required ones. */
function listDetails(document: unknown, required: readonly string[]): [Document, string][] {
  if (!isDocument(document)) return []
  const names = Object.keys(document).filter(name => !required.includes(name))
  return names.reverse().map(name => [document, name])
}

/** Whether it has fields: other BSON types are objects too. */
function isDocument(value: unknown): value is Document {
  return value !== null && typeof value === 'object' && Object.getPrototypeOf(value) === Object.prototype
}

function countFree(document: Document): number {
  return MAX_METADATA_BYTES - calculateObjectSize(document)
}

/** The longest start of a text that has at most this many bytes and ends behind a whole character. */
function truncate(text: string, maxBytes: number): string {
  const bytes = Buffer.from(text)
  if (bytes.length <= maxBytes) return text
  let end = Math.max(maxBytes, 0)
  while (isContinuation(bytes[end])) end--
  return bytes.toString('utf8', 0, end)
}

/** Whether a byte continues a character of UTF-8. */
function isContinuation(byte: number | undefined): boolean {
  return byte !== undefined && (byte & 0xc0) === 0x80
}
