/**
 * Opens a connection to the upstream and logs in as a database user: hello, then SCRAM-SHA-256.
 *
 *     ─▶ hello {client, speculativeAuthenticate: saslStart}     ◀─ hello, with the first SASL reply if it supports speculation
 *    (─▶ saslStart                                              ◀─ the first SASL reply, otherwise)
 *     ─▶ saslContinue                                           ◀─ the server's signature, which is verified at once
 *    (─▶ saslContinue, empty                                    ◀─ done, if it does not skip the empty exchange)
 */
import { Binary, type Document } from 'bson'
import { Fault } from '../errors.js'
import type { Secret } from '../log.js'
import { createClientFinal, createClientFirst, SCRAM_SHA_256, verifyServerFinal } from '../sasl/scram.js'
import { type Channel, openChannel } from './channel.js'
import { assertHelloOk, assertOk, sanitizeText } from './reply.js'
import type { ScramKeyCache } from './scramKeys.js'
import type { Target } from './target.js'

export type DatabaseUser = { name: string; db: string; password: Secret }

export type DialOptions = {
  target: Target
  /** Rejects a member whose hello does not say that it is the primary. */
  requirePrimary?: boolean
  user: DatabaseUser
  /** The `client` document of hello. */
  clientMetadata: Document
  scramKeys: ScramKeyCache
  random: (bytes: number) => Buffer
  signal: AbortSignal
  /** The client's apiVersion. It is added to the proxy's own commands on this connection. */
  apiVersion?: string | undefined
  /** Called after the login and before the socket is handed over. */
  onAuthenticated?: ((channel: Channel, hello: Document) => Promise<void>) | undefined
}

/**
 * `socket` is paused. `rest`: bytes that were read beyond the last reply. `hello` has its BSON types. `address`: the member,
 * as host:port.
 */
export type UpstreamConnection = ReturnType<Channel['handOver']> & { hello: Document; address: string }

/** The server's code MechanismUnavailable. */
const MECHANISM_UNAVAILABLE = 334
const LOGIN_DETAILS = { [MECHANISM_UNAVAILABLE]: `${SCRAM_SHA_256} is not enabled there` }

/**
 * Throws `upstream/unreachable` (no connection, stopping, an error in reply to hello, another replica set, not the primary),
 * `upstream/authentication-failed` (the server rejects this user), `upstream/protocol-error` (the server breaks the
 * protocol, or cannot prove that it knows the password), the signal's reason, and what `onAuthenticated` throws.
 */
export async function dial(options: DialOptions): Promise<UpstreamConnection> {
  const { channel, hello } = await openAuthenticated(options)
  try {
    await options.onAuthenticated?.(channel, hello)
    return { ...channel.handOver(), hello, address: options.target.address }
  } catch (thrown) {
    channel.destroy()
    throw thrown
  }
}

/** The same without `onAuthenticated`: the caller owns the channel. */
export async function openAuthenticated(
  options: Omit<DialOptions, 'onAuthenticated'>,
): Promise<{ channel: Channel; hello: Document }> {
  const channel = await openChannel(options.target, options.signal)
  try {
    return { channel, hello: await logIn(channel, options) }
  } catch (thrown) {
    channel.destroy()
    throw thrown
  }
}

async function logIn(channel: Channel, options: Omit<DialOptions, 'onAuthenticated'>): Promise<Document> {
  const { target, user, clientMetadata, scramKeys, random, signal, apiVersion } = options
  const send = (command: Document, $db: string) => {
    if (apiVersion !== undefined) command.apiVersion = apiVersion
    command.$db = $db
    return channel.request(command, signal)
  }
  const run = async (command: Document, $db: string) =>
    assertOk(await send(command, $db), target.address, LOGIN_DETAILS)
  const credentials = { upstream: target.address, name: user.name, password: user.password }
  const clientFirst = createClientFirst(user.name, random(24).toString('base64'))
  const saslStart = {
    saslStart: 1,
    mechanism: SCRAM_SHA_256,
    payload: new Binary(clientFirst.payload),
    options: { skipEmptyExchange: true },
  }
  const helloCommand = { hello: 1, client: clientMetadata, speculativeAuthenticate: { ...saslStart, db: user.db } }
  const hello = assertHelloOk(await send(helloCommand, 'admin'), target.address)
  assertMember(hello, options)
  const serverFirst = readSaslReply(hello.speculativeAuthenticate ?? (await run(saslStart, user.db)))
  if (serverFirst.done) throw protocolError('the SASL conversation ended before the proof')
  const { conversationId } = serverFirst
  const next = async (payload: Buffer) =>
    readSaslReply(await run({ saslContinue: 1, conversationId, payload: new Binary(payload) }, user.db), conversationId)
  const clientFinal = await createClientFinal(clientFirst, scramKeys.deriverFor(credentials), serverFirst.payload)
  const serverFinal = await next(clientFinal.payload)
  scramKeys.store(credentials, verifyServerFinal(clientFinal, serverFinal.payload))
  if (!serverFinal.done && !(await next(Buffer.alloc(0))).done) {
    throw protocolError('the SASL conversation did not end')
  }
  return hello
}

/** Checks the hello of this very connection, since the monitors' hellos may be older than an election. */
function assertMember(
  hello: Document,
  { target, requirePrimary }: Pick<DialOptions, 'target' | 'requirePrimary'>,
): void {
  if (target.replicaSet !== undefined && hello.setName !== target.replicaSet) {
    throw new Fault('upstream/unreachable', 'the member does not belong to the replica set that upstream.uri names', {
      expected: target.replicaSet,
      setName: sanitizeText(hello.setName),
    })
  }
  if (requirePrimary && hello.isWritablePrimary !== true) {
    throw new Fault('upstream/unreachable', 'the member is not the primary', { upstream: target.address })
  }
}

/** The server chooses the conversation id in its first reply, and may not change it. */
function readSaslReply({ payload, conversationId, done }: Document, expectedId = conversationId) {
  if (!(payload instanceof Binary) || typeof done !== 'boolean') throw protocolError('not a SASL reply')
  if (!Number.isInteger(Number(conversationId ?? 'none')) || Number(conversationId) !== Number(expectedId)) {
    throw protocolError('a SASL reply of another conversation')
  }
  return { payload: Buffer.from(payload.value()), conversationId, done }
}

function protocolError(why: string): Fault {
  return new Fault('upstream/protocol-error', undefined, { why })
}
