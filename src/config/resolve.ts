/**
 * What the settings point to, read and checked: files, variables, and rows that only make sense together.
 *
 * `Config` is the plain value that the rest of the program takes. Times are milliseconds. It is long because what any
 * setting points to is checked here, where the others are known.
 */
import { X509Certificate } from 'node:crypto'
import { createSecureContext } from 'node:tls'
import { Secret } from '../log.js'
import { isLoopback } from './hosts.js'
import type { Problem } from './problem.js'
import { readSecrets } from './provision.js'
import { type ReadFile, readText } from './reading.js'
import type { Settings } from './settings.js'
import { uriProblem } from './uri.js'

export type Config = Omit<Settings, 'tls' | 'upstream' | 'users' | 'admin' | 'deny' | 'provision'> & {
  /** PEM texts. Undefined means plain connections, which were written out or stay on loopback (R29). */
  tls: { cert: string; key: Secret; clientCA: string | undefined } | undefined
  /** Connection strings. `admin` has a user for administrative questions and is never a relay. */
  upstream: { uri: Secret; admin: Secret | undefined; topology: Settings['upstream']['topology'] }
  users: readonly User[]
  admin: Omit<Settings['admin'], 'tokenFile'> & { token: Secret | undefined }
  /** `text` is that of `file`. */
  deny: Settings['deny'] & { text: string | undefined }
  /** `secrets`: none where no file was given; the first makes what is new. */
  provision: Omit<Settings['provision'], 'secretFile'> & { secrets: readonly Secret[] }
  /** Sentences for the log: nothing is wrong, and somebody should know. */
  warnings: readonly string[]
}
/** As written, but with the password that was pointed to. */
export type User = Omit<NonNullable<Settings['users']>[number], 'passwordFile' | 'passwordEnv' | 'maxAge'> & {
  password?: Secret | undefined
  maxAgeMS?: number | undefined
}

/** Where a setting came from, for messages: as a whole, and at a place inside of a list. */
export type Origin = {
  from: string
  inside(way: readonly PropertyKey[]): string
  /** Of a list with bad entries: the places of the others. */
  kept?: readonly number[]
}

/** `origins` has the settings that were given, whether or not their value was any good. */
type Around = {
  settings: Settings
  origins: ReadonlyMap<string, Origin>
  env: Readonly<Record<string, string | undefined>>
  readFile: ReadFile
}
type Found = { problems: Problem[]; warnings: string[] }

/** A configuration; usable only if no problems come with it. */
export function resolve(around: Around): { config: Config; problems: Problem[] } {
  const { tls: _tls, upstream: _upstream, users: _users, admin, deny, provision, ...rest } = around.settings
  const found: Found = { problems: [], warnings: [] }
  checkInsecure(around, found)
  checkRemember(around, found)
  const config = {
    ...rest,
    tls: readTLS(around, found),
    upstream: {
      uri: readURI('upstream.uri', around.settings.upstream, around, found, 'required') ?? new Secret(''),
      admin: readURI('upstream.admin.uri', around.settings.upstream.admin, around, found),
      topology: around.settings.upstream.topology,
    },
    users: readUsers(around, found),
    admin: { host: admin.host, port: admin.port, hosts: admin.hosts, token: readToken(around, found) },
    deny: { ...deny, text: readNamed(named('deny.file', around), deny.file, around.readFile, found) },
    provision: readProvision(provision, around, found),
    warnings: found.warnings,
  }
  return { config, problems: found.problems }
}

function readTLS({ settings, origins, readFile }: Around, found: Found): Config['tls'] {
  const { self, certFile, keyFile, clientCAFile } = settings.tls
  const given = ['tls', 'tls.certFile', 'tls.keyFile', 'tls.clientCAFile'].filter(path => origins.has(path))
  const refuse = (path: string, message: string) => {
    found.problems.push({ path, message, from: origins.get(path)?.from })
    return undefined
  }
  if (given.length === 0 && !isLoopback(settings.listen.host ?? 'localhost')) {
    return refuse('tls', `needed on ${settings.listen.host}: give certFile and keyFile, or write out tls: off`)
  }
  if (self === 'off' && given.length > 1) return refuse('tls', `off contradicts ${given.slice(1).join(' and ')}`)
  const [first = ''] = given.filter(path => path !== 'tls')
  const missing = ['tls.certFile', 'tls.keyFile'].filter(path => !origins.has(path))
  if (first !== '' && missing.length > 0) return refuse(first, `needs ${missing.join(' and ')} as well`)
  const cert = readNamed({ path: 'tls.certFile', from: origins.get('tls.certFile')?.from }, certFile, readFile, found)
  const key = readNamed(
    { path: 'tls.keyFile', from: origins.get('tls.keyFile')?.from, secret: true },
    keyFile,
    readFile,
    found,
  )
  const certFits = cert !== undefined && isUsable({ cert })
  const keyFits = key !== undefined && isUsable({ key })
  if (cert !== undefined && !certFits) refuse('tls.certFile', `${certFile} holds no PEM certificate`)
  if (key !== undefined && !keyFits) refuse('tls.keyFile', `${keyFile} holds no PEM private key without a passphrase`)
  if (!certFits || !keyFits) return undefined
  if (!isUsable({ cert, key })) return refuse('tls.keyFile', `${keyFile} is not the key of ${certFile}`)
  const clientCA = readNamed(
    { path: 'tls.clientCAFile', from: origins.get('tls.clientCAFile')?.from },
    clientCAFile,
    readFile,
    found,
  )
  if (clientCA !== undefined && !areCertificates(clientCA)) {
    return refuse('tls.clientCAFile', `${clientCAFile} holds something that is no PEM certificate, or nothing`)
  }
  return { cert, key: new Secret(key), clientCA }
}

/** OpenSSL would stop at the first that it cannot read, and know fewer authorities than the operator. */
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

function readURI(
  path: 'upstream.uri' | 'upstream.admin.uri',
  { uri, uriFile }: { uri: string | undefined; uriFile: string | undefined },
  { origins, readFile }: Around,
  found: Found,
  need?: 'required',
): Secret | undefined {
  const filePath = `${path}File`
  const from = origins.get(filePath)?.from
  const text = readNamed({ path: filePath, from, secret: true }, uriFile, readFile, found)
  const why = text === undefined ? undefined : uriProblem(text)
  if (why !== undefined) found.problems.push({ path: filePath, message: `in ${uriFile}: ${why}`, from })
  if (origins.has(path) && origins.has(filePath)) {
    found.problems.push({ path, message: `excludes ${filePath}: give one of them`, from: origins.get(path)?.from })
  }
  if (need && !origins.has(path) && !origins.has(filePath)) {
    found.problems.push({ path, message: `required: give it or ${filePath}` })
  }
  const value = uri ?? text
  return value === undefined ? undefined : new Secret(value)
}

const named = (path: string, { origins }: Around): Named => ({ path, from: origins.get(path)?.from })

/** Short ones can be tried out. */
const TOKEN = /^[\x21-\x7e]{20,512}$/

function readToken(around: Around, found: Found): Secret | undefined {
  const at = { ...named('admin.tokenFile', around), secret: true }
  const { tokenFile, host, port } = around.settings.admin
  const token = readNamed(at, tokenFile, around.readFile, found)
  if (token !== undefined && port !== 'off' && !isLoopback(host)) {
    found.warnings.push(`${at.path}: admin.host ${host} is beyond loopback, and the token comes there in plain text`)
  }
  if (token === undefined || TOKEN.test(token)) return token === undefined ? undefined : new Secret(token)
  const message = `in ${tokenFile}: wanted one line of 20 to 512 printable characters without spaces`
  found.problems.push({ path: at.path, message, from: at.from })
  return undefined
}

function readUsers({ settings, origins, env, readFile }: Around, found: Found): User[] {
  const origin = origins.get('users')
  if (origin === undefined) found.warnings.push('users: there are none, so nobody can log in')
  return (settings.users ?? []).map(({ passwordFile, passwordEnv, maxAge, ...rest }, nth) => {
    const index = origin?.kept?.[nth] ?? nth
    if (rest.roles) return { ...rest, password: undefined, maxAgeMS: maxAge }
    const key = passwordFile === undefined ? 'passwordEnv' : 'passwordFile'
    const at = { path: `users[${index}].${key}`, from: origin?.inside([index, key]), secret: true }
    const password =
      passwordEnv === undefined
        ? readNamed(at, passwordFile, readFile, found)
        : readVariable(at, passwordEnv, env[passwordEnv], found)
    return { ...rest, password: new Secret(password ?? ''), maxAgeMS: maxAge }
  })
}

function readProvision({ secretFile, ...rest }: Settings['provision'], around: Around, found: Found) {
  const at = { ...named('provision.secretFile', around), secret: true }
  const { lines, problem } = readSecrets(readNamed(at, secretFile, around.readFile, found) ?? '')
  if (problem !== undefined) {
    found.problems.push({ path: at.path, message: `in ${secretFile}: ${problem}`, from: at.from })
  }
  return { ...rest, secrets: lines.map(line => new Secret(line)) }
}

function readVariable(at: Named, name: string, value: string | undefined, { problems }: Found) {
  if (value !== undefined && value !== '') return value
  const message = value === undefined ? `the variable ${name} is not set` : `the variable ${name} is empty`
  problems.push({ path: at.path, message, from: at.from })
  return undefined
}

type Named = { path: string; from: string | undefined; secret?: boolean }

/** The text of a file that a setting names, without the line end that editors leave. */
function readNamed({ path, from, secret }: Named, file: string | undefined, read: ReadFile, found: Found) {
  if (file === undefined) return undefined
  const result = readText(read, file)
  const text = 'text' in result ? result.text.replace(/\r?\n$/, '') : ''
  if (text === '') {
    const message = 'why' in result ? unread(file, result.why, secret) : `${file} is empty`
    found.problems.push({ path, message, from })
    return undefined
  }
  if (secret && 'open' in result && result.open)
    found.warnings.push(`${path}: everybody on this machine can read ${file}`)
  return text
}

/** Somebody may have written the secret in the place of its file; a path that is meant can be told by its slash. */
function unread(file: string, why: string, secret = false): string {
  return secret && !file.includes('/')
    ? `cannot read the file that is named here (not shown, in case it is the secret itself): ${why}; write its path with a /, like ./secret`
    : `cannot read ${file}: ${why}`
}

/** Plain http is for a fake STS on the same machine; anywhere else it would hand out identities to whoever listens. */
function checkInsecure({ settings, origins }: Around, { problems }: Found): void {
  const { insecure, hosts } = settings.sts
  const far = (hosts ?? []).find(({ connect }) => connect === undefined || !isLoopback(connect.host))
  if (!insecure || far === undefined) return
  const message = `only where every host of sts.hosts connects to loopback, and ${far.host} does not`
  problems.push({ path: 'sts.insecure', message, from: origins.get('sts.insecure')?.from })
}

/** What stands in for STS is the certificate of the client, so there has to be one. */
function checkRemember({ settings, origins }: Around, { problems }: Found): void {
  if (settings.sts.successCache === 0 || origins.has('tls.clientCAFile')) return
  const message = 'needs tls.clientCAFile: only a verified certificate of the client may stand in for its signature'
  problems.push({ path: 'sts.remember', message, from: origins.get('sts.remember')?.from })
}
