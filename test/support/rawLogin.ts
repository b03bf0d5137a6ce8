/** A login with MONGODB-AWS over a bare socket, where a driver would hide replies or open more connections. */
import { Binary, BSON, type Document, Int32, serialize } from 'bson'
import type { Test } from 'tap'
import { connectRaw } from './mongo.js'
import { type ClientCredentials, signClientFinal } from './signingClient.js'

export type RawConnection = Awaited<ReturnType<typeof connectRaw>>

/** Connects and logs in without a hello. Gives the last reply, which may be a refusal of either step, and the connection. */
export async function logInRaw(
  t: Test,
  port: number,
  credentials: ClientCredentials,
): Promise<{ reply: Document; connection: RawConnection }> {
  const { connection, reply } = await sendProof(t, port, credentials)
  return { reply: await reply, connection }
}

/** The same, but does not wait for the last reply. */
export async function startLoginRaw(t: Test, port: number, credentials: ClientCredentials): Promise<RawConnection> {
  const { connection, reply } = await sendProof(t, port, credentials)
  reply.catch(() => {})
  return connection
}

async function sendProof(t: Test, port: number, credentials: ClientCredentials) {
  const connection = await connectRaw(t, port)
  const first = new Binary(serialize({ r: new Binary(Buffer.alloc(32, 1)), p: new Int32(110) }))
  const challenge = await connection.ask({ saslStart: 1, mechanism: 'MONGODB-AWS', payload: first, $db: '$external' })
  if (Number(challenge.ok) !== 1) return { reply: Promise.resolve(challenge), connection }
  const { s, h } = BSON.deserialize(challenge.payload.buffer)
  const payload = new Binary(serialize(await signClientFinal(credentials, { nonce: s.buffer, host: h })))
  const reply = connection.ask({ saslContinue: 1, conversationId: 1, payload, $db: '$external' })
  return { reply, connection }
}
