/** Diagnoses of AWS credentials, of the region, of the clocks, and of the answer of AWS about the credentials. */
import { findAccessKeyProblem, findInvalidTokenPart, findTokenProblem } from '../../identity/credentialProblems.js'
import type { StsOutcome } from '../../identity/outcome.js'
import { findRegionalHost, isOptInRegion, partitionOfStsHost } from '../../identity/partition.js'
import { signingRegion } from '../../identity/proof.js'
import type { Secret } from '../../log.js'
import { type Diagnosis, failure, formatSpan, note, ok, warning } from './diagnosis.js'

export type AwsKeys = { accessKeyId: string; secretAccessKey: Secret; sessionToken: Secret | undefined }

/** Variables of the environment. */
export type Environment = Readonly<Record<string, string | undefined>>

/**
 * What the chain of the AWS SDK gave. `sources`: its names of the source. `expiration`: milliseconds since 1970.
 * `missing`: a package that is not installed.
 */
export type CredentialEvidence =
  | { is: 'found'; keys: AwsKeys; sources: readonly string[] | 'connection string'; expiration: number | undefined }
  | { is: 'failed'; name: string; message: string }
  | { is: 'timeout'; ms: number }
  | { is: 'missing'; install: string }

export function diagnoseCredentials(evidence: CredentialEvidence, env: Environment, now: number): Diagnosis {
  switch (evidence.is) {
    case 'missing':
      return failure(`an optional package of doctor is not installed; run: ${evidence.install}`)
    case 'timeout':
      return failure(
        `the AWS SDK found none within ${evidence.ms / 1000} s; check that this machine reaches the metadata endpoint, SSO or STS from which they come`,
      )
    case 'failed':
      return failure(describeSdkError(evidence, env))
    case 'found':
      return diagnoseFoundKeys(evidence, env, now)
  }
}

type Found = Extract<CredentialEvidence, { is: 'found' }>

function diagnoseFoundKeys({ keys, sources, expiration }: Found, env: Environment, now: number): Diagnosis {
  const source = describeSource(sources, env)
  const problem = findKeyProblem(keys)
  if (problem !== undefined) return failure(`${problem} (from ${source})`)
  if (expiration !== undefined && expiration <= now) {
    return failure(`they expired ${formatSpan(now - expiration)} ago (from ${source}); renew the session`)
  }
  const found = `${keys.accessKeyId} from ${source}`
  const doubt = findDoubt(keys)
  if (doubt !== undefined) return warning(`${found}; ${doubt}`)
  if (env.AWS_PROFILE !== undefined && env.AWS_ACCESS_KEY_ID !== undefined && sources !== 'connection string') {
    return warning(
      `${found}; both AWS_PROFILE and AWS_ACCESS_KEY_ID are set, and drivers differ in which one they use; unset one`,
    )
  }
  return ok(expiration === undefined ? found : `${found}, valid for ${formatSpan(expiration - now)}`)
}

/** Why no proof can be made of these keys; undefined if one can. */
export function findKeyProblem({ accessKeyId, secretAccessKey, sessionToken }: AwsKeys): string | undefined {
  const key = findAccessKeyProblem(`Credential=${accessKeyId}/20000101/`)
  if (key !== undefined || accessKeyId === '') return `the access key id ${key ?? 'is empty'}`
  const secret = secretAccessKey.reveal()
  if (secret === '') return 'the secret access key is empty'
  if (/\s/.test(secret)) return 'the secret access key contains a blank or a line break; copy it again'
  if (/^["'`]|["'`]$/.test(secret)) return 'the secret access key begins or ends with a quotation mark; remove it'
  const token = sessionToken && findInvalidTokenPart(sessionToken.reveal())
  if (token !== undefined) return `the session token ${token}`
  if (accessKeyId.startsWith('ASIA') && !sessionToken) {
    return 'they are temporary and lack their session token; set AWS_SESSION_TOKEN'
  }
  if (accessKeyId.startsWith('AKIA') && sessionToken) {
    return 'they are long-term and have a session token of other credentials; unset AWS_SESSION_TOKEN'
  }
  return undefined
}

/** What looks wrong, although only AWS can decide. */
function findDoubt({ secretAccessKey, sessionToken }: AwsKeys): string | undefined {
  const token = sessionToken && findTokenProblem(sessionToken.reveal())
  if (token !== undefined) return `the session token ${token}`
  const { length } = secretAccessKey.reveal()
  return length === 40 ? undefined : `the secret access key has ${length} characters, and those of AWS have 40`
}

/** By the names that the AWS SDK gives to sources, most specific first. */
const SOURCES: readonly [RegExp, (profile: string) => string][] = [
  [/WEB_ID/, () => 'a web identity token, as EKS gives it to a service account'],
  [/SSO/, profile => `IAM Identity Center (${profile})`],
  [/LOGIN/, profile => `aws login (${profile})`],
  [/PROCESS/, profile => `the credential_process of ${profile}`],
  [/ASSUME_ROLE/, profile => `a role that ${profile} assumes`],
  [/HTTP/, () => 'the container endpoint of ECS or EKS Pod Identity'],
  [/IMDS/, () => 'the metadata of this EC2 instance'],
  [/ENV_VARS/, () => 'the variable AWS_ACCESS_KEY_ID'],
  [/PROFILE/, profile => profile],
]

export function describeSource(sources: Found['sources'], env: Environment): string {
  if (sources === 'connection string') return 'the connection string'
  for (const [pattern, describe] of SOURCES) {
    if (sources.some(source => pattern.test(source))) return describe(describeProfile(env))
  }
  if (sources.length > 0) return 'the chain of the AWS SDK'
  // The last source of the chain is the only one that the SDK does not mark.
  const isContainer = env.AWS_CONTAINER_CREDENTIALS_FULL_URI || env.AWS_CONTAINER_CREDENTIALS_RELATIVE_URI
  return isContainer ? 'the container endpoint of ECS or EKS Pod Identity' : 'the metadata of this EC2 instance'
}

/** A name that may be something else, such as a password, is not repeated. */
function describeProfile({ AWS_PROFILE: name = 'default' }: Environment): string {
  return /^[\w.@-]{1,64}$/.test(name) ? `the profile ${name}` : 'the profile in AWS_PROFILE'
}

/** What the messages of the AWS SDK mean. A message can contain a command line, so none is repeated as a whole. */
const SDK_ERRORS: readonly [RegExp, (env: Environment) => string][] = [
  [
    /sso.*(expired|invalid|login)|aws sso login/i,
    env => `the session of IAM Identity Center has ended; run aws sso login (${describeProfile(env)})`,
  ],
  [/aws login/i, env => `the session of aws login has ended; run aws login (${describeProfile(env)})`],
  [
    /could not resolve credentials using profile|profile.*(was not found|could not be found)/i,
    env => `${describeProfile(env)} has no credentials; correct AWS_PROFILE, or the files in ~/.aws`,
  ],
  [/multi-factor/i, env => `${describeProfile(env)} needs an MFA code; get a session with the aws command first`],
  [
    /command failed|credential_process/i,
    env => `the credential_process of ${describeProfile(env)} fails; run it by hand`,
  ],
  [
    /ExpiredToken|token.*expired/i,
    () => 'the token that is exchanged for them has expired; renew it (in EKS: restart the pod)',
  ],
  [/AccessDenied|not authorized/i, () => 'AWS does not permit to assume the role; check its trust policy'],
  [/ENOENT/, () => 'a file that a variable or profile names does not exist; see AWS_WEB_IDENTITY_TOKEN_FILE'],
]

function describeSdkError({ name, message }: { name: string; message: string }, env: Environment): string {
  if (env.AWS_ACCESS_KEY_ID && !env.AWS_SECRET_ACCESS_KEY) {
    return 'AWS_ACCESS_KEY_ID is set and AWS_SECRET_ACCESS_KEY is not; set both'
  }
  if (/any providers/i.test(message)) {
    return 'none found: no variables, no profile, no role of a container or instance; set AWS_PROFILE, or give this machine a role'
  }
  const text = `${name}: ${message}`
  for (const [pattern, describe] of SDK_ERRORS) if (pattern.test(text)) return describe(env)
  return `the AWS SDK finds none (${/^\w{1,64}$/.test(name) ? name : 'an error without a name'}); try: aws sts get-caller-identity`
}

/** The region that the environment names. */
export const regionOf = (env: Environment): string | undefined => env.AWS_REGION || env.AWS_DEFAULT_REGION

/** `host`: the STS host that the proxy offers. It alone decides the region of the signature. */
export function diagnoseRegion(host: string, env: Environment): Diagnosis {
  const region = signingRegion(host)
  const [own, partition] = [regionOf(env), partitionOfStsHost(host)]
  const ownHost = own === undefined ? undefined : findRegionalHost(own)
  const ownPartition = ownHost === undefined ? partition : partitionOfStsHost(ownHost)
  if (ownPartition !== partition) {
    return warning(
      `${region}: the proxy checks signatures at ${host}, which knows accounts of ${partition} only, and this environment has a region of ${ownPartition}`,
    )
  }
  if (isOptInRegion(host, region)) {
    return note(
      `${region}: the proxy checks signatures at ${host}; the account must have enabled this region, and the session token must be of version 2`,
    )
  }
  return ok(`${region}: the proxy checks signatures at ${host}, whatever region this environment has`)
}

/** The largest difference that AWS permits. Milliseconds. */
const WINDOW_MS = 15 * 60_000
const NOTABLE_MS = 60_000

/** How far each clock is ahead of the clock of this machine, in milliseconds; undefined if it was not read. */
export type ClockEvidence = { awsMS: number | undefined; proxyMS: number | undefined }

export function diagnoseClock({ awsMS, proxyMS }: ClockEvidence): Diagnosis {
  const judge = awsMS ?? proxyMS
  if (judge === undefined) return note('not measured: neither AWS nor the proxy answered')
  const of = awsMS === undefined ? 'the proxy' : 'AWS'
  const direction = judge > 0 ? 'behind' : 'ahead of'
  const skew = `the clock of this machine is ${formatSpan(judge)} ${direction} that of ${of}`
  if (Math.abs(judge) > WINDOW_MS) {
    return failure(`${skew}, and AWS permits 15 minutes; synchronize it, for example with chrony`)
  }
  if (Math.abs(judge) > NOTABLE_MS) return warning(`${skew}; AWS permits 15 minutes`)
  if (awsMS !== undefined && proxyMS !== undefined && Math.abs(proxyMS - awsMS) > NOTABLE_MS) {
    return note(`that of the proxy is ${formatSpan(proxyMS - awsMS)} off, which it corrects by the clock of AWS`)
  }
  return ok(`differs by ${formatSpan(judge)} from that of ${of}`)
}

/** The outcome of GetCallerIdentity from this machine, or why it could not be called. */
export type CallerEvidence = StsOutcome | { is: 'failed'; why: string }

/** An STS that this machine cannot reach is no failure: the proxy calls STS, not the client. */
export function diagnoseCaller(evidence: CallerEvidence, keys: AwsKeys, host: string): Diagnosis {
  switch (evidence.is) {
    case 'identity':
      return ok(`AWS sees ${evidence.identity.arn}`)
    case 'refused':
      return failure(describeRefusal(evidence.code, keys, host))
    case 'throttled':
      return warning(`AWS throttles the account (${evidence.code}); logins of many processes share its quota`)
    case 'unavailable':
    case 'failed':
      return warning(
        `${host} gives no usable answer here (${evidence.why}), so the ARN is unknown; logins do not need this, because the proxy calls STS`,
      )
  }
}

function describeRefusal(code: string, { sessionToken }: AwsKeys, host: string): string {
  if (code === 'ExpiredToken') return 'AWS refuses the session token, which has expired; renew the session'
  if (code === 'SignatureDoesNotMatch') {
    return 'AWS refuses the signature (SignatureDoesNotMatch); correct the secret access key, and the clock if it is off'
  }
  if (code !== 'InvalidClientTokenId') return `AWS refuses the credentials (${code})`
  const problem = sessionToken && findTokenProblem(sessionToken.reveal())
  if (problem !== undefined) return `AWS does not know the session token (${code}): it ${problem}`
  return `AWS does not know these credentials at ${host} (${code}): the key was deleted or is inactive, the token belongs to another key, or the account is of another partition; get new credentials`
}
