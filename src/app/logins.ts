/**
 * Everything that a login is made of, joined: who is asked about it, what is remembered, who is denied, by what a
 * principal is let in, and the database user that it becomes.
 *
 *     STS ─▶ identity ─▶ deny list ─▶ rules, directory ─▶ database user, kept by the proxy or not ─▶ upstream
 *
 * It is long because these parts tell each other of changes, which can be read here alone.
 */
import type { Document } from 'bson'
import type { GaugeCollectors, MetricsRecorder } from '../admin/metrics.js'
import { type Authenticator, createAuthenticator } from '../client/login.js'
import { after, now } from '../clock.js'
import type { Config } from '../config/load.js'
import { Fault } from '../errors.js'
import type { LdapGuard } from '../ldap/guard.js'
import type { Log } from '../log.js'
import { type ConnectAs, logInWithPasswords } from '../provisioning/passwordAttempts.js'
import { createProvisioner } from '../provisioning/provisioner.js'
import { randomBytes } from '../random.js'
import { openAdminDenials } from '../revocation/adminDenials.js'
import { createRevocation, type Revocation } from '../revocation/revocation.js'
import { type AdminClient, createAdminClient as administrator } from '../upstream/admin.js'
import type { Channel } from '../upstream/channel.js'
import { dial, type UpstreamConnection } from '../upstream/dial.js'
import { type PrimaryTerm, runDuringTerm } from '../upstream/primaryTerm.js'
import { createScramKeyCache } from '../upstream/scramKeys.js'
import type { Topology } from '../upstream/topology.js'
import { createAuthorizer } from '../users/decision.js'
import { Directory } from '../users/directory.js'
import { openPins, type Pins } from '../users/pins.js'
import { createLoginCaches } from './loginCaches.js'
import { type Policy, provisioningOptions } from './policy.js'
import { createStsGateway, STS_MS, type StsGateway } from './stsGateway.js'

export type LoginsOptions = {
  config: Config
  policy: Policy
  topology: Pick<Topology, 'selectPrimary' | 'currentView'>
  superuser: AdminClient | undefined
  ldap: Pick<LdapGuard, 'getState' | 'assertOff'>
  /** Asks an upstream that has just let a relay in whether it has LDAP on, where that is not known. */
  askOver(channel: Channel, hello: Document, signal: AbortSignal): Promise<void>
  record: MetricsRecorder
  log: Log
}

export type Logins = {
  login: Authenticator
  /** The STS host to offer a client of this address. */
  offer: StsGateway['selectHost']
  revocations: Revocation
  /** Undefined where no file keeps any. */
  pins: Pins | undefined
  measures: GaugeCollectors
  /** Asks what has to be known before the first login; never rejects. */
  start(): Promise<void>
  /** From now on; live connections are decided again. */
  adopt(config: Config, policy: Policy): void
  close(): Promise<void>
}

/** Derived keys that are remembered at most: a bound that no honest fleet reaches. */
const REMEMBERED_KEYS = 10_000

/** Joins the parts of a login. Throws `config/invalid` for files of its own that it cannot read. */
export function createLogins(parts: LoginsOptions): Logins {
  const { config, topology, superuser, ldap, record, log } = parts
  const { isSingle } = parts.policy
  let { rules } = parts.policy
  let running = config

  const sts = createStsGateway(config.sts, record, log)
  const memories = createLoginCaches(config, record, log, sts.promote)
  // What is written waits for a majority, perhaps in vain, and nothing that is read shall wait behind it.
  const writer: AdminClient | undefined = config.upstream.admin && administrator(config.upstream.admin)
  const by =
    (one: AdminClient | undefined): AdminClient['runCommand'] =>
    (...asked) => {
      if (!one) throw new Fault('internal', undefined, { why: 'there is no administrator' })
      return one.runCommand(...asked)
    }
  const read = by(superuser)
  const directory = config.directory.enabled
    ? new Directory({ runCommand: command => read(command), refreshMS: config.directory.refresh, after, now, log })
    : undefined
  const pins = config.pins.file === undefined ? undefined : openPins(config.pins.file, log)
  const decide = createAuthorizer({
    rules: () => rules,
    directory,
    pins,
    now: Date.now,
  })
  const keeping = provisioningOptions(config, by(writer), log)
  const kept = keeping && createProvisioner(keeping)
  const revocations = createRevocation(
    {
      adminDenials: config.deny.adminFile === undefined ? undefined : openAdminDenials(config.deny.adminFile, Date.now),
      reevaluate: decide.reevaluate,
      now: Date.now,
      after,
      log,
      onCount: count => record.set('denials', count),
      onChange: memories.forget,
    },
    parts.policy.denials,
  )

  /** Users that the proxy keeps follow what was decided anew; a time that is over is noticed by looking every so often. */
  const follow = async (): Promise<void> => {
    stop()
    if (closed) return
    await kept?.syncRoles(decide.getRoles)
    stop() // another one may have come first
    if (!closed) stop = after(running.directory.refresh, () => void follow())
  }
  let closed = false
  let stop = (): void => {}
  const changed = (): void => {
    memories.forget()
    void revocations.reviewConnections()
    void follow()
  }
  directory?.onChange(changed)

  const keys = createScramKeyCache({ maxEntries: REMEMBERED_KEYS })
  const { login: enter, reauthenticate: again } = createAuthenticator({
    fingerprint: memories.holderOf,
    reserveSlot: memories.limit,
    findRefusal: memories.refused,
    findIdentity: memories.recall,
    stsNow: () => Date.now() + sts.clockSkewMS(),
    syncClock: sts.askTime,
    now,
    acquirePermit: sts.acquire,
    askSts: sts.ask,
    recordOutcome(host, holder, outcome, address) {
      memories.note(host, holder, outcome, address)
      sts.recordOutcome(host, outcome, address)
    },
    assertNotDenied: revocations.assertNotDenied,
    registerLive: revocations.addConnection,
    authorize: decide.authorizeLogin,
    assertLdapOff: () => {
      if (ldap.getState() === 'on') ldap.assertOff()
    },
    connectUpstream: async ({ match: { grant }, identity, onUser }, { metadata, apiVersion }, over) => {
      const begin: ConnectAs<UpstreamConnection & { term: PrimaryTerm }> = async user => {
        const { target, term } = topology.selectPrimary()
        const dialled = await runDuringTerm(term, over, () =>
          dial({
            target,
            requirePrimary: !isSingle,
            user,
            clientMetadata: metadata,
            scramKeys: keys,
            random: randomBytes,
            signal: over.signal,
            apiVersion: apiVersion,
            onAuthenticated: (channel, hello) => parts.askOver(channel, hello, over.signal),
          }),
        )
        return { ...dialled, term }
      }
      if ('user' in grant) {
        onUser(grant.user)
        return begin({ name: grant.user.name, db: grant.user.db, password: grant.password })
      }
      if (!kept) throw new Fault('provision/unsupported', undefined, { why: 'there is no provision.secretFile' })
      onUser({ name: identity.canonical, db: running.provision.database })
      return logInWithPasswords(kept, { arn: identity.canonical, roles: grant.roles }, begin, over.signal)
    },
    after,
    deadlineMS: () => running.login.timeout,
  })

  /** Asked at the start to learn the clock of STS before the first proof is judged by it. */
  const reach = async (host: string): Promise<void> => {
    const why = await sts.probe(host, AbortSignal.timeout(STS_MS)).catch(String)
    if (why !== undefined) log('warn', 'sts host unreachable', { sts: host, why })
  }

  return {
    login: { login: enter, reauthenticate: again },
    offer: sts.selectHost,
    revocations,
    pins,
    measures: sts.measures,
    start: async () => {
      void follow()
      await Promise.all([directory?.start(), ...config.sts.hosts.map(({ host }) => reach(host))])
    },
    adopt(next, policy) {
      running = next
      rules = policy.rules
      sts.adopt(next.sts)
      revocations.read(policy.denials)
      changed()
    },
    async close() {
      closed = true
      stop()
      directory?.close()
      revocations.close()
      await Promise.all([writer?.close(), sts.close()])
    },
  }
}
