/**
 * The endpoints from which programs in AWS get their credentials. Plain HTTP, as in AWS.
 *
 *     ECS        GET /v2/credentials/<id>
 *     EKS        GET /v1/credentials                       Authorization: the pod's own token
 *     EC2        PUT /latest/api/token                     X-aws-ec2-metadata-token-ttl-seconds
 *                GET /latest/meta-data/iam/security-credentials/[<role>]
 *                                                          X-aws-ec2-metadata-token
 *
 * The credentials are sessions of the sandbox's IAM. A session is reused while it is valid for ten more minutes, so with
 * shorter sessions every request gets a new one. Drivers refresh credentials five minutes before they expire.
 */
import { randomUUID } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
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
  /** Default: 127.0.0.1. Drivers use fixed addresses for ECS and EC2; tests listen there in a network namespace. */
  host?: string
  /** Default: 0, any free port. */
  port?: number
  /** The lifetime of sessions. Default: one hour. */
  seconds?: number
}

/** An EKS Pod Identity association. `subject` is `system:serviceaccount:NAMESPACE:NAME`. */
export type Pod = { role: Role; issuer: string; subject: string }

export type CredentialEndpoints = {
  /** `http://HOST:PORT` */
  url: string
  port: number
  /** Adds an ECS task. Returns the path of its credentials. Requests must present `authorization` if it is given. */
  addEcsTask(role: Role, authorization?: string): string
  /** Associates the pods of a service account with a role. Returns the path of the credentials, which all pods share. */
  addEksPod(pod: Pod): string
  /** Sets the role of the only EC2 instance. */
  setInstanceRole(role: Role): void
  /** The access key of every response, in order. */
  issuedKeys(): readonly string[]
  close(): Promise<void>
}

/** The audience of the tokens that EKS mounts into pods for Pod Identity. */
export const POD_AUDIENCE = 'pods.eks.amazonaws.com'
const MIN_REMAINING_MS = 10 * 60_000

/** Resolves when the server listens. Throws `addressInUse`. */
export async function startCredentialEndpoints(options: CredentialEndpointsOptions): Promise<CredentialEndpoints> {
  const { iam, now = Date.now, host = '127.0.0.1', port = 0, seconds = 3600 } = options
  const issuer = new CredentialIssuer(iam, now, seconds)
  const server = createServer((request, response) => void respond(issuer.routes, request, response))
  const bound = await listen(server, host, port)
  return {
    url: `http://${host}:${bound}`,
    port: bound,
    addEcsTask(role, authorization) {
      const id = randomUUID()
      issuer.tasks.set(id, { role, authorization })
      return `/v2/credentials/${id}`
    },
    addEksPod(pod) {
      issuer.pods.push(pod)
      return '/v1/credentials'
    },
    setInstanceRole(role) {
      issuer.instanceRole = role
    },
    issuedKeys: () => issuer.issuedKeys,
    close: () =>
      new Promise(resolve => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

class CredentialIssuer {
  readonly tasks = new Map<string, { role: Role; authorization: string | undefined }>()
  readonly pods: Pod[] = []
  readonly issuedKeys: string[] = []
  readonly routes: readonly Route[]
  instanceRole: Role | undefined
  readonly #iam: Iam
  readonly #now: () => number
  readonly #seconds: number
  readonly #sessions = new Map<string, Session>()

  constructor(iam: Iam, now: () => number, seconds: number) {
    this.#iam = iam
    this.#now = now
    this.#seconds = seconds
    const openSession = (role: Role, name: string) => this.#openSession(role, name)
    this.routes = [
      {
        method: 'GET',
        path: /^\/v2\/credentials\/([\w-]+)$/,
        answer: ({ authorization }, id) => this.#answerTask(id, authorization),
      },
      {
        method: 'GET',
        path: /^\/v1\/credentials$/,
        answer: ({ authorization }) => this.#answerPod(authorization),
      },
      ...createMetadataRoutes({ now, instanceRole: () => this.instanceRole, openSession }),
    ]
  }

  #openSession(role: Role, name: string): Session {
    const current = this.#sessions.get(name)
    const isReusable = current?.role === role && current.expiration.getTime() - this.#now() > MIN_REMAINING_MS
    const session = isReusable
      ? current
      : { ...this.#iam.assumeRole(role, name, this.#seconds), role, openedAt: this.#now() }
    this.#sessions.set(name, session)
    this.issuedKeys.push(session.accessKeyId)
    return session
  }

  #answerTask(id: string, authorization: string | undefined): EndpointReply {
    const task = this.tasks.get(id)
    if (!task) return refuse(400, 'InvalidIdInRequest', 'no task has this id')
    if (task.authorization !== undefined && task.authorization !== authorization) {
      return refuse(401, 'AccessDenied', 'not the token of this task')
    }
    const session = this.#openSession(task.role, id.replaceAll('-', ''))
    return { status: 200, body: { RoleArn: task.role.arn, ...toCredentialDocument(session) } }
  }

  async #answerPod(authorization: string | undefined): Promise<EndpointReply> {
    if (!authorization) return refuse(400, 'MissingAuthenticationTokenException', 'no service account token')
    const token = authorization.replace(/^Bearer /, '')
    let refusal = refuse(404, 'ResourceNotFoundException', 'no association for this service account')
    for (const { role, issuer, subject } of this.pods) {
      const identity = await verifyWebIdentityToken(token, role, this.#iam, this.#now())
      if ('code' in identity) refusal = refuse(400, identity.code, identity.message)
      else if (identity.audience !== POD_AUDIENCE) refusal = refuse(400, 'InvalidTokenException', 'another audience')
      else if (identity.provider.issuer === issuer && identity.subject === subject) {
        const session = this.#openSession(role, `eks-${subject.split(':').slice(2).join('-')}`.slice(0, 64))
        return { status: 200, body: { AccountId: role.account, ...toCredentialDocument(session) } }
      }
    }
    return refusal
  }
}

async function respond(routes: readonly Route[], request: IncomingMessage, response: ServerResponse): Promise<void> {
  request.resume()
  // Go drivers send two slashes. The ECS agent redirects them to the path with one.
  const path = (request.url ?? '').replace(/^\/{2,}/, '/')
  const samePath = routes.filter(route => route.path.test(path))
  const route = samePath.find(({ method }) => method === request.method)
  const [, name = ''] = route?.path.exec(path) ?? []
  const redirect = path !== request.url && { status: 301, headers: { Location: path } }
  const reply =
    redirect || ((await route?.answer(request.headers, name)) ?? { status: samePath.length > 0 ? 405 : 404 })
  const { status, body = '', headers }: EndpointReply = reply
  const [type, text] = typeof body === 'string' ? ['text/plain', body] : ['application/json', JSON.stringify(body)]
  response.writeHead(status, { 'Content-Type': type, ...headers }).end(text)
}

async function listen(server: Server, host: string, port: number): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', cause => reject(new SandboxError('addressInUse', `${host}:${port}`, cause)))
    server.listen(port, host, resolve)
  })
  return (server.address() as AddressInfo).port
}

function refuse(status: number, code: string, message: string): EndpointReply {
  return { status, body: { code, message } }
}
