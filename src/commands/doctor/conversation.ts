/** The client's side of MONGODB-AWS on one connection: hello, the challenge of the proxy, the proof, and who that made us. */
import { Binary, type Document, Int32, serialize } from 'bson'
import { MAX_TEXT, truncate } from '../../printable.js'
import { randomBytes } from '../../random.js'
import type { Challenge, ProofFields } from '../../sasl/aws.js'
import { type Channel, openChannel } from '../../upstream/channel.js'
import { PROXY_NAME, VERSION } from '../../upstream/metadata.js'
import type { Target } from '../../upstream/target.js'
import { Elements } from '../../wire/elements.js'
import type { HelloFacts } from './helloDiagnosis.js'
import type { LoginEvidence } from './loginDiagnosis.js'

export type HelloAnswer = HelloFacts & {
  /** How far the clock of the server is ahead of ours, in milliseconds; undefined if it did not say. */
  clockMS: number | undefined
}

export type Refusal = { code: number; codeName: string; message: string }

const CLIENT = { driver: { name: `${PROXY_NAME} doctor`, version: VERSION }, os: { type: 'unknown' } }
const NONCE_BYTES = 32
const NO_CHANNEL_BINDING = 110
const MAX_ROLES = 20

export class Conversation {
  readonly #channel: Channel
  readonly #signal: AbortSignal
  #conversationId: unknown

  private constructor(channel: Channel, signal: AbortSignal) {
    this.#channel = channel
    this.#signal = signal
  }

  /** Throws as `openChannel` does. */
  static async open(target: Target, signal: AbortSignal): Promise<Conversation> {
    return new Conversation(await openChannel(target, signal), signal)
  }

  async hello(): Promise<HelloAnswer> {
    const before = Date.now()
    const reply = await this.#request({ hello: 1, helloOk: true, client: CLIENT, $db: 'admin' })
    const after = Date.now()
    const { localTime, setName, me, hosts, msg } = reply
    return {
      setName: readText(setName),
      advertised: readText(me) ?? (Array.isArray(hosts) ? readText(hosts[0]) : undefined),
      isWritable: reply.isWritablePrimary === true || reply.ismaster === true,
      isMongos: msg === 'isdbgrid',
      clockMS: localTime instanceof Date ? localTime.getTime() - (before + after) / 2 : undefined,
    }
  }

  /** The challenge, or the refusal of the server. */
  async start(): Promise<Challenge | Refusal> {
    const first = serialize({ r: new Binary(randomBytes(NONCE_BYTES)), p: new Int32(NO_CHANNEL_BINDING) })
    const command = { saslStart: new Int32(1), mechanism: 'MONGODB-AWS', payload: new Binary(first), $db: '$external' }
    const reply = await this.#request(command)
    if (Number(reply.ok) !== 1) return readRefusal(reply)
    const payload = reply.payload instanceof Binary ? Buffer.from(reply.payload.value()) : Buffer.alloc(0)
    const elements = new Elements(payload)
    const [nonce, host] = [elements.get('s'), elements.get('h')]
    if (!(nonce instanceof Binary) || nonce.position !== 2 * NONCE_BYTES || typeof host !== 'string') {
      return { code: 0, codeName: 'no code', message: 'the challenge is malformed' }
    }
    this.#conversationId = reply.conversationId
    return { nonce: Buffer.from(nonce.value()), host }
  }

  /** Sends the proof, and asks for the database user if it is accepted. */
  async prove({ a, d, t }: ProofFields): Promise<LoginEvidence> {
    const payload = new Binary(serialize({ a, d, ...(t !== undefined && { t }) }))
    const command = { saslContinue: new Int32(1), conversationId: this.#conversationId, payload, $db: '$external' }
    const reply = await this.#request(command)
    if (Number(reply.ok) !== 1) return { is: 'refused', ...readRefusal(reply) }
    const status = await this.#request({ connectionStatus: 1, $db: 'admin' })
    const { authenticatedUsers, authenticatedUserRoles } = status.authInfo ?? {}
    const [user] = Array.isArray(authenticatedUsers) ? authenticatedUsers : []
    const roles: Document[] = Array.isArray(authenticatedUserRoles) ? authenticatedUserRoles : []
    return {
      is: 'accepted',
      user: user ? `${readText(user.user) ?? 'unknown'}@${readText(user.db) ?? 'unknown'}` : 'unknown',
      roles: roles.slice(0, MAX_ROLES).map(({ role, db }) => `${readText(role)}@${readText(db)}`),
    }
  }

  close(): void {
    this.#channel.destroy()
  }

  #request(command: Document): Promise<Document> {
    return this.#channel.request(command, this.#signal)
  }
}

function readRefusal({ code, codeName, errmsg }: Document): Refusal {
  return { code: Number(code), codeName: readText(codeName) ?? 'no name', message: readText(errmsg) ?? 'no message' }
}

/** A text of the server, cut. Undefined for a value of another type. */
function readText(value: unknown): string | undefined {
  return typeof value === 'string' ? truncate(value, MAX_TEXT) : undefined
}
