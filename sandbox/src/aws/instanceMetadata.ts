/**
 * The types of the credential endpoints, and the EC2 instance metadata service, version 2.
 * https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html
 */
import { createHmac, randomBytes } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import type { Role, SessionCredentials } from './iam.js'

/** An object as `body` is sent as JSON. */
export type EndpointReply = { status: number; body?: string | object; headers?: Record<string, string> }
/** `name` is the match of the only group in `path`. */
export type Route = {
  method: 'GET' | 'PUT'
  path: RegExp
  answer(headers: IncomingHttpHeaders, name: string): EndpointReply | Promise<EndpointReply>
}
/** `openedAt`: milliseconds since 1970. */
export type Session = SessionCredentials & { role: Role; openedAt: number }

type MetadataOptions = {
  /** Milliseconds since 1970. */
  now: () => number
  /** The role of the only instance, if it has one. */
  instanceRole: () => Role | undefined
  openSession(role: Role, name: string): Session
}

const LONGEST_TOKEN_SECONDS = 21_600

/**
 * PUT returns a session token; with it, GET returns the name of the role and its credentials. The role session has the
 * id of the instance as its name.
 */
export function createMetadataRoutes({ now, instanceRole, openSession }: MetadataOptions): readonly Route[] {
  const secret = randomBytes(32)
  const instanceId = `i-0${randomBytes(8).toString('hex')}`
  /** A token contains its own expiry and a MAC of it, so the server stores none. */
  const tokenUntil = (end: number) => `${end}.${createHmac('sha256', secret).update(String(end)).digest('base64url')}`
  const isToken = (token: unknown) => {
    const end = Number.parseInt(String(token), 10)
    return token === tokenUntil(end) && now() < end
  }
  const withToken = (headers: IncomingHttpHeaders, answer: (role: Role) => EndpointReply): EndpointReply => {
    if (!isToken(headers['x-aws-ec2-metadata-token'])) return { status: 401 }
    const role = instanceRole()
    return role ? answer(role) : { status: 404 }
  }

  return [
    {
      method: 'PUT',
      path: /^\/latest\/api\/token$/,
      answer(headers) {
        const ttl = String(headers['x-aws-ec2-metadata-token-ttl-seconds'])
        const seconds = /^\d{1,5}$/.test(ttl) ? Number(ttl) : 0
        if (headers['x-forwarded-for'] !== undefined) return { status: 403 }
        if (seconds < 1 || seconds > LONGEST_TOKEN_SECONDS) return { status: 400 }
        const headersOut = { 'X-Aws-Ec2-Metadata-Token-Ttl-Seconds': ttl }
        return { status: 200, body: tokenUntil(now() + seconds * 1000), headers: headersOut }
      },
    },
    {
      method: 'GET',
      path: /^\/latest\/meta-data\/iam\/security-credentials\/?$/,
      answer: headers => withToken(headers, ({ name }) => ({ status: 200, body: name })),
    },
    {
      method: 'GET',
      path: /^\/latest\/meta-data\/iam\/security-credentials\/([^/]+)$/,
      answer: (headers, name) =>
        withToken(headers, role => {
          if (name !== role.name) return { status: 404 }
          const session = openSession(role, instanceId)
          const facts = { Code: 'Success', LastUpdated: time(session.openedAt), Type: 'AWS-HMAC' }
          return { status: 200, body: { ...facts, ...toCredentialDocument(session) } }
        }),
    },
  ]
}

/** A session in the format that all these endpoints share. */
export function toCredentialDocument({
  accessKeyId,
  secretAccessKey,
  sessionToken,
  expiration,
}: Session): Record<string, string> {
  return {
    AccessKeyId: accessKeyId,
    SecretAccessKey: secretAccessKey,
    Token: sessionToken,
    Expiration: time(expiration.getTime()),
  }
}

/** Without fractions of a second, as AWS writes it. */
function time(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`
}
