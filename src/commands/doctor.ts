/**
 * `doctor ADDRESS`: acts as a client of a running proxy, with the AWS credentials of its environment, and reports why
 * a login fails. Each step has its own time limit. A failed step skips only the steps that depend on it.
 *
 *     connection string ─▶ DNS ─▶ TCP ─▶ TLS ─▶ hello ─▶ replica set ─▶ mechanism, region ─┐
 *     credentials ─▶ GetCallerIdentity ─▶ clock ───────────────────────────────────────────┴▶ login ─▶ LDAP ─▶ rule
 *
 * The folder `doctor/` has the questions (`network`, `conversation`, `awsSdk`, `caller`) and, in pure files, what their answers
 * mean (`*Diagnosis`).
 */
import { resolveSrv, resolveTxt } from 'node:dns/promises'
import { isIP } from 'node:net'
import type { LoadedConfig } from '../app/policy.js'
import { Fault, toLogFields } from '../errors.js'
import { type Address, formatAddress, parseAddress } from '../upstream/address.js'
import { resolveSeedlist } from '../upstream/srv.js'
import { createTarget, type Target } from '../upstream/target.js'
import type { TlsOptions } from '../upstream/uriOptions.js'
import { type AwsSdk, type LoadPackage, loadAwsSdk } from './doctor/awsSdk.js'
import { askCaller } from './doctor/caller.js'
import { Conversation, type HelloAnswer } from './doctor/conversation.js'
import {
  type AwsKeys,
  type CredentialEvidence,
  diagnoseCaller,
  diagnoseClock,
  diagnoseCredentials,
  diagnoseRegion,
  type Environment,
  findKeyProblem,
} from './doctor/credentialDiagnosis.js'
import {
  conclude,
  type Diagnosis,
  failure,
  note,
  type Step,
  type StepResult,
  type Verdict,
  warning,
} from './doctor/diagnosis.js'
import {
  diagnoseAdvertised,
  diagnoseHello,
  diagnoseMechanism,
  diagnoseReplicaSet,
  findOtherAddress,
  type StartEvidence,
  skipped,
} from './doctor/helloDiagnosis.js'
import { diagnoseLdap, diagnoseLogin, diagnoseRule, findFault, type LoginEvidence } from './doctor/loginDiagnosis.js'
import { codeOf, inspectTls, lookUp, tryConnect, within } from './doctor/network.js'
import { diagnoseConnect, diagnoseHelloFailure, diagnoseLookup, diagnoseTls } from './doctor/networkDiagnosis.js'
import { chooseStsEndpoint } from './doctor/stsEndpoint.js'
import type { DoctorTarget } from './doctor/target.js'
import { explain } from './explain.js'
import type { Finding } from './findings.js'

export type DoctorOptions = {
  target: DoctorTarget
  env: Environment
  /** The configuration of the proxy, if it was given. */
  loaded: LoadedConfig | undefined
  loadPackage: LoadPackage
  /** Time limits of steps, in milliseconds. */
  limits?: Partial<typeof LIMITS>
  /** Called with each finding as it comes. */
  onFinding: (finding: Finding) => void
}

export type DoctorReport = { findings: readonly Finding[]; verdict: Verdict }

/** Milliseconds. A login may wait as long as the proxy lets it, see `login.timeout`. */
const LIMITS = { network: 5_000, credentials: 15_000, aws: 5_000, login: 30_000, rule: 15_000 }

/** Never rejects because of a network, a server or credentials. */
export async function doctor(options: DoctorOptions): Promise<DoctorReport> {
  return new Doctor(options).run()
}

/** A server that answered hello. `isTrusted`: its certificate is valid, or need not be. */
type Server = { address: string; target: Target; hello: HelloAnswer; isTrusted: boolean }
type Credentials = { evidence: CredentialEvidence; keys: AwsKeys | undefined; sdk: AwsSdk | undefined }

class Doctor {
  readonly #options: DoctorOptions
  readonly #limits: typeof LIMITS
  readonly #results: StepResult[] = []

  constructor(options: DoctorOptions) {
    this.#options = options
    this.#limits = { ...LIMITS, ...options.limits }
  }

  async run(): Promise<DoctorReport> {
    const { target, env } = this.#options
    for (const diagnosis of target.diagnoses) this.#add('connectionString', 'connection string', diagnosis)
    const { addresses, replicaSet } = await this.#findAddresses()
    const server = await this.#findServer(addresses)
    if (server) await this.#reviewReplicaSet(server, replicaSet)
    const host = await this.#startLogin(server)
    if (host !== undefined) this.#add('region', 'region', diagnoseRegion(host, env))
    const credentials = await this.#findCredentials()
    const arn = await this.#askAws(credentials, host, server)
    const login = await this.#logIn(server, host, credentials)
    this.#add('ldap', 'LDAP authorization', diagnoseLdap(login))
    await this.#findRule(arn ?? findArn(login), login)
    const identity =
      login?.is === 'accepted' ? `${arn ?? credentials.keys?.accessKeyId} logs in as ${login.user}` : undefined
    return { findings: this.#results.map(toFinding), verdict: conclude(this.#results, identity) }
  }

  #add(step: Step, subject: string, diagnosis: Diagnosis): void {
    const result = { step, subject, ...diagnosis }
    this.#results.push(result)
    this.#options.onFinding(toFinding(result))
  }

  async #findAddresses(): Promise<{ addresses: readonly string[]; replicaSet: string | undefined }> {
    const { srv, addresses, replicaSet } = this.#options.target
    if (srv === undefined) return { addresses, replicaSet }
    const subject = `DNS of _mongodb._tcp.${srv}`
    try {
      const found = await within(this.#limits.network, resolveSeedlist(srv, { resolveSrv, resolveTxt }))
      this.#add('dns', subject, { level: 'ok', text: found.seeds.join(', ') })
      return { addresses: found.seeds, replicaSet: replicaSet ?? found.replicaSet }
    } catch (thrown) {
      const fault = Fault.from(thrown)
      const { code } = fault.data('upstream/unreachable') ?? {}
      const why = code ?? (codeOf(thrown) === 'ETIMEDOUT' ? 'ETIMEDOUT' : toLogFields(fault).why)
      this.#add(
        'dns',
        subject,
        failure(`no usable SRV record (${why}); correct the name, or write mongodb:// with host:port`),
      )
      return { addresses: [], replicaSet }
    }
  }

  /** The first address that answers hello. If one does, the failures of the others are warnings, as they are to a driver. */
  async #findServer(addresses: readonly string[]): Promise<Server | undefined> {
    const probes = await Promise.all(addresses.map(address => this.#probe(address)))
    const server = probes.find(({ server }) => server?.isTrusted)?.server ?? probes.find(({ server }) => server)?.server
    for (const { results, server: own } of probes) {
      for (const { step, subject, level, text } of results) {
        const isOther = server !== undefined && own !== server
        this.#add(step, subject, { level: isOther && level === 'failure' ? 'warning' : level, text })
      }
    }
    return server
  }

  async #probe(text: string): Promise<{ results: StepResult[]; server?: Server }> {
    const { tls } = this.#options.target
    const address = parseAddress(text) as Address
    const results: StepResult[] = []
    const add = (step: Step, subject: string, diagnosis: Diagnosis): boolean => {
      results.push({ step, subject: `${subject} ${step === 'dns' ? address.host : text}`, ...diagnosis })
      return diagnosis.level !== 'failure'
    }
    const found = await lookUp(address.host, this.#limits.network)
    if (!add('dns', 'DNS of', diagnoseLookup(found, isIP(address.host) !== 0))) return { results }
    if (!add('tcp', 'TCP to', diagnoseConnect(await tryConnect(address, this.#limits.network)))) return { results }
    const isTrusted = tls ? await this.#probeTls(address, tls, diagnosis => add('tls', 'TLS to', diagnosis)) : true
    if (isTrusted === undefined) return { results }
    // A hello contains no secret, so it may go to a server that could not be verified.
    const target = this.#createTarget(text, tls && !isTrusted ? { ...tls, verify: 'none' } : tls)
    try {
      const hello = await this.#askHello(target)
      if (!tls) add('tls', 'TLS to', note('off, as in the connection string'))
      add('hello', 'hello of', diagnoseHello(hello))
      return { results, server: { address: text, target, hello, isTrusted } }
    } catch (thrown) {
      const speaksTls = !tls && typeof (await inspectTls(address, undefined, this.#limits.network)) !== 'string'
      const diagnosis = diagnoseHelloFailure(connectionCode(thrown), { isTls: tls !== undefined, speaksTls })
      if (speaksTls) add('tls', 'TLS to', diagnosis)
      else add('hello', 'hello of', diagnosis)
      return { results }
    }
  }

  /** Whether the certificate is as the options require; undefined if there is no handshake. */
  async #probeTls(
    address: Address,
    tls: TlsOptions,
    add: (diagnosis: Diagnosis) => boolean,
  ): Promise<boolean | undefined> {
    const session = await inspectTls(address, tls, this.#limits.network)
    const { hasAuthority } = this.#options.target
    const host = tls.servername ?? address.host
    const expectation = { host, verify: tls.verify, hasAuthority, now: Date.now() }
    if (typeof session !== 'string') return add(diagnoseTls(session, expectation))
    const plain = this.#createTarget(formatAddress(address), undefined)
    const speaksPlain = await this.#askHello(plain).then(
      () => true,
      () => false,
    )
    add(diagnoseTls({ is: 'failed', code: session, speaksPlain }, expectation))
    return undefined
  }

  #createTarget(address: string, tls: TlsOptions | undefined): Target {
    return createTarget({ connectTimeoutMS: this.#limits.network, replicaSet: undefined, tls }, address)
  }

  #askHello(target: Target): Promise<HelloAnswer> {
    return withConversation(target, this.#limits.network, conversation => conversation.hello())
  }

  async #reviewReplicaSet({ address, hello }: Server, replicaSet: string | undefined): Promise<void> {
    const expectation = { replicaSet, isDirect: this.#options.target.isDirect, address }
    this.#add('replicaSet', 'replica set', diagnoseReplicaSet(hello, expectation))
    const other = findOtherAddress(hello, expectation)
    const parsed = other === undefined ? undefined : parseAddress(other)
    if (other === undefined || !parsed) return
    const found = await lookUp(parsed.host, this.#limits.network)
    const lookup = diagnoseLookup(found, isIP(parsed.host) !== 0)
    const code = lookup.level === 'failure' ? undefined : await tryConnect(parsed, this.#limits.network)
    const problem =
      lookup.level === 'failure' ? lookup.text : code === undefined ? undefined : diagnoseConnect(code).text
    this.#add('replicaSet', `advertised address ${other}`, diagnoseAdvertised(other, problem))
  }

  /** Starts a login and abandons it. Returns the STS host that the proxy offers. */
  async #startLogin(server: Server | undefined): Promise<string | undefined> {
    if (!server) return undefined
    const evidence = await withConversation(
      server.target,
      this.#limits.network,
      async (conversation): Promise<StartEvidence> => {
        await conversation.hello()
        return conversation.start()
      },
    ).catch((thrown: unknown): StartEvidence => ({ error: connectionCode(thrown) }))
    this.#add('mechanism', 'mechanism', diagnoseMechanism(evidence))
    return 'host' in evidence ? evidence.host : undefined
  }

  async #findCredentials(): Promise<Credentials> {
    const { target, env, loadPackage } = this.#options
    const sdk = await loadAwsSdk(loadPackage)
    const evidence = await findEvidence(sdk, target.keys, this.#limits.credentials)
    this.#add('credentials', 'AWS credentials', diagnoseCredentials(evidence, env, Date.now()))
    return {
      evidence,
      keys: evidence.is === 'found' ? evidence.keys : undefined,
      sdk: 'install' in sdk ? undefined : sdk,
    }
  }

  /** Returns the ARN that AWS sees. */
  async #askAws(
    { keys, sdk }: Credentials,
    offered: string | undefined,
    server: Server | undefined,
  ): Promise<string | undefined> {
    const { env } = this.#options
    const proxyMS = server?.hello.clockMS
    const clock = (awsMS: number | undefined) => this.#add('clock', 'clock', diagnoseClock({ awsMS, proxyMS }))
    if (!keys || !sdk || findKeyProblem(keys) !== undefined) {
      this.#add('aws', 'GetCallerIdentity', skipped('there are no usable credentials'))
      clock(undefined)
      return undefined
    }
    const endpoint = chooseStsEndpoint(offered, env)
    const { evidence, clockMS } = await askCaller({ keys, endpoint, sign: sdk.sign, timeoutMS: this.#limits.aws })
    this.#add('aws', 'GetCallerIdentity', diagnoseCaller(evidence, keys, endpoint.host))
    clock(clockMS)
    return evidence.is === 'identity' ? evidence.identity.arn : undefined
  }

  async #logIn(
    server: Server | undefined,
    host: string | undefined,
    { keys, sdk }: Credentials,
  ): Promise<LoginEvidence | undefined> {
    const why = findObstacle(server, host, keys)
    if (why !== undefined || !server || !keys || !sdk) {
      this.#add('login', 'login', skipped(why ?? 'a package is missing'))
      return undefined
    }
    const evidence = await withConversation(server.target, this.#limits.login, conversation =>
      logIn(conversation, sdk, keys),
    ).catch((thrown: unknown): LoginEvidence => ({ is: 'failed', code: connectionCode(thrown) }))
    this.#add('login', 'login', diagnoseLogin(evidence))
    return evidence
  }

  async #findRule(arn: string | undefined, login: LoginEvidence | undefined): Promise<void> {
    const { loaded } = this.#options
    const add = (diagnosis: Diagnosis) =>
      this.#add('rule', loaded && arn !== undefined ? `rule for ${arn}` : 'rule', diagnosis)
    if (!loaded) return add(note(describeMissingFile(arn)))
    if (arn === undefined) return add(skipped('the ARN is unknown'))
    try {
      const { isComplete, decidedBy, isDenied, details } = await within(
        this.#limits.rule,
        explain(loaded, arn, Date.now()),
      )
      const diagnosis = diagnoseRule({ isComplete, isDecided: decidedBy !== null, isDenied, details })
      if (login?.is === 'accepted' && diagnosis.level === 'failure') {
        return add(warning(`${diagnosis.text}. The login succeeded, so the proxy runs with another configuration`))
      }
      add(diagnosis)
    } catch (thrown) {
      add(warning(`cannot be found: ${Fault.from(thrown).message}`))
    }
  }
}

function toFinding({ step, subject, level, text }: StepResult): Finding {
  return { level, question: step, text: `${subject}: ${text}` }
}

async function withConversation<T>(
  target: Target,
  ms: number,
  talk: (conversation: Conversation) => Promise<T>,
): Promise<T> {
  const conversation = await Conversation.open(target, AbortSignal.timeout(ms))
  try {
    return await talk(conversation)
  } finally {
    conversation.close()
  }
}

async function logIn(conversation: Conversation, sdk: AwsSdk, keys: AwsKeys): Promise<LoginEvidence> {
  await conversation.hello()
  const challenge = await conversation.start()
  if ('code' in challenge) return { is: 'refused', ...challenge }
  return conversation.prove(await sdk.sign(keys, challenge, new Date()))
}

/** Why a connection failed: a code of the system, or of this program. */
function connectionCode(thrown: unknown): string {
  const { code } = Fault.from(thrown).data('upstream/unreachable') ?? {}
  if (code !== undefined) return String(code)
  return thrown instanceof Fault ? thrown.kind : codeOf(thrown)
}

async function findEvidence(
  sdk: AwsSdk | { install: string },
  keys: AwsKeys | undefined,
  ms: number,
): Promise<CredentialEvidence> {
  if ('install' in sdk) return { is: 'missing', install: sdk.install }
  if (keys) return { is: 'found', keys, sources: 'connection string', expiration: undefined }
  return sdk.findCredentials(ms)
}

/** Why no login can be tried. A proof contains the session token, so it goes only to a server that is what it should be. */
function findObstacle(
  server: Server | undefined,
  host: string | undefined,
  keys: AwsKeys | undefined,
): string | undefined {
  if (!server) return 'no server answers'
  if (!server.isTrusted)
    return 'the certificate of the server is not valid, and a login would send it the session token'
  if (host === undefined) return 'the server does not start one'
  if (!keys) return 'there are no credentials'
  return findKeyProblem(keys) === undefined ? undefined : 'the credentials are damaged'
}

/** The ARN in the message of the proxy, if this machine does not reach AWS. */
function findArn(login: LoginEvidence | undefined): string | undefined {
  if (login?.is !== 'refused' || findFault(login.message) !== 'users/no-rule') return undefined
  return /arn:[\w:/+=,.@-]+/.exec(login.message)?.[0]
}

function describeMissingFile(arn = 'ARN'): string {
  return `unknown here; add --config FILE of the proxy, or let its operator run: mongo-iam-proxy explain ${arn} --config FILE`
}
