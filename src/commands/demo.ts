/** The demo: a configuration for the sandbox's world, and what a newcomer reads when it is up. */
import type { Config } from '../config/load.js'
import type { ReadFile } from '../config/reading.js'
import { Secret } from '../log.js'
import { apart } from '../../sandbox/src/sandbox.js'
import { HOST, type Options, type Principal } from '../sandbox/world.js'

type Parts = Options & {
  json: boolean
  port: number
  /** The configuration that results from flags and variables with these added. */
  load(args: Record<string, string>, read: ReadFile): Config
}

/** What the announcement says about the proxy. */
type Ports = { port: number; adminPort: number | undefined }

/** `configure` gives the configuration, read anew. */
export type Demo = { configure(read: ReadFile): Config; announce(proxy: Ports): string; close(): Promise<void> }

/** Makes the world; the caller starts the proxy with what `configure` gives, and closes the world when that has stopped. */
export async function startDemo({ json, port, load, ...options }: Parts): Promise<Demo> {
  const { sts, mongo, administrator, principals, passwords, close } = await apart(options)
  try {
    const args = {
      'listen.port': String(port),
      'upstream.uri': `mongodb://127.0.0.1:${mongo.port}/`,
      'upstream.admin.uri': `mongodb://${administrator}@127.0.0.1:${mongo.port}/?authSource=admin`,
      'drain.delay': '0s',
      ...(options.stsQuota !== undefined && { 'sts.quota': String(options.stsQuota) }),
    }
    const users = principals.map(({ arn, user }) => ({ arn, user, password: new Secret(passwords.get(user) ?? '') }))
    const hosts = [{ host: HOST, connect: { host: '127.0.0.1', port: sts.port } }]
    const configure = (read: ReadFile): Config => {
      const base = load(args, read)
      return { ...base, warnings: [], sts: { ...base.sts, insecure: true, hosts }, users }
    }
    const announce = (proxy: Ports): string => {
      const where = {
        proxy: { host: '127.0.0.1', port: proxy.port },
        admin: proxy.adminPort === undefined ? null : `http://127.0.0.1:${proxy.adminPort}`,
        sts: sts.url,
        upstream: mongo.uri,
      }
      return json ? JSON.stringify({ event: 'ready', ...where, principals }) : welcome(where, principals)
    }
    return { configure, announce, close }
  } catch (thrown) {
    await close()
    throw thrown
  }
}

type Where = { proxy: { host: string; port: number }; admin: string | null; sts: string; upstream: string }

function welcome({ proxy, admin, sts, upstream }: Where, principals: readonly Principal[]): string {
  const uri = `mongodb://${proxy.host}:${proxy.port}/app?authSource=%24external&authMechanism=MONGODB-AWS`
  return [
    'The proxy stands in front of an AWS and a MongoDB of its own. Both live in memory and end with it.',
    '',
    `  proxy      ${proxy.host}:${proxy.port}`,
    `  status     ${admin === null ? 'off' : `${admin}/metrics`}`,
    `  STS        ${sts}`,
    `  MongoDB    ${upstream}`,
    '',
    'Log in with an IAM identity, for example (the keys work nowhere else):',
    ...principals.flatMap(({ arn, accessKeyId, secretAccessKey, sessionToken, roles }) => [
      '',
      `  # ${arn}: ${roles.join(', ')}`,
      `  mongosh "${uri}" --username ${accessKeyId} --password '${secretAccessKey}'` +
        (sessionToken === undefined ? '' : ` --awsIamSessionToken '${sessionToken}'`),
    ]),
    '',
    'Ctrl-C ends it.',
  ].join('\n')
}
