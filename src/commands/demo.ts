/**
 * The demo: a proxy in front of the sandbox, which has an AWS and a MongoDB in memory. The sandbox is a package of its
 * own; a production installation does not contain it.
 */
import type { Principal, Sandbox, SandboxOptions } from 'mongo-iam-proxy-sandbox'
import type { Config } from '../config/load.js'
import type { ReadFile } from '../config/reading.js'
import { Fault } from '../errors.js'
import { Secret } from '../log.js'

export type DemoOptions = SandboxOptions & {
  /** Announce in one line of JSON. */
  json: boolean
  port: number
  /** Loads the configuration from flags and variables, with these settings added. */
  load(args: Record<string, string>, read: ReadFile): Config
}

/** The ports that the proxy listens on. */
type Ports = { port: number; adminPort: number | undefined }

export type Demo = {
  /** Loads the configuration. A reload calls it again. */
  configure(read: ReadFile): Config
  /** The text for stdout once the proxy listens. */
  announce(ports: Ports): string
  close(): Promise<void>
}

/** Starts the sandbox. The caller starts the proxy with `configure` and closes the demo after the proxy has stopped. */
export async function startDemo({ json, port, load, ...options }: DemoOptions): Promise<Demo> {
  const { startSandbox } = await loadSandbox()
  const sandbox = await startSandbox(options)
  try {
    const { sts, mongo, administrator, principals, passwords, close } = sandbox
    const args = {
      'listen.port': String(port),
      'upstream.uri': `mongodb://127.0.0.1:${mongo.port}/`,
      'upstream.admin.uri': `mongodb://${administrator}@127.0.0.1:${mongo.port}/?authSource=admin`,
      'drain.delay': '0s',
      ...(options.stsQuota !== undefined && { 'sts.quota': String(options.stsQuota) }),
    }
    const users = principals.map(({ arn, user }) => ({ arn, user, password: new Secret(passwords.get(user) ?? '') }))
    const hosts = [{ host: sts.host, connect: { host: '127.0.0.1', port: sts.port } }]
    return {
      configure(read) {
        const base = load(args, read)
        return { ...base, warnings: [], sts: { ...base.sts, insecure: true, hosts }, users }
      },
      announce: ports => (json ? JSON.stringify(readyLine(sandbox, ports)) : welcome(sandbox, ports)),
      close,
    }
  } catch (thrown) {
    await sandbox.close()
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
    const command = `npx -p mongo-iam-proxy -p ${PACKAGE} mongo-iam-proxy demo`
    throw new Fault('usage', `the demo needs the package ${PACKAGE}, which is not installed. Run: ${command}`)
  }
}

/** What `--json` prints. Tools depend on these keys and their order. */
function readyLine({ sts, mongo, principals }: Sandbox, { port, adminPort }: Ports) {
  return {
    event: 'ready',
    proxy: { host: '127.0.0.1', port },
    admin: adminPort === undefined ? null : `http://127.0.0.1:${adminPort}`,
    sts: sts.url,
    upstream: mongo.uri,
    principals,
  }
}

function welcome({ sts, mongo, principals }: Sandbox, { port, adminPort }: Ports): string {
  const uri = `mongodb://127.0.0.1:${port}/app?authSource=%24external&authMechanism=MONGODB-AWS`
  const logIn = ({ arn, accessKeyId, secretAccessKey, sessionToken, roles }: Principal) => [
    '',
    `  # ${arn}: ${roles.join(', ')}`,
    `  mongosh "${uri}" --username ${accessKeyId} --password '${secretAccessKey}'` +
      (sessionToken === undefined ? '' : ` --awsIamSessionToken '${sessionToken}'`),
  ]
  return [
    'The proxy runs in front of an AWS and a MongoDB of its own. Both live in memory and end with the proxy.',
    '',
    `  proxy      127.0.0.1:${port}`,
    `  status     ${adminPort === undefined ? 'off' : `http://127.0.0.1:${adminPort}/metrics`}`,
    `  STS        ${sts.url}`,
    `  MongoDB    ${mongo.uri}`,
    '',
    'Log in with an IAM identity, for example (the keys work nowhere else):',
    ...principals.flatMap(logIn),
    '',
    'Press Ctrl-C to stop.',
  ].join('\n')
}
