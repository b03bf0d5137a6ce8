/**
 * Builds the reply to a client's hello from a hello of the upstream: an allow-list of fields, and the proxy's own values for
 * the fields that belong to a connection.
 *
 * The upstream may be hostile, so each field has a type and a bound. A field that is not listed is left out.
 */
import { type Document, Double, Int32, Long, ObjectId, Timestamp } from 'bson'
import { Fault } from '../errors.js'
import { readTopologyVersion } from './topologyVersion.js'

/** The form of the reply. `legacy`: the client sent isMaster. `helloOk`: the client sent `helloOk: true`. */
export type HelloReplyForm = { legacy: boolean; helloOk: boolean }
export type ProxyFields = { connectionId: number; now: Date }

/** A host name has at most 253 bytes, besides its port. */
const MAX_STRING_BYTES = 512
/** A replica set has at most 50 members. */
const MAX_LIST_ENTRIES = 100

/** Gives the value that may pass, or undefined if the value has the wrong type or exceeds its bound. */
type FieldReader = (value: unknown) => unknown

const flag: FieldReader = value => (typeof value === 'boolean' ? value : undefined)
const text: FieldReader = value =>
  typeof value === 'string' && Buffer.byteLength(value) <= MAX_STRING_BYTES ? value : undefined
const integer: FieldReader = value =>
  Number.isSafeInteger(Number(isNumber(value) ? value : Number.NaN)) ? value : undefined
const long: FieldReader = value => (Long.isLong(value) && !(value instanceof Timestamp) ? value : undefined)
const objectId: FieldReader = value => (value instanceof ObjectId ? value : undefined)
const date: FieldReader = value => (value instanceof Date ? value : undefined)
const timestamp: FieldReader = value => (value instanceof Timestamp ? value : undefined)
const texts: FieldReader = value =>
  Array.isArray(value) && value.length <= MAX_LIST_ENTRIES && value.every(entry => text(entry) !== undefined)
    ? value
    : undefined
const tags: FieldReader = value =>
  isDocument(value) && texts(Object.keys(value)) && texts(Object.values(value)) ? value : undefined
const document =
  (fields: Record<string, FieldReader>): FieldReader =>
  value => {
    if (!isDocument(value)) return undefined
    const entries = Object.entries(fields).flatMap(([name, read]) => {
      const field = value[name] === undefined ? undefined : read(value[name])
      return field === undefined ? [] : [[name, field] as const]
    })
    return Object.fromEntries(entries)
  }
const opTime = document({ ts: timestamp, t: long })

/** The allow-list, in mongod's order. Between these groups come the fields that the proxy fills in itself. */
const BEFORE_WRITABLE: Record<string, FieldReader> = {
  topologyVersion: value => readTopologyVersion({ topologyVersion: value }),
  hosts: texts,
  passives: texts,
  arbiters: texts,
  setName: text,
  setVersion: integer,
}
const BEFORE_LOCAL_TIME: Record<string, FieldReader> = {
  secondary: flag,
  primary: text,
  arbiterOnly: flag,
  passive: flag,
  hidden: flag,
  buildIndexes: flag,
  slaveDelay: integer,
  secondaryDelaySecs: integer,
  tags,
  isreplicaset: flag,
  info: text,
  me: text,
  electionId: objectId,
  lastWrite: document({ opTime, lastWriteDate: date, majorityOpTime: opTime, majorityWriteDate: date }),
  msg: text,
  maxBsonObjectSize: integer,
  maxMessageSizeBytes: integer,
  maxWriteBatchSize: integer,
}
const BEFORE_CONNECTION_ID: Record<string, FieldReader> = { logicalSessionTimeoutMinutes: integer }
const BEFORE_OK: Record<string, FieldReader> = { minWireVersion: integer, maxWireVersion: integer, readOnly: flag }

/**
 * The reply to a client. `hello` has its BSON types. Throws `upstream/protocol-error` if a field has the wrong type or
 * exceeds its bound, or if a field is missing that every server sends.
 */
export function buildHelloReply(hello: Document, form: HelloReplyForm, { connectionId, now }: ProxyFields): Document {
  return { ...getTemplate(hello, form), localTime: now, connectionId: new Int32(connectionId) }
}

/** Throws `upstream/protocol-error` as `buildHelloReply` would. Returns the hello. */
export function validateHello(hello: Document): Document {
  getTemplate(hello, { legacy: false, helloOk: false })
  return hello
}

/** Replies without the values of a connection, one per form. Many clients ask while one hello is current. */
const templates = new WeakMap<Document, (Document | undefined)[]>()

function getTemplate(hello: Document, form: HelloReplyForm): Document {
  const cached = templates.get(hello) ?? []
  templates.set(hello, cached)
  const index = (form.legacy ? 2 : 0) + (form.helloOk ? 1 : 0)
  const template = cached[index] ?? buildTemplate(hello, form)
  cached[index] = template
  return template
}

/** `localTime` and `connectionId` are undefined here, so that they keep their places in the document. */
function buildTemplate(hello: Document, form: HelloReplyForm): Document {
  const writable = flag(hello.isWritablePrimary ?? hello.ismaster)
  if (writable === undefined || hello.maxWireVersion === undefined) throw malformed('not a hello')
  return {
    ...(form.helloOk && { helloOk: true }),
    ...pick(hello, BEFORE_WRITABLE),
    [form.legacy ? 'ismaster' : 'isWritablePrimary']: writable,
    ...pick(hello, BEFORE_LOCAL_TIME),
    localTime: undefined,
    ...pick(hello, BEFORE_CONNECTION_ID),
    connectionId: undefined,
    ...pick(hello, BEFORE_OK),
    ok: new Double(1),
  }
}

function pick(hello: Document, fields: Record<string, FieldReader>): Document {
  const picked: Document = {}
  for (const [name, read] of Object.entries(fields)) {
    if (hello[name] === undefined) continue
    const value = read(hello[name])
    if (value === undefined) throw malformed(name)
    picked[name] = value
  }
  return picked
}

/**
 * A member's hello as that of a replica set with one member, which has the address of the proxy. Without a primary the
 * member is neither primary nor secondary: clients send it no operation, and they keep the replica set.
 */
export function presentAsSingleMemberSet(hello: Document, as: { address: string; primary: boolean }): Document {
  const { address, primary } = as
  const last = presented.get(hello)
  if (last?.address === address && last.primary === primary) return last.result
  const fields = Object.entries(hello).filter(([name]) => !FIELDS_OF_OTHER_MEMBERS.has(name))
  const result = {
    ...Object.fromEntries(fields),
    hosts: [address],
    isWritablePrimary: primary,
    secondary: false,
    ...(primary && { primary: address }),
    me: address,
  }
  presented.set(hello, { address, primary, result })
  return result
}

/** The last result for each hello: nearly all clients reach the proxy at the same address. */
const presented = new WeakMap<Document, { address: string; primary: boolean; result: Document }>()

/** Fields about members that clients do not see, or about a role that the shown member does not have. */
const FIELDS_OF_OTHER_MEMBERS = new Set([
  'passives',
  'arbiters',
  'primary',
  'arbiterOnly',
  'passive',
  'hidden',
  'buildIndexes',
  'slaveDelay',
  'secondaryDelaySecs',
  'isreplicaset',
  'info',
])

function isNumber(value: unknown): boolean {
  return value instanceof Int32 || value instanceof Double || long(value) !== undefined || typeof value === 'number'
}

function isDocument(value: unknown): value is Document {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !('_bsontype' in value)
}

function malformed(field: string): Fault {
  return new Fault('upstream/protocol-error', undefined, { why: 'invalid field in hello', field })
}
