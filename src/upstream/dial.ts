/**
 * A new connection to the upstream, logged in as a database user: connect, hello, SCRAM-SHA-256.
 *
 *     ─▶ hello {client, speculativeAuthenticate: saslStart}     ◀─ hello, and the first SASL reply where it speculates
 *    (─▶ saslStart                                              ◀─ … where it does not)
 *     ─▶ saslContinue                                           ◀─ the server's signature: checked before anything else
 *    (─▶ saslContinue, empty                                    ◀─ done, where it does not skip the empty exchange)
 */
import { Binary, type Document } from 'bson'
import { Fault } from '../errors.js'
import type { Secret } from '../log.js'
import { createClientFinal, createClientFirst, SCRAM_SHA_256, verifyServerFinal } from '../sasl/scram.js'
import { type Channel, openChannel } from './channel.js'
import { addProxyMetadata } from './metadata.js'
import { assertOk, sanitizeText } from './reply.js'
import type { ScramKeyCache } from './scramKeys.js'
import type { Target } from './target.js'

export type DatabaseUser = { name: string; db: string; password: Secret }

export type DialOptions = {
  target: Target
  /** Refuses a member that does not call itself the primary. */
  requirePrimary?: boolean
  user: DatabaseUser
  /** The client's own `client` document with its BSON types, undefined if it sent none. */
  clientMetadata: Document | undefined
  scramKeys: ScramKeyCache
  random: (bytes: number) => Buffer
  signal: AbortSignal
  /** The client's apiVersion, which then goes on our own commands on this socket. */
  apiVersion?: string | undefined
  /** Asked over the connection once it has logged in and before it is given away (the LDAP guard). */
  onAuthenticated?: ((channel: Channel, hello: Document) => Promise<void>) | undefined
}

/** `socket` is paused and half-open capable; `rest` was read beyond the last reply; `hello` keeps its BSON types. */
export type UpstreamConnection = ReturnType<Channel['handOver']> & { hello: Document }

/**
 * Throws `upstream/unreachable` (unreachable, stopping, another set, not the primary), `upstream/authentication-failed` (it does not take this user),
 * `upstream/protocol-error` (it breaks the protocol or cannot prove that it knows the password), and the signal's reason.
 */
export async function dial(wanted: DialOptions): Promise<UpstreamConnection> {
  const channel = await openChannel(wanted.target, wanted.signal)
  try {
    const hello = await logIn(channel, wanted)
    await wanted.onAuthenticated?.(channel, hello)
    return { ...channel.handOver(), hello }
  } catch (thrown) {
    channel.destroy()
    throw thrown
  }
}

async function logIn(channel: Channel, wanted: DialOptions): Promise<Document> {
  const { target, user, clientMetadata: metadata, scramKeys: keys, random, signal, apiVersion: api } = wanted
  const run = async (command: Document, $db: string) => {
    if (api !== undefined) command.apiVersion = api
    command.$db = $db
    const reply = await channel.request(command, signal)
    return assertOk(reply, target.address, { 334: `${SCRAM_SHA_256} is not enabled there` })
  }
  const owner = { upstream: target.address, name: user.name, password: user.password }
  const start = createClientFirst(user.name, random(24).toString('base64'))
  const saslStart = {
    saslStart: 1,
    mechanism: SCRAM_SHA_256,
    payload: new Binary(start.payload),
    options: { skipEmptyExchange: true },
  }
  const client = addProxyMetadata(metadata)
  const hello = await run({ hello: 1, client, speculativeAuthenticate: { ...saslStart, db: user.db } }, 'admin')
  if (target.replicaSet !== undefined && hello.setName !== target.replicaSet) {
    const facts = { wanted: target.replicaSet, setName: sanitizeText(hello.setName) }
    throw new Fault(
      'upstream/unreachable',
      'the member does not belong to the replica set that upstream.uri names',
      facts,
    )
  }
  if (wanted.requirePrimary && hello.isWritablePrimary !== true) {
    throw new Fault('upstream/unreachable', 'it is not the primary', { upstream: target.address })
  }
  const opened = readStep(hello.speculativeAuthenticate ?? (await run(saslStart, user.db)))
  if (opened.done) throw malformed('done before anything was proven')
  const { conversationId } = opened
  const next = async (payload: Buffer) =>
    readStep(await run({ saslContinue: 1, conversationId, payload: new Binary(payload) }, user.db), conversationId)
  const last = await createClientFinal(start, keys.deriverFor(owner), opened.payload)
  const answer = await next(last.payload)
  keys.store(owner, verifyServerFinal(last, answer.payload))
  if (!answer.done && !(await next(Buffer.alloc(0))).done) throw malformed('never done')
  return hello
}

/** A SASL reply in its form. The conversation id is whatever the server chose first, and then stays. */
function readStep({ payload, conversationId, done }: Document, expected = conversationId) {
  if (!(payload instanceof Binary) || typeof done !== 'boolean') throw malformed('not a SASL reply')
  if (!Number.isInteger(Number(conversationId ?? 'none')) || Number(conversationId) !== Number(expected)) {
    throw malformed('a SASL reply of another conversation')
  }
  return { payload: Buffer.from(payload.value()), conversationId, done }
}

function malformed(why: string): Fault {
  return new Fault('upstream/protocol-error', undefined, { why })
}
