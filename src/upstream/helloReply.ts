/**
 * What clients are told about the upstream: its own hello, an allow-list of fields, with only ours replaced.
 *
 * The upstream may be hostile, so each field has a form and a bound; what is not listed does not pass.
 */
import { type Document, Double, Int32, Long, ObjectId, Timestamp } from 'bson'
import { Fault } from '../errors.js'

export type TopologyVersion = { processId: ObjectId; counter: Long }

/** A hello, as far as the answer's form depends on it. `legacy`: asked as isMaster. */
export type HelloRequest = { legacy: boolean; helloOk: boolean }
export type ProxyFields = { connectionId: number; now: Date }

/** Bytes of a text, entries of a list: a set has at most 50 members, a host name at most 253 bytes and a port. */
const LONGEST = 512
const MOST = 100

/** Gives the value as it may pass, or undefined where it has not the form. */
type Form = (value: unknown) => unknown

const flag: Form = value => (typeof value === 'boolean' ? value : undefined)
const text: Form = value => (typeof value === 'string' && Buffer.byteLength(value) <= LONGEST ? value : undefined)
const integer: Form = value => (Number.isSafeInteger(Number(isNumber(value) ? value : Number.NaN)) ? value : undefined)
const long: Form = value => (Long.isLong(value) && !(value instanceof Timestamp) ? value : undefined)
const id: Form = value => (value instanceof ObjectId ? value : undefined)
const date: Form = value => (value instanceof Date ? value : undefined)
const stamp: Form = value => (value instanceof Timestamp ? value : undefined)
const texts: Form = value =>
  Array.isArray(value) && value.length <= MOST && value.every(entry => text(entry) !== undefined) ? value : undefined
const tags: Form = value =>
  isDocument(value) && texts(Object.keys(value)) && texts(Object.values(value)) ? value : undefined
const shape =
  (fields: Record<string, Form>): Form =>
  value => {
    if (!isDocument(value)) return undefined
    const kept = Object.entries(fields).flatMap(([name, form]) => {
      const inner = value[name] === undefined ? undefined : form(value[name])
      return inner === undefined ? [] : [[name, inner] as const]
    })
    return Object.fromEntries(kept)
  }
const opTime = shape({ ts: stamp, t: long })

/** In the order of mongod. `ismaster`, `helloOk`, `localTime`, `connectionId` and `ok` are ours and come by themselves. */
const BEFORE: Record<string, Form> = {
  topologyVersion: value => readTopologyVersion({ topologyVersion: value }),
  hosts: texts,
  passives: texts,
  arbiters: texts,
  setName: text,
  setVersion: integer,
}
const BETWEEN: Record<string, Form> = {
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
  electionId: id,
  lastWrite: shape({ opTime, lastWriteDate: date, majorityOpTime: opTime, majorityWriteDate: date }),
  msg: text,
  maxBsonObjectSize: integer,
  maxMessageSizeBytes: integer,
  maxWriteBatchSize: integer,
}
const SESSIONS: Record<string, Form> = { logicalSessionTimeoutMinutes: integer }
const AFTER: Record<string, Form> = { minWireVersion: integer, maxWireVersion: integer, readOnly: flag }

/**
 * The answer to a client's hello, from the upstream's (read with its BSON types). Throws `upstream/protocol-error` for a
 * field that has not its form or passes its bound, and for a hello without the fields that every server gives.
 */
export function buildHelloReply(hello: Document, asked: HelloRequest, { connectionId, now }: ProxyFields): Document {
  return { ...draftOf(hello, asked), localTime: now, connectionId: new Int32(connectionId) }
}

/** The answers to clients are made once for each hello of the upstream, as many clients ask while it holds. */
const drafts = new WeakMap<Document, (Document | undefined)[]>()

function draftOf(hello: Document, asked: HelloRequest): Document {
  const known = drafts.get(hello) ?? []
  drafts.set(hello, known)
  const at = (asked.legacy ? 2 : 0) + (asked.helloOk ? 1 : 0)
  const draft = known[at] ?? draftFor(hello, asked)
  known[at] = draft
  return draft
}

/** The whole answer, where `localTime` and `connectionId` have their places and not yet their values. */
function draftFor(hello: Document, asked: HelloRequest): Document {
  const writable = flag(hello.isWritablePrimary ?? hello.ismaster)
  if (writable === undefined || hello.maxWireVersion === undefined) throw malformed('not a hello')
  return {
    ...(asked.helloOk && { helloOk: true }),
    ...pick(hello, BEFORE),
    [asked.legacy ? 'ismaster' : 'isWritablePrimary']: writable,
    ...pick(hello, BETWEEN),
    localTime: undefined,
    ...pick(hello, SESSIONS),
    connectionId: undefined,
    ...pick(hello, AFTER),
    ok: new Double(1),
  }
}

/** A hello with every field in its form. Throws `upstream/protocol-error`, as `present` would. */
export function validateHello(hello: Document): Document {
  draftOf(hello, { legacy: false, helloOk: false })
  return hello
}

/**
 * A member's hello as that of a set which has one member, at the address that clients reach. Without a primary it is
 * neither primary nor secondary, so that nobody is sent to it and nobody forgets the set (R9).
 */
export function presentAsSingleMemberSet(hello: Document, as: { address: string; primary: boolean }): Document {
  const { address, primary } = as
  const last = shownAlone.get(hello)
  if (last?.address === address && last.primary === primary) return last.shown
  const kept = Object.entries(hello).filter(([name]) => !OF_OTHERS.has(name))
  const shown = {
    ...Object.fromEntries(kept),
    hosts: [address],
    isWritablePrimary: primary,
    secondary: false,
    ...(primary && { primary: address }),
    me: address,
  }
  shownAlone.set(hello, { address, primary, shown })
  return shown
}

/** How a hello was shown last: nearly all clients reach the same address. */
const shownAlone = new WeakMap<Document, { address: string; primary: boolean; shown: Document }>()

/** What tells of members that clients do not see, or of a part that the one they see has not. */
const OF_OTHERS = new Set([
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

/** The version by which changes are awaited; undefined where the server has none (FerretDB). */
export function readTopologyVersion(hello: Document): TopologyVersion | undefined {
  const { processId, counter } = isDocument(hello.topologyVersion) ? hello.topologyVersion : {}
  return id(processId) && long(counter) ? { processId, counter } : undefined
}

/** True where `now` is something that whoever knows `known` has not seen: another process, or a later change. */
export function isNewTopologyVersion(now: TopologyVersion | undefined, known: TopologyVersion): boolean {
  return !now?.processId.equals(known.processId) || now.counter.greaterThan(known.counter)
}

function pick(hello: Document, fields: Record<string, Form>): Document {
  const picked: Document = {}
  for (const [name, form] of Object.entries(fields)) {
    if (hello[name] === undefined) continue
    const value = form(hello[name])
    if (value === undefined) throw malformed(name)
    picked[name] = value
  }
  return picked
}

function isNumber(value: unknown): boolean {
  return value instanceof Int32 || value instanceof Double || long(value) !== undefined || typeof value === 'number'
}

function isDocument(value: unknown): value is Document {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !('_bsontype' in value)
}

function malformed(field: string): Fault {
  return new Fault('upstream/protocol-error', undefined, { why: 'a field of hello', field })
}
