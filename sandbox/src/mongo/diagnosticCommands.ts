/** Commands that describe the server to tools and shells. Replies are short, and true where possible. */
import { type Document, Double, Int32, Long } from 'bson'
import { listOperations } from './aggregationCommands.js'
import { CommandError } from './commandError.js'
import { VERSION } from './handshake.js'
import { type Commands, type LdapProduct, onCluster, type Request } from './request.js'
import { mechanisms } from './scram.js'
import { toInteger } from './statistics.js'

export const diagnosticCommands: Commands = {
  serverStatus: { requires: onCluster('serverStatus'), run: serverStatus },
  hostInfo: { requires: onCluster('hostInfo'), run: hostInfo },
  getLog: { adminOnly: true, requires: onCluster('getLog'), run: getLog },
  getCmdLineOpts: { adminOnly: true, requires: onCluster('getCmdLineOpts'), run: getCmdLineOpts },
  getParameter: { adminOnly: true, requires: onCluster('getParameter'), run: getParameter },
  setParameter: {
    adminOnly: true,
    requires: onCluster('setParameter'),
    run: refuse('the sandbox has no parameters that can be set'),
  },
  currentOp: {
    adminOnly: true,
    requires: onCluster('inprog'),
    run: request => ({ inprog: listOperations(request, Boolean(request.body.$all), true) }),
  },
  killOp: { adminOnly: true, requires: onCluster('killop'), run: () => ({ info: 'attempting to kill op' }) },
  top: { adminOnly: true, requires: onCluster('top'), run: () => ({ totals: { note: 'all times in microseconds' } }) },
  connPoolStats: {
    requires: onCluster('connPoolStats'),
    run: () => ({ numClientConnections: toInteger(0), pools: {} }),
  },
  getFreeMonitoringStatus: {
    adminOnly: true,
    requires: onCluster('checkFreeMonitoringStatus'),
    run: () => ({ state: 'disabled' }),
  },
  profile: {
    requires: 'authentication',
    run: () => ({ was: toInteger(0), slowms: toInteger(100), sampleRate: new Double(1) }),
  },
  shutdown: {
    adminOnly: true,
    requires: onCluster('shutdown'),
    run: refuse('the sandbox ends with the program that holds it'),
  },
}

/** The reported configuration while LDAP authorization is on. */
const LDAP = { servers: 'ldap.sandbox.invalid', template: '{USER}?memberOf?base' }

function refuse(why: string): () => never {
  return () => {
    throw new CommandError('IllegalOperation', why)
  }
}

const SINCE = 1000

function serverStatus({ instance }: Request): Document {
  const { now, started, sessions, acceptedCount, commandCounts } = instance
  const uptime = now() - started
  const often = (...names: string[]) =>
    Long.fromNumber(names.reduce((sum, name) => sum + (commandCounts.get(name) ?? 0), 0))
  const all = [...commandCounts.values()].reduce((sum, count) => sum + count, 0)
  const crud = ['insert', 'find', 'update', 'delete', 'getMore']
  return {
    host: instance.host(),
    version: VERSION,
    process: 'mongod',
    service: ['mongod'],
    pid: Long.ZERO,
    uptime: new Double(Math.floor(uptime / SINCE)),
    uptimeMillis: Long.fromNumber(uptime),
    uptimeEstimate: Long.fromNumber(Math.floor(uptime / SINCE)),
    localTime: new Date(now()),
    connections: {
      current: toInteger(sessions.size),
      available: toInteger(1_000_000),
      totalCreated: toInteger(acceptedCount()),
      active: toInteger([...sessions].filter(one => one.running).length + 1),
    },
    opcounters: {
      insert: often('insert'),
      query: often('find'),
      update: often('update'),
      delete: often('delete'),
      getmore: often('getMore'),
      command: Long.fromNumber(all - crud.reduce((sum, name) => sum + (commandCounts.get(name) ?? 0), 0)),
    },
    network: { bytesIn: Long.ZERO, bytesOut: Long.ZERO, numRequests: Long.fromNumber(all) },
    mem: { bits: new Int32(64), resident: toInteger(0), virtual: toInteger(0), supported: false },
    ...(instance.replica && { repl: instance.replica.set.hello(instance.replica.id) }),
    storageEngine: { name: 'sandbox', supportsCommittedReads: false, persistent: false },
    metrics: { cursor: { open: { total: Long.fromNumber(instance.cursors.open.size) } } },
  }
}

function hostInfo({ instance }: Request): Document {
  return {
    system: {
      currentTime: new Date(instance.now()),
      hostname: instance.host(),
      cpuAddrSize: new Int32(64),
      numCores: new Int32(1),
    },
    os: { type: 'sandbox', name: 'sandbox of mongo-iam-proxy', version: VERSION },
    extra: {},
  }
}

const logs: Record<string, string[]> = { global: [], startupWarnings: [] }

function getLog({ body }: Request): Document {
  if (body.getLog === '*') return { names: Object.keys(logs) }
  const log = Object.hasOwn(logs, body.getLog) ? logs[body.getLog] : undefined
  if (!log) throw new CommandError('InvalidOptions', `No log named '${body.getLog}'`)
  return { totalLinesWritten: toInteger(log.length), log }
}

function getCmdLineOpts({ instance }: Request): Document {
  const [, host = '', port = ''] = /^(.*):(\d+)$/.exec(instance.host()) ?? []
  return {
    argv: ['mongod'],
    parsed: {
      net: { bindIp: host, port: toInteger(Number(port)), ...(instance.tls && { tls: { mode: 'requireTLS' } }) },
      security: {
        authorization: 'enabled',
        // Percona Server can set its template at run time, so only getParameter reports it.
        ...(instance.ldap === 'enterprise' && {
          ldap: { servers: LDAP.servers, authz: { queryTemplate: LDAP.template } },
        }),
      },
    },
  }
}

/** The version of the schema of users since MongoDB 3.0, which has SCRAM. mongorestore requires it. */
const AUTH_SCHEMA_VERSION = 5

function parameters(ldap: LdapProduct): Document {
  return {
    authenticationMechanisms: Object.keys(mechanisms),
    authSchemaVersion: toInteger(AUTH_SCHEMA_VERSION),
    featureCompatibilityVersion: { version: VERSION.slice(0, 3) },
    logLevel: toInteger(0),
    quiet: false,
    enableLocalhostAuthBypass: false,
    enableTestCommands: true,
    authFailedDelayMs: toInteger(0),
    scramIterationCount: toInteger(mechanisms['SCRAM-SHA-1'].iterations),
    scramSHA256IterationCount: toInteger(mechanisms['SCRAM-SHA-256'].iterations),
    ...(ldap !== 'off' && {
      ldapServers: LDAP.servers,
      ldapUserToDNMapping: '[{match: "(.+)", substitution: "{0}"}]',
      ldapTimeoutMS: toInteger(10_000),
    }),
    ...(ldap === 'percona' && { ldapAuthzQueryTemplate: LDAP.template }),
  }
}

function getParameter({ body, instance }: Request): Document {
  const known = parameters(instance.ldap)
  if (body.getParameter === '*' || body.allParameters) return known
  const found = Object.keys(known).filter(name => body[name])
  if (found.length === 0) throw new CommandError('InvalidOptions', 'no option found to get')
  return Object.fromEntries(found.map(name => [name, known[name]]))
}
