/**
 * AssumeRoleWithWebIdentity: a role for whoever brings a token of an issuer that the role's account believes. Nobody signs
 * this call; the token is all there is.
 */
import { invalidParameter, parseDuration, toCredentialsTree } from './actions.js'
import type { Iam } from './iam.js'
import { isSignedBy, readToken } from './jwt.js'
import type { OidcProvider } from './provider.js'
import type { Partition } from './region.js'
import type { Refusal, XmlTree } from './reply.js'

/** Whom a token is proven to speak of, and for whom it is meant. */
export type WebIdentity = { provider: OidcProvider; subject: string; audience: string }

/** A role's session, or why there is none. `now` is in milliseconds. */
export function assumeRoleWithWebIdentity(parameters: URLSearchParams, iam: Iam, now: number): XmlTree | Refusal {
  const [arn, name] = [parameters.get('RoleArn'), parameters.get('RoleSessionName')]
  const [, partition, account] = /^arn:([a-z-]+):iam::(\d{12}):role\/[!-~]{1,2000}$/.exec(arn ?? '') ?? []
  if (arn === null || partition === undefined || account === undefined) return invalidParameter('roleArn', arn)
  if (name === null || !/^[\w+=,.@-]{2,64}$/.test(name)) return invalidParameter('roleSessionName', name)
  const text = parameters.get('WebIdentityToken') ?? ''
  if (text.length < 4 || text.length > 20_000) return invalidParameter('webIdentityToken', null)

  const identity = verifyWebIdentityToken(text, { partition: partition as Partition, account }, iam, now)
  if ('code' in identity) return identity
  const { provider, subject, audience } = identity
  const role = iam.role(arn)
  const trusted = role?.webIdentities.some(
    trust => trust.provider === provider.arn && trust.subject === subject && trust.audience === audience,
  )
  // The same for a role that is not there, so that nobody learns which are.
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

/** Whom a token speaks of, where a provider of this account vouches for it. `now` is in milliseconds. */
export function verifyWebIdentityToken(
  text: string,
  { partition, account }: { partition: Partition; account: string },
  iam: Iam,
  now: number,
): WebIdentity | Refusal {
  const token = readToken(text)
  if (!token) return untrusted('The ID Token provided is not a valid JWT.')
  const provider = iam.provider(account, token.issuer, partition)
  if (!provider) return untrusted(`No OpenIDConnect provider found in your account for ${token.issuer}`)
  const key = provider.keys.get(token.keyId)
  if (!key) return untrusted("Couldn't retrieve verification key from your identity provider.")
  if (!isSignedBy(token, key)) return untrusted('The web identity token could not be validated.')
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
