/**
 * The table of faults: whatever ends a conversation, what the client is told, how loudly we log it, and the exit code.
 *
 * A fault is for what ends something. A frame that is not complete yet, a rule that does not match and an empty bucket
 * are values. Codes are those of the server's `src/mongo/base/error_codes.yml`.
 */
import { type Document, Double, Int32, Long } from 'bson'

/** What a client is answered. `labels` and `backoff` tell drivers to come back instead of giving up. */
type Reply = { code: number; codeName: string; labels?: readonly string[] }

/** `reply: null` means the socket is closed without a word; `exit` is a code of sysexits(3). */
type FaultDefinition = { level: Level; reply: Reply | null; summary: string; remedy: string; exit?: number }
export type Level = 'debug' | 'info' | 'warn' | 'error'

/** The identity is not good enough. Drivers report it at once and forget their cached AWS credentials. */
const REFUSED: Reply = { code: 18, codeName: 'AuthenticationFailed' }
/** The identity may be good, we could not find out now. The union of what makes each driver come back (never code 18). */
const LATER: Reply = {
  code: 262,
  codeName: 'ExceededTimeLimit',
  labels: ['SystemOverloadedError', 'RetryableError', 'RetryableWriteError'],
}
/** The MongoDB behind us is away. */
const AWAY: Reply = { code: 6, codeName: 'HostUnreachable', labels: ['RetryableWriteError'] }
const PROTOCOL: Reply = { code: 17, codeName: 'ProtocolError' }
const UNAUTHORIZED: Reply = { code: 13, codeName: 'Unauthorized' }

export const faults = {
  'frame/length': {
    level: 'warn',
    reply: null,
    summary: 'a message length is outside of the allowed range',
    remedy: 'Something that does not speak the MongoDB protocol knocks, or speaks TLS to a plain port.',
  },
  'frame/opcode': {
    level: 'warn',
    reply: null,
    summary: 'an opcode that is not served here',
    remedy: 'Update the driver: supported drivers use OP_MSG, and OP_QUERY for the first hello only.',
  },
  'message/malformed': {
    level: 'warn',
    reply: null,
    summary: 'a message or a document in it is malformed',
    remedy: 'Look at the facts of the log line; a supported driver never sends this.',
  },
  'message/compressed': {
    level: 'warn',
    reply: null,
    summary: 'a compressed message where compression was not negotiated',
    remedy: 'Update the driver: none may compress what was not negotiated.',
  },
  'hello/metadata-invalid': {
    level: 'warn',
    reply: { code: 183, codeName: 'ClientMetadataMissingField' },
    summary: 'the client document of hello lacks a field or has one of the wrong type',
    remedy: 'Update the driver.',
  },
  'hello/app-name-too-long': {
    level: 'warn',
    reply: { code: 184, codeName: 'ClientMetadataAppNameTooLarge' },
    summary: 'the application name of hello is longer than 128 bytes',
    remedy: 'Shorten appName in the connection string.',
  },
  'hello/metadata-too-large': {
    level: 'warn',
    reply: { code: 185, codeName: 'ClientMetadataDocumentTooLarge' },
    summary: 'the client document of hello is larger than 512 bytes',
    remedy: 'Shorten the driver info that the application adds.',
  },
  'hello/metadata-repeated': {
    level: 'warn',
    reply: { code: 186, codeName: 'ClientMetadataCannotBeMutated' },
    summary: 'a second client document on one connection',
    remedy: 'Update the driver: metadata is sent once a connection.',
  },
  'hello/await-invalid': {
    level: 'warn',
    reply: { code: 51760, codeName: 'Location51760' },
    summary: 'hello takes topologyVersion and maxAwaitTimeMS together or neither',
    remedy: 'Update the driver.',
  },
  'command/unauthorized': {
    level: 'info',
    reply: UNAUTHORIZED,
    summary: 'this command requires authentication',
    remedy: 'Log in first: authSource=$external and authMechanism=MONGODB-AWS in the connection string.',
  },
  'command/forbidden': {
    level: 'warn',
    reply: UNAUTHORIZED,
    summary: 'refused, since it would change who this connection is',
    remedy: 'Open a second connection to be somebody else; a connection keeps its principal for life.',
  },
  'sasl/mechanism-unavailable': {
    level: 'info',
    reply: { code: 334, codeName: 'MechanismUnavailable' },
    summary: 'an authentication mechanism that is not served here',
    remedy: 'Set authMechanism=MONGODB-AWS and authSource=$external; database passwords are not taken here.',
  },
  'sasl/out-of-order': {
    level: 'info',
    reply: PROTOCOL,
    summary: 'a step of the SASL conversation out of turn',
    remedy: 'Update the driver; a new conversation begins with saslStart.',
  },
  'sasl/payload-invalid': {
    level: 'info',
    reply: { code: 2, codeName: 'BadValue' },
    summary: 'a SASL payload that is not the document of its step',
    remedy: 'Update the driver.',
  },
  'proof/malformed': {
    level: 'warn',
    reply: REFUSED,
    summary: 'the signed request does not have the form of a MONGODB-AWS proof',
    remedy:
      'Temporary credentials need AWS_SESSION_TOKEN, too. Else update the driver; if it is current, report its version and this log line.',
  },
  'proof/header-unsigned': {
    level: 'warn',
    reply: REFUSED,
    summary: 'the signature does not cover a header that binds it to this conversation',
    remedy: 'A signature made for another service was tried here. Find out who holds it.',
  },
  'proof/scope-mismatch': {
    level: 'info',
    reply: REFUSED,
    summary: 'the credential scope names another service, region or day than the offered STS host',
    remedy: 'Update the driver; it takes the region from the host that the proxy offers.',
  },
  'proof/clock-skew': {
    level: 'info',
    reply: REFUSED,
    summary: 'the signature is not of now: it is more than 15 minutes off',
    remedy: 'Set the clock of the client (or of the proxy: the log line has both times).',
  },
  'sts/refused': {
    level: 'info',
    reply: REFUSED,
    summary: 'AWS STS refused the credentials',
    remedy: 'Look at the code that AWS gave: renew the session (ExpiredToken), check key and secret (the others).',
  },
  'sts/throttled': {
    level: 'warn',
    reply: LATER,
    summary: 'AWS STS asked to slow down',
    remedy: 'The account used up its STS quota. Drivers come back by themselves.',
  },
  'sts/unavailable': {
    level: 'error',
    reply: LATER,
    summary: 'AWS STS gave no usable answer',
    remedy: 'Check the way from the proxy to the STS host: name resolution, firewall, certificates, `check`.',
  },
  'budget/exhausted': {
    level: 'warn',
    reply: LATER,
    summary: 'more logins of this account wait for AWS STS than its quota can serve in time',
    remedy: 'Drivers come back by themselves. Fewer logins: longer-lived connections, a larger minPoolSize.',
  },
  'identity/partition-mismatch': {
    level: 'error',
    reply: LATER,
    summary: 'STS answered with an ARN of another partition than its own',
    remedy: 'The STS host does not belong to the partition it serves; check sts.hosts.',
  },
  'users/no-rule': {
    level: 'info',
    reply: REFUSED,
    summary: 'no rule for this principal',
    remedy:
      'Add the ARN of the message to `users` (or to the $external database) if it is to log in; `explain` says what is nearest.',
  },
  'users/source-not-allowed': {
    level: 'warn',
    reply: REFUSED,
    summary: 'this principal may not log in from this address',
    remedy: 'The log line has the networks that may; change clientSource if this one should.',
  },
  'users/expired': {
    level: 'info',
    reply: REFUSED,
    summary: 'this principal was let in until a date that has passed',
    remedy: 'Take the rule out, or give it a later deleteAfterDate.',
  },
  'users/recreated': {
    level: 'warn',
    reply: REFUSED,
    summary: 'this principal has the name of the one that is meant and another id: it was deleted and made anew',
    remedy:
      'Find out who made it. If it is to be trusted, change the principalId of the rule, or clear its pin (DELETE /pins).',
  },
  'users/ambiguous': {
    level: 'error',
    reply: LATER,
    summary: 'several entries of the $external database are this principal, so none of them decides',
    remedy: 'Drop all but one; the log line names them.',
  },
  'users/unreadable': {
    level: 'error',
    reply: LATER,
    summary: 'what decides about this principal cannot be read now',
    remedy:
      'The log line says why: the $external database (upstream.admin and its privileges, which `check` names) or the pin file.',
  },
  'login/denied': {
    level: 'warn',
    reply: REFUSED,
    summary: 'this principal is on the deny list',
    remedy: 'The log line names the entry. Whoever shall log in again is taken off the deny file, or by DELETE /deny.',
  },
  'login/revoked': {
    level: 'warn',
    reply: null,
    summary: 'what let this connection in does so no more',
    remedy: 'Nothing, if it was meant: the facts say whether a denial, a rule or the directory changed.',
  },
  'login/concurrency-limit': {
    level: 'warn',
    reply: LATER,
    summary: 'too many logins of this client address are under way',
    remedy: 'Drivers come back by themselves. Raise login.perAddress if a whole fleet stands behind this address.',
  },
  'login/failure-limit': {
    level: 'info',
    reply: REFUSED,
    summary: 'AWS or the rules refused this key and session token too often, so they are not asked again for a while',
    remedy: 'Find the client that keeps trying; the message has the last refusal. See login.failures.',
  },
  'login/signature-limit': {
    level: 'warn',
    reply: LATER,
    summary: 'too many signatures of this key were wrong, so for a while none of this address is checked',
    remedy: 'Find the client with the wrong secret key; others of its address may hold the right one and come back.',
  },
  'denials/not-persisted': {
    level: 'error',
    reply: null,
    summary: 'a change of the denials could not be kept on disk, so it does not count',
    remedy: 'Look at deny.adminFile: that it is set, its folder is there, and the disk takes a file.',
  },
  'login/principal-changed': {
    level: 'warn',
    reply: REFUSED,
    summary: 'a connection that was asked to log in again did so as somebody else',
    remedy: 'A connection keeps its principal and its database user for life; open a second one to be another.',
  },
  'login/expired': {
    level: 'info',
    reply: { code: 391, codeName: 'ReauthenticationRequired' },
    summary: 'the login is older than its rule allows',
    remedy:
      'Nothing; drivers log in again on the same connection, or open another. See maxAge and listen.reauthenticate.',
  },
  'login/timeout': {
    level: 'error',
    reply: LATER,
    summary: 'the login took longer than its deadline',
    remedy: 'See in the log line which stage took the time.',
  },
  'login/abandoned': {
    level: 'info',
    reply: null,
    summary: 'the client left before its login was decided',
    remedy: 'Nothing; tools that open several connections abandon some.',
  },
  'ldap/on': {
    level: 'error',
    reply: REFUSED,
    summary: 'LDAP authorization is on at the upstream, so IAM logins are refused',
    remedy: 'Turn LDAP authorization off (security.ldap.authz.queryTemplate), or use another MongoDB behind the proxy.',
  },
  'ldap/unknown': {
    level: 'error',
    reply: LATER,
    summary: 'whether LDAP authorization is on at the upstream cannot be known, so IAM logins wait',
    remedy: 'Give upstream.admin a user with clusterMonitor, or set ldap.assume: off if you know that it is off.',
  },
  'upstream/unreachable': {
    level: 'error',
    reply: AWAY,
    summary: 'the MongoDB behind the proxy cannot be reached',
    remedy: 'Check upstream.uri, the network, and that MongoDB runs.',
  },
  'upstream/stepped-down': {
    level: 'info',
    reply: null,
    summary: 'the member that this connection was relayed to is no longer the primary',
    remedy: 'Nothing; drivers connect again and reach the new primary.',
  },
  'upstream/authentication-failed': {
    level: 'error',
    reply: LATER,
    summary: 'the MongoDB behind the proxy did not accept the database user of this principal',
    remedy: 'Check user and password of the rule; `mongo-iam-proxy check` tries them.',
  },
  'upstream/protocol-error': {
    level: 'error',
    reply: AWAY,
    summary: 'the MongoDB behind the proxy answered against the protocol',
    remedy: 'Check that upstream.uri names a MongoDB; if it does, treat it as hostile until explained.',
  },
  'provision/conflict': {
    level: 'error',
    // Who this is was proven and what stands in the way is ours, so no code 18.
    reply: LATER,
    summary: 'a database user or role that the proxy keeps for this principal is there and was not made by this proxy',
    remedy: 'Find out who made it, then drop it; after a lost master secret drop all users of provision.database.',
  },
  'provision/unsupported': {
    level: 'error',
    reply: LATER,
    summary: 'the MongoDB behind the proxy has no roles, so no database user can be kept for this principal',
    remedy: 'Give the rule a user and a password of that server instead of roles.',
  },
  'provision/failed': {
    level: 'error',
    reply: LATER,
    summary: 'the MongoDB behind the proxy did not let the proxy keep a database user for this principal',
    remedy: 'Look at the code: 13 is a privilege that the user of upstream.admin lacks, 31 a role that does not exist.',
  },
  'connection/write-timeout': {
    level: 'warn',
    reply: null,
    summary: 'one side took no bytes for too long',
    remedy: 'A peer hangs or its network is gone; the connection was closed.',
  },
  'connection/reset': {
    level: 'info',
    reply: null,
    summary: 'a socket of the relay broke',
    remedy: 'The facts say which side.',
  },
  'listener/connection-limit': {
    level: 'warn',
    reply: null,
    summary: 'no slot is left for a connection that has not logged in',
    remedy: 'Raise listen.connections, or find out who holds connections open without logging in.',
  },
  'connection/frame-timeout': {
    level: 'info',
    reply: null,
    summary: 'a message was begun and not completed in time',
    remedy: 'Port scanners and health checks do this; point health checks at the admin port.',
  },
  'connection/idle-timeout': {
    level: 'debug',
    reply: null,
    summary: 'nothing was asked for ten minutes by a connection that never logged in',
    remedy: 'Nothing; drivers ask every ten seconds.',
  },
  'proxy/shutdown': {
    level: 'info',
    reply: null,
    summary: 'the proxy is stopping',
    remedy: 'Nothing; drivers connect again.',
  },
  'tls/handshake-failed': {
    level: 'info',
    reply: null,
    summary: 'the TLS handshake failed or took too long',
    remedy: 'Use tls=true in the connection string and a CA file that knows the certificate of the proxy.',
  },
  'listener/address-unavailable': {
    level: 'error',
    reply: null,
    summary: 'the address to listen on is taken or not ours',
    remedy: 'Stop the program that holds it, or choose another listen.port or admin.port.',
    exit: 69,
  },
  'config/invalid': {
    level: 'error',
    reply: null,
    summary: 'a setting is missing or wrong',
    remedy: 'Every problem is named with its source; `mongo-iam-proxy settings` prints the table.',
    exit: 78,
  },
  'demo/sandbox-missing': {
    level: 'error',
    reply: null,
    summary: 'the package mongo-iam-proxy-sandbox, which the demo runs, is not installed',
    remedy: 'Run `npx -p mongo-iam-proxy -p mongo-iam-proxy-sandbox mongo-iam-proxy demo`.',
    exit: 64,
  },
  usage: {
    level: 'error',
    reply: null,
    summary: 'the command line cannot be understood',
    remedy: 'See mongo-iam-proxy --help.',
    exit: 64,
  },
  internal: {
    level: 'error',
    reply: { code: 8, codeName: 'UnknownError' },
    summary: 'a bug of the proxy',
    remedy: 'Report the log line, which has the stack.',
    exit: 70,
  },
} as const satisfies Record<string, FaultDefinition>

export type FaultKind = keyof typeof faults

/** Log-only particulars. Values that must not be read belong into a `Secret`, which prints as `[secret]`. */
export type Facts = Record<string, unknown>

/**
 * The one error that is thrown. `detail` is told to the client, so it holds only what that client may know; `facts` and
 * `cause` go to the log alone.
 */
export class Fault extends Error {
  override readonly name = 'Fault'
  readonly kind: FaultKind
  readonly detail: string | undefined
  readonly facts: Facts

  constructor(kind: FaultKind, detail?: string, facts: Facts = {}, cause?: unknown) {
    const { summary }: FaultDefinition = faults[kind]
    super(detail === undefined ? summary : `${summary}: ${detail}`, cause === undefined ? undefined : { cause })
    this.kind = kind
    this.detail = detail
    this.facts = facts
  }

  get definition(): FaultDefinition {
    return faults[this.kind]
  }

  /** Anything thrown, as a fault: what is not one already is a bug of ours. */
  static from(thrown: unknown): Fault {
    return thrown instanceof Fault ? thrown : new Fault('internal', undefined, {}, thrown)
  }
}

/**
 * The reply that a client gets, or null where the socket is closed without one.
 * `connection` is our connection id, by which the log line is found; the fact `backoffMS` is how long drivers are asked
 * to wait.
 */
export function toReply(fault: Fault, connection: number): Document | null {
  const { reply } = fault.definition
  const { backoffMS } = fault.facts
  if (reply === null) return null
  return {
    ok: new Double(0),
    errmsg: `${fault.message} (connection ${connection})`,
    code: new Int32(reply.code),
    codeName: reply.codeName,
    ...(reply.labels && { errorLabels: [...reply.labels] }),
    ...(typeof backoffMS === 'number' && { baseBackoffMS: Long.fromNumber(backoffMS) }),
  }
}

/** The `code` of an error of Node's, such as `ENOENT` or `ERR_TLS_CERT_ALTNAME_INVALID`; undefined for any other value. */
export function errorCode(thrown: unknown): string | undefined {
  if (!(thrown instanceof Error) || !('code' in thrown)) return undefined
  return typeof thrown.code === 'string' ? thrown.code : undefined
}

/** The exit code of a program that ends with this fault. */
export function toExitCode(fault: Fault): number {
  return fault.definition.exit ?? 70
}

/** `| fault | client gets | what happened | what to do |` and a line for each, for README; ends with a line end. */
export function renderFaultsTable(): string {
  const lines = Object.entries<FaultDefinition>(faults).map(([kind, { reply, summary, remedy, exit }]) => {
    const gets = reply ? `${reply.code} ${reply.codeName}` : exit === undefined ? 'the socket closed' : `exit ${exit}`
    return [`\`${kind}\``, gets, summary, remedy].join(' | ')
  })
  return ['fault | client gets | what happened | what to do', '--- | --- | --- | ---', ...lines]
    .map(line => `| ${line} |\n`)
    .join('')
}
