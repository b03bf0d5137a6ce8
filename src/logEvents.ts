/**
 * The events of the log: which levels an event has, what it means, and which fields its line has.
 *
 * An event, a level or a field that is not in the table does not compile. `docs/reference/log.md` is generated from it.
 */
import type { Level } from './errors.js'
import type { LogField } from './logFields.js'

export type LogEventDefinition = {
  levels: readonly Level[]
  summary: string
  fields: readonly LogField[]
  /** The line describes a fault, and has the fields of that fault as well. */
  fault?: true
}

const ANY_LEVEL = ['debug', 'info', 'warn', 'error'] as const
const CONNECTION = ['id', 'peer'] as const
const LOGIN = ['accessKeyId', 'arn', 'user', 'rule', 'directoryUser', 'cached', 'ms'] as const

export const logEvents = {
  ready: {
    levels: ['info'],
    summary: 'The proxy accepts connections.',
    fields: ['host', 'port', 'upstream', 'adminPort'],
  },
  draining: {
    levels: ['info'],
    summary: 'A signal asked the proxy to stop. Open connections finish until `drain.timeout`.',
    fields: ['signal', 'forced'],
  },
  stopped: { levels: ['info'], summary: 'The proxy has closed all connections and exits.', fields: [] },
  'connection closed': {
    levels: ANY_LEVEL,
    summary:
      'A client connection ended. This line is the record of the connection: the principal, the cause of a failure, the duration of each stage. The level is that of the fault. Without a fault it is `info` after a login and `debug` before it.',
    fields: [...CONNECTION, 'stage', 'by', ...LOGIN, 'refused', 'bytes'],
    fault: true,
  },
  'connection shed': {
    levels: ['debug'],
    summary:
      'A new connection was closed because `listen.connections` or `listen.perAddress` was reached. `shed_total` counts these connections.',
    fields: [],
    fault: true,
  },
  'session limit near': {
    levels: ['warn'],
    summary:
      'A principal has 80 % of the sessions that it may have. Without `arn`: 80 % of all session slots are taken. At most one line per limit in ten minutes.',
    fields: ['arn', 'sessions', 'max'],
  },
  'limits lowered': {
    levels: ['warn'],
    summary:
      'The file descriptors of this process do not suffice for the configured connections, so it serves fewer, or calls STS less often at once.',
    fields: ['warning', 'connections', 'sessions', 'descriptors'],
  },
  'accept failed': {
    levels: ['warn'],
    summary:
      'A connection could not be accepted. At most one line in a minute; `failed_accepts_total` counts all of them.',
    fields: ['why'],
  },
  'tls handshake failed': {
    levels: ['debug', 'info'],
    summary:
      'A client did not complete the TLS handshake. `why` has the likely cause. The fault of a client that completes it and closes without a message is `tls/no-message`, in its line `connection closed`.',
    fields: [...CONNECTION],
    fault: true,
  },
  'command refused': {
    levels: ['debug'],
    summary: 'A command before the login got an error reply.',
    fields: [...CONNECTION],
    fault: true,
  },
  'login succeeded': {
    levels: ['debug'],
    summary: 'A client is logged in. The line `connection closed` has the same fields and more.',
    fields: [...CONNECTION, 'arn', 'user'],
  },
  'unexpected reply': {
    levels: ['debug'],
    summary:
      'The upstream answered a client that was leaving and wanted no reply. FerretDB answers every endSessions. The reply was dropped.',
    fields: [...CONNECTION],
    fault: true,
  },
  'reauthentication succeeded': {
    levels: ['info'],
    summary:
      'A login that exceeded its `maxAge` was renewed over its connection. The fields are those of the new login.',
    fields: [...CONNECTION, ...LOGIN],
  },
  'reauthentication failed': {
    levels: ANY_LEVEL,
    summary: 'A login that exceeded its `maxAge` could not be renewed. Its connection is closed.',
    fields: [...CONNECTION, ...LOGIN],
    fault: true,
  },
  'shadow limit exceeded': {
    levels: ['info'],
    summary: 'A limit would have refused this login without `login.shadow`.',
    fields: ['limit'],
    fault: true,
  },
  'log lines suppressed': {
    levels: ['warn'],
    summary:
      'More connections failed with this fault within one second than the log shows. `faults_total` counts all of them.',
    fields: ['warning'],
  },
  'sts host ejected': {
    levels: ['warn'],
    summary:
      'An STS host failed repeatedly and is not offered to clients until a probe succeeds. `why` is its last failure.',
    fields: ['sts', 'why'],
  },
  'sts host restored': {
    levels: ['info'],
    summary: 'An ejected STS host answers again.',
    fields: ['sts'],
  },
  'sts host unreachable': {
    levels: ['warn'],
    summary: 'An STS host did not answer when the proxy started.',
    fields: ['sts', 'why'],
  },
  'sts throttled': {
    levels: ['warn'],
    summary:
      'AWS throttled a call, so the proxy calls less often for this account and logins may wait. At most one line in a minute; `sts_calls_total` counts the calls.',
    fields: ['sts', 'account', 'perSecond'],
  },
  'clock skew detected': {
    levels: ['warn'],
    summary:
      'The local clock differs from the clock of STS. The proxy corrects its own checks by the difference. Fix the clock: clients on the same host have the same problem.',
    fields: ['skewSeconds'],
  },
  'upstream state changed': {
    levels: ['info'],
    summary: 'The hello of an upstream member changed: it is up, or its role in the replica set is another.',
    fields: ['upstream', 'setName', 'primary', 'me', 'writable', 'secondary', 'counter'],
  },
  'upstream unreachable': {
    levels: ANY_LEVEL,
    summary: 'An upstream member does not answer. Written once until it answers again.',
    fields: ['upstream'],
    fault: true,
  },
  'no primary': {
    levels: ['warn', 'error'],
    summary:
      'The upstream has no primary, so logins wait. A warning at once, because a planned step-down does this as well; an error if there is still none after five seconds.',
    fields: ['upstream', 'since', 'seconds'],
  },
  'primary found': {
    levels: ['info'],
    summary:
      'A member is the primary: the first one, another one, or the last one again. `seconds` is the time without one.',
    fields: ['upstream', 'seconds'],
  },
  'upstream refuses connections': {
    levels: ['error'],
    summary:
      'The primary answers the monitor of the proxy and closes new connections: it has probably reached `net.maxIncomingConnections`. At most one line in a minute; `upstream_refused_connections_total` counts the connections.',
    fields: ['upstream'],
  },
  'advertised address missing': {
    levels: ['warn'],
    summary:
      'The setting `listen.advertise` is missing in front of a replica set, so hello reports the address that each client connected to.',
    fields: ['warning'],
  },
  'upstream members exposed': {
    levels: ['warn'],
    summary:
      'The upstream is used as a single server and belongs to a replica set. Its hello has the addresses of the members, to which clients may connect past the proxy.',
    fields: ['warning'],
  },
  'ldap authorization checked': {
    levels: ['info', 'warn', 'error'],
    summary: 'The state of LDAP authorization at the upstream, written when it changes.',
    fields: ['state', 'why', 'assume'],
  },
  'certificate expires soon': {
    levels: ['warn'],
    summary: 'A certificate expires within 30 days. Written at start, and once a day.',
    fields: ['file', 'certificate', 'setting', 'expiresAt', 'daysLeft'],
  },
  'certificate expired': {
    levels: ['error'],
    summary:
      'A certificate has expired: one of a chain, or the last one of a file of authorities. The peers that verify it refuse to connect. Written at start, at the expiry, and once a day.',
    fields: ['file', 'certificate', 'setting', 'expiresAt'],
  },
  'configuration warning': {
    levels: ['warn'],
    summary: 'The configuration is valid but probably not intended.',
    fields: ['warning'],
  },
  'configuration reloaded': {
    levels: ['info'],
    summary: 'A changed configuration is in effect.',
    fields: ['applied'],
  },
  'configuration rejected': {
    levels: ['error'],
    summary: 'A changed configuration is invalid. The previous one stays in effect. One line per problem.',
    fields: ['problem'],
  },
  'deny file reloaded': {
    levels: ['warn'],
    summary: 'The configuration was rejected, but its deny file is valid, and its new entries are in effect.',
    fields: ['denials'],
  },
  'restart required': {
    levels: ['warn'],
    summary:
      'Settings changed that the proxy reads only when it starts, or certificates that a connection string names.',
    fields: ['settings'],
  },
  'rule removed': {
    levels: ['warn'],
    summary: 'A rule is not in the new configuration. Connections that only this rule admitted are closed.',
    fields: ['pattern'],
  },
  'protection weakened': {
    levels: ['warn'],
    summary:
      'A reload removed or widened a protection: a condition of a rule, a denial, or a setting. A configuration file that was cut is one reason. If `restart required` names the setting, the change waits for the restart.',
    fields: ['setting', 'pattern', 'denial', 'weakening'],
  },
  'denial added': {
    levels: ['warn'],
    summary: 'POST /deny added an entry to the deny list.',
    fields: ['denial', 'reason', 'until'],
  },
  'denial removed': {
    levels: ['warn'],
    summary: 'An entry left the deny list, by a reload or by DELETE /deny.',
    fields: ['denial', 'reason', 'until'],
  },
  'denial not persisted': {
    levels: ['error'],
    summary: 'A change of the deny list could not be saved and has no effect.',
    fields: [],
    fault: true,
  },
  'principal id pinned': {
    levels: ['info'],
    summary: 'The first login of a principal with `principalId: firstUse` pinned its id.',
    fields: ['arn', 'principalId'],
  },
  'principal id unpinned': {
    levels: ['warn'],
    summary: 'DELETE /pins cleared a pin.',
    fields: ['arn', 'principalId'],
  },
  'directory entry invalid': {
    levels: ['warn'],
    summary: 'An `$external` user does not do what its name suggests.',
    fields: ['warning'],
  },
  'directory unreadable': {
    levels: ['error'],
    summary: 'The `$external` users could not be read. Written once until they can be read again.',
    fields: ['why'],
  },
  'directory restored': { levels: ['info'], summary: 'The `$external` users can be read again.', fields: [] },
  'database user changed': {
    levels: ['info'],
    summary: 'The proxy created, updated or dropped a provisioned user.',
    fields: ['change', 'user'],
  },
  'provisioning failed': {
    levels: ['error'],
    summary: 'The proxy could not create or update the user of a principal.',
    fields: ['arn'],
    fault: true,
  },
  'roles not revoked': {
    levels: ['error'],
    summary:
      'For three refreshes the proxy could not take roles from a provisioned user. It closes the sessions of that principal.',
    fields: ['arn', 'roles'],
    fault: true,
  },
  'audit trail failing': {
    levels: ['error'],
    summary:
      'The audit trail cannot be written. Written once until it works again. `audit.onFailure` decides whether logins are admitted meanwhile.',
    fields: ['why'],
  },
  'audit trail restored': {
    levels: ['info'],
    summary: 'The audit trail can be written again.',
    fields: [],
  },
  'audit trail not reopened': {
    levels: ['error'],
    summary: 'After SIGHUP the file in `audit.to` could not be opened. The trail goes on in the file that is open.',
    fields: [],
    fault: true,
  },
  'traces not sent': {
    levels: ['warn'],
    summary:
      'The OpenTelemetry collector did not take the traces of some logins, which are lost. Written once until it takes them again. Logins are not affected.',
    fields: ['why'],
  },
  'traces sent again': { levels: ['info'], summary: 'The collector takes traces again.', fields: [] },
  'admin request refused': {
    levels: ['warn'],
    summary:
      'A request to the admin interface was refused: by its Host header, its token or its content type. At most one line per second.',
    fields: ['path', 'address', 'attempts'],
  },
  'admin request failed': {
    levels: ['error'],
    summary: 'A bug: a request to the admin interface failed with 500.',
    fields: [],
    fault: true,
  },
} as const satisfies Record<string, LogEventDefinition>

export type LogEvent = keyof typeof logEvents
