/**
 * Who may say what, when, before the relay. Pure: a command and a state in, what to do and the next state out.
 *
 *     start ──saslStart──▶ challenged ──saslContinue──▶ proving ──settle──▶ admitted
 *       ▲ hello, ping,         │ anything else             │ refused
 *       └ buildInfo            ▼                           ▼
 *                            over ◀────────────────────── over
 *
 * `proving` refuses everything, so that even a careless shell lets nothing overtake the verdict (see
 * https://github.com/mongodb/specifications/blob/master/source/auth/auth.md#mongodb-aws).
 */
import { Binary, type Document, Double, Int32, Long } from 'bson'
import { Fault } from '../errors.js'
import { type Challenge, createChallenge, type ProofFields, parseClientFinal } from '../sasl/aws.js'
import { readTopologyVersion, type TopologyVersion } from '../upstream/topologyVersion.js'
import { readDocument } from '../wire/document.js'
import { type Command, MORE_TO_COME } from '../wire/message.js'

/** What the client told of itself; it goes upstream once, with the login. */
export type ClientInfo = { metadata?: Document; apiVersion?: string }

export type State =
  | { at: 'start'; client: ClientInfo }
  | { at: 'challenged'; client: ClientInfo; challenge: Challenge }
  | { at: 'proving' }
  | { at: 'admitted' }
  | { at: 'over' }

/** `refuse` is answered where its fault has a reply; a connection whose next state is `over` is closed after the answer. */
export type Action =
  | { do: 'reply'; document: Document; next: State }
  | { do: 'hello'; asked: HelloRequest; next: State }
  | { do: 'prove'; fields: ProofFields; challenge: Challenge; client: ClientInfo; next: State }
  | { do: 'refuse'; fault: Fault; next: State }

/** What the proxy brings to a conversation: the STS host to offer, and randomness. */
export type HandshakeContext = {
  stsHost(): string
  random(bytes: number): Buffer
  buildInfo(): Document | undefined
}

/** A hello, taken apart. `legacy`: asked as isMaster. `awaiting`: answer when the topology differs from this one. */
export type HelloRequest = {
  legacy: boolean
  helloOk: boolean
  awaiting?: { topologyVersion: TopologyVersion; maxAwaitTimeMS: number }
}

export const initialState: State = { at: 'start', client: {} }

const OVER: State = { at: 'over' }
const OK = new Double(1)
const CONVERSATION = 1

type Row = (state: State & { at: 'start' }, command: Command, server: HandshakeContext) => Action

/** Commands that need no login. What is not in the table is the error. */
const answers: Record<string, Row> = {
  hello: greet,
  isMaster: greet,
  ismaster: greet,
  ping: state => ({ do: 'reply', document: { ok: OK }, next: state }),
  buildInfo: aboutServer,
  buildinfo: aboutServer,
  saslStart,
  authenticate: (state, { elements }) => otherMechanism(elements.get('mechanism'), state), // the way of MONGODB-X509
  saslContinue: () => refuse(new Fault('sasl/out-of-order', 'saslContinue before saslStart'), OVER),
}

/** A command arrived. */
export function handleCommand(state: State, command: Command, server: HandshakeContext): Action {
  try {
    if (command.flagBits & MORE_TO_COME) {
      if (command.name === 'endSessions') throw new Fault('login/abandoned') // a driver's goodbye
      throw new Fault('message/malformed', undefined, { why: 'moreToCome before login' })
    }
    if (state.at === 'start') {
      const row = Object.hasOwn(answers, command.name) ? answers[command.name] : undefined
      return row
        ? row(state, command, server)
        : refuse(new Fault('command/unauthorized', printable(command.name)), state)
    }
    if (state.at === 'challenged' && command.name === 'saslContinue') return saslContinue(state, command)
    throw new Fault('sasl/out-of-order', `${printable(command.name)} while ${state.at}`)
  } catch (thrown) {
    return refuse(Fault.from(thrown), OVER)
  }
}

/** The outside world answered a `prove`: nothing against it, or a fault. */
export function finishLogin(state: State, fault?: Fault): Action {
  if (state.at !== 'proving')
    return refuse(new Fault('internal', undefined, { why: `settled while ${state.at}` }), OVER)
  if (fault) return refuse(fault, OVER)
  return { do: 'reply', document: saslReply(true, Buffer.alloc(0)), next: { at: 'admitted' } }
}

/** The parts of a hello that an answer depends on. Throws `hello/await-invalid`. */
export function readHello(command: Command): HelloRequest {
  const { elements, name } = command
  const legacy = name !== 'hello'
  const helloOk = elements.get('helloOk') === true
  if (!elements.has('topologyVersion') && !elements.has('maxAwaitTimeMS')) return { legacy, helloOk }
  const maxAwaitTimeMS = numberOf(elements.get('maxAwaitTimeMS'))
  const topologyVersion = readTopologyVersion({ topologyVersion: elements.get('topologyVersion') })
  if (!topologyVersion || !(maxAwaitTimeMS >= 0 && Number.isFinite(maxAwaitTimeMS)))
    throw new Fault('hello/await-invalid')
  return { legacy, helloOk, awaiting: { topologyVersion, maxAwaitTimeMS } }
}

function greet(state: State & { at: 'start' }, command: Command): Action {
  try {
    const asked = readHello(command)
    return { do: 'hello', asked, next: { at: 'start', client: introduce(state.client, command) } }
  } catch (thrown) {
    return refuse(Fault.from(thrown), state)
  }
}

function aboutServer(state: State, _: Command, server: HandshakeContext): Action {
  const buildInfo = server.buildInfo()
  return buildInfo
    ? { do: 'reply', document: { ...buildInfo, ok: OK }, next: state }
    : refuse(new Fault('upstream/unreachable'), state)
}

function saslStart(state: State & { at: 'start' }, command: Command, server: HandshakeContext): Action {
  const mechanism = command.elements.get('mechanism')
  if (mechanism !== 'MONGODB-AWS') return otherMechanism(mechanism, state)
  if (command.db !== '$external') {
    return refuse(new Fault('sasl/mechanism-unavailable', 'MONGODB-AWS is for authSource=$external'), state)
  }
  const { challenge: pending, payload } = createChallenge(payloadOf(command), server.stsHost(), server.random(32))
  return {
    do: 'reply',
    document: saslReply(false, payload),
    next: { at: 'challenged', client: introduce(state.client, command), challenge: pending },
  }
}

function otherMechanism(mechanism: unknown, state: State): Action {
  return refuse(new Fault('sasl/mechanism-unavailable', `${printable(mechanism)}; use MONGODB-AWS`), state)
}

function saslContinue({ client, challenge }: State & { at: 'challenged' }, command: Command): Action {
  if (command.db !== '$external') throw new Fault('sasl/out-of-order', 'saslContinue on another database')
  if (numberOf(command.elements.get('conversationId')) !== CONVERSATION)
    throw new Fault('sasl/out-of-order', 'mismatched conversation id')
  return { do: 'prove', fields: parseClientFinal(payloadOf(command)), challenge, client, next: { at: 'proving' } }
}

/** The exact shape that each driver accepts: several refuse one field more, or conversationId 0. */
function saslReply(done: boolean, payload: Buffer): Document {
  return { conversationId: new Int32(CONVERSATION), done, payload: new Binary(payload), ok: OK }
}

function payloadOf({ elements }: Command): Buffer {
  const payload = elements.get('payload')
  if (payload instanceof Binary && payload.sub_type === 0) return Buffer.from(payload.value())
  throw new Fault('sasl/payload-invalid', 'payload must be binary, subtype 0')
}

/** The application name and whole client document that mongod accepts, in bytes. */
const APP_NAME = 128
const METADATA = 512

/** Adds what this command tells of the client. Throws `hello/metadata-*`, `hello/app-name-too-long`. */
function introduce(known: ClientInfo, { elements }: Command): ClientInfo {
  const told = elements.get('apiVersion') === '1' ? { ...known, apiVersion: '1' } : known
  if (!elements.has('client')) return told
  if (known.metadata) throw new Fault('hello/metadata-repeated')
  const sent = elements.getDocument('client')
  const metadata = sent && readDocument(sent, { exact: true })
  if (
    sent === undefined ||
    typeof metadata?.driver?.name !== 'string' ||
    typeof metadata.driver.version !== 'string' ||
    typeof metadata.os?.type !== 'string' ||
    !['undefined', 'string'].includes(typeof metadata.application?.name)
  ) {
    throw new Fault('hello/metadata-invalid', 'driver.name, driver.version and os.type are required')
  }
  if (Buffer.byteLength(metadata.application?.name ?? '') > APP_NAME) throw new Fault('hello/app-name-too-long')
  if (sent.length > METADATA) throw new Fault('hello/metadata-too-large')
  return { ...told, metadata }
}

/** NaN for what is no number of BSON. */
function numberOf(value: unknown): number {
  return value instanceof Int32 || value instanceof Double || Long.isLong(value) ? Number(value) : Number.NaN
}

/** Text of a stranger, fit for a message: printable ASCII, 40 characters. What is no text may not become one. */
function printable(text: unknown): string {
  return typeof text === 'string' ? text.slice(0, 40).replace(/[^\x20-\x7e]/g, '?') : 'not a text'
}

function refuse(fault: Fault, next: State): Action {
  return { do: 'refuse', fault, next }
}
