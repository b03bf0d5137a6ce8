/**
 * The table of settings, one definition each. The path through the table gives the key in the file, the flag and the
 * variable. The reference tables, the validation and the type of the configuration derive from it too.
 */
import type { z } from 'zod'
import { adminTokens } from './adminTokens.js'
import { auditDestination } from './auditDestination.js'
import {
  address,
  duration,
  fraction,
  name,
  oneOf,
  path,
  port,
  portOrOff,
  type SettingDefinition,
  toggle,
  whole,
} from './definition.js'
import { advertised, hostNames, stsHosts } from './hosts.js'
import { fleet, networks, ownDatabase } from './provision.js'
import { proxyUrl } from './proxyUrl.js'
import { uri } from './uri.js'
import { scope, users } from './users.js'

/** `self` is the value of the group itself: `tls: off` in the place of `tls: { certFile: … }`. */
export const settings = {
  instance: name({
    about: 'Name of this replica of the proxy in the audit trail; by default the host name.',
  }),
  listen: {
    host: address({ about: 'Address on which the proxy accepts clients.', fallback: '127.0.0.1' }),
    port: port({ about: 'Port on which the proxy accepts clients; 0 takes any free port.', fallback: '27017' }),
    advertise: advertised({
      about:
        'Address (host:port) that hello reports to clients of a replica set; must be the same on every replica of the proxy.',
    }),
    scope: scope({
      about: 'Name of this listener; a rule with scopes applies only if it lists this name.',
      live: true,
    }),
    backlog: whole(
      1,
      65535,
    )({ about: 'Connections that the kernel queues until the proxy accepts them.', fallback: '4096' }),
    connections: whole(
      2,
      1_000_000,
    )({
      about:
        'Maximum number of client connections; lowered if `ulimit -n` allows fewer. The unauthenticated ones get at most half of them, or listen.reserve if that is more.',
      fallback: '20000',
      live: true,
    }),
    reserve: whole(
      1,
      1_000_000,
    )({
      about:
        'Part of listen.connections that sessions never take, kept for monitors and logins; the rest are session slots. By default a quarter.',
      live: true,
    }),
    perPrincipal: whole(
      1,
      1_000_000,
    )({
      about:
        'Maximum number of sessions of one principal, unless its rule sets maxSessions; by default half of the session slots.',
      live: true,
    }),
    perAddress: whole(
      1,
      1_000_000,
    )({
      about: 'Maximum number of unauthenticated connections per client address (IPv6: per /64).',
      fallback: '1000',
      live: true,
    }),
    reauthenticate: oneOf(
      'ask',
      'close',
    )({
      about:
        'What happens to a session whose login is older than the maxAge of its rule: ask sends code 391 to drivers that log in again on the same connection (Node.js 5.2, PyMongo 4.4, Java 5.1, and later) and closes the others; close closes all.',
      fallback: 'ask',
      live: true,
    }),
  },
  tls: {
    self: oneOf('off')({
      about: 'Set it to off to accept plain connections on an address other than loopback.',
    }),
    certFile: path({ about: 'PEM file with the certificate of the proxy, followed by its chain.', live: true }),
    keyFile: path({ about: 'PEM file with the private key of that certificate.', live: true }),
    clientCAFile: path({
      about: 'PEM file with certificate authorities; if set, every client must present a certificate of one of them.',
      live: true,
    }),
  },
  upstream: {
    uri: uri({ about: 'Connection string of the MongoDB behind the proxy (mongodb:// or mongodb+srv://).' }),
    uriFile: path({ about: 'File that holds upstream.uri.' }),
    topology: oneOf(
      'primary',
      'single',
    )({
      about:
        'Either primary (follow the primary of a replica set, never use secondaries) or single (always use the one address); by default single with directConnection=true, otherwise primary.',
    }),
    admin: {
      uri: uri({
        about:
          'Connection string of the same MongoDB with a user for administrative commands; never used for client sessions.',
      }),
      uriFile: path({ about: 'File that holds upstream.admin.uri.' }),
    },
  },
  sts: {
    hosts: stsHosts({
      about: 'STS hosts offered to clients; in the file an entry can also be { host, connect: host:port }.',
      fallback: 'sts.amazonaws.com',
    }),
    insecure: toggle({
      about: 'Calls STS over plain HTTP; allowed only if every host connects to loopback.',
      fallback: 'false',
    }),
    proxy: proxyUrl({
      about:
        'HTTP proxy for the calls to STS, as http://host:port or https://host:port. TLS to STS runs inside its tunnel. HTTPS_PROXY is ignored.',
    }),
    proxyCredentialsFile: path({ about: 'File that holds user:password for sts.proxy.' }),
    quota: whole(
      1,
      1_000_000,
    )({ about: 'Calls per second that AWS grants to one account at one STS host.', fallback: '600', live: true }),
    share: fraction({ about: 'Fraction of sts.quota that logins may use.', fallback: '0.9', live: true }),
    successCache: duration(
      '0s',
      '1m',
    )({
      about:
        'How long a successful login of temporary credentials is cached per client certificate; meanwhile the certificate alone proves the identity.',
      fallback: '0s',
    }),
  },
  login: {
    queueTimeout: duration(
      '100ms',
      '20s',
    )({
      about: 'How long a login may wait for a call to STS before it is answered with code 262.',
      fallback: '4s',
      live: true,
    }),
    timeout: duration(
      '100ms',
      '1m',
    )({
      about:
        'Maximum duration of a login, from the signed request to its answer: at least login.queueTimeout plus 4 s, which is the default.',
      live: true,
    }),
    perAddress: whole(
      1,
      1_000_000,
    )({
      about:
        'Maximum number of concurrent logins per client address (IPv6: per /64); credentials that recently succeeded from that address are counted separately.',
      fallback: '1000',
    }),
    failures: whole(
      1,
      1_000_000,
    )({
      about:
        'Failed logins of one access key and session token from one address after which further ones are refused until login.failurePeriod ends, or, after wrong signatures, limited to ten a second.',
      fallback: '10',
    }),
    failurePeriod: duration(
      '1s',
      '1h',
    )({ about: 'Length of that period; the first failure starts it.', fallback: '1m' }),
    shadow: toggle({
      about: 'Only logs and counts the logins that login.perAddress and login.failures would refuse.',
      fallback: 'false',
    }),
  },
  ldap: {
    assume: oneOf('off')({
      about: 'Asserts that LDAP authorization is off if the proxy cannot find out from the upstream.',
      live: true,
    }),
    every: duration(
      '1s',
      '24h',
    )({
      about: 'Interval at which the proxy checks whether LDAP authorization is on at the upstream.',
      fallback: '1m',
    }),
  },
  drain: {
    delay: duration(
      '0s',
      '1h',
    )({ about: 'How long a stopping proxy reports not ready and still accepts clients.', fallback: '15s', live: true }),
    timeout: duration(
      '0s',
      '24h',
    )({
      about: 'How long running operations may take after drain.delay before their connections are closed.',
      fallback: '30s',
      live: true,
    }),
  },
  admin: {
    host: address({ about: 'Address of the admin interface (/healthz, /readyz, /metrics).', fallback: '127.0.0.1' }),
    port: portOrOff({
      about: 'Port of the admin interface; 0 takes any free port, off disables it.',
      fallback: '9216',
    }),
    hosts: hostNames({
      about:
        'Host names under which the admin interface may be requested, besides admin.host and loopback. Not checked for /healthz, /readyz and /metrics if admin.host is not loopback.',
      live: true,
    }),
    tokenFile: path({
      about: 'File with a bearer token that may read and write, at least 20 characters; its name is default.',
      live: true,
    }),
    tokens: adminTokens({
      about:
        'Bearer tokens of the admin interface: each has a name for the audit trail, a file with at least 20 characters, and may read, or write, which includes read. Every write needs one; reads need none if admin.host is loopback.',
      live: true,
    }),
  },
  deny: {
    file: path({ about: 'The deny list, a YAML file that ends in a line with three dots.', live: true }),
    adminFile: path({
      about: 'File in which the proxy stores the denials made through /deny; not to be shared between processes.',
    }),
  },
  provision: {
    secretFile: path({
      about:
        'File with the master secrets from which passwords of provisioned users are derived, one per line; the first one is used for new passwords.',
    }),
    database: ownDatabase({ about: 'Database in which the proxy creates users.', fallback: 'mongo_iam_proxy' }),
    fleet: fleet({
      about: 'Name shared by all replicas of this proxy; proxies with different rules need different names.',
      fallback: 'default',
    }),
    period: duration('1m', '24h')({ about: 'Lifetime of the password of a provisioned user.', fallback: '24h' }),
    clientSource: networks({
      about: 'Networks of the proxies; provisioned users can log in to MongoDB only from there.',
    }),
  },
  log: {
    level: oneOf(
      'debug',
      'info',
      'warn',
      'error',
    )({ about: 'Lowest level that is logged.', fallback: 'info', live: true }),
  },
  audit: {
    to: auditDestination({
      about: 'Where the audit trail goes: stdout, stderr, or the path of a file, which is opened again on SIGHUP.',
      fallback: 'stdout',
    }),
    onFailure: oneOf(
      'serve',
      'refuse',
    )({
      about:
        'What happens while the audit trail cannot be written: serve logs an error and goes on; refuse answers logins with code 262. Open sessions go on.',
      fallback: 'serve',
      live: true,
    }),
    sessionName: oneOf(
      'full',
      'hash',
    )({
      about:
        'How session names of roles and names of federated users appear in the audit trail, the log and everywhere else: full, or as a keyed hash. They are often e-mail addresses.',
      fallback: 'full',
    }),
    hashKeyFile: path({
      about: 'File with the key for audit.sessionName: hash, at least 20 characters; the same on all replicas.',
    }),
  },
  tracing: {
    enabled: toggle({
      about:
        'Sends an OpenTelemetry trace of each login. The variables of OpenTelemetry, such as OTEL_EXPORTER_OTLP_ENDPOINT, say where.',
      fallback: 'false',
    }),
  },
  pins: {
    file: path({
      about: 'File in which the proxy stores principal ids pinned by firstUse; not to be shared between processes.',
    }),
  },
  directory: {
    enabled: toggle({
      about: 'Also accepts the users of the $external database, after the rules; requires upstream.admin.',
      fallback: 'false',
    }),
    refresh: duration(
      '500ms',
      '1m',
    )({ about: 'Interval at which these users are read; a change takes effect within it.', fallback: '2s' }),
  },
  users: users({
    about:
      'Rules, first match wins. Each names a principal (arn or sso) and gives a database user (user with passwordFile or passwordEnv) or roles.',
    live: true,
  }),
} as const satisfies SettingGroup

export type SettingGroup = { readonly [key: string]: SettingDefinition | SettingGroup }

type ValueOf<D> = D extends { schema: z.ZodType<infer T> }
  ? D extends { fallback: string }
    ? T
    : T | undefined
  : never
type ValuesOf<G> = { [K in keyof G]: G[K] extends { schema: z.ZodType } ? ValueOf<G[K]> : ValuesOf<G[K]> }

type PathsOf<G, Above extends string = ''> = {
  [K in keyof G & string]: G[K] extends { schema: z.ZodType }
    ? K extends 'self'
      ? Above
      : Join<Above, K>
    : PathsOf<G[K], Join<Above, K>>
}[keyof G & string]
type Join<Above extends string, Key extends string> = Above extends '' ? Key : `${Above}.${Key}`

/** The path of any setting. */
export type SettingPath = PathsOf<typeof settings>

/** The values of all settings as written; the files and variables that they name are not read yet. */
export type Settings = ValuesOf<typeof settings>

/** A definition with its names. `keys` lead to it in the table; `path` is its name for users. */
export type Setting = {
  keys: readonly string[]
  path: string
  flag: string
  variable: string
  definition: SettingDefinition
}

export const isDefinition = (node: SettingDefinition | SettingGroup): node is SettingDefinition =>
  'schema' in node && typeof node.about === 'string'

/** The prefix of all environment variables of the proxy. */
export const VARIABLE_PREFIX = 'MONGO_IAM_PROXY_'
export const isOurVariable = (name: string): boolean => name.startsWith(VARIABLE_PREFIX)

/** Splits camel case: `clientCAFile` into client, CA, File. */
const words = (path: string) => path.replace(/[A-Z]+(?=[A-Z][a-z]|$)|[A-Z]/g, word => `.${word}`).split('.')

function* walk(group: SettingGroup, above: readonly string[] = []): Generator<Setting> {
  for (const [key, node] of Object.entries(group)) {
    const keys = [...above, key]
    if (!isDefinition(node)) yield* walk(node, keys)
    else {
      const path = keys.filter(part => part !== 'self').join('.')
      const flag = `--${words(path).join('-').toLowerCase()}`
      yield { keys, path, flag, variable: VARIABLE_PREFIX + words(path).join('_').toUpperCase(), definition: node }
    }
  }
}

/** Every setting, in the order of the table. */
export const allSettings: readonly Setting[] = [...walk(settings)]
