/**
 * The demo: a proxy in front of the sandbox, which has an AWS and a MongoDB in memory. The sandbox is a package of its
 * own; a production installation does not contain it.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { CertificateAndKey, Certificates, Principal, Sandbox, SandboxOptions } from 'mongo-iam-proxy-sandbox'
import type { Config } from '../config/load.js'
import type { ReadFile } from '../config/reading.js'
import { Fault } from '../errors.js'
import { Secret } from '../log.js'

export type DemoOptions = SandboxOptions & {
  /** Announce in one line of JSON. */
  json: boolean
  port: number
  /** Serve TLS with a certificate of a throw-away authority. */
  withTLS: boolean
  /** A fresh master secret for the users that the proxy provisions; the caller supplies the randomness. */
  createSecret(): string
  /** Loads the configuration from flags and variables, with these settings added. */
  load(args: Record<string, string>, read: ReadFile): Config
}

/** The ports that the proxy listens on. */
export type Ports = { port: number; adminPort: number | undefined }

export type Demo = {
  /** Loads the configuration. A reload calls it again. */
  configure(read: ReadFile): Config
  /** The text for stdout once the proxy listens. */
  announce(ports: Ports): string
  /** Stops the sandbox and removes its files. */
  close(): Promise<void>
}

/** The files of `--with-tls`. `next` replaces the certificate and its key in the rehearsal of a change. */
type TLSFiles = { caFile: string; certFile: string; keyFile: string; next: { certFile: string; keyFile: string } }

/**
 * Starts the sandbox. The caller starts the proxy with `configure` and closes the demo after the proxy has stopped.
 * Throws `demo/sandbox-missing`.
 */
export async function startDemo(options: DemoOptions): Promise<Demo> {
  const { json, port, withTLS, createSecret, load, ...sandboxOptions } = options
  const { startSandbox, createCertificates } = await loadSandbox()
  const sandbox = await startSandbox(sandboxOptions)
  const folder = withTLS || options.directory ? mkdtempSync(join(tmpdir(), 'mongo-iam-proxy-demo-')) : undefined
  const close = async () => {
    await sandbox.close()
    if (folder !== undefined) rmSync(folder, { recursive: true, force: true })
  }
  try {
    const tls = folder !== undefined && withTLS ? writeCertificates(folder, createCertificates()) : undefined
    const secretFile = folder !== undefined && options.directory ? join(folder, 'master-secret') : undefined
    if (secretFile !== undefined) writeFileSync(secretFile, `${createSecret()}\n`, { mode: 0o600 })
    const args = {
      ...settingsFor(sandbox, port),
      ...(options.stsQuota !== undefined && { 'sts.quota': String(options.stsQuota) }),
      ...(tls && { 'tls.certFile': tls.certFile, 'tls.keyFile': tls.keyFile }),
      ...(secretFile !== undefined && { 'directory.enabled': 'true', 'provision.secretFile': secretFile }),
    }
    const { principals, passwords, sts } = sandbox
    const users = principals.map(({ arn, user }) => ({ arn, user, password: new Secret(passwords.get(user) ?? '') }))
    const hosts = [{ host: sts.host, connect: { host: '127.0.0.1', port: sts.port } }]
    return {
      configure(read) {
        const base = load(args, read)
        return { ...base, warnings: [], sts: { ...base.sts, insecure: true, hosts }, users }
      },
      announce: ports =>
        json ? JSON.stringify(readyLine(sandbox, ports, tls)) : announcement(sandbox, ports, tls).join('\n'),
      close,
    }
  } catch (thrown) {
    await close()
    throw thrown
  }
}

const PACKAGE = 'mongo-iam-proxy-sandbox'

async function loadSandbox(): Promise<typeof import('mongo-iam-proxy-sandbox')> {
  try {
    return await import('mongo-iam-proxy-sandbox')
  } catch (thrown) {
    const { code, message } = thrown as NodeJS.ErrnoException
    if (code !== 'ERR_MODULE_NOT_FOUND' || !message.includes(PACKAGE)) throw thrown
    throw new Fault('demo/sandbox-missing', undefined, {}, thrown)
  }
}

function settingsFor({ mongo, administrator }: Sandbox, port: number): Record<string, string> {
  const hosts = mongo.hosts.join()
  const set = mongo.replicaSet === undefined ? '' : `replicaSet=${mongo.replicaSet}`
  return {
    'listen.port': String(port),
    'upstream.uri': `mongodb://${hosts}/${set && `?${set}`}`,
    'upstream.admin.uri': `mongodb://${administrator}@${hosts}/?authSource=admin${set && `&${set}`}`,
    'drain.delay': '0s',
  }
}

function writeCertificates(folder: string, { ca, server, nextServer }: Certificates): TLSFiles {
  const caFile = join(folder, 'ca.pem')
  writeFileSync(caFile, ca)
  const write = (to: string, { cert, key }: CertificateAndKey) => {
    mkdirSync(to, { recursive: true })
    const files = { certFile: join(to, 'server.pem'), keyFile: join(to, 'server.key') }
    writeFileSync(files.certFile, cert)
    writeFileSync(files.keyFile, key, { mode: 0o600 })
    return files
  }
  return { caFile, ...write(folder, server), next: write(join(folder, 'next'), nextServer) }
}

/** What `--json` prints. Tools depend on these keys and their order; `tls` is there with `--with-tls` alone. */
function readyLine(sandbox: Sandbox, { port, adminPort }: Ports, tls: TLSFiles | undefined) {
  const { sts, mongo, principals, directoryPrincipals } = sandbox
  return {
    event: 'ready',
    proxy: { host: '127.0.0.1', port },
    admin: adminPort === undefined ? null : `http://127.0.0.1:${adminPort}`,
    sts: sts.url,
    upstream: mongo.uri,
    principals: [...principals, ...directoryPrincipals],
    ...(tls && { tls }),
  }
}

function announcement(sandbox: Sandbox, { port, adminPort }: Ports, tls: TLSFiles | undefined): string[] {
  const { sts, mongo, principals, directoryPrincipals } = sandbox
  const set = mongo.replicaSet === undefined ? '' : `replicaSet=${mongo.replicaSet}&`
  const uri = `mongodb://127.0.0.1:${port}/app?${set}authSource=%24external&authMechanism=MONGODB-AWS`
  const logIn = ({ accessKeyId, secretAccessKey, sessionToken }: Principal) =>
    [
      `  mongosh "${uri}"`,
      ...(tls ? [`--tls --tlsCAFile ${tls.caFile}`] : []),
      `--username ${accessKeyId} --password '${secretAccessKey}'`,
      ...(sessionToken === undefined ? [] : [`--awsIamSessionToken '${sessionToken}'`]),
    ].join(' ')
  const principal = (one: Principal) => ['', `  # ${one.arn}: ${one.roles.join(', ') || 'no user yet'}`, logIn(one)]
  return [
    'The proxy runs in front of a simulated AWS and a small MongoDB. Both live in memory and end with the proxy.',
    '',
    `  proxy      127.0.0.1:${port}`,
    `  status     ${adminPort === undefined ? 'off' : `http://127.0.0.1:${adminPort}/metrics`}`,
    `  STS        ${sts.url}`,
    `  MongoDB    ${mongo.uri}`,
    '',
    'Log in with an IAM identity, for example (the keys work nowhere else):',
    ...principals.flatMap(principal),
    ...(set ? failoverText(mongo.uri) : []),
    ...(tls ? certificateText(tls) : []),
    ...(directoryPrincipals.length > 0 ? directoryText(mongo.uri, directoryPrincipals, principal) : []),
    '',
    'Press Ctrl-C to stop.',
  ]
}

function failoverText(uri: string): string[] {
  return [
    '',
    'MongoDB is a replica set. Rehearse a failover: the primary steps down, and another member is elected a second later.',
    'Clients with retryable writes notice nothing but the delay.',
    '',
    `  mongosh "${uri}" --eval 'rs.stepDown()'`,
  ]
}

function certificateText({ caFile, certFile, keyFile, next }: TLSFiles): string[] {
  return [
    '',
    `Clients connect with TLS and trust the authority in ${caFile}.`,
    'Rehearse a change of the certificate: replace both files. The proxy watches them; new connections get the new',
    'certificate, and open ones stay. With --log-level info it logs the reload.',
    '',
    `  cp ${next.certFile} ${certFile} && cp ${next.keyFile} ${keyFile}`,
  ]
}

function directoryText(uri: string, users: readonly Principal[], describe: (one: Principal) => string[]): string[] {
  const command = (one: Principal) =>
    `db.getSiblingDB('$external').createUser({ user: '${one.arn}', roles: [{ role: 'read', db: 'app' }] })`
  return [
    '',
    'A DBA decides about these IAM users in the $external database of MongoDB; they have no rule:',
    ...users.flatMap(describe),
    ...users
      .filter(({ roles }) => roles.length === 0)
      .flatMap(one => [
        '',
        `  # as the DBA: create a user for ${one.arn}`,
        `  mongosh "${uri}" --eval "${escapeDollars(command(one))}"`,
      ]),
  ]
}

/** Inside double quotes a shell would expand `$`. */
function escapeDollars(text: string): string {
  return text.replaceAll('$', '\\$')
}
