/**
 * Where AWS hands credentials to what runs in it. Plain HTTP, as there.
 *
 *     ECS        GET /v2/credentials/<id>
 *     EKS        GET /v1/credentials                       Authorization: the pod's own token
 *     EC2        PUT /latest/api/token                     X-aws-ec2-metadata-token-ttl-seconds
 *                GET /latest/meta-data/iam/security-credentials/[<role>]
 *                                                          X-aws-ec2-metadata-token
 *
 * Each is a session of the sandbox's IAM. One that lasts ten minutes more is handed out again, so that short sessions are
 * new for each who asks. Drivers refresh theirs when five minutes are left.
 */
import { randomUUID } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { SandboxError } from '../errors.js'
import type { Iam, Role } from './iam.js'
import {
  createMetadataRoutes,
  type EndpointReply,
  type Route,
  type Session,
  toCredentialDocument,
} from './instanceMetadata.js'
import { verifyWebIdentityToken } from './webIdentity.js'

export type CredentialEndpointsOptions = {
  iam: Iam
  /** Milliseconds since 1970. */
  now?: () => number
  /** 127.0.0.1 unless told: drivers whose addresses are fixed need those, in a network namespace. */
  host?: string
  /** 0, the default: any free one. */
  port?: number
  /** How long sessions last; an hour unless told. */
  seconds?: number
}

/** Whom tokens of a pod speak of: `system:serviceaccount:NAMESPACE:NAME`, by the word of that provider of the account. */
export type Pod = { role: Role; issuer: string; subject: string }

export type CredentialEndpoints = {
  /** `http://HOST:PORT` */
  url: string
  port: number
  /** A task of ECS: the path of its credentials. `authorization` is asked of whoever wants them. */
  addEcsTask(role: Role, authorization?: string): string
  /** Pods of EKS get the role of their association. This is the path of everybody's credentials. */
  addEksPod(pod: Pod): string
  /** Gives the one instance of EC2 a role. */
  setInstanceRole(role: Role): void
  /** The access keys that were handed out, each time that they were. */
  issuedKeys(): readonly string[]
  close(): Promise<void>
}

/** The audience of the tokens that EKS puts into pods for this. */
export const POD_AUDIENCE = 'pods.eks.amazonaws.com'
const REUSED = 10 * 60_000

/** Resolves once it listens. Throws `addressInUse`. */
export async function startCredentialEndpoints(options: CredentialEndpointsOptions): Promise<CredentialEndpoints> {
  const { iam, now = Date.now, host = '127.0.0.1', port = 0, seconds = 3600 } = options
  const tasks = new Map<string, { role: Role; authorization: string | undefined }>()
  const pods: Pod[] = []
  const sessions = new Map<string, Session>()
  const handedOut: string[] = []
  let instanceRole: Role | undefined

  const sessionOf = (role: Role, name: string): Session => {
    const held = sessions.get(name)
    const fresh = held?.role === role && held.expiration.getTime() - now() > REUSED
    const session = fresh ? held : { ...iam.assumeRole(role, name, seconds), role, opened: now() }
    sessions.set(name, session)
    handedOut.push(session.accessKeyId)
    return session
  }

  const routes: readonly Route[] = [
    {
      method: 'GET',
      path: /^\/v2\/credentials\/([\w-]+)$/,
      answer({ authorization }, id) {
        const task = tasks.get(id)
        if (!task) return refuse(400, 'InvalidIdInRequest', 'no task has this id')
        if (task.authorization !== undefined && task.authorization !== authorization) {
          return refuse(401, 'AccessDenied', 'not the token of this task')
        }
        const session = sessionOf(task.role, id.replaceAll('-', ''))
        return { status: 200, body: { RoleArn: task.role.arn, ...toCredentialDocument(session) } }
      },
    },
    {
      method: 'GET',
      path: /^\/v1\/credentials$/,
      answer({ authorization }) {
        if (!authorization) return refuse(400, 'MissingAuthenticationTokenException', 'no service account token')
        const token = authorization.replace(/^Bearer /, '')
        let refusal = refuse(404, 'ResourceNotFoundException', 'no association for this service account')
        for (const { role, issuer, subject } of pods) {
          const identity = verifyWebIdentityToken(token, role, iam, now())
          if ('code' in identity) refusal = refuse(400, identity.code, identity.message)
          else if (identity.audience !== POD_AUDIENCE)
            refusal = refuse(400, 'InvalidTokenException', 'another audience')
          else if (identity.provider.issuer === issuer && identity.subject === subject) {
            const session = sessionOf(role, `eks-${subject.split(':').slice(2).join('-')}`.slice(0, 64))
            return { status: 200, body: { AccountId: role.account, ...toCredentialDocument(session) } }
          }
        }
        return refusal
      },
    },
    ...createMetadataRoutes({ now, role: () => instanceRole, sessionOf }),
  ]

  const server = createServer((request, response) => {
    request.resume()
    // Go's drivers write two slashes here, and are sent to one as the agent of ECS does.
    const asked = (request.url ?? '').replace(/^\/{2,}/, '/')
    const there = routes.filter(({ path }) => path.test(asked))
    const route = there.find(({ method }) => method === request.method)
    const [, name = ''] = route?.path.exec(asked) ?? []
    const moved = asked !== request.url && { status: 301, headers: { Location: asked } }
    const answer = moved || (route?.answer(request.headers, name) ?? { status: there.length > 0 ? 405 : 404 })
    const { status, body = '', headers }: EndpointReply = answer
    const [type, text] = typeof body === 'string' ? ['text/plain', body] : ['application/json', JSON.stringify(body)]
    response.writeHead(status, { 'Content-Type': type, ...headers }).end(text)
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', cause => reject(new SandboxError('addressInUse', `${host}:${port}`, cause)))
    server.listen(port, host, resolve)
  })
  const bound = (server.address() as AddressInfo).port

  return {
    url: `http://${host}:${bound}`,
    port: bound,
    addEcsTask(role, authorization) {
      const id = randomUUID()
      tasks.set(id, { role, authorization })
      return `/v2/credentials/${id}`
    },
    addEksPod(pod) {
      pods.push(pod)
      return '/v1/credentials'
    },
    setInstanceRole(role) {
      instanceRole = role
    },
    issuedKeys: () => handedOut,
    close: () =>
      new Promise(resolve => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

function refuse(status: number, code: string, message: string): EndpointReply {
  return { status, body: { code, message } }
}
