/** Starts the listener for clients: connects each connection to what answers its hello and decides its login. */
import { createAcceptQueue } from '../client/acceptQueue.js'
import type { ConnectionAudit } from '../client/audit.js'
import { Connection, type ConnectionMetrics, type ConnectionOptions } from '../client/connection.js'
import { type Listener, type ListenerOptions, listen } from '../client/listener.js'
import { createLogSampler } from '../client/logSampler.js'
import { SocketServer } from '../client/socketServer.js'
import { after, now } from '../clock.js'
import type { ConnectionLimits } from '../config/connectionLimits.js'
import type { Config } from '../config/load.js'
import type { Fault } from '../errors.js'
import type { Log } from '../log.js'
import { randomBytes } from '../random.js'
import type { Activity } from './activity.js'
import type { Capacity } from './capacity.js'
import type { ConnectionAuditor } from './connectionAudit.js'
import { traceLogins } from './connectionTracing.js'
import type { HelloResponder } from './helloAnswer.js'
import type { LdapChecks } from './ldapChecks.js'
import type { Logins } from './logins.js'
import type { Tracing } from './tracing.js'

export type ClientListenerOptions = {
  /** The running configuration, which a reload changes. */
  config(): Config
  capacity: Capacity
  logins: Logins
  hello: HelloResponder
  ldap: Pick<LdapChecks, 'buildInfo'>
  activity: Activity
  audit: ConnectionAuditor
  /** Id of this run. */
  boot: string
  tracing: Tracing | undefined
  metrics: ConnectionMetrics
  log: Log
}

/** Log lines per second about unauthenticated connections, for each kind of fault. */
const MAX_LINES_PER_SECOND = 20
const MAX_REQUEST_ID = 0x7fffffff

/** Throws `listener/address-unavailable`. */
export function startClientListener(options: ClientListenerOptions): Promise<Listener> {
  const { config, capacity, activity, audit, metrics, log } = options
  const { host, port, backlog } = config().listen
  const shouldLog = createSampler(log)
  const connectionOptions = createConnectionOptions(options, shouldLog)
  const acceptQueue = createAcceptQueue({ defer: setImmediate, now })
  const settings = listenerSettings(config(), capacity.limits)
  const onRejected = ({ kind }: Fault): void => metrics.recordFault(kind)
  const sockets = new SocketServer({
    tls: settings.tls,
    log,
    after,
    wallClock: Date.now,
    acceptQueue,
    shouldLog,
    onRejected,
    onCertificateRefused: (client, refusal) => audit.recordCertificateRefused(client, refusal),
    createConnection: (socket, client) => activity.track(client, new Connection(socket, client, connectionOptions)),
  })
  return listen({
    host,
    port,
    backlog,
    ...settings,
    acceptQueue,
    log,
    sockets,
    maxDescriptor: () => capacity.maxDescriptor,
    onAcceptFailed: why => capacity.recordFailedAccept(why),
    onRejected,
  })
}

/** The settings of the listener that a reload changes. */
export function listenerSettings(
  { listen, tls }: Config,
  { connections, reserve }: ConnectionLimits,
): Pick<ListenerOptions, 'connections' | 'reserve' | 'perAddress' | 'tls'> {
  return { connections, reserve, perAddress: listen.perAddress, ...(tls && { tls: { ...tls, key: tls.key.reveal() } }) }
}

function createConnectionOptions(
  options: ClientListenerOptions,
  shouldLog: ConnectionOptions['shouldLog'],
): ConnectionOptions {
  const { config, capacity, logins, hello, ldap, metrics, log } = options
  let lastRequestID = 0
  return {
    log,
    shouldLog,
    handshakeContext: address => ({
      stsHost: () => logins.selectStsHost(address),
      random: randomBytes,
      buildInfo: () => ldap.buildInfo,
      assertSessionSlotFree: () => capacity.sessionSlots.assertFree(),
    }),
    answerHello: (request, connectionId, signal, client) => hello.answer(request, connectionId, signal, client),
    authenticator: logins.authenticator,
    audit: createConnectionAudit(options),
    reauthenticationMode: () => config().listen.reauthenticate,
    metrics,
    nextRequestID() {
      lastRequestID = (lastRequestID + 1) & MAX_REQUEST_ID
      return lastRequestID
    },
    now,
    after,
  }
}

function createConnectionAudit({ tracing, activity, boot }: ClientListenerOptions): ConnectionAudit {
  if (!tracing) return activity
  return traceLogins(activity, { trace: span => tracing.trace(span), boot, now, wallClock: Date.now })
}

function createSampler(log: Log): ConnectionOptions['shouldLog'] {
  return createLogSampler({
    maxPerSecond: MAX_LINES_PER_SECOND,
    onSuppressed: kind => {
      const warning = `more than ${MAX_LINES_PER_SECOND} lines per second of ${kind}: further ones are counted in faults_total only`
      log('warn', 'log lines suppressed', { warning })
    },
    now,
  })
}
