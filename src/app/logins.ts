/**
 * Builds and connects the parts of a login.
 *
 *     STS ─▶ identity ─▶ deny list ─▶ rules, directory ─▶ database user (provisioned, or of the rule) ─▶ upstream
 *
 * When the rules, the directory or the deny list change, three things follow: caches that depend on them are invalidated,
 * open connections are reviewed, and provisioned users are synchronized.
 */
import type { Document } from 'bson'
import type { GaugeCollectors, MetricsRecorder } from '../admin/metrics.js'
import type { RecordAuditEvent } from '../audit/events.js'
import { Authenticator, type AuthenticatorOptions } from '../client/login.js'
import type { SessionSlots } from '../client/sessionSlots.js'
import { after, now } from '../clock.js'
import { servedPartition } from '../config/hosts.js'
import type { Config } from '../config/load.js'
import { Fault } from '../errors.js'
import type { Identity } from '../identity/reply.js'
import type { LdapGuard } from '../ldap/guard.js'
import type { Log } from '../log.js'
import { type ConnectAs, logInWithPasswords } from '../provisioning/passwordAttempts.js'
import { Provisioner } from '../provisioning/provisioner.js'
import { randomBytes } from '../random.js'
import { openAdminDenials } from '../revocation/adminDenials.js'
import { Revocation } from '../revocation/revocation.js'
import { type AdminClient, createAdminClient } from '../upstream/admin.js'
import type { Channel } from '../upstream/channel.js'
import { type UpstreamConnection as Dialed, dial } from '../upstream/dial.js'
import { DialQueue } from '../upstream/dialQueue.js'
import { type Marker, markMetadata } from '../upstream/metadata.js'
import type { PrimaryTerm } from '../upstream/primaryTerm.js'
import { createScramKeyCache, type ScramKeyCache } from '../upstream/scramKeys.js'
import { singleFlight } from '../upstream/singleFlight.js'
import type { Topology } from '../upstream/topology.js'
import { type Authorizer, createAuthorizer } from '../users/decision.js'
import { Directory, type DirectoryOptions } from '../users/directory.js'
import type { Match } from '../users/match.js'
import { openPins, type Pins } from '../users/pins.js'
import type { Rules } from '../users/rules.js'
import { createLoginCaches, type LoginCaches } from './loginCaches.js'
import { type LoadedConfig, provisioningOptions } from './policy.js'
import { StsGateway } from './stsGateway.js'
import { UpstreamRefusals } from './upstreamRefusals.js'

export type LoginsOptions = {
  loaded: LoadedConfig
  topology: Pick<Topology, 'hasPrimary' | 'selectPrimary' | 'recheck' | 'currentPrimary'>
  /** Reads the directory. It is undefined without `upstream.admin`. */
  adminClient: AdminClient | undefined
  ldap: Pick<LdapGuard, 'getState' | 'assertOff'>
  sessionSlots: SessionSlots
  /** Names the connection of a client in the metadata that the upstream gets. */
  createMarker(connectionId: number, identity: Identity): Marker
  /** Concurrent calls to STS. */
  stsCalls: number
  /** Throws `ldap/*` if LDAP authorization is not known to be off and cannot be excluded over this new connection. */
  assertLdapOffOver(channel: Channel, hello: Document, signal: AbortSignal): Promise<void>
  /** Whether logins are traced. */
  isTraced: boolean
  metrics: MetricsRecorder
  /** Records events of the audit trail. */
  record: RecordAuditEvent
  log: Log
  /** Called after each read of the directory that differs. */
  onDirectoryEntries: NonNullable<DirectoryOptions['onEntries']>
}

/** A bound that no real deployment reaches. */
const MAX_SCRAM_KEYS = 10_000
/** Minimum size of the provisioner's cache, in principals, even if fewer connections are allowed. */
const MIN_CACHED_PRINCIPALS = 10_000
/** If MongoDB has not taken away the roles of a principal after this many directory refreshes, its sessions close. */
const GRACE_REFRESHES = 3
/** A timer may fire a little early. Milliseconds. */
const TIMER_TOLERANCE_MS = 50

type ConnectUpstream = AuthenticatorOptions['connectUpstream']
type ClientInfo = Parameters<ConnectUpstream>[1]
type AcquirePermit = AuthenticatorOptions['acquirePermit']

export class Logins {
  readonly authenticator: Authenticator
  readonly revocation: Revocation
  /** Undefined without `pins.file`. */
  readonly pins: Pins | undefined
  readonly #options: LoginsOptions
  #config: Config
  #rules: Rules
  readonly #sts: StsGateway
  readonly #caches: LoginCaches
  /** Writes wait for a majority, perhaps forever. With a client of their own, reads do not queue behind them. */
  readonly #writeClient: AdminClient | undefined
  readonly #directory: Directory | undefined
  readonly #authorizer: Authorizer
  readonly #provisioner: Provisioner | undefined
  readonly #scramKeys: ScramKeyCache
  readonly #dials: DialQueue
  readonly #upstreamRefusals: UpstreamRefusals
  #isClosed = false
  #cancelNextSync = (): void => {}
  readonly #syncProvisionedUsers = singleFlight(() => this.#syncRoles())

  /** Throws `config/invalid` if `pins.file` or `deny.adminFile` cannot be read. */
  constructor(options: LoginsOptions) {
    const { loaded, metrics, record, log } = options
    const { config, policy } = loaded
    this.#options = options
    this.#config = config
    this.#rules = policy.rules
    this.#sts = new StsGateway(config, options.stsCalls, metrics, log)
    this.#caches = createLoginCaches({
      config,
      sessionSlots: options.sessionSlots,
      metrics,
      log,
      onKnownCredential: (subnet, fingerprint) => this.#sts.promote(subnet, fingerprint),
    })
    this.#scramKeys = createScramKeyCache({ maxEntries: MAX_SCRAM_KEYS })
    this.#dials = new DialQueue({ topology: options.topology, waits: !policy.isSingle, now })
    const currentPrimary = () => options.topology.currentPrimary()
    this.#upstreamRefusals = new UpstreamRefusals({ currentPrimary, metrics, log, now })
    this.pins = config.pins.file === undefined ? undefined : openPins(config.pins.file, log, record)
    this.#directory = createConfiguredDirectory(config, options)
    this.#authorizer = createAuthorizer({
      rules: () => this.#rules,
      directory: this.#directory,
      pins: this.pins,
      now: Date.now,
    })
    this.#writeClient = config.upstream.admin && createAdminClient(config.upstream.admin)
    const provisioning = this.#writeClient && provisioningOptions(config, this.#writeClient.runCommand, log, record)
    // Periods follow the clock of STS, so that a replica with a wrong clock does not write a period of its own.
    const stsNow = () => Date.now() + this.#sts.clockSkewMS()
    this.#provisioner =
      provisioning &&
      new Provisioner({
        ...provisioning,
        now: stsNow,
        maxPrincipals: Math.max(MIN_CACHED_PRINCIPALS, config.listen.connections),
        onSyncFailure: kind => metrics.count('faults_total', 1, { kind }),
      })
    this.revocation = this.#createRevocation()
    this.authenticator = this.#createAuthenticator()
    this.#directory?.onChange(() => this.#onDirectoryChange())
  }

  /** The STS host to offer to a client of this address. */
  selectStsHost(address: string): string {
    return this.#sts.selectHost(address)
  }

  /** The number of principals whose database user still has roles that were taken away. */
  get unrevokedCount(): number {
    return this.#provisioner?.unrevokedCount ?? 0
  }

  /** Why $external cannot be read; undefined if it can, or is not used. */
  findDirectoryProblem(): ReturnType<Directory['findProblem']> {
    return this.#directory?.findProblem()
  }

  /** How far the clock of STS is ahead of the clock of the proxy. Milliseconds. */
  clockSkewMS(): number {
    return this.#sts.clockSkewMS()
  }

  gauges(): GaugeCollectors {
    const upstream_logins = () => ({ dialing: this.#dials.dialing, waiting: this.#dials.length })
    return { ...this.#sts.gauges(), upstream_logins }
  }

  /** Resolves when the directory has been read once and the clock skew to STS is known, or neither could be. Never rejects. */
  async start(): Promise<void> {
    this.#followDecisions()
    const hosts = this.#config.sts.hosts.map(({ host }) => this.#probeSts(host))
    await Promise.all([this.#directory?.start(), ...hosts])
  }

  /** Applies live settings and a new policy, and reviews open connections. */
  apply({ config, policy }: LoadedConfig): void {
    this.#config = config
    this.#rules = policy.rules
    this.#sts.reconfigure(config)
    this.#caches.invalidate()
    this.#followDecisions()
    void this.revocation.replaceFile(policy.denials)
  }

  /** Another member may be the primary, or none. */
  onTopologyUpdate(): void {
    this.#dials.update()
  }

  /** From now on no login waits for a primary. */
  drain(): void {
    this.#dials.drain()
  }

  async close(): Promise<void> {
    this.#isClosed = true
    this.#cancelNextSync()
    this.#directory?.close()
    this.revocation.close()
    await Promise.all([this.#writeClient?.close(), this.#sts.close()])
  }

  #createRevocation(): Revocation {
    const { loaded, metrics, log } = this.#options
    const { adminFile } = loaded.config.deny
    return new Revocation({
      fileDenials: loaded.policy.denials,
      adminDenials: adminFile === undefined ? undefined : openAdminDenials(adminFile, Date.now),
      reevaluate: (identity, peer, match) => this.#reevaluate(identity, peer, match),
      now: Date.now,
      after,
      log,
      onCountChange: count => metrics.set('denials', count),
      onAdminChange: () => this.#caches.invalidate(),
    })
  }

  #createAuthenticator(): Authenticator {
    const { ldap, sessionSlots, isTraced } = this.#options
    return new Authenticator({
      sessionSlots,
      principalRefusals: this.#caches.principalRefusals,
      fingerprint: this.#caches.fingerprint,
      reserveSlot: this.#caches.reserveSlot,
      findRefusal: this.#caches.findRefusal,
      findIdentity: this.#caches.findIdentity,
      stsNow: () => Date.now() + this.#sts.clockSkewMS(),
      syncClock: this.#sts.syncClock,
      now,
      acquirePermit: (...request) => this.#acquirePermit(...request),
      askSts: this.#sts.getCallerIdentity,
      imitateInactiveKey: (proof, address, acquire, signal) =>
        this.#sts.imitateInactiveKey(proof, address, acquire, signal),
      cacheOutcome: this.#caches.recordOutcome,
      recordOutcome: (host, fingerprint, outcome, address) => {
        this.#caches.recordOutcome(host, fingerprint, outcome, address)
        this.#sts.recordOutcome(host, outcome, address)
      },
      assertNotDenied: (accessKeyId, identity) => this.revocation.assertNotDenied(accessKeyId, identity),
      findKeyDenial: accessKeyId => this.revocation.findKeyDenial(accessKeyId),
      registerLive: live => this.revocation.addConnection(live),
      authorize: (identity, address) => this.#authorizer.authorizeLogin(identity, address),
      // An unknown state is decided over the upstream connection of the login, by assertLdapOffOver.
      assertLdapOff: () => {
        if (ldap.getState() === 'on') ldap.assertOff()
      },
      findPrimaryFault: ms => this.#dials.findFault(ms),
      connectUpstream: (principal, client, signal) => this.#connectUpstream(principal, client, signal),
      after,
      deadlineMS: () => this.#config.login.timeout,
      isTraced,
    })
  }

  /** Only a few logins of a contested credential may wait for a permit. */
  #acquirePermit(...[bucket, host, slot, maxWaitMS, signal]: Parameters<AcquirePermit>): ReturnType<AcquirePermit> {
    const acquire = (ms: number) => this.#sts.acquirePermit(bucket, host, slot, ms, signal)
    if (!slot.isContested()) return acquire(maxWaitMS)
    return this.#caches.acquireContested(`${slot.subnet} ${slot.fingerprint}`, maxWaitMS, signal, acquire)
  }

  /** Opens the upstream connection of a login as the database user of the rule, or as the provisioned user. */
  async #connectUpstream(
    { match: { grant }, identity, connectionId, address, onUser, timeProvisioning }: Parameters<ConnectUpstream>[0],
    { metadata, apiVersion }: ClientInfo,
    signal: AbortSignal,
  ): ReturnType<ConnectUpstream> {
    const marker = this.#options.createMarker(connectionId, identity)
    const client = { clientMetadata: markMetadata(metadata, marker), apiVersion }
    const connectAs: ConnectAs<Dialed & { term: PrimaryTerm }> = user => this.#dial(user, client, address, signal)
    if ('user' in grant) {
      const { name, db } = grant.user
      onUser(grant.user)
      return connectAs({ name, db, password: grant.password })
    }
    if (!this.#provisioner) {
      throw new Fault('provision/unsupported', undefined, { why: 'provision.secretFile is not set' })
    }
    onUser({ name: identity.canonical, db: this.#config.provision.database })
    const wanted = { arn: identity.canonical, roles: grant.roles }
    await this.#dials.waitForPrimary(address, signal) // users cannot be created without one
    return logInWithPasswords(this.#provisioner, wanted, connectAs, signal, timeProvisioning)
  }

  async #dial(
    user: Parameters<ConnectAs<unknown>>[0],
    { clientMetadata, apiVersion }: { clientMetadata: Document; apiVersion: string | undefined },
    address: string,
    login: AbortSignal,
  ) {
    const { loaded, assertLdapOffOver } = this.#options
    const dialing = this.#dials.run(address, login, (target, signal) =>
      dial({
        target,
        requirePrimary: !loaded.policy.isSingle,
        user,
        clientMetadata,
        scramKeys: this.#scramKeys,
        random: randomBytes,
        signal,
        apiVersion,
        onAuthenticated: (channel, hello) => assertLdapOffOver(channel, hello, signal),
      }),
    )
    const { dialed, term } = await dialing.catch(thrown => {
      this.#upstreamRefusals.record(thrown)
      throw thrown
    })
    return { ...dialed, term }
  }

  #onDirectoryChange(): void {
    this.#caches.invalidate()
    this.#followDecisions()
    void this.revocation.reviewConnections()
  }

  /**
   * Decides about an open connection. A connection of a principal whose roles could not be reduced in time must close. A
   * login that is not decided yet need not: it fails for the same reason.
   */
  #reevaluate(identity: Identity, peer: string, previous: Match | undefined): Match | undefined | Fault {
    const match = this.#authorizer.reevaluate(identity, peer, previous)
    const isProvisioned = previous && 'roles' in previous.grant
    return (isProvisioned && this.#provisioner?.findOverdue(identity.canonical)) || match
  }

  /**
   * Provisioned users follow the current rules and directory. The timer finds those whose deleteAfterDate has passed, and
   * tries failed changes again. It does not wait for the administrator, who may never answer.
   */
  #followDecisions(): void {
    this.#cancelNextSync()
    if (this.#isClosed || !this.#provisioner) return
    const { refresh } = this.#config.directory
    const graceMS = GRACE_REFRESHES * refresh - TIMER_TOLERANCE_MS
    this.#provisioner.noteReductions(this.#getRoles, { now: now(), graceMS })
    if (this.#hasOverdueConnection()) void this.revocation.reviewConnections()
    void this.#syncProvisionedUsers()
    this.#cancelNextSync = after(refresh, () => this.#followDecisions())
  }

  #hasOverdueConnection(): boolean {
    for (const arn of this.revocation.principals()) if (this.#provisioner?.isOverdue(arn)) return true
    return false
  }

  readonly #getRoles = (arn: string) => this.#authorizer.getRoles(arn)

  async #syncRoles(): Promise<void> {
    if (!this.#isClosed) await this.#provisioner?.syncRoles(this.#getRoles, this.revocation.principals())
  }

  /** Measures the clock skew before the first signature is validated with it. */
  async #probeSts(host: string): Promise<void> {
    const why = await this.#sts.probe(host)
    if (why !== undefined) this.#options.log('warn', 'sts host unreachable', { sts: host, why })
  }
}

function createConfiguredDirectory(
  { directory: { enabled, refresh }, sts }: Config,
  { adminClient, metrics, log, onDirectoryEntries }: LoginsOptions,
): Directory | undefined {
  if (!enabled) return undefined
  // Policy compilation reports a directory without upstream.admin as a problem.
  if (!adminClient) throw new Fault('internal', undefined, { why: 'the directory has no administrator' })
  return new Directory({
    runCommand: command => adminClient.runCommand(command),
    refreshMS: refresh,
    after,
    now,
    log,
    partition: servedPartition(sts.hosts),
    onEntries: onDirectoryEntries,
    onInvalidCount: count => metrics.set('directory_invalid_users', count),
  })
}
