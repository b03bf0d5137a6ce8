/**
 * The events of the audit trail: what each one records, its outcome, its fields, and which of them are personal data.
 *
 * The types of events, `docs/reference/audit.md` and `docs/reference/audit.schema.json` derive from this table. A change
 * that removes or renames a field, or changes its meaning, needs a new `SCHEMA_VERSION`. New fields and events do not.
 */
import { z } from 'zod'

export const SCHEMA_VERSION = 1

/** Longest text in an event, in characters. ARNs have at most 2,048. */
export const MAX_AUDIT_TEXT = 2048

const text = z.string().max(MAX_AUDIT_TEXT)
const count = z.int().min(0)
const dateTime = z.iso.datetime({ precision: 3 })

export const actorKinds = ['principal', 'accessKey', 'client', 'admin', 'command', 'file', 'database', 'proxy'] as const

/**
 * The originator of an event. `id` is the ARN of a principal, an unverified access key id, the name of an admin token, the
 * user of the operating system who ran a command, or the path of a file; null for a client, a database administrator whom
 * the proxy does not know, and the proxy itself.
 */
const actor = z.strictObject({ kind: z.enum(actorKinds), id: text.nullable() })
export type Actor = z.infer<typeof actor>

export const outcomes = ['success', 'refused', 'failed'] as const
export type Outcome = (typeof outcomes)[number]

/** The fields that every event has. */
export const envelope = {
  schema: z.literal(SCHEMA_VERSION).describe('Version of this schema.'),
  time: dateTime.describe('Time of the event, UTC with milliseconds.'),
  instance: text.describe('Name of the replica: the setting `instance`.'),
  boot: z
    .string()
    .regex(/^[0-9a-f]{12}$/)
    .describe('Id of this run: another one after each start.'),
  seq: z.int().min(1).describe('Number of the event, counted from 1 in each run. Lost events keep their numbers.'),
  type: text.describe('Type of the event.'),
  outcome: z.enum(outcomes).describe('Whether the action took place: success, refused or failed.'),
  actor: actor.describe('Originator: its kind and its id.'),
  address: text.nullable().describe('IP address of the originator; null if there is none.'),
  port: z.int().min(0).max(65535).nullable().describe('Its port.'),
  connection: text
    .nullable()
    .describe('Id of the client connection, unique across replicas and restarts: `boot`, a dash, the id in the log.'),
}

/** The fields of events. A field means the same in every event. */
const fields = {
  accessKeyId: text.describe('AWS access key id. Not verified in `login.refused`.'),
  accessKeyIds: z.array(text).max(5).describe('The first five access key ids.'),
  account: text.describe('AWS account of the principal.'),
  appName: text.describe('Application name in the metadata of the client.'),
  arn: text.describe('ARN. Of a login: as AWS reported it, with the session name unless `audit.sessionName` is hash.'),
  by: z.enum(['client', 'upstream', 'proxy']).describe('Side that closed the session first.'),
  bytes: z.strictObject({ fromClient: count, toClient: count }).describe('Bytes read from and written to the client.'),
  cause: text.describe('Kind of the fault behind a revocation, such as `login/denied` or `users/no-rule`.'),
  change: z
    .enum(['loaded', 'added', 'changed', 'removed', 'rejected'])
    .describe('`loaded`: found at start. `rejected`: an invalid change that has no effect.'),
  code: z.union([z.int(), text]).describe('Error code of MongoDB that the client received, or of AWS or Node.js.'),
  command: text.describe('Name of the command.'),
  commands: count.describe('Number of refused commands that this event stands for.'),
  configHash: text.describe('SHA-256 of the configuration that was in effect, as in the metric `config_hash`.'),
  count: z.int().min(1).describe('Number of refusals that this event stands for.'),
  databaseUser: text.describe('Database user of the session, as name@database.'),
  denial: text.describe('Entry of the deny list.'),
  directoryUser: text.describe('Name of the `$external` user that decided.'),
  distinctKeys: count.describe('Number of distinct access key ids, at most 10,000.'),
  driver: z.strictObject({ name: text, version: text }).describe('Driver in the metadata of the client.'),
  durationMS: count.describe('Milliseconds from the login to the end of the session.'),
  fault: text.describe('Kind of the [fault](faults.md).'),
  file: text.describe('Path of the file.'),
  fileHash: text.describe('SHA-256 of the contents of the file.'),
  fileTime: dateTime.describe('Time at which the file was last modified.'),
  fingerprint: text.describe('SHA-256 fingerprint of the certificate.'),
  from: z.int().min(1).describe('Number of the first lost event.'),
  loginKind: z.enum(['first', 'reauthentication']).describe('First login of the connection, or a renewed one.'),
  method: text.describe('HTTP method.'),
  ms: z
    .strictObject({ queue: count, sts: count, upstream: count, login: count })
    .partial()
    .describe('Milliseconds by stage: waiting for the STS budget, calling STS, logging in upstream, and in all.'),
  path: text.describe('Path of the request.'),
  principalId: text.describe('Unique id of the principal, such as AIDA… or AROA….'),
  problems: z.array(text).max(100).describe('Problems of the configuration.'),
  protection: z.boolean().describe('True if the change removed or widened a protection.'),
  reason: text.describe(
    'Why, in words: the fault that ended a session or made a change fail, or the `why` of a denial.',
  ),
  remedy: text.describe('What to do.'),
  role: text.describe('A role for one collection, as role@database.'),
  roles: z.array(text).nullable().describe('Roles, as role@database; null if the proxy does not know them.'),
  rolesBefore: z.array(text).nullable().describe('Roles before the change.'),
  rule: z
    .strictObject({ number: z.int().min(1), text })
    .describe('The rule that decided: its position in `users`, and its principal and grant in words.'),
  setting: text.describe('Path of the setting.'),
  signal: text.describe('Signal that stopped the process; `none` if it stopped for another reason.'),
  state: text.describe('State: on, off or unknown.'),
  sts: z
    .strictObject({ host: text, requestId: text.nullable(), cached: z.boolean() })
    .describe('STS host, the request id of its answer, and whether a cache decided instead of a call.'),
  subject: z.enum(['rule', 'denial', 'setting', 'file']).describe('What was changed.'),
  subnet: text.describe('Subnet of the clients: an IPv4 address, or the /64 of IPv6 addresses; `any` for all others.'),
  to: z.int().min(1).describe('Number of the last lost event.'),
  destination: text.describe('Where the trail is written: stdout, stderr or a path.'),
  until: dateTime.nullable().describe('Time at which the denial expires; null if it does not.'),
  upstream: z
    .strictObject({ address: text, localPort: z.int().nullable(), connectionId: z.int().nullable() })
    .describe('Upstream member, our local port there, and the connection id of MongoDB, which its log calls `connN`.'),
  user: text.describe('The database user, as name@database.'),
  version: text.describe('Version of the proxy.'),
  weakening: text.describe('How the protection is weaker than before.'),
  previous: text.describe('The value before the change, in words.'),
  current: text.describe('The value after the change, in words.'),
  target: text.describe('Object of the request, such as a connection id.'),
} as const

export type AuditField = keyof typeof fields

type Definition = {
  summary: string
  /** Fields that every event of this type has. */
  required: readonly AuditField[]
  /** Fields that an event of this type may have. */
  optional: readonly AuditField[]
  /** Fields, of the event or the envelope, that identify a person or may do so. */
  personalData: readonly (AuditField | 'actor' | 'address')[]
}

const PERSON = ['actor', 'address', 'arn', 'accessKeyId', 'principalId'] as const

export const auditEvents = {
  login: {
    summary:
      'A client is logged in. The operating system has taken this event before the client receives the last reply of the login. A renewed login has the connection ids of the first one, and the metadata at MongoDB stays that of the first one.',
    required: [
      'arn',
      'accessKeyId',
      'principalId',
      'account',
      'databaseUser',
      'roles',
      'configHash',
      'sts',
      'upstream',
      'ms',
      'loginKind',
    ],
    optional: ['appName', 'driver', 'rule', 'directoryUser'],
    personalData: [...PERSON, 'databaseUser', 'directoryUser'],
  },
  'login.refused': {
    summary:
      'A login failed. Above 20 refusals per second of one client subnet and fault, or 500 per second in all, one event per second stands for the rest; it has `subnet` instead of the fields of one login.',
    required: ['fault', 'count'],
    optional: [
      'accessKeyId',
      'accessKeyIds',
      'account',
      'appName',
      'arn',
      'cause',
      'code',
      'databaseUser',
      'denial',
      'directoryUser',
      'distinctKeys',
      'driver',
      'loginKind',
      'ms',
      'principalId',
      'reason',
      'remedy',
      'rule',
      'sts',
      'subnet',
    ],
    personalData: [...PERSON, 'accessKeyIds', 'subnet', 'databaseUser', 'directoryUser'],
  },
  'session.end': {
    summary: 'A session ended. Every `login` of kind `first` has exactly one, unless the process was killed.',
    required: ['by', 'durationMS', 'bytes'],
    optional: ['fault', 'reason', 'arn', 'databaseUser'],
    personalData: ['actor', 'address', 'arn', 'databaseUser'],
  },
  'session.revoked': {
    summary: 'A session lost its permission and is closed at once. `denial` or `reason` names the change.',
    required: ['reason'],
    optional: ['arn', 'cause', 'databaseUser', 'denial'],
    personalData: ['actor', 'address', 'arn', 'databaseUser', 'denial'],
  },
  'command.refused': {
    summary:
      'A command was refused, on a session or before the login. Above 20 per second of one client subnet and command, or 500 per second in all, one event per second stands for the rest.',
    required: ['command', 'commands'],
    optional: ['fault', 'arn', 'databaseUser', 'subnet'],
    personalData: ['actor', 'address', 'arn', 'databaseUser', 'subnet'],
  },
  'certificate.refused': {
    summary:
      'The TLS handshake of a client failed because its certificate is missing or not trusted. Above 20 per second of one client subnet and code, or 500 per second in all, one event per second stands for the rest.',
    required: ['reason', 'count'],
    optional: ['subnet', 'code', 'fingerprint'],
    personalData: ['address', 'subnet'],
  },
  config: {
    summary:
      'A rule, a denial of the deny file or a setting was found at start, added, changed or removed; or a changed configuration was rejected.',
    required: ['change', 'subject'],
    optional: [
      'arn',
      'configHash',
      'current',
      'denial',
      'file',
      'fileHash',
      'fileTime',
      'previous',
      'problems',
      'protection',
      'reason',
      'roles',
      'rolesBefore',
      'rule',
      'setting',
      'until',
      'weakening',
    ],
    personalData: ['arn', 'denial'],
  },
  directory: {
    summary:
      'A user of `$external` was found at the first read, or a database administrator added, changed or removed it. `reason` says why no login can be this user.',
    required: ['change', 'directoryUser', 'roles'],
    optional: ['arn', 'rolesBefore', 'reason', 'previous', 'current'],
    personalData: ['directoryUser', 'arn'],
  },
  'user.created': {
    summary:
      'The proxy created the database user of a principal. If the outcome is failed, MongoDB may have created it all the same; this holds for every change in MongoDB.',
    required: ['user', 'roles'],
    optional: ['arn', 'reason', 'code'],
    personalData: ['user', 'arn'],
  },
  'user.updated': {
    summary: 'The proxy changed the roles or the password of a database user. Without `rolesBefore` its roles stay.',
    required: ['user', 'roles'],
    optional: ['arn', 'rolesBefore', 'reason', 'code'],
    personalData: ['user', 'arn'],
  },
  'user.dropped': {
    summary: 'The proxy, or `users prune`, removed a database user, which had these roles.',
    required: ['user', 'roles'],
    optional: ['arn', 'reason', 'code'],
    personalData: ['actor', 'user', 'arn'],
  },
  'role.created': {
    summary: 'The proxy created a role for one collection.',
    required: ['role'],
    optional: ['reason', 'code'],
    personalData: [],
  },
  'role.dropped': {
    summary: '`users prune` removed a role for one collection that the proxy had created.',
    required: ['role'],
    optional: ['reason', 'code'],
    personalData: ['actor'],
  },
  denied: {
    summary: 'An entry was added to the deny list through the admin interface.',
    required: ['denial'],
    optional: ['reason', 'until', 'fault', 'count'],
    personalData: ['actor', 'address', 'denial'],
  },
  undenied: {
    summary: 'An entry that the admin interface had added was removed from the deny list.',
    required: ['denial'],
    optional: ['reason', 'until', 'fault'],
    personalData: ['actor', 'address', 'denial'],
  },
  'pin.set': {
    summary: 'The first login of a principal pinned its unique id.',
    required: ['arn', 'principalId'],
    optional: [],
    personalData: ['actor', 'arn', 'principalId'],
  },
  'pin.cleared': {
    summary: 'The pin of a principal was removed through the admin interface.',
    required: ['arn'],
    optional: ['principalId'],
    personalData: ['actor', 'address', 'arn', 'principalId'],
  },
  'admin.request': {
    summary:
      'A request to the admin interface that changes something, that reads sessions or principals, or whose token was refused. One event per second stands for refused tokens of one address.',
    required: ['method', 'path', 'code', 'count'],
    optional: ['reason', 'target'],
    personalData: ['actor', 'address', 'target'],
  },
  ldap: {
    summary:
      'The state of LDAP authorization at the upstream was found or changed. Logins are refused unless it is off, or unknown with `ldap.assume: off`.',
    required: ['state'],
    optional: ['reason', 'previous'],
    personalData: [],
  },
  secret: {
    summary:
      'A secret, a private key or a certificate was read at start, added, changed or removed. Its value is not shown. With the setting `users` it is the password of the rule for `arn`.',
    required: ['change', 'setting'],
    optional: ['arn', 'file', 'fileHash', 'fileTime', 'fingerprint', 'reason'],
    personalData: ['arn'],
  },
  command: {
    summary:
      'A command of the operator that changes something. It is recorded before its first change, and again if it fails.',
    required: ['command'],
    optional: ['arn', 'change', 'user', 'roles', 'rolesBefore', 'reason', 'denial', 'target', 'until'],
    personalData: ['actor', 'arn', 'user', 'denial', 'target'],
  },
  'process.start': {
    summary: 'The proxy accepts connections.',
    required: ['version', 'configHash'],
    optional: [],
    personalData: [],
  },
  'process.stop': {
    summary: 'The proxy has closed all sessions and exits. A run without this event was killed or crashed.',
    required: ['signal'],
    optional: [],
    personalData: [],
  },
  'audit.opened': {
    summary: 'The destination of the trail was opened: at start, after SIGHUP, or after a failure.',
    required: ['destination'],
    optional: ['reason'],
    personalData: [],
  },
  'audit.gap': {
    summary: 'The events with these numbers were lost while the destination took nothing.',
    required: ['from', 'to', 'count'],
    optional: ['reason'],
    personalData: [],
  },
} as const satisfies Record<string, Definition>

export type AuditEventType = keyof typeof auditEvents

type ValueOf<F extends AuditField> = z.input<(typeof fields)[F]>

/** An event as the rest of the program describes it. The trail adds time, instance, boot and number. */
export type AuditEvent<T extends AuditEventType> = {
  outcome?: Outcome
  actor: Actor
  address?: string | undefined
  port?: number | undefined
  connection?: string | undefined
} & { readonly [F in (typeof auditEvents)[T]['required'][number]]: ValueOf<F> } & {
  readonly [F in (typeof auditEvents)[T]['optional'][number]]?: ValueOf<F> | undefined
}

/** Records an event. Never throws, and does not wait for the destination. */
export type RecordAuditEvent = <T extends AuditEventType>(type: T, event: AuditEvent<T>) => void

/** The schema of one type of event. */
export function createEventSchema(type: AuditEventType): z.ZodType {
  const { required, optional } = auditEvents[type] as Definition
  return z.strictObject({
    ...envelope,
    type: z.literal(type),
    ...Object.fromEntries(required.map(name => [name, fields[name]])),
    ...Object.fromEntries(optional.map(name => [name, fields[name].optional()])),
  })
}

/** The meaning of a field of an event. */
export const describeField = (name: AuditField): string => fields[name].description ?? ''

export const PROXY_ACTOR: Actor = { kind: 'proxy', id: null }
export const DATABASE_ACTOR: Actor = { kind: 'database', id: null }
