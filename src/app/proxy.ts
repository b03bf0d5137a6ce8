/**
 * The composition root: a configuration in, its parts made and joined, a running proxy out.
 *
 * It is long because this is the only place where parts meet.
 */
import { resolveSrv, resolveTxt } from 'node:dns/promises'
import type { Socket } from 'node:net'
import { calculateObjectSize, type Document } from 'bson'
import type { AccessOptions } from '../admin/guards.js'
import { createMetricsRecorder, type GaugeCollectors } from '../admin/metrics.js'
import { type AdminServer, startAdminServer } from '../admin/server.js'
import { createAcceptQueue } from '../client/acceptQueue.js'
import { Connection, type ConnectionOptions as ServingParts } from '../client/connection.js'
import type { HelloRequest } from '../client/handshake.js'
import { type Listener, listen } from '../client/listener.js'
import { createLogSampler } from '../client/logSampler.js'
import { after, now, sleep } from '../clock.js'
import { isWildcard } from '../config/hosts.js'
import type { Config } from '../config/load.js'
import type { Fault, Level } from '../errors.js'
import { createLdapGuard } from '../ldap/guard.js'
import { createLdapProbe } from '../ldap/probe.js'
import type { Log } from '../log.js'
import { randomBytes } from '../random.js'
import { createAdminClient as administrator } from '../upstream/admin.js'
import { createAddressAdvertiser } from '../upstream/advertisedAddress.js'
import { buildHelloReply, presentAsSingleMemberSet } from '../upstream/helloReply.js'
import { Topology } from '../upstream/topology.js'
import { readTopologyVersion } from '../upstream/topologyVersion.js'
import { createConnectionMetrics } from './connectionMetrics.js'
import { createLogins } from './logins.js'
import type { LoadedConfig } from './policy.js'
import { createReloader } from './reload.js'

/** Of a kind in a second, about those who never logged in. */
const LINES = 20

export type RunningProxy = {
  port: number
  /** Of the admin interface; undefined where it is off. */
  adminPort: number | undefined
  /** Takes up a changed configuration, or tells what was wrong with it and goes on as before. */
  reload(next: LoadedConfig | Fault): void
  /** Resolves once upstream and STS were asked what has to be known before the first login. */
  initialized: Promise<void>
  /** Stops in peace: not ready, after `delay` (`drain.delay` unless told) no more accepted, what runs finishes in its time. */
  stop(delay?: number): Promise<void>
  /** Stops now. */
  kill(): Promise<void>
}

/** Starts a proxy. `least` is told when log.level changes. Throws `config/invalid` and `listener/address-unavailable`. */
export async function startProxy(
  { config, policy }: LoadedConfig,
  log: Log,
  least = (_: Level): void => {},
): Promise<RunningProxy> {
  const { upstream, isSingle } = policy
  let running = config
  for (const warning of config.warnings) log('warn', 'configuration warning', { warning })

  let listener: Listener | undefined
  let draining = false
  const nobody = { connecting: 0, unauthenticated: 0, authenticating: 0, authenticated: 0 }
  const measures: GaugeCollectors = { connections: () => listener?.countByStage() ?? nobody }
  const record = createMetricsRecorder(measures, { ofProcess: true })

  const superuser = config.upstream.admin && administrator(config.upstream.admin)
  const topology = new Topology({
    upstream,
    single: isSingle,
    resolver: { resolveSrv, resolveTxt },
    log,
    random: Math.random,
    after,
    onServerRestart: () => ldap.recheck(),
    onTermClosed: why => listener?.closeMonitors(why),
  })
  const probe = createLdapProbe(topology, superuser)
  let buildInfo: Document | undefined
  const ldap = createLdapGuard({
    probe: async signal => {
      const answers = await probe(signal)
      if (isShowable(answers.buildInfo)) buildInfo = answers.buildInfo
      return answers
    },
    intervalMS: config.ldap.every,
    get assume() {
      return running.ldap.assume
    },
    log,
    after,
  })
  const admitting = createLogins({
    config,
    policy,
    topology,
    superuser,
    ldap,
    askOver(channel, hello, signal) {
      // A process that the mirror has not met yet may have LDAP on, whatever the one before it said.
      if (isAnother(topology.currentView()?.hello, hello)) ldap.recheck()
      return ldap.assertOffOver(command => channel.request({ ...command, $db: 'admin' }, signal))
    },
    record,
    log,
  })
  const { revocations } = admitting
  Object.assign(measures, admitting.measures)

  const metrics = createConnectionMetrics(record)

  let requests = 0
  const nextRequestID = () => (requests = (requests + 1) & 0x7fffffff)

  /** Not ready at the start only: later, turning not ready would take live connections' proxy out of a balancer (R27). */
  let served = false
  const ready = (): boolean => {
    served ||= ldap.getState() === 'off'
    return served && !draining
  }
  const handshakeContext = (client: string) => ({
    stsHost: () => admitting.offer(client),
    random: randomBytes,
    buildInfo: () => buildInfo,
  })
  const { advertise, host: bound } = config.listen
  const addressOf = ({ tls }: Config) =>
    createAddressAdvertiser({ advertise, host: isWildcard(bound) ? undefined : bound, cert: tls?.cert })
  let address = addressOf(config)
  let guessed =
    advertise === undefined && isWildcard(bound) ? 'listen.advertise is missing in front of a set' : undefined
  const answerHello = async (asked: HelloRequest, connectionId: number, signal: AbortSignal, client: Socket) => {
    const { awaiting } = asked
    const {
      hello,
      isPrimary: primary,
      isReplicaSet: set,
    } = awaiting
      ? await topology.awaitChange(awaiting.topologyVersion, awaiting.maxAwaitTimeMS, signal)
      : await topology.freshView(signal)
    if (set && guessed) {
      log('warn', 'advertised address missing', {
        warning: `${guessed}, so clients are told the address that they reached`,
      })
      guessed = undefined
    }
    const shown = set ? presentAsSingleMemberSet(hello, { address: address(client), primary }) : hello
    return buildHelloReply(shown, asked, { connectionId, now: new Date() })
  }

  const shouldLog = createLogSampler({
    maxPerSecond: LINES,
    onSuppressed: kind => {
      const warning = `more than ${LINES} lines a second of ${kind}: the others are counted in faults_total alone`
      log('warn', 'log lines suppressed', { warning })
    },
    now,
  })
  const serving: ServingParts = {
    log,
    shouldLog,
    handshakeContext,
    answerHello,
    login: admitting.login.login,
    reauthenticate: admitting.login.reauthenticate,
    reauthenticationMode: () => running.listen.reauthenticate,
    metrics,
    nextRequestID,
    now,
    after,
  }

  const closers: (() => Promise<void> | void)[] = [
    () => topology.close(),
    () => superuser?.close(),
    () => ldap.close(),
    () => admitting.close(),
  ]
  const close = async (): Promise<void> => {
    for (const closer of closers.splice(0).reverse()) await closer()
    log('info', 'stopped')
  }

  const unkept = ({ kind, message, facts }: Fault) =>
    log('error', 'denial not persisted', { fault: kind, why: message, ...facts })
  /** Who guesses tokens is told of once a second, and how often. */
  let [tries, told] = [0, Number.NEGATIVE_INFINITY]
  const atTheDoor = (admin: string, address: string): void => {
    tries += 1
    if (now() - told < 1_000) return
    log('warn', 'admin request refused', { admin, address, why: 'without the token', tries })
    tries = 0
    told = now()
  }

  const guards: AccessOptions = {
    token: () => running.admin.token,
    hosts: () => [running.admin.host, ...(running.admin.hosts ?? [])],
  }
  let admin: AdminServer | undefined
  try {
    if (config.admin.port !== 'off') {
      const { host, port } = config.admin
      admin = await startAdminServer({
        host,
        port,
        ready: () => ({
          ready: ready(),
          body: { draining, ldap: ldap.getState(), upstream: !!topology.currentView() },
        }),
        metrics: () => {
          record.set('upstream_up', topology.currentView() ? 1 : 0)
          record.setState('ldap_authorization', ldap.getState())
          return record.render()
        },
        hosts: guards.hosts,
        deny: {
          token: guards.token,
          hosts: guards.hosts,
          list: revocations.list,
          deny: revocations.deny,
          allow: revocations.allow,
          now: Date.now,
          onPersistenceFailure: unkept,
        },
        pins: { pins: admitting.pins, token: guards.token, hosts: guards.hosts },
        onError: fault => log('error', 'admin request failed', { fault: fault.kind, stack: fault.stack }),
        onUnauthorized: atTheDoor,
      })
      closers.push(admin.close)
    }
    listener = await listen({
      after,
      acceptQueue: createAcceptQueue({ defer: setImmediate, now }),
      host: config.listen.host,
      port: config.listen.port,
      backlog: config.listen.backlog,
      connections: config.listen.connections,
      perAddress: config.listen.perAddress,
      ...secure(config),
      log,
      shouldLog,
      onRejected: ({ kind }) => metrics.recordFault(kind),
      createConnection: (socket, client) => new Connection(socket, client, serving),
    })
  } catch (thrown) {
    await close()
    throw thrown
  }
  const settled = Promise.all([ldap.start(), admitting.start()]).then(() => {})
  const accepting = listener
  const { port } = accepting
  const reload = createReloader(
    { config, policy },
    {
      apply({ config: now, policy }) {
        accepting.reconfigure({
          connections: now.listen.connections,
          perAddress: now.listen.perAddress,
          ...secure(now),
        }) // the one step that may fail, so it goes first
        address = addressOf(now)
        running = now
        least(now.log.level)
        admitting.adopt(now, policy)
      },
      log,
      onOutcome: outcome => record.count('reloads_total', 1, { outcome }),
    },
  )
  log('info', 'ready', { host: config.listen.host, port, upstream: upstream.name, admin: admin?.port })

  let wait = (): void => {}
  return {
    port,
    adminPort: admin?.port,
    reload,
    initialized: settled,
    async stop(delay = running.drain.delay) {
      draining = true
      const hurry = new AbortController()
      wait = () => hurry.abort()
      await sleep(delay, hurry.signal)
      accepting.stopAccepting()
      await Promise.race([accepting.drain(), sleep(running.drain.timeout, hurry.signal)])
      accepting.destroy()
      hurry.abort()
      await close()
    },
    async kill() {
      draining = true
      wait()
      accepting.destroy()
      await close()
    },
  }
}

/** What the listener needs for TLS, if there is any. */
function secure({ tls }: Config) {
  return tls && { tls: { ...tls, key: tls.key.reveal() } }
}

/** True where both name their process and it is not the same. */
function isAnother(known: Document | undefined, met: Document): boolean {
  const [before, after] = [known && readTopologyVersion(known), readTopologyVersion(met)]
  return before !== undefined && after !== undefined && !before.processId.equals(after.processId)
}

/** Strangers may ask for it, so a hostile upstream's is not passed on at any length. */
function isShowable(buildInfo: Document | undefined): buildInfo is Document {
  return buildInfo !== undefined && Number(buildInfo.ok) === 1 && calculateObjectSize(buildInfo) <= 16_384
}
