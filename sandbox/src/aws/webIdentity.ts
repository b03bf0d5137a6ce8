/**
 * AssumeRoleWithWebIdentity: a session of a role for the bearer of an OpenID Connect token, which a provider of the role's
 * account has issued. The call is not signed.
 */
import { invalidParameter, parseDuration, toCredentialsTree } from './actions.js'
import type { Iam } from './iam.js'
import { isSignedBy, readToken } from './jwt.js'
import type { OidcProvider } from './provider.js'
import type { Partition } from './region.js'
import type { Refusal, XmlTree } from './reply.js'

/** The verified claims of a token. */
export type WebIdentity = { provider: OidcProvider; subject: string; audience: string }

/** `now` is in milliseconds. */
export async function assumeRoleWithWebIdentity(
  parameters: URLSearchParams,
  iam: Iam,
  now: number,
): Promise<XmlTree | Refusal> {
  const [arn, name] = [parameters.get('RoleArn'), parameters.get('RoleSessionName')]
  const [, partition, account] = /^arn:([a-z-]+):iam::(\d{12}):role\/[!-~]{1,2000}$/.exec(arn ?? '') ?? []
  if (arn === null || partition === undefined || account === undefined) return invalidParameter('roleArn', arn)
  if (name === null || !/^[\w+=,.@-]{2,64}$/.test(name)) return invalidParameter('roleSessionName', name)
  const text = parameters.get('WebIdentityToken') ?? ''
  if (text.length < 4 || text.length > 20_000) return invalidParameter('webIdentityToken', null)

  const identity = await verifyWebIdentityToken(text, { partition: partition as Partition, account }, iam, now)
  if ('code' in identity) return identity
  const { provider, subject, audience } = identity
  const role = iam.role(arn)
  const trusted = role?.webIdentities.some(
    trust => trust.provider === provider.arn && trust.subject === subject && trust.audience === audience,
  )
  // The same reply for a missing role, so that callers cannot find out which roles exist.
  if (!role || !trusted) {
    return { code: 'AccessDenied', message: 'Not authorized to perform sts:AssumeRoleWithWebIdentity' }
  }
  const seconds = parseDuration(parameters, 3600, role.maxSessionSeconds)
  if (seconds === undefined) return invalidParameter('durationSeconds', parameters.get('DurationSeconds'))
  const session = iam.assumeRole(role, name, seconds)
  return {
    Credentials: toCredentialsTree(session),
    SubjectFromWebIdentityToken: subject,
    AssumedRoleUser: { AssumedRoleId: session.caller.userId, Arn: session.caller.arn },
    Provider: provider.arn,
    Audience: audience,
  }
}

/** Verifies a token with the providers of the account. `now` is in milliseconds. */
export async function verifyWebIdentityToken(
  text: string,
  { partition, account }: { partition: Partition; account: string },
  iam: Iam,
  now: number,
): Promise<WebIdentity | Refusal> {
  const token = readToken(text)
  if (!token) return untrusted('The ID Token provided is not a valid JWT.')
  const provider = iam.provider(account, token.issuer, partition)
  if (!provider) return untrusted(`No OpenIDConnect provider found in your account for ${token.issuer}`)
  const key = provider.keys.get(token.keyId)
  if (!key) return untrusted("Couldn't retrieve verification key from your identity provider.")
  if (!(await isSignedBy(token, key))) return untrusted('The web identity token could not be validated.')
  if (token.expiration <= now) {
    const [current, expired] = [now, token.expiration].map(time => Math.floor(time / 1000))
    return {
      code: 'ExpiredTokenException',
      message: `Token expired: current date/time ${current} must be before the expiration date/time ${expired}`,
    }
  }
  const audience = token.audiences.find(name => provider.audiences.includes(name))
  if (audience === undefined) return untrusted('Incorrect token audience')
  return { provider, subject: token.subject, audience }
}

function untrusted(message: string): Refusal {
  return { code: 'InvalidIdentityToken', message }
}
