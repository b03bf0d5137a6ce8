/**
 * The table of faults: everything that ends a conversation or a program.
 *
 * A fault has a kind, and the table says for each kind what the client receives, at which level it is logged, what
 * happened, what the operator should do, and the exit code. Values that are merely incomplete or empty (a partial frame,
 * a rule that does not match, an empty bucket) are not faults.
 *
 * Codes are those of https://github.com/mongodb/mongo/blob/master/src/mongo/base/error_codes.yml.
 */
import { type Document, Double, Int32, Long } from 'bson'
import type { FaultField } from './logFields.js'
import { escapeUnprintable, MAX_TEXT, truncate } from './printable.js'

export type Level = 'debug' | 'info' | 'warn' | 'error'

/**
 * The error that a client receives. `toText` returns its message for the message and the detail of the fault. It is set
 * where drivers, their tests or tools compare the message with the one that mongod sends.
 */
type Reply = {
  code: number
  codeName: string
  labels?: readonly string[]
  toText?: (message: string, detail: string | undefined) => string
}

/** For faults whose detail is the message that mongod sends. */
const toServerText = (message: string, detail: string | undefined): string => detail ?? message

export type FaultDefinition = {
  level: Level
  /** Null: the proxy closes the connection without a reply. */
  reply: Reply | null
  /** What happened. Clients see it as `errmsg`, followed by the detail of the fault. */
  summary: string
  /** What the operator should do, with the setting to change. */
  remedy: string
  /** HTTP status that the admin interface answers. */
  httpStatus?: number
  /** Exit code of a program that ends with this fault, from sysexits(3). */
  exit?: number
}

/** The identity is rejected. Drivers report it at once and discard their cached AWS credentials. */
const REFUSED: Reply = { code: 18, codeName: 'AuthenticationFailed' }
/**
 * The identity could not be checked, so the client should retry. The labels are the union of those that make any driver
 * retry. Never code 18, which would make drivers discard good credentials.
 */
const RETRY: Reply = {
  code: 262,
  codeName: 'ExceededTimeLimit',
  labels: ['SystemOverloadedError', 'RetryableError', 'RetryableWriteError'],
}
const UNREACHABLE: Reply = { code: 6, codeName: 'HostUnreachable', labels: ['RetryableWriteError'] }
const PROTOCOL: Reply = { code: 17, codeName: 'ProtocolError', toText: toServerText }
const UNAUTHORIZED: Reply = { code: 13, codeName: 'Unauthorized' }

export const faults = {
  'frame/length': {
    level: 'warn',
    reply: null,
    summary: 'the message length is outside the allowed range',
    remedy:
      'Find the client by `peer`. It does not speak the MongoDB protocol, or it uses TLS where the proxy does not (`looksLike`).',
  },
  'frame/opcode': {
    level: 'warn',
    reply: null,
    summary: 'the opcode is not supported',
    remedy: 'Update the driver. Supported drivers send OP_MSG, and OP_QUERY only for their first hello.',
  },
  'message/malformed': {
    level: 'warn',
    reply: null,
    summary: 'the message or a document in it is malformed',
    remedy: 'Find the client by `peer`; `why` names the error. Supported drivers never send such a message.',
  },
  'message/compressed': {
    level: 'warn',
    reply: null,
    summary: 'the message is compressed, but compression was not negotiated',
    remedy: 'Update the driver. The proxy does not offer compression, so a driver must not compress.',
  },
  'hello/metadata-invalid': {
    level: 'warn',
    reply: { code: 183, codeName: 'ClientMetadataMissingField', toText: toServerText },
    summary: 'the client document of hello lacks a field or has a field of the wrong type',
    remedy: 'Update the driver.',
  },
  'hello/app-name-too-long': {
    level: 'warn',
    reply: {
      code: 184,
      codeName: 'ClientMetadataAppNameTooLarge',
      toText: () =>
        "The 'application.name' field must be less then or equal to 128 bytes in the client metadata document",
    },
    summary: 'the application name in hello is longer than 128 bytes',
    remedy: 'Shorten appName in the connection string.',
  },
  'hello/metadata-too-large': {
    level: 'warn',
    reply: {
      code: 185,
      codeName: 'ClientMetadataDocumentTooLarge',
      toText: () => 'The client metadata document must be less then or equal to 512 bytes',
    },
    summary:
      'the client document of hello is larger than 512 bytes, or driver and application in it leave no room for the marker',
    remedy: 'Shorten the driver information that the application or its framework adds.',
  },
  'hello/metadata-repeated': {
    level: 'warn',
    reply: {
      code: 186,
      codeName: 'ClientMetadataCannotBeMutated',
      toText: () => 'The client metadata document may only be sent in the first hello',
    },
    summary: 'the client document was already sent on this connection',
    remedy: 'Update the driver. It must send the client document only in the first hello of a connection.',
  },
  'hello/await-invalid': {
    level: 'warn',
    reply: { code: 51760, codeName: 'Location51760', toText: toServerText },
    summary: 'hello takes topologyVersion and maxAwaitTimeMS together or neither',
    remedy: 'Update the driver.',
  },
  'command/unauthorized': {
    level: 'info',
    reply: { ...UNAUTHORIZED, toText: (_, command) => `Command ${command} requires authentication` },
    summary: 'this command requires authentication',
    remedy: 'Add authMechanism=MONGODB-AWS and authSource=$external to the connection string.',
  },
  'command/forbidden': {
    level: 'warn',
    reply: UNAUTHORIZED,
    summary: 'this command is refused because it would change the identity of the connection',
    remedy: 'Open a second connection to log in as another principal.',
  },
  'sasl/mechanism-unavailable': {
    level: 'info',
    reply: { code: 334, codeName: 'MechanismUnavailable', toText: toServerText },
    summary: 'the authentication mechanism is not supported',
    remedy: 'Set authMechanism=MONGODB-AWS and authSource=$external. The proxy does not accept database passwords.',
  },
  'sasl/out-of-order': {
    level: 'info',
    reply: PROTOCOL,
    summary: 'the SASL message is out of order',
    remedy: 'Update the driver. A new conversation starts with saslStart.',
  },
  'sasl/payload-invalid': {
    level: 'info',
    reply: { code: 2, codeName: 'BadValue' },
    summary: 'the SASL payload is not the document that this step requires',
    remedy: 'Update the driver.',
  },
  'proof/malformed': {
    level: 'warn',
    reply: REFUSED,
    summary: 'the signed request is not a valid MONGODB-AWS proof',
    remedy:
      'If the credentials are temporary, set AWS_SESSION_TOKEN. Otherwise update the driver; if it is current, report its version and this line.',
  },
  'proof/header-unsigned': {
    level: 'warn',
    reply: REFUSED,
    summary: 'the signature does not cover a header that binds it to this conversation',
    remedy:
      'Investigate: somebody tried to reuse a signature that was made for another service. See `accessKeyId` and `peer`.',
  },
  'proof/scope-mismatch': {
    level: 'info',
    reply: REFUSED,
    summary: 'the credential scope names another service, region or day than the offered STS host',
    remedy: 'Update the driver. It must take the region from the STS host that the proxy offers.',
  },
  'proof/clock-skew': {
    level: 'info',
    reply: REFUSED,
    summary: 'the request signature is outside the 15-minute window',
    remedy: 'Synchronize the clock of the client or of the proxy. The line has both times (`signed`, `now`).',
  },
  'sts/refused': {
    level: 'info',
    reply: REFUSED,
    summary: 'AWS STS refused the credentials',
    remedy:
      'See `remedy`, if there is one, or read `code`. ExpiredToken: renew the session. Any other code: check the access key, the secret key and the session token.',
  },
  'sts/throttled': {
    level: 'warn',
    reply: RETRY,
    summary: 'AWS STS throttled the call',
    remedy:
      'The AWS account exceeded its STS quota. Lower sts.quota or sts.share if other programs use the same quota.',
  },
  'sts/unavailable': {
    level: 'error',
    reply: RETRY,
    summary: 'AWS STS returned no usable answer',
    remedy:
      'Run `mongo-iam-proxy check`. Check DNS, firewall and certificates between the proxy and the hosts in sts.hosts.',
  },
  'budget/exhausted': {
    level: 'warn',
    reply: RETRY,
    summary: 'too many logins of this AWS account are waiting for its STS quota',
    remedy:
      'Reduce logins: one client per process, a smaller maxPoolSize, no maxIdleTimeMS. Raise sts.quota if AWS has raised your quota.',
  },
  'identity/partition-mismatch': {
    level: 'error',
    reply: RETRY,
    summary: 'STS returned an ARN of another AWS partition',
    remedy: 'Correct sts.hosts. The host does not belong to the partition that its name says.',
  },
  'users/no-rule': {
    level: 'info',
    reply: REFUSED,
    summary: 'no rule matches this principal',
    remedy:
      'Add the ARN in the message to `users`, or create an $external user. `mongo-iam-proxy explain ARN` shows the nearest rule.',
  },
  'users/source-not-allowed': {
    level: 'warn',
    reply: REFUSED,
    summary: 'this principal may not log in from this address',
    remedy: 'Change clientSource of the rule or of the $external user. `allowed` lists the permitted networks.',
  },
  'users/expired': {
    level: 'info',
    reply: REFUSED,
    summary: 'the rule for this principal has expired',
    remedy: 'Remove the rule, or set a later deleteAfterDate.',
  },
  'users/recreated': {
    level: 'warn',
    reply: REFUSED,
    summary: 'this principal was deleted and recreated: the ARN is the same, the principal id is not',
    remedy:
      'Find out who recreated it. To trust it, change principalId of the rule, or clear its pin with DELETE /pins.',
  },
  'users/ambiguous': {
    level: 'error',
    reply: RETRY,
    summary: 'several $external users match this principal',
    remedy: 'Drop all but one of the users in `directoryUsers`.',
  },
  'users/unreadable': {
    level: 'error',
    reply: RETRY,
    summary: 'the proxy cannot read the rules for this principal at the moment',
    remedy:
      'See `why`: the $external database (check the privileges of upstream.admin with `mongo-iam-proxy check`) or pins.file.',
  },
  'login/denied': {
    level: 'warn',
    reply: REFUSED,
    summary: 'this principal is on the deny list',
    remedy: 'To admit it again, remove the entry in `denial` from deny.file, or send DELETE /deny.',
  },
  'login/revoked': {
    level: 'warn',
    reply: null,
    summary: 'access was revoked',
    remedy:
      'Nothing if it was intended. `cause` and `why` name the denial, the rule or the $external user that changed.',
  },
  'login/concurrency-limit': {
    level: 'warn',
    reply: RETRY,
    summary: 'too many concurrent logins from this client address',
    remedy: 'Raise login.perAddress if many clients share this address, for example behind a NAT gateway.',
  },
  'login/failure-limit': {
    level: 'info',
    reply: REFUSED,
    summary: 'these credentials failed too often and are blocked for a while',
    remedy:
      'Find the client that keeps trying. `cause` and the message have its last failure. The limits are login.failures and login.failurePeriod.',
  },
  'login/signature-limit': {
    level: 'warn',
    reply: RETRY,
    summary: 'too many wrong signatures for this access key from this address',
    remedy:
      'Find the client with the wrong secret key. Until then the proxy checks ten logins a second of this key and address, drawn at random.',
  },
  'denials/not-persisted': {
    level: 'error',
    reply: null,
    httpStatus: 507,
    summary: 'the change of the deny list could not be saved and has no effect',
    remedy: 'Set deny.adminFile. Check that its directory exists and that the disk is writable and not full.',
  },
  'login/principal-changed': {
    level: 'warn',
    reply: REFUSED,
    summary: 'the client reauthenticated as another principal or database user',
    remedy: 'Open a new connection for the other identity. A connection keeps its principal for its lifetime.',
  },
  'login/expired': {
    level: 'info',
    reply: { code: 391, codeName: 'ReauthenticationRequired' },
    summary: 'the login is older than its rule allows',
    remedy: 'Nothing: drivers reauthenticate or reconnect. See maxAge of the rule and listen.reauthenticate.',
  },
  'login/principal-limit': {
    level: 'warn',
    reply: RETRY,
    summary: 'this principal has as many sessions as it may have',
    remedy:
      'Reduce its sessions: fewer processes, a smaller maxPoolSize. Otherwise set maxSessions in its rule, or raise listen.perPrincipal. `max` is the limit.',
  },
  'login/session-limit': {
    level: 'warn',
    reply: RETRY,
    summary: 'all session slots of the proxy are taken',
    remedy:
      'Find the largest principals in `mongo_iam_proxy_principal_sessions`. Raise listen.connections, and `ulimit -n` if the log says that it is too low, or add a proxy.',
  },
  'login/timeout': {
    level: 'error',
    reply: RETRY,
    summary: 'the login exceeded its deadline',
    remedy: 'Find the slow stage in `ms` and fix it, or raise login.queueTimeout.',
  },
  'login/abandoned': {
    level: 'info',
    reply: null,
    summary: 'the client disconnected before the login was decided',
    remedy: 'Nothing. Some tools open several connections and abandon some of them.',
  },
  'audit/unavailable': {
    level: 'error',
    reply: RETRY,
    summary: 'the audit trail cannot be written, and audit.onFailure is refuse',
    remedy:
      'See `why` of the line `audit trail failing`. Free space on the disk or correct audit.to. Until then, `audit.onFailure: serve` admits logins without a record.',
  },
  'ldap/on': {
    level: 'error',
    reply: REFUSED,
    summary: 'LDAP authorization is on at the upstream, so IAM logins are refused',
    remedy:
      'Turn LDAP authorization off at the upstream (security.ldap.authz.queryTemplate), or use another MongoDB behind the proxy.',
  },
  'ldap/unknown': {
    level: 'error',
    reply: RETRY,
    summary: 'the proxy cannot find out whether LDAP authorization is on at the upstream',
    remedy:
      'Grant clusterMonitor to the user of upstream.admin. If you know that LDAP authorization is off, set ldap.assume: off.',
  },
  'upstream/unreachable': {
    level: 'error',
    reply: UNREACHABLE,
    summary: 'the upstream MongoDB is unreachable',
    remedy: 'Check that MongoDB is running and has a primary, then the network and upstream.uri.',
  },
  'upstream/stepped-down': {
    level: 'info',
    reply: null,
    summary: 'the upstream member of this connection is no longer the primary',
    remedy: 'Nothing. Drivers reconnect and reach the new primary.',
  },
  'upstream/authentication-failed': {
    level: 'error',
    reply: RETRY,
    summary: 'the upstream MongoDB rejected the database user',
    remedy: 'Check user and password of the rule, or of upstream.admin, with `mongo-iam-proxy check`.',
  },
  'upstream/protocol-error': {
    level: 'error',
    reply: UNREACHABLE,
    summary: 'the upstream MongoDB violated the protocol',
    remedy:
      'Check that upstream.uri names a MongoDB server. If it does, do not trust that server until `why` is explained.',
  },
  'provision/conflict': {
    level: 'error',
    // Who this is was proven and what stands in the way is ours, so no code 18.
    reply: RETRY,
    summary: 'the user or role that the proxy needs exists and was not created by this proxy',
    remedy:
      'Find out who created it, then drop it. If the master secret was lost, drop all users of provision.database.',
  },
  'provision/unsupported': {
    level: 'error',
    reply: RETRY,
    summary:
      'the upstream MongoDB keeps no customData or has no roles, so the proxy cannot create a user for this principal',
    remedy: 'Give the rule a `user` and a password instead of `roles`.',
  },
  'provision/failed': {
    level: 'error',
    reply: RETRY,
    summary: 'the upstream MongoDB refused to create or update the user of this principal',
    remedy: 'Read `code`. 13: the user of upstream.admin lacks a privilege. 31: a role of the rule does not exist.',
  },
  'provision/overdue': {
    level: 'error',
    reply: null,
    summary: 'the database user of this principal still has roles that a rule or a directory user took away',
    remedy:
      'See `provisioning failed` for the cause, and remove it. Until then the sessions of the principal are closed. If nobody can, drop the user or revoke its roles in MongoDB.',
  },
  'connection/write-timeout': {
    level: 'warn',
    reply: null,
    summary: 'the peer accepted no data for too long',
    remedy:
      'Check the client at `peer`, the upstream, and the network: one of them hangs or is gone. The proxy closed the connection.',
  },
  'connection/too-many-pending': {
    level: 'warn',
    reply: null,
    summary: 'too many requests are waiting for a reply on one connection',
    remedy: 'Find the client by `peer`. Supported drivers wait for a reply before they send the next request.',
  },
  'connection/closed-by-admin': {
    level: 'info',
    reply: null,
    summary: 'an administrator closed the session',
    remedy: 'Nothing. The client may log in again; the audit trail has the name of the token (`admin.request`).',
  },
  'connection/reset': {
    level: 'info',
    reply: null,
    summary: 'a socket of the connection failed',
    remedy: 'See `side` for the peer that disconnected, and `why` for the error.',
  },
  'listener/connection-limit': {
    level: 'warn',
    reply: null,
    summary: 'the connection limit is reached',
    remedy:
      'Raise listen.connections, listen.reserve or listen.perAddress, or find the addresses that hold connections open without logging in.',
  },
  'connection/frame-timeout': {
    level: 'info',
    reply: null,
    summary: 'a message was started but not completed in time',
    remedy: 'Usually a port scanner or a TCP health check. Point health checks at /healthz of the admin port.',
  },
  'connection/idle-timeout': {
    level: 'debug',
    reply: null,
    summary: 'the connection was idle for too long before a login',
    remedy: 'Nothing. Drivers send a hello every ten seconds.',
  },
  'proxy/shutdown': {
    level: 'info',
    reply: null,
    summary: 'the proxy is shutting down',
    remedy: 'Nothing. Drivers reconnect.',
  },
  'tls/handshake-failed': {
    level: 'info',
    reply: null,
    summary: 'the TLS handshake failed or timed out',
    remedy:
      'Set tls=true in the connection string, and tlsCAFile to a CA file that contains the issuer of tls.certFile.',
  },
  'tls/no-message': {
    level: 'info',
    reply: null,
    summary: 'the client closed the connection after the TLS handshake, without a message',
    remedy:
      'Read `why`. Renew an expired certificate, use a name of the certificate in connection strings, or give clients a tlsCAFile with the issuer of tls.certFile. Point health checks at /healthz of the admin port.',
  },
  'listener/address-unavailable': {
    level: 'error',
    reply: null,
    summary: 'the address to listen on is in use or not available',
    remedy: 'Stop the program that uses the address, or change listen.host, listen.port, admin.host or admin.port.',
    exit: 69,
  },
  'config/invalid': {
    level: 'error',
    reply: null,
    summary: 'the configuration is invalid',
    remedy: 'Correct the problems; each names its source. `mongo-iam-proxy settings` lists all settings.',
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
    summary: 'the command line is invalid',
    remedy: 'Run `mongo-iam-proxy --help`.',
    exit: 64,
  },
  'admin/failed': {
    level: 'error',
    reply: null,
    summary: 'the admin interface of the proxy did not do it',
    remedy:
      'Check --admin, and --token-file, whose token must be one of admin.tokens of the running proxy and may write.',
    exit: 78,
  },
  internal: {
    level: 'error',
    reply: { code: 8, codeName: 'UnknownError' },
    summary: 'internal error of the proxy',
    remedy: 'This is a bug. Report the log line, which contains the stack trace.',
    exit: 70,
  },
} as const satisfies Record<string, FaultDefinition>

export type FaultKind = keyof typeof faults

/**
 * What a fault says to the log. Code never reads it: what code needs is declared in `FaultData`. Values that must not be
 * printed belong in a `Secret`.
 */
export type Facts = { readonly [F in FaultField]?: unknown }

/** How long a driver should wait before it retries, in milliseconds. */
type Backoff = { readonly backoffMS: number }
/** The STS host that answered, and what can be done about its error. The client receives both. */
type StsAnswer = { readonly host?: string; readonly remedy?: string | undefined }
/** The reply of the upstream to a command. A number is a code of MongoDB, a name is one of Node.js, such as ECONNREFUSED. */
type UpstreamError = {
  readonly code?: number | string | undefined
  readonly codeName?: string | undefined
  readonly errmsg?: string | undefined
  /** The value of `e` in the SCRAM server-final message, RFC 5802 section 7. */
  readonly error?: string | undefined
}

/**
 * The data of a fault that code reads, with `fault.data(kind)`. It is passed together with the facts and logged like them,
 * but its types are part of the kind: a name that is not declared here cannot decide anything.
 */
export type FaultData = {
  'sts/refused': StsAnswer & { readonly code?: string }
  'sts/throttled': StsAnswer
  'sts/unavailable': StsAnswer & { readonly why: string }
  'budget/exhausted': Backoff
  'users/unreadable': { readonly why: string }
  'login/denied': { readonly denial: string }
  'login/revoked': { readonly denial?: string | undefined; readonly why?: string }
  'login/concurrency-limit': Backoff
  'login/signature-limit': Backoff
  'login/principal-limit': Backoff
  'login/session-limit': Backoff
  'upstream/unreachable': UpstreamError
  'upstream/authentication-failed': UpstreamError
  'provision/failed': UpstreamError
  /**
   * `deny`: the settings of the deny list, if they could be read although others could not. `source`: the configuration file.
   * Neither is printed.
   */
  'config/invalid': {
    readonly problems?: readonly string[]
    readonly deny?: { readonly file?: string | undefined; readonly text?: string | undefined }
    readonly source?: { readonly file: string | undefined; readonly hash: string; readonly modified: Date | undefined }
  }
  usage: { readonly problems?: readonly string[] }
}

type KindWithData = keyof FaultData
/** The third argument may be left out if every value is optional. */
type DataArguments<K extends KindWithData> =
  Partial<FaultData[K]> extends FaultData[K]
    ? [kind: K, detail?: string | undefined, facts?: (Facts & FaultData[K]) | undefined, cause?: unknown]
    : [kind: K, detail: string | undefined, facts: Facts & FaultData[K], cause?: unknown]
type FaultArguments =
  | [kind: Exclude<FaultKind, KindWithData>, detail?: string | undefined, facts?: Facts | undefined, cause?: unknown]
  | { [K in KindWithData]: DataArguments<K> }[KindWithData]

/**
 * The only error that the proxy throws. The client sees the summary of its kind and `detail`; `facts` and `cause` go to the
 * log only. Rejected: a class per kind, because one table serves the reply, the log, the metrics and the documentation.
 */
export class Fault extends Error {
  override readonly name = 'Fault'
  readonly kind: FaultKind
  readonly detail: string | undefined
  readonly facts: Facts
  #clientView: Fault | undefined

  constructor(...[kind, detail, facts = {}, cause]: FaultArguments) {
    const { summary }: FaultDefinition = faults[kind]
    super(detail === undefined ? summary : `${summary}: ${detail}`, cause === undefined ? undefined : { cause })
    this.kind = kind
    this.detail = detail
    this.facts = facts
  }

  get definition(): FaultDefinition {
    return faults[this.kind]
  }

  /** The fault whose reply the client receives. The log and the metrics have this one. */
  get clientView(): Fault {
    return this.#clientView ?? this
  }

  /** Hides this fault from the client, which receives the reply of another one. */
  answerAs(other: Fault): this {
    this.#clientView = other
    return this
  }

  /** The data of a fault of one of these kinds; undefined for a fault of another kind. */
  data<K extends KindWithData>(...kinds: K[]): FaultData[K] | undefined {
    return kinds.some(kind => kind === this.kind) ? (this.facts as FaultData[K]) : undefined
  }

  /** Anything thrown, as a fault. An error that is not a fault is a bug of the proxy. */
  static from(thrown: unknown): Fault {
    return thrown instanceof Fault ? thrown : new Fault('internal', undefined, {}, thrown)
  }
}

/** The fields of a fault in a log line, with those of the fault that caused it. */
export function toLogFields(fault: Fault): Facts {
  const { kind, message, cause, stack } = fault
  return {
    fault: kind,
    why: message,
    ...collectFacts(fault),
    ...(kind === 'internal' && { stack: (cause instanceof Error && cause.stack) || stack }),
  }
}

function collectFacts(fault: Fault): Facts {
  const { cause } = fault
  const facts = printableFacts(fault)
  return cause instanceof Fault ? { ...collectFacts(cause), ...facts } : facts
}

/** All facts, except what an invalid configuration carries for the code. */
function printableFacts({ kind, facts }: Fault): Facts {
  if (kind !== 'config/invalid') return facts
  const { deny: _deny, source: _source, ...others } = facts as Facts & FaultData['config/invalid']
  return others
}

/** The fault in one line for a terminal: message, facts and remedy. */
export function describeFault(fault: Fault): string {
  const facts = Object.entries(collectFacts(fault)).map(([name, value]) => `${name} ${value}`)
  const texts = [fault.message, ...facts].map(text => truncate(escapeUnprintable(text), MAX_TEXT))
  return `${texts.join(', ').replace(/\.$/, '')}. ${fault.definition.remedy}`
}

/**
 * The error reply to the client, or null if the proxy closes the connection without one. `connectionId` is the id in the
 * log. `baseBackoffMS` tells drivers how long to wait, see
 * https://github.com/mongodb/specifications/blob/master/source/client-backpressure/client-backpressure.md.
 */
export function toReply({ clientView: fault }: Fault, connectionId: number): Document | null {
  const { reply } = fault.definition
  const backoffMS = fault.data(
    'budget/exhausted',
    'login/concurrency-limit',
    'login/signature-limit',
    'login/principal-limit',
    'login/session-limit',
  )?.backoffMS
  if (reply === null) return null
  return {
    ok: new Double(0),
    errmsg: `${addStsAnswer(reply.toText?.(fault.message, fault.detail) ?? fault.message, fault)} (connection ${connectionId})`,
    code: new Int32(reply.code),
    codeName: reply.codeName,
    ...(reply.labels && { errorLabels: [...reply.labels] }),
    ...(backoffMS !== undefined && { baseBackoffMS: Long.fromNumber(backoffMS) }),
  }
}

function addStsAnswer(text: string, fault: Fault): string {
  const { host, remedy } = fault.data('sts/refused', 'sts/throttled', 'sts/unavailable') ?? {}
  if (host === undefined) return text
  const sentences = [text, `STS host: ${host}`, ...(remedy === undefined ? [] : [remedy])]
  return sentences.map(sentence => sentence.replace(/\.$/, '')).join('. ')
}

/** The `code` of an error of Node.js, such as `ENOENT` or `ERR_TLS_CERT_ALTNAME_INVALID`; undefined for any other value. */
export function errorCode(thrown: unknown): string | undefined {
  if (!(thrown instanceof Error) || !('code' in thrown)) return undefined
  return typeof thrown.code === 'string' ? thrown.code : undefined
}

/** The exit code of a program that ends with this fault. */
export function toExitCode(fault: Fault): number {
  return fault.definition.exit ?? 70
}
