/**
 * The commands of an unauthenticated client as a state machine. Pure: a state and a command in, an action and the next
 * state out.
 *
 *     start ──saslStart──▶ challenged ──saslContinue──▶ proving ──finishLogin──▶ admitted
 *       ▲ hello, ping,         │ anything else             │ refused
 *       └ buildInfo            ▼                           ▼
 *                            closed ◀─────────────────── closed
 *
 * `proving` refuses every command, so that nothing can overtake the verdict on a proof. The conversation is specified in
 * https://github.com/mongodb/specifications/blob/master/source/auth/auth.md#mongodb-aws.
 */
import { Binary, type Document, Double, Int32, Long } from 'bson'
import { Fault } from '../errors.js'
import { type Challenge, createChallenge, type ProofFields, parseClientFinal } from '../sasl/aws.js'
import { readTopologyVersion, type TopologyVersion } from '../upstream/topologyVersion.js'
import { readDocument } from '../wire/document.js'
import { type Command, MORE_TO_COME } from '../wire/message.js'

/** What the client sent about itself. It goes upstream once, with the login. */
export type ClientInfo = { metadata?: Document; apiVersion?: string }

export type State =
  | { at: 'start'; client: ClientInfo }
  | { at: 'challenged'; client: ClientInfo; challenge: Challenge }
  | { at: 'proving' }
  | { at: 'admitted' }
  | { at: 'closed' }

/** `refuse` sends the reply of the fault, if it has one. When the next state is `closed`, the connection then ends. */
export type Action =
  | { do: 'reply'; document: Document; next: State }
  | { do: 'hello'; request: HelloRequest; next: State }
  | { do: 'prove'; fields: ProofFields; challenge: Challenge; client: ClientInfo; next: State }
  | { do: 'refuse'; fault: Fault; next: State }

/** What the state machine needs from outside. */
export type HandshakeContext = {
  /** The STS host to offer. */
  stsHost(): string
  /** From a secure source. */
  random(bytes: number): Buffer
  /** Undefined until the upstream has answered. */
  buildInfo(): Document | undefined
  /** Throws `login/session-limit` if all session slots are taken. */
  assertSessionSlotFree(): void
}

/**
 * A hello. `legacy`: its name was isMaster. `awaiting`: the client wants the reply when the topology differs from this
 * version, or after this time.
 */
export type HelloRequest = {
  legacy: boolean
  helloOk: boolean
  awaiting?: { topologyVersion: TopologyVersion; maxAwaitTimeMS: number }
}

export const initialState: State = { at: 'start', client: {} }

const CLOSED: State = { at: 'closed' }
const OK = new Double(1)
const CONVERSATION_ID = 1

/** The limits of mongod for the application name and the whole `client` document. */
const MAX_APP_NAME_BYTES = 128
const MAX_METADATA_BYTES = 512

type CommandHandler = (state: State & { at: 'start' }, command: Command, context: HandshakeContext) => Action

/** The commands that need no authentication. All others are refused. */
const handlers: Record<string, CommandHandler> = {
  hello: handleHello,
  isMaster: handleHello,
  ismaster: handleHello,
  ping: state => ({ do: 'reply', document: { ok: OK }, next: state }),
  buildInfo: handleBuildInfo,
  buildinfo: handleBuildInfo,
  saslStart: handleSaslStart,
  // MONGODB-X509 starts with this command.
  authenticate: (state, { elements }) => refuseMechanism(elements.get('mechanism'), state),
  saslContinue: () => refuse(new Fault('sasl/out-of-order', 'No SASL session state found'), CLOSED),
}

export function handleCommand(state: State, command: Command, context: HandshakeContext): Action {
  try {
    if (command.flagBits & MORE_TO_COME) {
      // The last message of a driver that closes its connection.
      if (command.name === 'endSessions') throw new Fault('login/abandoned')
      throw new Fault('message/malformed', undefined, { why: 'moreToCome before login' })
    }
    if (state.at === 'start') {
      const handle = Object.hasOwn(handlers, command.name) ? handlers[command.name] : undefined
      return handle
        ? handle(state, command, context)
        : refuse(new Fault('command/unauthorized', toPrintable(command.name)), state)
    }
    if (state.at === 'challenged' && command.name === 'saslContinue') return handleSaslContinue(state, command)
    throw new Fault('sasl/out-of-order', `${toPrintable(command.name)} while ${state.at}`)
  } catch (thrown) {
    return refuse(Fault.from(thrown), CLOSED)
  }
}

/** Applies the verdict on a `prove` action: success, or a fault. */
export function finishLogin(state: State, fault?: Fault): Action {
  if (state.at !== 'proving') {
    return refuse(new Fault('internal', undefined, { why: `login finished while ${state.at}` }), CLOSED)
  }
  if (fault) return refuse(fault, CLOSED)
  return { do: 'reply', document: createSaslReply(true, Buffer.alloc(0)), next: { at: 'admitted' } }
}

/** Reads the fields of a hello that its reply depends on. Throws `hello/await-invalid`. */
export function readHello(command: Command): HelloRequest {
  const { elements, name } = command
  const legacy = name !== 'hello'
  const helloOk = elements.get('helloOk') === true
  if (!elements.has('topologyVersion') && !elements.has('maxAwaitTimeMS')) return { legacy, helloOk }
  const maxAwaitTimeMS = toNumber(elements.get('maxAwaitTimeMS'))
  const topologyVersion = readTopologyVersion({ topologyVersion: elements.get('topologyVersion') })
  if (!topologyVersion || !(maxAwaitTimeMS >= 0 && Number.isFinite(maxAwaitTimeMS))) {
    throw new Fault(
      'hello/await-invalid',
      describeAwait(elements.has('topologyVersion'), elements.has('maxAwaitTimeMS')),
    )
  }
  return { legacy, helloOk, awaiting: { topologyVersion, maxAwaitTimeMS } }
}

function describeAwait(hasTopologyVersion: boolean, hasMaxAwaitTime: boolean): string | undefined {
  if (!hasMaxAwaitTime) return "A request with a 'topologyVersion' must include 'maxAwaitTimeMS'"
  if (!hasTopologyVersion) return "A request with 'maxAwaitTimeMS' must include a 'topologyVersion'"
  return undefined
}

function handleHello(state: State & { at: 'start' }, command: Command): Action {
  try {
    const request = readHello(command)
    return { do: 'hello', request, next: { at: 'start', client: addClientInfo(state.client, command) } }
  } catch (thrown) {
    return refuse(Fault.from(thrown), state)
  }
}

function handleBuildInfo(state: State, _: Command, context: HandshakeContext): Action {
  const buildInfo = context.buildInfo()
  return buildInfo
    ? { do: 'reply', document: { ...buildInfo, ok: OK }, next: state }
    : refuse(new Fault('upstream/unreachable'), state)
}

function handleSaslStart(state: State & { at: 'start' }, command: Command, context: HandshakeContext): Action {
  const mechanism = command.elements.get('mechanism')
  if (mechanism !== 'MONGODB-AWS') return refuseMechanism(mechanism, state)
  if (command.db !== '$external') {
    return refuse(new Fault('sasl/mechanism-unavailable', 'MONGODB-AWS requires authSource=$external'), state)
  }
  context.assertSessionSlotFree()
  const { challenge, payload } = createChallenge(readPayload(command), context.stsHost(), context.random(32))
  return {
    do: 'reply',
    document: createSaslReply(false, payload),
    next: { at: 'challenged', client: addClientInfo(state.client, command), challenge },
  }
}

function refuseMechanism(mechanism: unknown, state: State): Action {
  const detail = `Received authentication for mechanism ${toPrintable(mechanism)} which is not enabled; use MONGODB-AWS`
  return refuse(new Fault('sasl/mechanism-unavailable', detail), state)
}

function handleSaslContinue({ client, challenge }: State & { at: 'challenged' }, command: Command): Action {
  if (command.db !== '$external')
    throw new Fault('sasl/out-of-order', 'Attempt to switch database target during SASL authentication.')
  if (toNumber(command.elements.get('conversationId')) !== CONVERSATION_ID) {
    throw new Fault('sasl/out-of-order', 'sasl: Mismatched conversation id')
  }
  return { do: 'prove', fields: parseClientFinal(readPayload(command)), challenge, client, next: { at: 'proving' } }
}

/** The exact shape that every driver accepts: some refuse an additional field or a conversationId of 0. */
function createSaslReply(done: boolean, payload: Buffer): Document {
  return { conversationId: new Int32(CONVERSATION_ID), done, payload: new Binary(payload), ok: OK }
}

function readPayload({ elements }: Command): Buffer {
  const payload = elements.get('payload')
  if (payload instanceof Binary && payload.sub_type === 0) return Buffer.from(payload.value())
  throw new Fault('sasl/payload-invalid', 'payload must be binary, subtype 0')
}

/** Adds the client's metadata and API version in this command. Throws `hello/metadata-*` and `hello/app-name-too-long`. */
function addClientInfo(known: ClientInfo, { elements }: Command): ClientInfo {
  const info = elements.get('apiVersion') === '1' ? { ...known, apiVersion: '1' } : known
  if (!elements.has('client')) return info
  if (known.metadata) throw new Fault('hello/metadata-repeated')
  const sent = elements.getDocument('client')
  if (sent === undefined) throw new Fault('hello/metadata-invalid', 'The client metadata document must be a document')
  if (sent.length > MAX_METADATA_BYTES) throw new Fault('hello/metadata-too-large')
  const metadata = readDocument(sent, { exact: true })
  const problem = findMetadataProblem(metadata)
  if (problem !== undefined) throw new Fault('hello/metadata-invalid', `${problem} in the client metadata document`)
  if (Buffer.byteLength(metadata.application?.name ?? '') > MAX_APP_NAME_BYTES) {
    throw new Fault('hello/app-name-too-long')
  }
  return { ...info, metadata }
}

const REQUIRED_METADATA = [
  ['driver', ['name', 'version']],
  ['os', ['type']],
] as const

/** The first problem, in the words of mongod. */
function findMetadataProblem(metadata: Document): string | undefined {
  if (!['undefined', 'string'].includes(typeof metadata.application?.name)) {
    return "The 'application.name' field must be a string"
  }
  for (const [part, fields] of REQUIRED_METADATA) {
    if (metadata[part] === undefined) return `Missing required sub-document '${part}'`
    for (const field of fields) {
      const value = metadata[part]?.[field]
      if (value === undefined) return `Missing required field '${part}.${field}'`
      if (typeof value !== 'string') return `The '${part}.${field}' field must be a string`
    }
  }
  return undefined
}

/** NaN for values that are not BSON numbers. */
function toNumber(value: unknown): number {
  return value instanceof Int32 || value instanceof Double || Long.isLong(value) ? Number(value) : Number.NaN
}

/** Makes a client's text safe for a message: 40 characters of printable ASCII. Other types are not converted to text. */
function toPrintable(text: unknown): string {
  return typeof text === 'string' ? text.slice(0, 40).replace(/[^\x20-\x7e]/g, '?') : 'not a string'
}

function refuse(fault: Fault, next: State): Action {
  return { do: 'refuse', fault, next }
}
