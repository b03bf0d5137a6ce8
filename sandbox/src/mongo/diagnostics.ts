/** Commands that describe the server: what tools and shells ask for, short and true where it can be. */
import { type Document, Double, Int32, Long } from 'bson'
import { CommandError } from './commandError.js'
import { VERSION } from './greeting.js'
import { operations } from './pipelines.js'
import { type Commands, type Ldap, onCluster, type Request } from './request.js'
import { mechanisms } from './scram.js'
import { whole } from './statistics.js'

export const diagnostics: Commands = {
  serverStatus: { needs: onCluster('serverStatus'), run: serverStatus },
  hostInfo: { needs: onCluster('hostInfo'), run: hostInfo },
  getLog: { adminOnly: true, needs: onCluster('getLog'), run: getLog },
  getCmdLineOpts: { adminOnly: true, needs: onCluster('getCmdLineOpts'), run: getCmdLineOpts },
  getParameter: { adminOnly: true, needs: onCluster('getParameter'), run: getParameter },
  setParameter: {
    adminOnly: true,
    needs: onCluster('setParameter'),
    run: refuse('the sandbox has no parameters that can be set'),
  },
  currentOp: {
    adminOnly: true,
    needs: onCluster('inprog'),
    run: request => ({ inprog: operations(request, Boolean(request.body.$all), true) }),
  },
  killOp: { adminOnly: true, needs: onCluster('killop'), run: () => ({ info: 'attempting to kill op' }) },
  top: { adminOnly: true, needs: onCluster('top'), run: () => ({ totals: { note: 'all times in microseconds' } }) },
  connPoolStats: { needs: onCluster('connPoolStats'), run: () => ({ numClientConnections: whole(0), pools: {} }) },
  getFreeMonitoringStatus: {
    adminOnly: true,
    needs: onCluster('checkFreeMonitoringStatus'),
    run: () => ({ state: 'disabled' }),
  },
  profile: { needs: 'login', run: () => ({ was: whole(0), slowms: whole(100), sampleRate: new Double(1) }) },
  shutdown: {
    adminOnly: true,
    needs: onCluster('shutdown'),
    run: refuse('the sandbox ends with the program that holds it'),
  },
}

/** What the directory would be asked where LDAP authorization is on. */
const LDAP = { servers: 'ldap.sandbox.invalid', template: '{USER}?memberOf?base' }

function refuse(why: string): () => never {
  return () => {
    throw new CommandError('IllegalOperation', why)
  }
}

const SINCE = 1000

function serverStatus({ instance }: Request): Document {
  const { now, started, sessions, opened, counted } = instance
  const uptime = now() - started
  const often = (...names: string[]) => Long.fromNumber(names.reduce((sum, name) => sum + (counted.get(name) ?? 0), 0))
  const all = [...counted.values()].reduce((sum, count) => sum + count, 0)
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
      current: whole(sessions.size),
      available: whole(1_000_000),
      totalCreated: whole(opened()),
      active: whole([...sessions].filter(one => one.running).length + 1),
    },
    opcounters: {
      insert: often('insert'),
      query: often('find'),
      update: often('update'),
      delete: often('delete'),
      getmore: often('getMore'),
      command: Long.fromNumber(all - crud.reduce((sum, name) => sum + (counted.get(name) ?? 0), 0)),
    },
    network: { bytesIn: Long.ZERO, bytesOut: Long.ZERO, numRequests: Long.fromNumber(all) },
    mem: { bits: new Int32(64), resident: whole(0), virtual: whole(0), supported: false },
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
  return { totalLinesWritten: whole(log.length), log }
}

function getCmdLineOpts({ instance }: Request): Document {
  const [, host = '', port = ''] = /^(.*):(\d+)$/.exec(instance.host()) ?? []
  return {
    argv: ['mongod'],
    parsed: {
      net: { bindIp: host, port: whole(Number(port)), ...(instance.tls && { tls: { mode: 'requireTLS' } }) },
      security: {
        authorization: 'enabled',
        // Percona's template may be set while it runs: then only getParameter knows.
        ...(instance.ldap === 'enterprise' && {
          ldap: { servers: LDAP.servers, authz: { queryTemplate: LDAP.template } },
        }),
      },
    },
  }
}

/** The version of the schema of users since MongoDB 3.0, which has SCRAM. mongorestore requires it. */
const AUTH_SCHEMA_VERSION = 5

function parameters(ldap: Ldap): Document {
  return {
    authenticationMechanisms: Object.keys(mechanisms),
    authSchemaVersion: whole(AUTH_SCHEMA_VERSION),
    featureCompatibilityVersion: { version: VERSION.slice(0, 3) },
    logLevel: whole(0),
    quiet: false,
    enableLocalhostAuthBypass: false,
    authFailedDelayMs: whole(0),
    scramIterationCount: whole(mechanisms['SCRAM-SHA-1'].iterations),
    scramSHA256IterationCount: whole(mechanisms['SCRAM-SHA-256'].iterations),
    ...(ldap !== 'off' && {
      ldapServers: LDAP.servers,
      ldapUserToDNMapping: '[{match: "(.+)", substitution: "{0}"}]',
      ldapTimeoutMS: whole(10_000),
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
