/**
 * Reads and checks the files and variables that settings name, and the settings that depend on each other.
 *
 * `Config` is the plain value that the rest of the program takes. Durations are milliseconds.
 */
import { X509Certificate } from 'node:crypto'
import { createSecureContext } from 'node:tls'
import { Secret } from '../log.js'
import { describePath } from '../redaction.js'
import { DEFAULT_TOKEN_NAME } from './adminTokens.js'
import { findSharedFiles, listIneffectiveSettings } from './conflicts.js'
import { divideConnections } from './connectionLimits.js'
import { formatDuration } from './definition.js'
import { describeHost, isLoopback } from './hosts.js'
import type { Problem } from './problem.js'
import { parseSecrets } from './provision.js'
import { type ReadFile, readText } from './reading.js'
import type { Settings } from './settings.js'
import { readTracing, type TracingConfig } from './tracing.js'
import { uriProblem, withoutClientCertificate } from './uri.js'

export type Config = Omit<
  Settings,
  'tls' | 'upstream' | 'users' | 'admin' | 'deny' | 'provision' | 'login' | 'sts' | 'audit' | 'tracing'
> & {
  /** `proxyCredentials` is `user:password`. */
  sts: Omit<Settings['sts'], 'proxyCredentialsFile'> & { proxyCredentials: Secret | undefined }
  login: Omit<Settings['login'], 'timeout'> & { timeout: number }
  /** `hashKey`: set if `sessionName` is hash. */
  audit: Omit<Settings['audit'], 'hashKeyFile'> & { hashKey: Secret | undefined }
  /** `enabled`: by the setting and by the variables of OpenTelemetry. */
  tracing: TracingConfig
  /** PEM texts. Undefined means plain connections: either `tls: off` is written out, or the listener is on loopback. */
  tls: ListenerTls | undefined
  /** Connection strings. `admin` is for administrative commands and never for a client session. */
  upstream: { uri: Secret; admin: Secret | undefined; topology: Settings['upstream']['topology'] }
  users: readonly UserConfig[]
  /** `token`: that of `tokenFile`, which may write. */
  admin: Omit<Settings['admin'], 'tokenFile' | 'tokens'> & {
    token: Secret | undefined
    tokens: readonly AdminTokenConfig[]
  }
  /** `text` is the contents of `file`. */
  deny: Settings['deny'] & { text: string | undefined }
  /** `secrets` is empty if no file is set; the first one is for new passwords. */
  provision: Omit<Settings['provision'], 'secretFile'> & { secrets: readonly Secret[] }
  /** Sentences for the log about settings that are valid and should still be known to the operator. */
  warnings: readonly string[]
}

export type ListenerTls = {
  cert: string
  key: Secret
  clientCA: string | undefined
  /** Paths of the files with `cert` and `clientCA`, for reports. */
  certFile?: string | undefined
  clientCAFile?: string | undefined
}

/** An entry of `admin.tokens` with its token. `write` includes `read`. */
export type AdminTokenConfig = Omit<NonNullable<Settings['admin']['tokens']>[number], 'file'> & { token: Secret }

/** A rule as written, with the password that it names. */
export type UserConfig = Omit<NonNullable<Settings['users']>[number], 'passwordFile' | 'passwordEnv' | 'maxAge'> & {
  password?: Secret | undefined
  maxAgeMS?: number | undefined
}

/** The source of a setting, for messages. */
export type Origin = {
  from: string
  /** The source of a place within the value. */
  inside(path: readonly PropertyKey[]): string
  /** For a list with invalid entries: the indexes of the others. */
  validIndexes?: readonly number[]
}

export type ResolveSources = {
  settings: Settings
  /** The settings that were given, whether or not their values are valid. */
  origins: ReadonlyMap<string, Origin>
  env: Readonly<Record<string, string | undefined>>
  readFile: ReadFile
  /** Path of the configuration, if it has one. */
  file?: string | undefined
  /** Uses placeholders for the secrets, see `ConfigSources`. */
  skipSecrets?: boolean | undefined
}

/** The configuration. It must not be used if it comes with problems. */
export function resolve(sources: ResolveSources): { config: Config; problems: Problem[] } {
  const resolver = new Resolver(sources)
  const config = resolver.resolve()
  return { config, problems: resolver.problems }
}

/** A setting in messages. The file of a `secret` one should be readable by the proxy alone. */
type Subject = { path: string; from: string | undefined; secret?: boolean }

/** The time of a login after its wait in the queue: 3 s for STS with retries, and 1 s for the upstream. Milliseconds. */
const AFTER_QUEUE_MS = 4_000
const PLAIN_TEXT = 'admin.host is not loopback, so the token crosses the network in plain text'
/** Short tokens can be guessed. */
const TOKEN = /^[\x21-\x7e]{20,512}$/

/** The credentials of a proxy. The user name ends at the first colon. */
const CREDENTIALS = /^[^:\p{Cc}]+:\P{Cc}*$/u
/** Valid texts in place of secrets that are not read. `.invalid` names no host. */
const STAND_INS = {
  uri: 'mongodb://not-read.invalid/',
  token: 'x'.repeat(20),
  password: 'not read',
  masterSecret: 'x'.repeat(32),
  credentials: 'user:password',
}
const PROXY_VARIABLES = ['HTTPS_PROXY', 'https_proxy', 'ALL_PROXY', 'all_proxy']

class Resolver {
  readonly problems: Problem[] = []
  readonly #warnings: string[] = []
  readonly #settings: Settings
  readonly #origins: ReadonlyMap<string, Origin>
  readonly #env: Readonly<Record<string, string | undefined>>
  readonly #readFile: ReadFile
  readonly #file: string | undefined

  readonly #skipSecrets: boolean

  constructor({ settings, origins, env, readFile, file, skipSecrets = false }: ResolveSources) {
    this.#file = file
    this.#skipSecrets = skipSecrets
    this.#settings = settings
    this.#origins = origins
    this.#env = env
    this.#readFile = readFile
  }

  resolve(): Config {
    const {
      tls: _tls,
      upstream,
      users: _users,
      admin,
      deny,
      provision,
      login,
      audit,
      tracing,
      ...rest
    } = this.#settings
    this.#checkInsecureSts()
    this.#checkSuccessCache()
    this.#checkConnectionLimits()
    this.problems.push(
      ...findSharedFiles(this.#settings, this.#file).map(problem => ({ ...this.#subject(problem.path), ...problem })),
    )
    const config: Config = {
      ...rest,
      sts: this.#readSts(rest.sts),
      tls: this.#readTls(),
      upstream: {
        uri: this.#readUri('upstream.uri', upstream, 'required') ?? new Secret(''),
        admin: this.#readUri('upstream.admin.uri', upstream.admin),
        topology: upstream.topology,
      },
      login: { ...login, timeout: this.#readLoginTimeout(login) },
      users: this.#readUsers(),
      admin: { host: admin.host, port: admin.port, hosts: admin.hosts, ...this.#readAdminTokens(admin) },
      deny: { ...deny, text: this.#readNamedFile(this.#subject('deny.file'), deny.file) },
      provision: this.#readProvision(provision),
      audit: this.#readAudit(audit),
      tracing: this.#readTracing(tracing),
      warnings: this.#warnings,
    }
    this.#warnings.push(...listIneffectiveSettings(this.#settings, path => this.#origins.has(path)))
    return config
  }

  #subject(path: string): Subject {
    return { path, from: this.#origins.get(path)?.from }
  }

  #refuse({ path, from }: Subject, message: string): undefined {
    this.problems.push({ path, message, from })
    return undefined
  }

  /** Plain HTTP is for a fake STS on this machine. Anywhere else, an attacker on the path could answer with any identity. */
  #checkInsecureSts(): void {
    const { insecure, hosts } = this.#settings.sts
    const remote = (hosts ?? []).find(({ connect }) => connect === undefined || !isLoopback(connect.host))
    if (!insecure || remote === undefined) return
    const number = (hosts ?? []).indexOf(remote) + 1
    const message = `allowed only if every host of sts.hosts connects to loopback, and entry ${number} does not`
    this.#refuse(this.#subject('sts.insecure'), message)
  }

  #readSts({ proxyCredentialsFile, ...rest }: Settings['sts']): Config['sts'] {
    const [proxy, file] = ['sts.proxy', 'sts.proxyCredentialsFile']
    if (this.#origins.has(proxy) && rest.insecure) {
      this.#refuse(this.#subject(proxy), 'excludes sts.insecure: TLS to STS runs inside the tunnel')
    }
    if (this.#origins.has(file) && !this.#origins.has(proxy)) this.#refuse(this.#subject(file), `requires ${proxy}`)
    if (!this.#origins.has(proxy)) this.#warnAboutProxyVariable()
    return { ...rest, proxyCredentials: this.#readProxyCredentials(proxyCredentialsFile, rest.proxy) }
  }

  #readProxyCredentials(file: string | undefined, proxy: string | undefined): Secret | undefined {
    const subject = { ...this.#subject('sts.proxyCredentialsFile'), secret: true }
    const text = this.#readSecretFile(subject, file, STAND_INS.credentials)
    if (text === undefined) return undefined
    if (!CREDENTIALS.test(text))
      return this.#refuse(subject, `in ${describePath(file)}: expected one line, user:password`)
    if (proxy?.startsWith('http:') && !isLoopback(new URL(proxy).hostname)) {
      this.#warnings.push(`${subject.path}: sts.proxy has http, so the credentials cross the network in plain text`)
    }
    return new Secret(text)
  }

  /** Most programs use the proxy that such a variable names. */
  #warnAboutProxyVariable(): void {
    const name = PROXY_VARIABLES.find(variable => this.#env[variable])
    if (name === undefined) return
    this.#warnings.push(`${name}: this variable is ignored. If STS can be reached through a proxy only, set sts.proxy`)
  }

  #checkSuccessCache(): void {
    if (this.#settings.sts.successCache === 0 || this.#origins.has('tls.clientCAFile')) return
    const message = 'requires tls.clientCAFile: only a verified client certificate may replace the signature'
    this.#refuse(this.#subject('sts.successCache'), message)
  }

  /** With a shorter timeout, a login would time out in the queue. */
  #readLoginTimeout({ timeout, queueTimeout }: Settings['login']): number {
    const least = queueTimeout + AFTER_QUEUE_MS
    if (timeout === undefined) return least
    const isTooShort = timeout < least // it is not if the queueTimeout is invalid
    if (!isTooShort) return timeout
    const message = `must be at least ${formatDuration(least)}, which is login.queueTimeout (${formatDuration(queueTimeout)}) and ${formatDuration(AFTER_QUEUE_MS)} for STS and the upstream: remove it, or set a shorter login.queueTimeout`
    this.#refuse(this.#subject('login.timeout'), message)
    return least
  }

  #checkConnectionLimits(): void {
    const { connections, reserve, perPrincipal } = this.#settings.listen
    if (connections === undefined) return // it is invalid, which was reported
    const { sessions, ...limits } = divideConnections({ connections, reserve, perPrincipal })
    if (sessions < 1) {
      const message = `${limits.reserve} leaves no session slot of listen.connections, which is ${connections}: set less`
      this.#refuse(this.#subject('listen.reserve'), message)
      return
    }
    const slots = `more than the ${sessions} session slots, which are listen.connections (${connections}) less listen.reserve (${limits.reserve})`
    if (limits.perPrincipal > sessions) {
      this.#refuse(this.#subject('listen.perPrincipal'), `${limits.perPrincipal} is ${slots}`)
    }
    const origin = this.#origins.get('users')
    for (const [position, { maxSessions = 1 }] of (this.#settings.users ?? []).entries()) {
      if (maxSessions <= sessions) continue
      const index = origin?.validIndexes?.[position] ?? position
      const subject = { path: `users[${index}].maxSessions`, from: origin?.inside([index, 'maxSessions']) }
      this.#refuse(subject, `${maxSessions} is ${slots}`)
    }
  }

  #readTls(): Config['tls'] {
    const { self, certFile, keyFile, clientCAFile } = this.#settings.tls
    const { host } = this.#settings.listen
    const given = ['tls', 'tls.certFile', 'tls.keyFile', 'tls.clientCAFile'].filter(path => this.#origins.has(path))
    if (given.length === 0 && !isLoopback(host ?? 'localhost')) {
      return this.#refuse(
        this.#subject('tls'),
        `required on ${describeHost(host)}: set certFile and keyFile, or write tls: off`,
      )
    }
    if (self === 'off' && given.length > 1) {
      return this.#refuse(this.#subject('tls'), `off contradicts ${given.slice(1).join(' and ')}`)
    }
    const [first = ''] = given.filter(path => path !== 'tls')
    const missing = ['tls.certFile', 'tls.keyFile'].filter(path => !this.#origins.has(path))
    if (first !== '' && missing.length > 0) {
      return this.#refuse(this.#subject(first), `requires ${missing.join(' and ')}`)
    }
    const pair = this.#readKeyPair(certFile, keyFile)
    if (!pair) return undefined
    const clientCA = this.#readNamedFile(this.#subject('tls.clientCAFile'), clientCAFile)
    if (clientCA !== undefined && !areCertificates(clientCA)) {
      const message = `${describePath(clientCAFile)} holds no PEM certificate, or a block that is not one`
      return this.#refuse(this.#subject('tls.clientCAFile'), message)
    }
    return { cert: pair.cert, key: new Secret(pair.key), clientCA, certFile, clientCAFile }
  }

  #readKeyPair(certFile: string | undefined, keyFile: string | undefined): { cert: string; key: string } | undefined {
    const certSubject = this.#subject('tls.certFile')
    const keySubject = { ...this.#subject('tls.keyFile'), secret: true }
    const cert = this.#readNamedFile(certSubject, certFile)
    const isCertUsable = cert !== undefined && isUsable({ cert })
    if (isCertUsable && this.#skipSecrets) return { cert, key: '' }
    const key = this.#skipSecrets ? undefined : this.#readNamedFile(keySubject, keyFile)
    const isKeyUsable = key !== undefined && isUsable({ key })
    if (cert !== undefined && !isCertUsable)
      this.#refuse(certSubject, `${describePath(certFile)} holds no PEM certificate`)
    if (key !== undefined && !isKeyUsable) {
      this.#refuse(keySubject, `${describePath(keyFile)} holds no PEM private key without a passphrase`)
    }
    if (!isCertUsable || !isKeyUsable) return undefined
    if (!isUsable({ cert, key }))
      return this.#refuse(keySubject, 'the key does not belong to the certificate in tls.certFile')
    return { cert, key }
  }

  #readUri(
    path: 'upstream.uri' | 'upstream.admin.uri',
    { uri, uriFile }: { uri: string | undefined; uriFile: string | undefined },
    required?: 'required',
  ): Secret | undefined {
    const fileSubject = { ...this.#subject(`${path}File`), secret: true }
    const text = this.#readSecretFile(fileSubject, uriFile, STAND_INS.uri)
    const why = text === undefined ? undefined : uriProblem(text)
    if (why !== undefined) this.#refuse(fileSubject, `in ${describePath(uriFile)}: ${why}`)
    const [isGiven, isFileGiven] = [this.#origins.has(path), this.#origins.has(fileSubject.path)]
    if (isGiven && isFileGiven) this.#refuse(this.#subject(path), `excludes ${fileSubject.path}: set one of them`)
    if (required && !isGiven && !isFileGiven) {
      this.#refuse({ path, from: undefined }, `required: set it or ${fileSubject.path}`)
    }
    const value = uri ?? text
    if (value === undefined) return undefined
    return new Secret(this.#skipSecrets ? withoutClientCertificate(value) : value)
  }

  #readAdminTokens({
    tokenFile,
    tokens = [],
    host,
    port,
  }: Settings['admin']): Pick<Config['admin'], 'token' | 'tokens'> {
    const isExposed = port !== 'off' && !isLoopback(host)
    const subject = this.#subject('admin.tokenFile')
    const token = tokenFile === undefined ? undefined : this.#readToken(subject, tokenFile)
    if (token && isExposed) this.#warnings.push(`${subject.path}: ${PLAIN_TEXT}`)
    const origin = this.#origins.get('admin.tokens')
    const known = token ? [token] : []
    const list = tokens.flatMap(({ name, may, file }, position): AdminTokenConfig[] => {
      const index = origin?.validIndexes?.[position] ?? position
      const at = (key: string) => ({ path: `admin.tokens[${index}].${key}`, from: origin?.inside([index, key]) })
      if (name === DEFAULT_TOKEN_NAME && tokenFile !== undefined) {
        this.#refuse(at('name'), `${name} is the name of admin.tokenFile: choose another`)
      }
      const token = this.#readToken(at('file'), file)
      if (!token) return []
      if (!this.#skipSecrets && known.some(other => other.equals(token))) {
        this.#refuse(at('file'), 'another name has the same token, so the audit trail could not tell them apart')
      }
      known.push(token)
      return [{ name, may, token }]
    })
    if (list.length > 0 && isExposed) this.#warnings.push(`admin.tokens: ${PLAIN_TEXT}`)
    return { token, tokens: list }
  }

  #readToken({ path, from }: Subject, file: string): Secret | undefined {
    const subject = { path, from, secret: true }
    const token = this.#readSecretFile(subject, file, STAND_INS.token)
    if (token === undefined || TOKEN.test(token)) return token === undefined ? undefined : new Secret(token)
    const message = `in ${describePath(file)}: expected one line of 20 to 512 printable characters without spaces`
    return this.#refuse(subject, message)
  }

  #readAudit({ hashKeyFile, ...rest }: Settings['audit']): Config['audit'] {
    const subject = { ...this.#subject('audit.hashKeyFile'), secret: true }
    const key = this.#readSecretFile(subject, hashKeyFile, STAND_INS.token)
    const isHash = rest.sessionName === 'hash'
    if (isHash && hashKeyFile === undefined) {
      this.#refuse(this.#subject('audit.sessionName'), 'hash requires audit.hashKeyFile')
    }
    if (key !== undefined && !TOKEN.test(key)) {
      const message = `in ${describePath(hashKeyFile)}: expected one line of 20 to 512 printable characters without spaces`
      this.#refuse(subject, message)
    }
    return { ...rest, hashKey: isHash && key !== undefined ? new Secret(key) : undefined }
  }

  #readTracing({ enabled }: Settings['tracing']): TracingConfig {
    const { tracing, problems, warnings } = readTracing(enabled, this.#env)
    this.problems.push(...problems)
    this.#warnings.push(...warnings)
    return tracing
  }

  #readUsers(): UserConfig[] {
    const origin = this.#origins.get('users')
    const { users, directory } = this.#settings
    if ((users ?? []).length === 0 && !directory.enabled) {
      this.#warnings.push('users: there are no rules, so no client can log in')
    }
    return (users ?? []).map(({ passwordFile, passwordEnv, maxAge, ...rest }, position) => {
      if (rest.roles) return { ...rest, password: undefined, maxAgeMS: maxAge }
      const index = origin?.validIndexes?.[position] ?? position
      const key = passwordFile === undefined ? 'passwordEnv' : 'passwordFile'
      const subject = { path: `users[${index}].${key}`, from: origin?.inside([index, key]), secret: true }
      const password =
        passwordEnv === undefined
          ? this.#readSecretFile(subject, passwordFile, STAND_INS.password)
          : this.#readVariable(subject, passwordEnv)
      return { ...rest, password: new Secret(password ?? ''), maxAgeMS: maxAge }
    })
  }

  #readProvision({ secretFile, ...rest }: Settings['provision']): Config['provision'] {
    const subject = { ...this.#subject('provision.secretFile'), secret: true }
    const text = this.#readSecretFile(subject, secretFile, STAND_INS.masterSecret)
    const { secrets, problem } = parseSecrets(text ?? '')
    if (problem !== undefined) this.#refuse(subject, `in ${describePath(secretFile)}: ${problem}`)
    return { ...rest, secrets: secrets.map(secret => new Secret(secret)) }
  }

  #readSecretFile(subject: Subject, file: string | undefined, standIn: string): string | undefined {
    return file !== undefined && this.#skipSecrets ? standIn : this.#readNamedFile(subject, file)
  }

  #readVariable(subject: Subject, name: string): string | undefined {
    if (this.#skipSecrets) return STAND_INS.password
    const value = this.#env[name]
    if (value) return value
    return this.#refuse(subject, `the variable is ${value === undefined ? 'not set' : 'empty'}`)
  }

  /** The text of a file that a setting names, without the newline that editors add. */
  #readNamedFile(subject: Subject, file: string | undefined): string | undefined {
    if (file === undefined) return undefined
    const result = readText(this.#readFile, file)
    if ('why' in result) return this.#refuse(subject, cannotRead(file, result.why))
    const text = result.text.replace(/\r?\n$/, '')
    if (text === '') return this.#refuse(subject, `${describePath(file)} is empty`)
    if (subject.secret && result.isWorldReadable) {
      this.#warnings.push(`${subject.path}: every user of this machine can read ${describePath(file)}`)
    }
    return text
  }
}

/** A secret may have been written in place of the path of its file. Only an absolute path is certainly a path. */
function cannotRead(file: string, why: string): string {
  const advice = file.startsWith('/') ? '' : '; write an absolute path'
  return `cannot read ${describePath(file)}: ${why}${advice}`
}

/** OpenSSL stops at the first block that it cannot read, and would silently trust fewer authorities than the file lists. */
function areCertificates(text: string): boolean {
  const blocks = text.match(/-----BEGIN [^-]+-----[^-]*-----END [^-]+-----/g) ?? []
  try {
    return blocks.map(block => new X509Certificate(block)).length > 0
  } catch {
    return false
  }
}

function isUsable(pair: { cert?: string; key?: string }): boolean {
  try {
    createSecureContext(pair)
    return true
  } catch {
    return false
  }
}
