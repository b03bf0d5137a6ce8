/** The STS actions of authenticated callers. https://docs.aws.amazon.com/STS/latest/APIReference/API_Operations.html */
import type { Caller, Iam, Role, SessionCredentials } from './iam.js'
import type { Refusal, XmlTree } from './reply.js'

type Action = (caller: Caller, parameters: URLSearchParams, iam: Iam) => XmlTree | Refusal

/** The order is that of the call counts in `GET /sandbox/calls`. */
export const actions = {
  // Requires no permission, and no policy can deny it.
  GetCallerIdentity: ({ arn, userId, account }) => ({ Arn: arn, UserId: userId, Account: account }),

  AssumeRole(caller, parameters, iam) {
    const [arn, name] = [parameters.get('RoleArn'), parameters.get('RoleSessionName')]
    if (arn === null || !/^arn:[!-~]{16,2044}$/.test(arn)) return invalidParameter('roleArn', arn)
    if (name === null || !/^[\w+=,.@-]{2,64}$/.test(name)) return invalidParameter('roleSessionName', name)
    const role = iam.role(arn)
    if (!role || !trusts(role, caller)) return denied(caller, 'sts:AssumeRole', arn)
    // Role chaining: a session that a session opens lasts at most one hour.
    const longest = caller.issuer.kind === 'role' ? Math.min(3600, role.maxSessionSeconds) : role.maxSessionSeconds
    const seconds = parseDuration(parameters, 3600, longest)
    if (seconds === undefined) return invalidParameter('durationSeconds', parameters.get('DurationSeconds'))
    const session = iam.assumeRole(role, name, seconds)
    return {
      AssumedRoleUser: { AssumedRoleId: session.caller.userId, Arn: session.caller.arn },
      Credentials: toCredentialsTree(session),
    }
  },

  GetSessionToken(caller, parameters, iam) {
    if (caller.temporary) {
      return { code: 'AccessDenied', message: 'Cannot call GetSessionToken with session credentials' }
    }
    const seconds = parseDuration(parameters, 43_200, 129_600)
    if (seconds === undefined) return invalidParameter('durationSeconds', parameters.get('DurationSeconds'))
    return { Credentials: toCredentialsTree(iam.sessionOf(caller.issuer, seconds)) }
  },
} as const satisfies Record<string, Action>

export type ActionName = keyof typeof actions

/** The action of that name; undefined if the sandbox does not implement it. */
export function findAction(name: string | null): ActionName | undefined {
  return name !== null && Object.hasOwn(actions, name) ? (name as ActionName) : undefined
}

/** Whether the caller may assume the role. The sandbox has no policies: the trust of the role decides alone. */
function trusts({ trusts, partition }: Role, { arn, issuer }: Caller): boolean {
  const federated = issuer.kind === 'user' && arn !== issuer.arn
  if (issuer.kind === 'root' || federated || issuer.partition !== partition) return false
  return [arn, issuer.arn, `arn:${partition}:iam::${issuer.account}:root`].some(name => trusts.includes(name))
}

/** DurationSeconds or `fallback`; undefined for anything but a number from 15 minutes to `longest`. */
export function parseDuration(parameters: URLSearchParams, fallback: number, longest: number): number | undefined {
  const requested = parameters.get('DurationSeconds')
  if (requested === null) return Math.min(fallback, longest)
  const seconds = /^\d{1,6}$/.test(requested) ? Number(requested) : 0
  return seconds >= 900 && seconds <= longest ? seconds : undefined
}

/** A session in the format of STS. */
export function toCredentialsTree({
  accessKeyId,
  secretAccessKey,
  sessionToken,
  expiration,
}: SessionCredentials): XmlTree {
  return {
    AccessKeyId: accessKeyId,
    SecretAccessKey: secretAccessKey,
    SessionToken: sessionToken,
    Expiration: expiration,
  }
}

/** The same reply for a missing role, so that callers cannot find out which roles exist. */
function denied({ arn }: Caller, action: string, resource: string): Refusal {
  return {
    code: 'AccessDenied',
    message: `User: ${arn} is not authorized to perform: ${action} on resource: ${resource}`,
  }
}

/** The reply to a parameter with a malformed value. */
export function invalidParameter(name: string, value: string | null): Refusal {
  const shown = value === null ? 'null' : `'${value}'`
  return {
    code: 'ValidationError',
    message: `1 validation error detected: Value ${shown} at '${name}' failed to satisfy constraint`,
  }
}
