/** An authenticator whose steps succeed and are recorded. A test replaces the step that it is about. */
import type { Socket } from 'node:net'
import { PassThrough } from 'node:stream'
import { Int32 } from 'bson'
import type { LoginOutcome } from '../../src/budget/loginLimits.js'
import { Authenticator, type AuthenticatorOptions, type LoginRequest } from '../../src/client/login.js'
import { Fault, type FaultKind } from '../../src/errors.js'
import { inactiveKeyOutcome } from '../../src/identity/outcome.js'
import type { Identity } from '../../src/identity/reply.js'
import { Secret } from '../../src/log.js'
import { createTermController } from '../../src/upstream/primaryTerm.js'
import type { Match } from '../../src/users/match.js'
import { createManualClock } from './clock.js'
import { createFault, faultOfAsync } from './faults.js'
import { signClientFinal } from './signingClient.js'

export const ARN = 'arn:aws:iam::123456789012:user/alice'
export const identity: Identity = {
  arn: ARN,
  canonical: ARN,
  kind: 'user',
  partition: 'aws',
  account: '123456789012',
  name: 'alice',
  userId: 'AIDAQ',
  principalId: 'AIDAQ',
  session: undefined,
}
export const match: Match = {
  decidedBy: { rule: 1 },
  arn: ARN,
  grant: { user: { name: 'alice', db: 'admin' }, password: new Secret('hunter2') },
}
export const challenge = { nonce: Buffer.alloc(64, 7), host: 'sts.eu-west-1.amazonaws.com' }
export const { term } = createTermController()
export const CLIENT_LEFT = new Error('the client left')
export const NOON = Date.parse('2026-08-13T12:00:00Z')
export const key = { accessKeyId: 'AKIASP2TPHJSQH3FJXYZ', secretAccessKey: 'not/so+secret' }
export const metadata = { driver: { name: 'nodejs', version: '7' }, os: { type: 'Linux' } }
export const readBuffer = { setConsumer() {} }

/** A request with a valid proof. */
export async function createLoginRequest(
  signing: Partial<Parameters<typeof signClientFinal>[1]> = {},
): Promise<LoginRequest> {
  const { a, d, t } = await signClientFinal(key, { ...challenge, date: new Date(NOON), ...signing })
  return {
    fields: { a, d, t },
    challenge,
    client: { metadata, apiVersion: '1' },
    connectionId: 7,
    address: '127.0.0.1',
    certificate: undefined,
    record: { ms: {} },
    destroy() {},
  }
}

export const createUpstream = (socket = new PassThrough() as unknown as Socket, hello = {}) => ({
  socket,
  readBuffer,
  rest: Buffer.alloc(0),
  hello,
  term,
  address: '127.0.0.1:27018',
})

const RECORDED = [
  'assertNotDenied',
  'assertLdapOff',
  'reserveSlot',
  'findKeyDenial',
  'acquirePermit',
  'registerLive',
  'authorize',
  'after',
] as const

export function createAuthenticator(replaced: Partial<AuthenticatorOptions> = {}) {
  const clock = createManualClock()
  const steps: string[] = []
  const outcomes: LoginOutcome[] = []
  const socket = new PassThrough() as unknown as Socket
  const abort = new AbortController()
  const options: AuthenticatorOptions = {
    stsNow: () => NOON,
    async syncClock() {},
    now: clock.now,
    assertNotDenied: () => {},
    fingerprint: ({ accessKeyId }) => `fingerprint of ${accessKeyId}`,
    reserveSlot: (subnet, fingerprint) => ({
      subnet,
      fingerprint,
      priority: 'normal',
      isContested: () => false,
      release: outcome => void outcomes.push(outcome),
    }),
    sessionSlots: { assertFree() {}, acquire: () => () => {} },
    principalRefusals: { assertNone() {}, store() {} },
    findRefusal: () => undefined,
    findKeyDenial: () => undefined,
    imitateInactiveKey: async () => inactiveKeyOutcome(true),
    cacheOutcome() {},
    recordOutcome() {},
    findIdentity: () => ({ identity: undefined, store() {} }),
    registerLive: () => () => steps.push('unregister'),
    authorize: async () => match,
    acquirePermit: async () => () => {},
    askSts: async () => ({ is: 'identity', identity }),
    assertLdapOff: () => {},
    findPrimaryFault: () => undefined,
    connectUpstream: async () => ({
      ...createUpstream(socket, { maxMessageSizeBytes: new Int32(1_000_000) }),
      rest: Buffer.from('rest'),
    }),
    after: clock.after,
    deadlineMS: () => 8000,
    isTraced: false,
    ...replaced,
  }
  const record = (name: (typeof RECORDED)[number]) => [
    name,
    (...args: unknown[]) => {
      steps.push(name)
      return (options[name] as (...args: unknown[]) => unknown)(...args)
    },
  ]
  const authenticator = new Authenticator({
    ...options,
    ...Object.fromEntries(RECORDED.map(record)),
    imitateInactiveKey: async (proof, address, acquire, signal) => {
      const release = await acquire(4000)
      steps.push('imitateInactiveKey')
      release()
      return options.imitateInactiveKey(proof, address, acquire, signal)
    },
    askSts: async (proof, acquire, signal) => {
      const release = await acquire(4000)
      steps.push('askSts')
      try {
        return await options.askSts(proof, acquire, signal)
      } finally {
        release()
      }
    },
    connectUpstream: async (as, client, signal) => {
      steps.push('connectUpstream')
      as.onUser({ name: 'alice', db: 'admin' })
      return options.connectUpstream(as, client, signal)
    },
  })
  return { authenticator, steps, outcomes, clock, socket, abort }
}

/** Everything that ends a login early, with the fault it results in. */
export const earlyEnds: [
  FaultKind,
  (login: Pick<ReturnType<typeof createAuthenticator>, 'abort' | 'clock'>) => void,
][] = [
  ['login/abandoned', ({ abort }) => abort.abort(CLIENT_LEFT)],
  ['login/timeout', ({ clock }) => clock.advance(8000)],
  ['upstream/unreachable', ({ abort }) => abort.abort(new Fault('upstream/unreachable'))],
]

/** The fault of a login, if it has one, and the steps it took. */
export async function runLogin(
  replaced: Partial<AuthenticatorOptions>,
  signing?: Parameters<typeof createLoginRequest>[0],
) {
  const { authenticator, steps, abort } = createAuthenticator(replaced)
  const request = await createLoginRequest(signing)
  const fault = await faultOfAsync(() => authenticator.login(request, abort))
  return { fault, last: steps.at(-1), steps, record: request.record }
}

export const throwing = (kind: FaultKind) => () => {
  throw createFault(kind)
}
