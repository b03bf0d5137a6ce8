/** The argument of `doctor`: a connection string as an application has it, or host:port with flags. */
import { ConnectionString } from 'mongodb-connection-string-url'
import { Fault } from '../../errors.js'
import { Secret } from '../../log.js'
import { parseAddress } from '../../upstream/address.js'
import { parseTlsOptions, parseUriOptions, type TlsOptions } from '../../upstream/uriOptions.js'
import type { AwsKeys } from './credentialDiagnosis.js'
import { type Diagnosis, failure, ok, warning } from './diagnosis.js'

export type DoctorTarget = {
  /** `host:port`; empty if DNS gives them. */
  addresses: readonly string[]
  /** The name in a `mongodb+srv` string. */
  srv: string | undefined
  tls: TlsOptions | undefined
  hasAuthority: boolean
  replicaSet: string | undefined
  isDirect: boolean
  /** AWS credentials in the connection string. */
  keys: AwsKeys | undefined
  /** About the connection string itself. */
  diagnoses: readonly Diagnosis[]
}

/** For an address without options. */
export type TargetFlags = { tls?: true; caFile?: string; certificateKeyFile?: string; replicaSet?: string }

const TLS_OPTIONS = new Set([
  ...['tls', 'ssl', 'servername', 'tlscafile', 'tlscertificatekeyfile', 'tlscertificatekeyfilepassword'],
  ...['tlsallowinvalidcertificates', 'tlsallowinvalidhostnames', 'tlsinsecure'],
])

/** Throws `usage`. The text is never repeated: it may hold a password. */
export function parseTarget(text: string, flags: TargetFlags, readFile: (path: string) => Buffer): DoctorTarget {
  const isUri = /^mongodb(\+srv)?:\/\//.test(text)
  if (isUri && Object.keys(flags).length > 0) {
    throw new Fault(
      'usage',
      'the flags about TLS and the replica set are for host:port: write them into the connection string',
    )
  }
  const parsed = parse(isUri ? text : buildUri(text, flags))
  if (!parsed) throw new Fault('usage', 'doctor takes the connection string of an application, or host:port')
  const values = new Map([...parsed.searchParams].map(([name, value]) => [name.toLowerCase(), value]))
  const addresses = parsed.isSRV ? [] : parsed.hosts
  if (addresses.some(address => !parseAddress(address))) throw new Fault('usage', 'each address must be host:port')
  const diagnoses = isUri ? findProblems(parsed, values) : []
  const problems: string[] = []
  const tls = parseTls(parsed, readFile, problems)
  return {
    addresses,
    srv: parsed.isSRV ? parsed.hosts[0]?.toLowerCase() : undefined,
    tls,
    hasAuthority: values.has('tlscafile'),
    replicaSet: values.get('replicaset') || undefined,
    isDirect: values.get('directconnection') === 'true',
    keys: readKeys(parsed, values),
    diagnoses: [...problems.map(failure), ...diagnoses],
  }
}

function buildUri(address: string, { tls, caFile, certificateKeyFile, replicaSet }: TargetFlags): string {
  const options = new URLSearchParams({
    ...((tls || caFile !== undefined || certificateKeyFile !== undefined) && { tls: 'true' }),
    ...(caFile !== undefined && { tlsCAFile: caFile }),
    ...(certificateKeyFile !== undefined && { tlsCertificateKeyFile: certificateKeyFile }),
    ...(replicaSet !== undefined && { replicaSet }),
  })
  return /[/?@]/.test(address) ? '' : `mongodb://${address}/?${options}`
}

function parse(uri: string): ConnectionString | undefined {
  try {
    return new ConnectionString(uri)
  } catch {
    return undefined
  }
}

function parseTls(
  uri: ConnectionString,
  readFile: (path: string) => Buffer,
  problems: string[],
): TlsOptions | undefined {
  const only = uri.clone()
  for (const name of [...only.searchParams.keys()]) {
    if (!TLS_OPTIONS.has(name.toLowerCase())) only.searchParams.delete(name)
  }
  return parseTlsOptions(parseUriOptions(only, problems), { byDefault: uri.isSRV, readFile, problems })
}

/** Finds options that drivers reject, and options with which they do not log in with AWS. */
function findProblems(uri: ConnectionString, values: ReadonlyMap<string, string>): Diagnosis[] {
  const found: Diagnosis[] = []
  const mechanism = values.get('authmechanism')
  if (mechanism === undefined) {
    found.push(
      warning('has no authMechanism=MONGODB-AWS, so a driver does not log in; add it, and authSource=%24external'),
    )
  } else if (mechanism !== 'MONGODB-AWS') {
    found.push(failure('names another authMechanism; write authMechanism=MONGODB-AWS, the only one of the proxy'))
  }
  const source = values.get('authsource')
  if (mechanism === 'MONGODB-AWS' && source !== undefined && source !== '$external') {
    const why = source === '' ? ', and a shell has replaced $external by nothing' : ''
    found.push(failure(`its authSource is not $external${why}; write authSource=%24external`))
  }
  if (values.get('loadbalanced') === 'true')
    found.push(failure('has loadBalanced=true, which the proxy does not serve; remove it'))
  if (/^secondary$/i.test(values.get('readpreference') ?? '')) {
    found.push(warning('has readPreference=secondary, which finds no server: the proxy presents the primary only'))
  }
  if (uri.password !== '') {
    found.push(warning('contains AWS keys, which other programs may log; use the environment instead'))
  }
  return found.length === 0 ? [ok('complete')] : found
}

/** Undefined if the string has no password. */
function readKeys(uri: ConnectionString, values: ReadonlyMap<string, string>): AwsKeys | undefined {
  if (uri.username === '' || uri.password === '') return undefined
  const [, token] = /(?:^|,)AWS_SESSION_TOKEN:([^,]*)/.exec(values.get('authmechanismproperties') ?? '') ?? []
  return {
    accessKeyId: decodeURIComponent(uri.username),
    secretAccessKey: new Secret(decodeURIComponent(uri.password)),
    sessionToken: token === undefined ? undefined : new Secret(token),
  }
}
