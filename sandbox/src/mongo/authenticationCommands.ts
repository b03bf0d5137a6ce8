/** Commands that authenticate a connection, and connectionStatus. */
import { Binary, type Document, Double, Int32 } from 'bson'
import { CommandError } from './commandError.js'
import type { Commands, Request } from './request.js'
import { isAllowedFrom } from './restrictions.js'
import { toPrivilegeDocument } from './roles.js'
import { createChallenge, isMechanism, mechanisms, parseClientFirst, verifyClientFinal } from './scram.js'
import { toUserKey, type UserName } from './users.js'

/** A connection has at most one SASL conversation, always with this id. */
const CONVERSATION = 1

export const authenticationCommands: Commands = {
  saslStart: { requires: 'nothing', run: request => saslStart(request, request.db, request.body) },
  saslContinue: { requires: 'nothing', run: saslContinue },
  authenticate: {
    requires: 'nothing',
    run: ({ body }) => {
      throw notEnabled(body.mechanism ?? 'MONGODB-CR')
    },
  },
  logout: {
    requires: 'nothing',
    run: ({ session }) => {
      delete session.user
      delete session.conversation
      return {}
    },
  },
  connectionStatus: {
    requires: 'nothing',
    run: ({ session, body }) => {
      const { name, user } = session.user ?? {}
      return {
        authInfo: {
          authenticatedUsers: name ? [name] : [],
          authenticatedUserRoles: user?.roles ?? [],
          ...(body.showPrivileges && {
            authenticatedUserPrivileges: (user?.privileges ?? []).map(toPrivilegeDocument),
          }),
        },
      }
    },
  },
}

/** Handles saslStart, as a command or as `speculativeAuthenticate` of hello. Throws AuthenticationFailed and others. */
export function saslStart({ session, instance }: Request, db: string, body: Document): Document {
  delete session.conversation
  const { mechanism, payload, options } = body
  if (!isMechanism(mechanism)) throw notEnabled(mechanism)
  const skipEmpty = options?.skipEmptyExchange ?? false
  if (typeof skipEmpty !== 'boolean') {
    throw new CommandError('TypeMismatch', "BSON field 'saslStart.options.skipEmptyExchange' is the wrong type")
  }
  const first = parseClientFirst(bytesOf(payload))
  const name = { user: first.user, db }
  const stored = instance.users.find(name)?.document.credentials?.[mechanism]
  if (!stored) throw failed()
  const begun = createChallenge(mechanism, first, stored, instance.random)
  session.conversation = { challenge: begun.challenge, name, skipEmpty, proven: false }
  return step(false, begun.payload)
}

function saslContinue({ session, instance, body }: Request): Document {
  const { conversation } = session
  delete session.conversation
  if (!conversation) throw new CommandError('ProtocolError', 'No SASL session state found')
  if (Number(body.conversationId) !== CONVERSATION) {
    throw new CommandError('ProtocolError', 'sasl: Mismatched conversation id')
  }
  const payload = bytesOf(body.payload)
  if (conversation.proven) return admit(session, instance, conversation.name, payload)
  const answer = verifyClientFinal(conversation.challenge, payload)
  if (conversation.skipEmpty) return admit(session, instance, conversation.name, answer)
  session.conversation = { ...conversation, proven: true }
  return step(false, answer)
}

function admit(
  session: Request['session'],
  { users }: Request['instance'],
  name: UserName,
  payload: Uint8Array,
): Document {
  const current = session.user?.name
  if (current && (current.user !== name.user || current.db !== name.db)) {
    throw new CommandError('Location5626701', 'Each client connection may only be authenticated once.')
  }
  const user = users.find(name)
  if (!user || !isAllowedFrom(user.document.authenticationRestrictions, session.address)) throw failed()
  session.user = {
    name,
    owner: toUserKey(name, name.user),
    user,
    version: users.version,
    authorizationCache: new Map(),
  }
  return step(true, payload)
}

function step(done: boolean, payload: Uint8Array): Document {
  return { conversationId: new Int32(CONVERSATION), done, payload: new Binary(payload), ok: new Double(1) }
}

/** The mechanisms of the user `db.name`, for `saslSupportedMechs`; undefined if there is no such user. */
export function findMechanisms({ instance }: Request, wanted: unknown): string[] | undefined {
  const [, db, user] = /^([^.]+)\.(.+)$/s.exec(String(wanted)) ?? []
  if (db === undefined || user === undefined) return undefined
  const credentials = instance.users.find({ user, db })?.document.credentials
  return credentials && Object.keys(mechanisms).filter(name => Object.hasOwn(credentials, name))
}

function bytesOf(payload: unknown): Buffer {
  if (typeof payload === 'string') return Buffer.from(payload, 'base64')
  if (payload instanceof Binary) return Buffer.from(payload.value())
  throw new CommandError('TypeMismatch', 'payload must be binary or a base64 string')
}

function notEnabled(mechanism: unknown): CommandError {
  const message = `Received authentication for mechanism ${mechanism} which is not enabled`
  return new CommandError('MechanismUnavailable', message)
}

const failed = () => new CommandError('AuthenticationFailed', 'Authentication failed.')
