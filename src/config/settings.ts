/**
 * The table of settings, one row each. The path in the nesting gives the key in the file, the flag and the variable; the tables,
 * the checks and the type of the configuration are read from here as well.
 */
import type { z } from 'zod'
import { advertised, hostNames, stsHosts } from './hosts.js'
import { fleet, networks, ownDatabase } from './provision.js'
import { address, duration, oneOf, path, port, portOrOff, type SettingDefinition, share, toggle, whole } from './definition.js'
import { uri } from './uri.js'
import { scope, users } from './users.js'

/** `self` is the group's own value: `tls: off` stands where `tls: { certFile: … }` could. */
export const settings = {
  listen: {
    host: address({ about: 'Address that clients connect to.', fallback: '127.0.0.1' }),
    port: port({ about: 'Port that clients connect to; 0 takes any free one.', fallback: '27017' }),
    advertise: advertised({
      about: 'Address that clients of a replica set are told, as host:port; the same on every replica of the proxy.',
    }),
    scope: scope({ about: 'Name by which rules say in their scopes that they are for this listener.', live: true }),
    backlog: whole(1, 65535)({ about: 'Connections that the kernel holds until they are accepted.', fallback: '4096' }),
    connections: whole(
      2,
      1_000_000,
    )({
      about: 'Client connections at most; those that have not logged in get half of them at most.',
      fallback: '20000',
      live: true,
    }),
    perAddress: whole(
      1,
      1_000_000,
    )({
      about: 'Connections at most that have not logged in, from one client address (of IPv6, one /64).',
      fallback: '1000',
      live: true,
    }),
    reauthenticate: oneOf(
      'ask',
      'close',
    )({
      about:
        'Where a login is older than the maxAge of its rule: ask drivers that log in again (Node, Python, Java, C#) and close the connections of others, or close all.',
      fallback: 'ask',
      live: true,
    }),
  },
  tls: {
    self: oneOf('off')({ about: 'Set to off, it allows plain connections on an address that is not loopback.' }),
    certFile: path({ about: 'PEM file of the certificate shown to clients, its chain after it.', live: true }),
    keyFile: path({ about: 'PEM file of its private key.', live: true }),
    clientCAFile: path({
      about: 'PEM file of authorities; given it, every client has to show a certificate of one of them.',
      live: true,
    }),
  },
  upstream: {
    uri: uri({ about: 'The MongoDB behind the proxy, as a mongodb:// or mongodb+srv:// URI.' }),
    uriFile: path({ about: 'A file that holds upstream.uri.' }),
    topology: oneOf(
      'primary',
      'single',
    )({
      about:
        'Whether the primary of a set is followed (its secondaries serve nobody then) or one address is kept to; unless told, single with directConnection=true.',
    }),
    admin: {
      uri: uri({ about: 'The same MongoDB with a user for administrative questions; no relay ever uses it.' }),
      uriFile: path({ about: 'A file that holds upstream.admin.uri.' }),
    },
  },
  sts: {
    hosts: stsHosts({
      about: 'STS hosts that clients are offered; in the file an entry may also be { host, connect: host:port }.',
      fallback: 'sts.amazonaws.com',
    }),
    insecure: toggle({
      about: 'Asks STS over plain http; only where every host connects to loopback.',
      fallback: 'false',
    }),
    quota: whole(
      1,
      1_000_000,
    )({ about: 'Calls a second that AWS grants one account at one STS host.', fallback: '600', live: true }),
    share: share({ about: 'Part of that quota that logins may use.', fallback: '0.9', live: true }),
    successCache: duration(
      '0s',
      '1m',
    )({
      about:
        'How long a success stands in for STS, for temporary keys under the same client certificate; the login is as good as that certificate then.',
      fallback: '0s',
    }),
  },
  login: {
    timeout: duration(
      '100ms',
      '1m',
    )({ about: 'Longest login, from the signed proof to its answer.', fallback: '8s', live: true }),
    perAddress: whole(
      1,
      1_000_000,
    )({
      about:
        'Logins under way at most from one client address (of IPv6, one /64). Those of credentials that were good there lately count apart.',
      fallback: '1000',
    }),
    failures: whole(
      1,
      1_000_000,
    )({
      about: 'Failed logins of one key and session token from one address, after which it waits for its period to end.',
      fallback: '10',
    }),
    failurePeriod: duration('1s', '1h')({ about: 'That period, from the first of the failures.', fallback: '1m' }),
    shadow: toggle({
      about: 'Only logs and counts what login.perAddress and login.failures would refuse.',
      fallback: 'false',
    }),
  },
  ldap: {
    assume: oneOf('off')({
      about: 'Vouches that LDAP authorization is off where the upstream cannot be asked.',
      live: true,
    }),
    every: duration(
      '1s',
      '24h',
    )({ about: 'How often the upstream is asked about LDAP authorization.', fallback: '1m' }),
  },
  drain: {
    delay: duration(
      '0s',
      '1h',
    )({ about: 'How long a stopping proxy is not ready and still accepts.', fallback: '15s', live: true }),
    timeout: duration(
      '0s',
      '24h',
    )({ about: 'How long running operations may take after that before they are cut.', fallback: '30s', live: true }),
  },
  admin: {
    host: address({ about: 'Address of /healthz, /readyz and /metrics.', fallback: '127.0.0.1' }),
    port: portOrOff({ about: 'Port of the same, 0 for any free one, or off.', fallback: '9216' }),
    hosts: hostNames({
      about:
        'Names by which the admin interface may be asked to change something, beside admin.host and those of loopback.',
      live: true,
    }),
    tokenFile: path({
      about:
        'A file with the bearer token for /deny and /pins, of 20 characters or more; without it there are no such pages.',
      live: true,
    }),
  },
  deny: {
    file: path({ about: 'The deny list, a YAML file that ends in a line of three dots.', live: true }),
    adminFile: path({ about: 'Where the proxy keeps what was denied by /deny; of one process alone.' }),
  },
  provision: {
    secretFile: path({
      about: 'A file with the master secret of the users that the proxy keeps; the first line makes new passwords.',
    }),
    database: ownDatabase({ about: 'Database that those users are of.', fallback: 'mongo_iam_proxy' }),
    fleet: fleet({
      about: 'Name of this proxy and its replicas; proxies with other rules have another one.',
      fallback: 'default',
    }),
    period: duration('1m', '24h')({ about: 'How long one of their passwords lasts.', fallback: '24h' }),
    clientSource: networks({
      about: 'Networks that the proxies log in from; those users can log in from nowhere else then.',
    }),
  },
  log: {
    level: oneOf(
      'debug',
      'info',
      'warn',
      'error',
    )({ about: 'Least level that is logged.', fallback: 'info', live: true }),
  },
  pins: {
    file: path({ about: 'Where ids pinned by firstUse are kept; of one process alone.' }),
  },
  directory: {
    enabled: toggle({
      about: 'Lets in the users of the $external database as well, after the rules; needs upstream.admin.',
      fallback: 'false',
    }),
    refresh: duration(
      '500ms',
      '1m',
    )({ about: 'How often they are read; so long it takes until a change is felt.', fallback: '2s' }),
  },
  users: users({
    about:
      'Who is whom, first match first: entries of arn or sso, and user with passwordFile or passwordEnv, or roles; see “Rules”.',
    live: true,
  }),
} as const satisfies Group

export type Group = { readonly [key: string]: SettingDefinition | Group }

type Value<R> = R extends { schema: z.ZodType<infer T> } ? (R extends { fallback: string } ? T : T | undefined) : never
type Infer<G> = { [K in keyof G]: G[K] extends { schema: z.ZodType } ? Value<G[K]> : Infer<G[K]> }

/** The values of all rows as they were written; what they point to is not read yet. */
export type Settings = Infer<typeof settings>

/** A row with its names. `keys` lead to it in the table, `path` is what people call it. */
export type Setting = {
  keys: readonly string[]
  path: string
  flag: string
  variable: string
  definition: SettingDefinition
}

export const isDefinition = (node: SettingDefinition | Group): node is SettingDefinition =>
  'schema' in node && typeof node.about === 'string'

const VARIABLE_PREFIX = 'MONGO_IAM_PROXY_'
export const isOurVariable = (name: string): boolean => name.startsWith(VARIABLE_PREFIX)

/** `clientCAFile` is client, CA, File. */
const words = (path: string) => path.replace(/[A-Z]+(?=[A-Z][a-z]|$)|[A-Z]/g, word => `.${word}`).split('.')

function* walk(group: Group, keys: readonly string[] = []): Generator<Setting> {
  for (const [key, node] of Object.entries(group)) {
    const here = [...keys, key]
    if (!isDefinition(node)) yield* walk(node, here)
    else {
      const path = here.filter(part => part !== 'self').join('.')
      const flag = `--${words(path).join('-').toLowerCase()}`
      yield {
        keys: here,
        path,
        flag,
        variable: VARIABLE_PREFIX + words(path).join('_').toUpperCase(),
        definition: node,
      }
    }
  }
}

/** Every row with its names, in the order of the table. */
export const allSettings: readonly Setting[] = [...walk(settings)]
