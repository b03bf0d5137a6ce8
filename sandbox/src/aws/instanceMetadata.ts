/** What the credential endpoints of AWS have in common, and the metadata service of EC2, version 2. */
import { createHmac, randomBytes } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import type { Role, SessionCredentials } from './iam.js'

/** A body that is an object is JSON. */
export type EndpointReply = { status: number; body?: string | object; headers?: Record<string, string> }
/** `name` is what the path's one group caught. */
export type Route = {
  method: 'GET' | 'PUT'
  path: RegExp
  answer(headers: IncomingHttpHeaders, name: string): EndpointReply
}
/** `opened`: milliseconds since 1970. */
export type Session = SessionCredentials & { role: Role; opened: number }

type Parts = {
  /** Milliseconds since 1970. */
  now: () => number
  /** The role of the one instance, if it has any. */
  role: () => Role | undefined
  sessionOf(role: Role, name: string): Session
}

const LONGEST_TOKEN_SECONDS = 21_600

/** A token by PUT, and with it the name of the role and its credentials. The session is named as the instance. */
export function createMetadataRoutes({ now, role: roleOf, sessionOf }: Parts): readonly Route[] {
  const secret = randomBytes(32)
  const instanceId = `i-0${randomBytes(8).toString('hex')}`
  /** Tokens tell when they end, and are sealed, so that none has to be kept. */
  const tokenUntil = (end: number) => `${end}.${createHmac('sha256', secret).update(String(end)).digest('base64url')}`
  const isToken = (token: unknown) => {
    const end = Number.parseInt(String(token), 10)
    return token === tokenUntil(end) && now() < end
  }
  const withToken = (headers: IncomingHttpHeaders, answer: (role: Role) => EndpointReply): EndpointReply => {
    if (!isToken(headers['x-aws-ec2-metadata-token'])) return { status: 401 }
    const role = roleOf()
    return role ? answer(role) : { status: 404 }
  }

  return [
    {
      method: 'PUT',
      path: /^\/latest\/api\/token$/,
      answer(headers) {
        const asked = String(headers['x-aws-ec2-metadata-token-ttl-seconds'])
        const seconds = /^\d{1,5}$/.test(asked) ? Number(asked) : 0
        if (headers['x-forwarded-for'] !== undefined) return { status: 403 }
        if (seconds < 1 || seconds > LONGEST_TOKEN_SECONDS) return { status: 400 }
        const lasts = { 'X-Aws-Ec2-Metadata-Token-Ttl-Seconds': asked }
        return { status: 200, body: tokenUntil(now() + seconds * 1000), headers: lasts }
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
          const session = sessionOf(role, instanceId)
          const facts = { Code: 'Success', LastUpdated: time(session.opened), Type: 'AWS-HMAC' }
          return { status: 200, body: { ...facts, ...toCredentialDocument(session) } }
        }),
    },
  ]
}

/** A session as all of the endpoints show it. */
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

/** To the second, as AWS writes it. */
function time(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`
}
